"""What `ownerd` does with a data directory: exit codes, and what it says."""

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import ServerDidNotStart, ServerProcess
from sanitizer import in_front, patient_s, plain_environment

from ownerd.v1 import admin_pb2, dial_pb2

OK, USAGE, IN_USE, UNUSABLE = 0, 2, 3, 4
POLICY = admin_pb2.OwnershipPolicy(enabled=True, no_expiration=True)


def ownerd(*arguments: str, command: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run a command of ownerd; return its exit code and all that it printed."""
    run = subprocess.run(
        [*in_front(*command), sys.executable, "-m", "ownerd.server", *arguments],
        env=plain_environment() if command else None,
        capture_output=True,
        text=True,
        timeout=patient_s(60),
    )
    return run.returncode, run.stdout + run.stderr


def events(server: ServerProcess, level: str = "warning") -> dict[str, dict[str, object]]:
    """Return what a server has logged at a level, by event."""
    lines = [json.loads(line) for line in server.log_lines if line.startswith("{")]
    return {line["event"]: line for line in lines if line["level"] == level}


def make_list(server: ServerProcess) -> None:
    """Make a list with one owned record."""
    request = admin_pb2.CreateContactListRequest(list_id="list", policy=POLICY)
    server.admin_stub().CreateContactList(request)
    server.dial_stub().ReportAttempt(
        dial_pb2.ReportAttemptRequest(
            list_id="list", record_id="1", campaign_id="A", wrap_up_code="Busy"
        )
    )


def refusal(store: Path, *arguments: str) -> str:
    """Return what a server says that does not start, with exit code 4."""
    with pytest.raises(ServerDidNotStart) as failure:
        ServerProcess(store, *arguments).start()
    assert failure.value.exit_code == UNUSABLE, failure.value.log_text
    return failure.value.log_text


def test_serve_says_that_it_made_a_store_and_init_makes_one(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "by serve") as server:
        assert "store_created" in events(server)
        server.restart()
        assert "store_created" not in events(server)
    code, said = ownerd("init", "--data", str(tmp_path / "by init"))
    assert code == OK
    store_id = tomllib.loads(said)["store_id"]
    with ServerProcess(
        tmp_path / "by init", "--must-exist", f"--store-id={store_id.upper()}"
    ) as server:
        assert "store_created" not in events(server)
        assert events(server, "info")["serving"]["store_id"] == store_id
    assert ownerd("init", "--data", str(tmp_path / "by init"))[0] == UNUSABLE
    assert store_id in refusal(tmp_path / "by init", "--store-id=0123456789abcdef")


@pytest.mark.parametrize("command", ["serve", "admin-token", "clock"])
def test_where_no_store_may_be_made_none_is(tmp_path: Path, command: str) -> None:
    """The volume is not mounted, or the name is mistyped."""
    for directory in (tmp_path, tmp_path / "mistyped"):
        more = ("--must-exist",) if command == "serve" else ()
        code, said = ownerd(command, "--data", str(directory), *more)
        assert code in (USAGE, UNUSABLE), said
        assert "no store" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["serve", "admin-token", "clock"])
def test_no_command_deletes_a_store_beside_a_stray_mark(tmp_path: Path, command: str) -> None:
    store = tmp_path / "store"
    with ServerProcess(store) as server:
        make_list(server)
    (store / "CREATING").touch()
    code, said = ownerd(command, "--data", str(store))
    assert (code, "CREATING" in said) == (UNUSABLE, True), said
    (store / "CREATING").unlink()
    with ServerProcess(store) as server:
        answer = server.dial_stub().GetHolder(
            dial_pb2.GetHolderRequest(list_id="list", record_id="1")
        )
        assert answer.holder.campaign_id == "A"


def delete_lock(store: Path) -> None:
    """Take LOCK for left over."""
    (store / "LOCK").unlink()


def rename(store: Path) -> None:
    """Move the directory."""
    store.rename(store.with_name("away"))


def delete(store: Path) -> None:
    """Delete everything."""
    shutil.rmtree(store)


@pytest.mark.parametrize("change", [delete_lock, rename, delete])
def test_a_server_whose_files_are_gone_ends_with_4_and_says_why(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    server = ServerProcess(tmp_path / "store").start()
    make_list(server)
    change(tmp_path / "store")
    assert server.wait() == UNUSABLE
    assert "storage_failed" in server.log_text
    assert "not those that were opened" in server.log_text


def test_a_restored_copy_is_warned_of_and_its_tokens_and_etags_are_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with ServerProcess(store) as server:
        make_list(server)
        etag = (
            server.admin_stub()
            .GetContactList(admin_pb2.GetContactListRequest(list_id="list"))
            .list.etag
        )
    backup = tmp_path / "backup"
    shutil.copytree(store, backup)
    with ServerProcess(backup) as server:
        assert "new_incarnation" in events(server)
        status = server.admin_stub().GetServerStatus(admin_pb2.GetServerStatusRequest())
        assert status.revision >= 2**44
        found = server.admin_stub().GetContactList(admin_pb2.GetContactListRequest(list_id="list"))
        assert found.list.etag != etag
    with ServerProcess(backup) as server:
        assert "new_incarnation" not in events(server)


@pytest.mark.unsanitized("address", "thread", reason="its runtime takes terabytes of addresses")
@pytest.mark.parametrize("command", ["serve", "verify", "admin-token"])
def test_a_store_made_with_the_default_map_is_used_or_map_bytes_is_named(
    tmp_path: Path, command: str
) -> None:
    """Under 64 GiB of addresses."""
    if shutil.which("prlimit") is None:
        pytest.skip("there is no prlimit here")
    store = tmp_path / "store"
    ServerProcess(store).start().stop()
    where = (str(store),) if command == "verify" else ("--data", str(store))
    code, said = ownerd(command, *where, command=("prlimit", f"--as={64 << 30}"))
    if command == "verify":
        assert code == OK, said
    else:
        assert (code, "map_bytes" in said) == (UNUSABLE, True), said
    if command == "serve":
        small = ServerProcess(store, "--map-bytes=1GiB", command=("prlimit", f"--as={64 << 30}"))
        assert small.start().stop() == OK
