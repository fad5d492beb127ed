"""R30: Watch on both listeners: what comes, from where, for whom, and how a stream ends."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from follower import Follower
from guarded_server import bearer, grants
from harness import DEADLINE_S, ServerProcess
from relay import Relay
from subject import DAY, HOUR, OVERWRITE, Policy, Row
from subject_grpc import GrpcSubject

from ownerd.client import AsyncClient, Client, RecordChanged, Revision
from ownerd.client.errors import error_info
from ownerd.server import errors
from ownerd.server.admin import service, watches
from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import admin_pb2_grpc

POLICY = Policy(True, DAY, None, HOUR)


@pytest.fixture
def subject(dial: Any, admin: Any, unique: str) -> GrpcSubject:
    """A server of each kind, with a list of the test's own."""
    subject = GrpcSubject(dial, admin)
    subject.create_list(unique, POLICY)
    return subject


def opened(admin: Any, *list_ids: str, **fields: Any) -> Any:
    return admin.Watch(pb.WatchRequest(list_ids=list_ids, **fields), timeout=DEADLINE_S)


def up_to(stream: Any, revision: int) -> list[pb.WatchEvent]:
    """Return the events of a stream, but for progress, up to a revision."""
    found: list[pb.WatchEvent] = []
    for message in stream:
        found += [each for each in message.events if not each.HasField("progress")]
        if message.complete and message.revision >= revision:
            stream.cancel()
            return found
    raise AssertionError("the stream ended")


def kinds(events: list[pb.WatchEvent]) -> list[str | None]:
    return [each.WhichOneof("kind") for each in events]


def refusal(call: Any) -> tuple[str, str, dict[str, str]]:
    with pytest.raises(grpc.RpcError) as caught:
        for _ in call:  # progress may come first
            pass
    info = error_info(caught.value)
    assert info is not None
    return caught.value.code().name, info.reason, dict(info.metadata)


def test_r30_each_change_comes_once_and_in_order(subject: GrpcSubject, unique: str) -> None:
    stream = opened(subject.admin, unique)
    first = next(stream)
    assert kinds(first.events) == ["progress"] and first.complete and first.incarnation_id
    subject.claim(unique, "1", "A")
    subject.attempt(unique, "1", "A", "Busy")
    subject.claim(unique, "2", "A")
    subject.transfer(unique, "A", "B")
    subject.update_policy(unique, Policy(True, 2 * DAY, None, HOUR))
    subject.release(unique, ["B"])
    subject.delete_list(unique, force=True)
    events = up_to(stream, subject.revision())
    assert kinds(events) == [
        "record",
        "transferred",
        "policy",
        "duration_changed",
        "released",
        "list_deleted",
    ]
    assert {each.list_id for each in events} == {unique}
    assert events[0].record.holder.campaign_id == "A"
    assert not events[0].record.holder.HasField("reserved_until")
    again = opened(subject.admin, unique, from_revision=first.revision)
    assert up_to(again, subject.revision()) == events, "the list's name is known as long as the log"


def test_r30_reservations_come_where_they_are_asked_for(subject: GrpcSubject, unique: str) -> None:
    stream = opened(subject.admin, unique, include_reservations=True)
    next(stream)
    subject.claim(unique, "1", "A", "d1")
    subject.give_back("A", "d1")
    events = up_to(stream, subject.revision())
    assert kinds(events) == ["record", "reservations_ended"]
    assert events[0].record.holder.dialer_id == events[1].reservations_ended.dialer_id == "d1"
    assert events[1].list_id == "" and events[1].reservations_ended.campaign_id == "A"


def test_r31_a_rejected_attempt_comes_too(subject: GrpcSubject, unique: str) -> None:
    subject.attempt(unique, "1", "A", "Busy")
    stream = opened(subject.admin, unique)
    next(stream)
    subject.attempt(unique, "1", "never seen", "Busy")
    subject.attempt(unique, "2", "A", "Busy")
    event = up_to(stream, subject.revision())[0].rejected
    assert (event.campaign_id, event.holder.campaign_id) == ("never seen", "A")
    assert event.reported_list_id == unique and event.HasField("attempt_time")


def test_r28_lists_that_share_are_shown_under_each_that_is_asked_for(
    subject: GrpcSubject, unique: str
) -> None:
    other = f"{unique}-west"
    request = pb.CreateContactListRequest(list_id=other, shares_ownership_with=unique)
    stream = opened(subject.admin, unique, from_revision=subject.revision())
    subject.admin.CreateContactList(request)
    subject.attempt(other, "1", "A", "Busy")
    revision = subject.revision()
    assert [each.list_id for each in up_to(stream, revision)] == [unique]
    both = opened(subject.admin, unique, other, from_revision=revision - 1)
    assert [each.list_id for each in up_to(both, revision)] == [unique, other]


def test_r30_a_position_that_cannot_be_gone_on_from_is_a_named_error(
    subject: GrpcSubject, unique: str
) -> None:
    revision = subject.revision()
    code, reason, _ = refusal(opened(subject.admin, from_revision=revision + 1_000))
    assert (code, reason) == ("OUT_OF_RANGE", "REVISION_AHEAD")
    code, reason, _ = refusal(opened(subject.admin, incarnation_id="0" * 16))
    assert (code, reason) == ("FAILED_PRECONDITION", "OTHER_INCARNATION")
    assert refusal(opened(subject.admin, "no such list"))[:2] == ("NOT_FOUND", "LIST_NOT_FOUND")
    status = subject.admin.GetServerStatus(pb.GetServerStatusRequest())
    assert status.oldest_revision <= revision and len(status.incarnation_id) == 16


# ---- for whom


@pytest.fixture
def guarded(tmp_path: Path, dial_listener: str) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", auth=True) as server:
        yield server


def test_r30_a_reader_sees_what_it_may_view_until_that_changes(guarded: ServerProcess) -> None:
    boss = GrpcSubject(guarded.dial_stub(), guarded.admin_stub())
    for list_id in ("in-1", "out"):
        boss.create_list(list_id, POLICY)
    known = pb.Principal(principal_id="some", grants=grants(["view"], ["in-*"], ["a*"]))
    some = boss.admin.CreatePrincipal(pb.CreatePrincipalRequest(principal=known)).token
    assert refusal_code(watched(guarded, some, "out")) == "PERMISSION_DENIED"
    stream = watched(guarded, some)
    next(stream)
    boss.attempt("out", "1", "a1", "Busy")
    boss.attempt("in-1", "2", "b", "Busy")
    boss.attempt("in-1", "3", "a1", "Busy")
    boss.import_rows("in-1", [Row("3", "b", "", None)], strategy=OVERWRITE)
    boss.transfer("in-1", "b", "a1")
    boss.release("in-1", ["b"])
    boss.release("in-1", ["a1"])
    events = up_to_kind(stream, "released")
    assert kinds(events) == ["record", "record", "transferred", "released"]
    assert events[0].record.holder.campaign_id == "a1"
    assert not events[1].record.HasField("holder"), "whose it is now is not to be seen"
    assert events[2].transferred.from_campaign_id == ""
    held = watched(guarded, some)
    next(held)
    changed = pb.Principal(principal_id="some", grants=grants(["view"], ["in-*"]))
    boss.admin.UpdatePrincipal(pb.UpdatePrincipalRequest(principal=changed))
    code, reason, metadata = refusal(held)
    assert (code, reason) == ("ABORTED", "RIGHTS_CHANGED")
    assert int(metadata["resume_revision"]) <= boss.revision()


def watched(server: ServerProcess, token: str, *list_ids: str) -> Any:
    stub = admin_pb2_grpc.AdminServiceStub(server.channel(server.admin_address))
    request = pb.WatchRequest(list_ids=list_ids)
    return stub.Watch(request, metadata=bearer(token), timeout=DEADLINE_S)


def refusal_code(call: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    return str(caught.value.code().name)


def up_to_kind(stream: Any, kind: str) -> list[pb.WatchEvent]:
    found: list[pb.WatchEvent] = []
    for message in stream:
        found += [each for each in message.events if not each.HasField("progress")]
        if kind in kinds(found):
            stream.cancel()
            return found
    raise AssertionError("the stream ended")


# ---- how it ends


def test_a_stop_ends_the_streams_and_is_not_kept_up_by_them(
    dial_listener: str, server: ServerProcess
) -> None:
    streams = [opened(server.admin_stub()) for _ in range(3)]
    for stream in streams:
        next(stream)
    assert server.stop() == 0
    for stream in streams:
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_client_goes_on_over_cuts_and_a_restart_and_misses_and_repeats_nothing(
    dial_listener: str, server: ServerProcess
) -> None:
    subject = GrpcSubject(server.dial_stub(), server.admin_stub())
    subject.create_list("L", POLICY)
    begin = subject.revision()
    found: dict[str, list[Revision]] = {"sync": [], "async": []}
    with Relay(lambda: server.admin_address) as relay:

        def follow() -> None:
            with Client(relay.address) as client:
                _collect_all(client.watch("L", from_revision=begin), found["sync"])

        async def follow_async() -> None:
            async with AsyncClient(relay.address) as client:
                async for revision in client.watch("L", from_revision=begin):
                    found["async"].append(revision)
                    if _last(revision):
                        return

        threads = [
            threading.Thread(target=follow, daemon=True),
            threading.Thread(target=lambda: asyncio.run(follow_async()), daemon=True),
        ]
        for thread in threads:
            thread.start()
        for record in range(1, 40):
            subject.attempt("L", str(record), "A", "Busy")
            if record in (10, 30):
                relay.cut()
            if record == 20:
                server.restart()
                subject = GrpcSubject(server.dial_stub(), server.admin_stub())
        subject.attempt("L", "last", "A", "Busy")
        for thread in threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
    for revisions in found.values():
        told = [revision for revision in revisions if revision.events]
        assert [each.number for each in told] == sorted({each.number for each in told})
        events = [event for each in told for event in each.events]
        records = [event.record_id for event in events if isinstance(event, RecordChanged)]
        assert records == [*map(str, range(1, 40)), "last"]


def _collect_all(revisions: Iterator[Revision], found: list[Revision]) -> None:
    for revision in revisions:
        found.append(revision)
        if _last(revision):
            return


def _last(revision: Revision) -> bool:
    return any(
        isinstance(event, RecordChanged) and event.record_id == "last" for event in revision.events
    )


WATCHING = """
import sys
from ownerd.client import Client

with Client(sys.argv[1]) as client:
    for _ in client.watch():
        print("told", flush=True)
"""


def test_a_program_that_watches_ends_on_ctrl_c_also_where_the_key_bounces(
    shared_server: ServerProcess,
) -> None:
    command = [sys.executable, "-c", WATCHING, shared_server.admin_address]
    with ExitStack() as stack:
        programs = []
        for _ in range(6):
            program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            stack.callback(program.communicate)
            stack.callback(program.kill)
            programs.append(program)
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == b"told\n"
        for program in programs:
            program.send_signal(signal.SIGINT)
            time.sleep(0.001)  # so that the second one comes while the client is closed
            program.send_signal(signal.SIGINT)
        for program in programs:
            _, said = program.communicate(timeout=DEADLINE_S)
            assert program.returncode == -signal.SIGINT, said.decode()


class _Deaf:
    """A call whose client takes nothing."""

    async def write(self, _: bytes) -> None:
        await asyncio.Event().wait()


def test_a_reader_that_takes_nothing_is_told_where_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watches, "STALL_S", 0.02)
    watch = watches.Watch.__new__(watches.Watch)
    watch.revision = 17
    with pytest.raises(errors.ReaderTooSlow) as caught:
        asyncio.run(service._written(_Deaf(), b"message", watch))  # type: ignore[arg-type]
    assert caught.value.metadata == {"resume_revision": "17"}


def test_a_follower_of_a_live_server_ends_up_with_its_export(
    subject: GrpcSubject, unique: str
) -> None:
    begin = subject.revision()
    for record in range(50):
        subject.attempt_batch(unique, "A", [(str(record), "Busy"), ("x", "Busy")])
        if record % 10 == 9:
            subject.release(unique, ["A"])
    follower = Follower()
    follower.lists[unique] = {}
    revision = subject.revision()
    for message in opened(subject.admin, unique, from_revision=begin):
        follower.take(message)
        if message.complete and message.revision >= revision:
            break
    request = pb.ExportOwnershipRequest(list_id=unique)
    rows = [row.record_id for page in subject.admin.ExportOwnership(request) for row in page.rows]
    now_ns = subject.admin.GetServerStatus(pb.GetServerStatusRequest()).time.ToNanoseconds()
    assert sorted(rows) == sorted(follower.owned(unique, now_ns))
