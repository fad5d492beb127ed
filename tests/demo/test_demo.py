"""The demo: reading contact lists, its exit codes, and whole runs against a real server."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness import poll

from ownerd.client import AsyncClient, Claim, Decision, PermissionDenied
from ownerd.demo.contacts import ContactsError, read_contacts, write_sample
from ownerd.demo.dialers import _claim_entry
from ownerd.demo.main import run

RUN_DEADLINE_S = 60


def write(directory: Path, text: str, encoding: str = "utf-8") -> Path:
    path = directory / "contacts.csv"
    path.write_bytes(text.encode(encoding))
    return path


# Reading contacts


@pytest.mark.parametrize(
    "text",
    [
        "i3_identity\n7\n8\n",
        "name,i3_identity,phone\nAda,7,1\nTom,8,2\n",
        "name,phone,i3_identity\r\nAda,1,7\r\nTom,2,8\r\n",
        "I3_Identity;name\n7;Ada\n8;Tom\n",
        "name\ti3_identity\nAda\t7\nTom\t8\n",
        "name|i3_identity\nAda|7\nTom|8\n",
        '"name","i3_identity"\n"Lovelace, Ada","7"\n"Tom ""T"" Hill\nLondon","8"\n',
        "i3_identity,name\n\n7,Ada\n\n8,Tom",
        " i3_identity , name\n 7 , Ada\n8 ,Tom\n",
        '"a,b";"line\nbreak";i3_identity\n1;2;7\n1;2;8\n',
    ],
)
def test_ids_are_found_in_any_column_of_any_csv(tmp_path: Path, text: str) -> None:
    assert read_contacts(write(tmp_path, text)).record_ids == ["7", "8"]


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    path = write(tmp_path, "i3_identity,name\n7,Zoë\n", "utf-8-sig")
    contacts = read_contacts(path)
    assert (contacts.record_ids, contacts.other_columns) == (["7"], ["name"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the file is empty"),
        ("\n\n", "line 1: the file is empty"),
        ("id,name\n1,Ada\n", 'no column "i3_identity"; found: id, name'),
        ("just a letter to a friend\n", 'no column "i3_identity"'),
        ("\x7fELF\x02\x01\x01\x00\x00\n", "there are control characters in the header"),
        ("i3_identity,name\n", "no contacts"),
        ("i3_identity,name\n1,Ada\n,Tom\n", 'line 3: column "i3_identity" is empty'),
        ("i3_identity,name\n1,Ada\n  ,Tom\n", 'line 3: column "i3_identity" is empty'),
        ("i3_identity,name\n1,Ada\n2,Tom\n1,Eva\n", "line 4 repeats i3_identity 1 of line 2"),
        ("name,i3_identity\nHill, Tom,1\n", "line 2: 3 cells, but the header has 2"),
        ("name,i3_identity\nAda\n", "line 2: 1 cell, but the header has 2"),
        ('i3_identity,name\n1,"Ada\n', "line 2: the quote that opens in this line is not closed"),
        (f"i3_identity\n{'x' * 129}\n", 'line 2: column "i3_identity" has 129 bytes'),
    ],
)
def test_a_broken_list_is_refused_with_the_line_and_the_reason(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ContactsError, match=re.escape(message)) as caught:
        read_contacts(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_list_in_another_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "i3_identity,name\n7,Zoë\n", encoding)
    assert read_contacts(path).record_ids == ["7"]


def test_a_list_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ContactsError, match="No such file"):
        read_contacts(tmp_path / "missing.csv")
    with pytest.raises(ContactsError, match="Is a directory"):
        read_contacts(tmp_path)


def test_the_sample_is_the_same_for_the_same_seed_and_readable(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one.csv", "same.csv", "other.csv"))
    write_sample(one, seed=1)
    write_sample(same, seed=1)
    write_sample(other, seed=2)
    assert one.read_bytes() == same.read_bytes() != other.read_bytes()
    contacts = read_contacts(one)
    assert len(contacts.record_ids) == 10_000
    assert contacts.other_columns == ["first_name", "last_name", "phone", "zone", "attempts"]


# Runs


def test_a_bad_list_ends_the_demo_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write(tmp_path, "id,name\n1,Ada\n")) == 2
    assert 'no column "i3_identity"' in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "campaigns"), [(0, 3), (1, 1), (1, 21)])
def test_a_senseless_run_is_refused(seconds: float, campaigns: int) -> None:
    with pytest.raises(ValueError, match="give 2 to 20, and more than 0 s"):
        run(seconds=seconds, campaigns=campaigns)


@contextmanager
def demo(directory: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a demo in a process of its own, as a user does, with its files under `directory`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ownerd.server", "demo", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(directory)},
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()  # ends its server too; nothing happens if it has ended


def pid_of_the_server(output: str) -> int:
    found = re.search(r"^server (\d+):", output, re.MULTILINE)
    assert found is not None, output
    return int(found[1])


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_r1_a_run_on_a_small_list_of_ones_own_is_exclusive_and_keeps_its_files(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, "name;I3_IDENTITY\n" + "".join(f'"a;b";x-{n}\n' for n in range(40)))
    with demo(tmp_path, str(path), "--seconds", "3", "--keep") as process:
        output, _ = process.communicate(timeout=RUN_DEADLINE_S)
    assert process.returncode == 0, output
    for expected in (
        "40 contacts of contacts.csv",
        "Spring Renewals asks as Card Upgrade:",
        'refused: "renewals-dialer" lacks the right dial on list',
        "Shorten the duration from 2d3h to 1h",
        "Release ",
        "released records have a new owner",
        "0  overlaps found",
        "no record was dialed by two campaigns while one held it",
    ):
        assert expected in output
    denied = re.search(r"([\d,]+)  denied", output)
    assert denied is not None
    assert denied[1] != "0"
    kept = re.search(r"kept: (\S+)", output)
    assert kept is not None
    assert (Path(kept[1]) / "store" / "admin.token").is_file()
    assert len(list((Path(kept[1]) / "logs").glob("*.jsonl"))) == 4
    logs = [*Path(kept[1]).glob("logs/*"), Path(kept[1]) / "server.log"]
    for text in (output, *(log.read_text() for log in logs)):
        assert not re.search(r"ownerd_[A-Za-z0-9_-]{43}", text)
    assert has_ended(pid_of_the_server(output))


def test_r1_a_run_in_which_denials_are_ignored_ends_with_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    really_claim = AsyncClient.claim

    async def claim_and_grant(*arguments: Any, **options: Any) -> Claim:
        claim = await really_claim(*arguments, **options)
        return dataclasses.replace(claim, decision=Decision.GRANTED)

    monkeypatch.setattr(AsyncClient, "claim", claim_and_grant)
    # The first few may all be of one kind.
    monkeypatch.setattr("ownerd.demo.view._SHOWN_VIOLATIONS", 100_000)
    path = write(tmp_path, "i3_identity\n" + "".join(f"{n}\n" for n in range(40)))
    assert run(path, seconds=1.0) == 1
    output = capsys.readouterr().out
    assert "VIOLATED" in output
    assert "dialed by two campaigns at once" in output


def test_a_run_in_which_a_campaign_can_speak_for_another_ends_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    really_claim = AsyncClient.claim

    async def claim_as_anybody(*arguments: Any, **options: Any) -> Claim:
        try:
            return await really_claim(*arguments, **options)
        except PermissionDenied:
            return Claim(Decision.GRANTED, None, 1)

    monkeypatch.setattr(AsyncClient, "claim", claim_as_anybody)
    path = write(tmp_path, "i3_identity\n1\n2\n")
    assert run(path, seconds=1.0) == 1
    said = "demo: Spring Renewals could claim a record in the name of Card Upgrade\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("disposition", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_run_that_is_told_to_stop_ends_its_server_and_leaves_nothing(
    tmp_path: Path, disposition: signal.Handlers
) -> None:
    # A shell's script has what it starts in the background ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, disposition)
    with demo(tmp_path, "--seconds", "30") as process:
        signal.signal(signal.SIGINT, before)
        assert process.stdout is not None
        output = process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=RUN_DEADLINE_S)
    assert process.returncode == 130, output + rest
    assert has_ended(pid_of_the_server(output))
    assert not list(tmp_path.iterdir())


def test_r29_a_run_whose_leader_is_killed_is_exclusive_and_says_who_leads(tmp_path: Path) -> None:
    pytest.importorskip("ownerd.cluster.node")
    if shutil.which("etcd") is None:
        pytest.skip("etcd is not installed (Debian: etcd-server)")
    path = write(tmp_path, "i3_identity\n" + "".join(f"x-{n}\n" for n in range(400)))
    with demo(tmp_path, str(path), "--cluster", "--seconds", "1") as process:
        output, _ = process.communicate(timeout=2 * RUN_DEADLINE_S)
    assert process.returncode == 0, output
    seconds = re.findall(r"s: (\w+) leads, ", output)
    assert seconds[0] == "a" and "nobody" in seconds
    assert re.search(r"kill -9 \d+: a led", output)
    assert re.search(r"b leads; the longest time without an answer was [1-9]", output)
    assert "0  overlaps found" in output
    for pid in re.findall(r"server (\d+):", output):
        assert has_ended(int(pid))
    assert [each.name for each in tmp_path.iterdir()] == ["contacts.csv"]


def test_an_answer_to_what_may_have_come_twice_is_noted_without_its_revision() -> None:
    claim = Claim(Decision.GRANTED, None, 7)
    assert _claim_entry("1", "d", 0, 10**8, claim).revision == 7
    assert _claim_entry("1", "d", 0, 10**9, claim).revision is None


def test_a_run_of_a_cluster_without_etcd_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(with_cluster=True) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "apt install etcd-server" in said


def test_the_supervisors_page_is_shown_while_campaigns_dial(tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason="ownerd was installed without [console]")
    command = [sys.executable, "-m", "ownerd.server", "demo", "--console"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        address = ""
        while not address:
            line = demo.stdout.readline()
            assert line, "the demo ended"
            address = "".join(re.findall(r"page is at (\S+)", line))
        with httpx.Client(follow_redirects=True, trust_env=False, timeout=RUN_DEADLINE_S) as person:
            poll(lambda: "customers" in person.get(address).text, "the list", RUN_DEADLINE_S)
            dialed = str(httpx.URL(address).join("/list?id=customers"))
            poll(lambda: "Spring Renewals" in person.get(dialed).text, "a campaign", RUN_DEADLINE_S)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(RUN_DEADLINE_S) == 0
    assert list(tmp_path.iterdir()) == []
