"""BackupStore on a server: what a backup has, and whom one hurts that does not end well."""

import io
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from harness import ServerProcess, listeners, poll
from sanitizer import in_front, patient_s, plain_environment

from ownerd.backupfile import reading
from ownerd.client.errors import error_info
from ownerd.ctl.terminal.exits import Exit
from ownerd.engine.engine import Engine, Policy
from ownerd.v1 import admin_pb2

LIST = "list"
ROWS = 60_000
CTL = [sys.executable, "-m", "ownerd.ctl"]


@pytest.fixture(scope="module", params=["native", "grpcio"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server whose backup is larger than what fits between it and a client that does not read."""
    if request.param == "native":
        pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    directory = fill(tmp_path_factory.mktemp(request.param) / "data")
    with ServerProcess(directory, *listeners(request.param)) as process:
        yield process


def fill(directory: Path) -> Path:
    """Make a store with a list of many owned records, with long ids."""
    with Engine(str(directory), map_bytes=1 << 30, background=False) as engine:
        engine.create_list(LIST, Policy(True, None, None, 86_400 * 10**9))
        for at in range(0, ROWS, 10_000):
            rows = [(f"{i:0>100}", "campaign", "", None) for i in range(at, at + 10_000)]
            engine.import_rows(LIST, rows, 1)
    return directory


def begin(served: ServerProcess, reason: str = "") -> Any:
    """Begin a backup on a connection of its own, and wait for its first answer."""
    request = admin_pb2.BackupStoreRequest(reason=reason)
    stream = served.admin_stub().BackupStore(request, timeout=patient_s(60))
    return stream, next(stream)


def ctl(served: ServerProcess, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*CTL, "backup", *arguments],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OWNERD_SERVER": served.admin_address},
        **options,
    )


def told(served: ServerProcess, event: str) -> int:
    return sum(each.get("event") == event for each in served.events)


def test_a_backup_comes_in_pieces_and_its_first_answer_says_what_it_is(
    served: ServerProcess,
) -> None:
    stream, first = begin(served, "as a test")
    answers = [first, *stream]
    found = reading.read(io.BytesIO(b"".join(answer.data for answer in answers)))
    assert (first.total_bytes, first.revision) == (found.head.total_bytes, found.head.revision)
    assert all(not each.total_bytes and not each.revision for each in answers[1:])
    assert max(len(each.data) for each in answers) <= 1 << 20
    status = served.admin_stub().GetServerStatus(admin_pb2.GetServerStatusRequest())
    assert found.head.revision == status.revision
    (entry, *_) = served.admin_stub().ListAuditEntries(admin_pb2.ListAuditEntriesRequest()).entries
    assert (entry.action, entry.reason, entry.revision) == (
        "BackupStore",
        "as a test",
        found.head.revision,
    )
    poll(lambda: told(served, "backup_sent"), "the log's line")


def test_a_reason_that_is_too_long_is_refused(served: ServerProcess) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        begin(served, "x" * 1_025)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_two_at_once_may_be_and_one_that_is_gone_makes_room(served: ServerProcess) -> None:
    before = told(served, "backup_cut_short")
    held = [begin(served)[0] for _ in range(2)]
    with pytest.raises(grpc.RpcError) as refusal:
        begin(served)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    info = error_info(refusal.value)
    assert info is not None and info.reason == "TOO_MANY_BACKUPS"
    for stream in held:
        stream.cancel()
    poll(lambda: told(served, "backup_cut_short") == before + 2, "the log's lines")
    for answer in begin(served)[0]:
        assert answer.data


def test_a_client_that_is_killed_makes_room(tmp_path: Path) -> None:
    with ServerProcess(fill(tmp_path / "data")) as served:
        pipes = [os.pipe() for _ in range(2)]  # of which nobody reads
        processes = [ctl(served, "-", stdout=write) for _, write in pipes]
        try:
            for read, write in pipes:
                os.close(write)
                begun = select.select([read], [], [], patient_s(60))[0]
                assert begun, "it never wrote anything"
            assert too_many(served)
        finally:
            for process in processes:
                process.kill()
                process.communicate()
            for read, _ in pipes:
                os.close(read)
        poll(lambda: told(served, "backup_cut_short") >= 2, "the log's lines")
        poll(lambda: not too_many(served), "room for another one")


def too_many(served: ServerProcess) -> bool:
    try:
        stream, _ = begin(served)
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    stream.cancel()
    return False


def test_a_server_that_is_killed_is_told_of_and_leaves_no_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with ServerProcess(fill(tmp_path / "data")) as served:
        process = ctl(served, str(out / "backup"))
        try:
            poll(lambda: list(out.iterdir()), "its file")
            os.kill(process.pid, signal.SIGSTOP)
            served.kill()
        finally:
            os.kill(process.pid, signal.SIGCONT)
        _, said = process.communicate(timeout=patient_s(60))
        # It may have had everything by then.
        assert process.returncode in (Exit.UNAVAILABLE, 0), said
        assert [path.name for path in out.iterdir()] == (["backup"] * (process.returncode == 0))


def test_a_full_disk_at_the_receiver_is_told_of_and_leaves_nothing(
    served: ServerProcess, tmp_path: Path
) -> None:
    limited = in_front("bash", "-c", 'ulimit -f 1000; exec "$@"', "bash")
    process = subprocess.run(
        [*limited, *CTL, "backup", f"{tmp_path}/backup"],
        capture_output=True,
        text=True,
        env={**plain_environment(), "OWNERD_SERVER": served.admin_address},
        timeout=patient_s(60),
    )
    assert process.returncode == Exit.OUTPUT_FILE, process.stderr
    assert f"cannot write {tmp_path}/backup" in process.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["native", "grpcio"])
def test_a_backup_that_takes_too_long_is_ended_and_lets_go_of_the_store(
    tmp_path: Path, kind: str
) -> None:
    if kind == "native":
        pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    with ServerProcess(
        fill(tmp_path / "data"), *listeners(kind), "--backup-limit-s", "1"
    ) as served:
        stream, first = begin(served)
        poll(lambda: told(served, "backup_cut_short"), "its end", patient_s(30))
        data = bytearray(first.data)
        with pytest.raises(grpc.RpcError) as end:
            for answer in stream:
                data += answer.data
        assert len(data) < first.total_bytes
        assert end.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        info = error_info(end.value)
        assert info is not None and info.reason == "BACKUP_TOO_SLOW"
        assert "backup_limit_s" in (end.value.details() or "")


def test_a_server_with_a_backup_under_way_stops_when_it_is_asked(tmp_path: Path) -> None:
    with ServerProcess(fill(tmp_path / "data"), "--drain-timeout-s", "1") as served:
        stream, _ = begin(served)
        served.stop()
        with pytest.raises(grpc.RpcError):
            list(stream)
        assert "call_failed" not in served.log_text, served.log_text
        assert told(served, "backup_cut_short") == 1
