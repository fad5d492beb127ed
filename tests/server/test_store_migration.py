"""`ownerd migrate` and `serve --migrate`: exit codes, and what they say."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from former_store import Place, change, contents, read_rows, text_of, write
from harness import ServerDidNotStart, ServerProcess
from sanitizer import patient_s

from ownerd.v1 import dial_pb2

OK, IN_USE, UNUSABLE, DAMAGED = 0, 3, 4, 6
OWNED = dial_pb2.GetHolderRequest(list_id="forever", record_id="1")


def ownerd(*arguments: str) -> tuple[int, str]:
    """Run a command of ownerd; return its exit code and all that it printed."""
    run = subprocess.run(
        [sys.executable, "-m", "ownerd.server", *arguments],
        capture_output=True,
        text=True,
        timeout=patient_s(60),
    )
    return run.returncode, run.stdout + run.stderr


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of format 3, closed."""
    return write(text_of(3), tmp_path / "store")


def migrate(store: Path, *arguments: str) -> tuple[int, str]:
    return ownerd("migrate", "--data", str(store), *arguments)


def test_migrate_says_what_it_did_and_that_there_is_nothing_to_do(store: Path) -> None:
    code, said = migrate(store)
    assert code == OK
    assert "from format 3 to 5" in said
    assert "13 records" in said and "13 changes" in said
    before = contents(store)
    code, said = migrate(store)
    assert (code, "nothing to do" in said) == (OK, True), said
    assert contents(store) == before
    assert ownerd("verify", str(store))[0] == OK


@pytest.mark.parametrize("command", ["serve", "init", "clock", "admin-token"])
def test_a_former_store_is_left_as_it_is_and_the_way_on_is_named(store: Path, command: str) -> None:
    before = contents(store)
    code, said = ownerd(command, "--data", str(store))
    assert (code, "ownerd migrate --data" in said) == (UNUSABLE, True), said
    code, said = ownerd("verify", str(store))
    assert (code, "ownerd migrate --data" in said) == (UNUSABLE, True), said
    assert contents(store) == before


def test_serve_migrates_first_where_it_may(store: Path) -> None:
    with pytest.raises(ServerDidNotStart) as failure:
        ServerProcess(store).start()
    assert failure.value.exit_code == UNUSABLE
    with ServerProcess(store, "--migrate") as server:
        assert said(server)
        assert server.dial_stub().GetHolder(OWNED).holder.campaign_id == "A"
        server.restart()
        assert not said(server)
        assert server.dial_stub().GetHolder(OWNED).holder.campaign_id == "A"


def said(server: ServerProcess) -> list[str]:
    """Return what the running server has logged of a migration."""
    lines = [json.loads(line) for line in server.log_lines if line.startswith("{")]
    return [line["said"] for line in lines if line["event"] == "store_migrated"]


def test_serve_makes_a_store_where_there_is_none_to_migrate(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "new", "--migrate") as server:
        assert not said(server)


def test_what_cannot_be_migrated_has_the_exit_codes_of_serve(store: Path) -> None:
    assert migrate(store.with_name("missing"))[0] == UNUSABLE
    assert migrate(store, "--store-id", "0123456789abcdef")[0] == UNUSABLE
    fd = os.open(store / "journal" / "data.mdb", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert migrate(store)[0] == IN_USE
    finally:
        os.close(fd)
    rows = read_rows(text_of(3))
    place = next(place for place in rows if place.table == "audit")
    change(store, {place: rows[place]}, torn=True)
    before = contents(store)
    code, text = migrate(store)
    assert (code, "journal/audit" in text) == (DAMAGED, True), text
    assert contents(store) == before


def test_a_torn_file_ends_no_more_than_a_line(store: Path) -> None:
    """LMDB trusts its pages; who reads one that is none may be ended by the system."""
    row = Place("journal", "audit", b"x" * 8), b"y" * 100_000
    change(store, {row[0]: row[1]})
    for path in (store / "journal" / "data.mdb", store / "records" / "data.mdb"):
        data = bytearray(path.read_bytes())
        for page in range(2, len(data) // 4_096):
            data[page * 4_096 + 16 : page * 4_096 + 200] = b"\xff" * 184
        path.write_bytes(data)
    code, text = migrate(store)
    assert code in (UNUSABLE, DAMAGED), text
    assert text.startswith("ownerd: ") and text.count("\n") == 1
