"""A full store and a full queue: grants are refused first, and everything recovers."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from harness import ServerProcess, poll
from sanitizer import patient_s
from shim import SyncShim
from subject import DAY, OVERWRITE, SECOND, Policy, Refusal, Row
from subject_engine import EngineSubject
from subject_grpc import GrpcSubject

from ownerd.v1 import dial_pb2

MIB = 1 << 20
HELD = Policy(True, None, None, DAY)
BATCH = 1_000


def _fill(subject: EngineSubject | GrpcSubject) -> list[str]:
    """Claim records for A until the store refuses, and return those that were granted."""
    granted: list[str] = []
    while len(granted) < 1_000_000:
        ids = [f"record-{len(granted) + number:07}" for number in range(BATCH)]
        try:
            subject.claim_batch("list", "A", ids)
        except Refusal as refusal:
            assert refusal.code == "RESOURCE_EXHAUSTED", refusal
            assert "full" in refusal.message
            return granted
        granted += ids
    raise AssertionError("a million records fit into a store of a few MiB")


def _fill_with_attempts(subject: EngineSubject) -> int:
    """Make A own records until not even the reserve has capacity, and return how many it owns."""
    for batch in range(1_000):
        ids = [f"record-{batch:04}-{number:04}" for number in range(BATCH)]
        try:
            subject.attempt_batch("list", "A", [(record_id, "Busy") for record_id in ids])
        except Refusal as refusal:
            assert refusal.code == "RESOURCE_EXHAUSTED", refusal
            return batch * BATCH
    raise AssertionError("a million records fit into a store of a few MiB")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[EngineSubject]:
    """A store of 16 MiB with a list."""
    subject = EngineSubject(tmp_path, map_bytes=16 * MIB, reserve_bytes=4 * MIB)
    subject.create_list("list", HELD)
    yield subject
    subject.close()


def test_a_full_store_refuses_grants_first_and_changes_nothing(small: EngineSubject) -> None:
    granted = _fill(small)
    before = small.revision()
    for call in (
        lambda: small.claim("list", "new", "A"),
        lambda: small.claim_batch("list", "A", ["new", "newer"]),
        lambda: small.import_rows("list", [Row("new", "A")], OVERWRITE),
    ):
        with pytest.raises(Refusal) as refusal:
            call()
        assert refusal.value.code == "RESOURCE_EXHAUSTED"
    assert (small.holder("list", "new"), small.revision()) == (None, before)
    assert [owner.reserved_count for owner in small.owners("list")] == [len(granted)]
    assert small.engine.stats()["alarms"]


def test_a_full_store_still_denies_and_takes_the_reports_of_dials(small: EngineSubject) -> None:
    granted = _fill(small)
    assert small.claim("list", granted[0], "B").what == "DENIED"
    assert small.attempt("list", granted[0], "B", "Busy").what == "REJECTED"
    assert small.attempt("list", granted[0], "A", "Busy").what == "OWNERSHIP_ACQUIRED"
    with pytest.raises(Refusal):
        small.claim("list", granted[0], "A")  # the owner's claim leaves a reservation, too (R5)
    assert small.attempt("list", granted[1], "A", "No Lines").what == "RESERVATION_CLEARED"
    answers = small.attempt_batch("list", "A", [(name, "Busy") for name in granted[2:5000]])
    assert set(answers.what) == {"OWNERSHIP_ACQUIRED"}


def test_r15_a_store_full_to_the_brim_is_released_and_grants_again(small: EngineSubject) -> None:
    owned_count = _fill_with_attempts(small)
    with pytest.raises(Refusal):
        small.claim("list", "new", "B")
    assert small.release_records("list", ["record-0000-0000", "record-0000-0001"]) == 2
    assert small.release("list") == owned_count - 2
    small.vacuum()
    assert small.owners("list") == []
    small.advance_ns(DAY + SECOND)  # for a day a released record has its last attempt (R24)
    small.vacuum()
    for number in range(20):
        assert small.claim("list", f"again-{number}", "B").what == "GRANTED"
    assert len(_fill(small)) > owned_count // 2


def test_a_full_store_can_be_steered_in_every_way(small: EngineSubject) -> None:
    _fill_with_attempts(small)
    small.update_policy("list", HELD._replace(duration_ns=DAY))
    small.upsert_campaign("A", "Renamed")
    small.signal("A", "STOPPED", "", True)
    small.vacuum()
    assert small.owners("list")[0].name == "Renamed"
    small.delete_list("list", force=True)
    small.vacuum()
    small.create_list("list", HELD)
    assert small.claim("list", "1", "B").what == "GRANTED"


def test_a_full_store_opens_again(small: EngineSubject) -> None:
    owned_count = _fill_with_attempts(small)
    small.reopen()
    assert small.count_owned("list") == owned_count
    with pytest.raises(Refusal):
        small.claim("list", "new", "A")
    assert small.release("list") == owned_count


def test_a_full_store_tells_its_clients(tmp_path: Path) -> None:
    sizes = ("--map-bytes", "8MiB", "--reserve-bytes", "2MiB")
    with ServerProcess(tmp_path, *sizes) as server:
        subject = GrpcSubject(server.dial_stub(), server.admin_stub())
        subject.create_list("list", HELD)
        granted = _fill(subject)
        assert subject.status().alarms
        assert subject.release("list", reservations=True) == 0
        poll(lambda: _grants(subject, granted[0]), "maintenance to free capacity")


def _grants(subject: GrpcSubject, record_id: str) -> bool:
    try:
        return subject.claim("list", record_id, "B").what == "GRANTED"
    except Refusal as refusal:
        assert refusal.code == "RESOURCE_EXHAUSTED"
        return False


@pytest.mark.usefixtures("dial_listener")
def test_a_full_queue_is_refused_at_once_and_the_queued_calls_are_answered(tmp_path: Path) -> None:
    shim = SyncShim(tmp_path / "shim")
    with ServerProcess(
        tmp_path / "data", "--queue-limit", "20000", environment=shim.environment
    ) as server:
        subject = GrpcSubject(server.dial_stub(), server.admin_stub())
        subject.create_list("list", HELD)
        with shim.holding():
            first = _claims(server, "first", 100)  # the thread that reads it decides fewer itself
            shim.wait_until_held()
            calls = [_claims(server, f"batch-{number}", 8_000) for number in range(5)]
            refused = poll(lambda: _three_done(calls), "three refused calls")
            assert {call.code().name for call in refused} == {"RESOURCE_EXHAUSTED"}
            assert not first.done()
        answered = [call for call in [first, *calls] if call not in refused]
        assert [call.code().name for call in answered] == ["OK"] * 3
        assert subject.claim("list", "later", "A").what == "GRANTED"


def _claims(server: ServerProcess, name: str, count: int) -> grpc.Future:
    ids = [f"{name}-{number}" for number in range(count)]
    request = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="A", record_ids=ids)
    return server.dial_stub().ClaimBatch.future(request, timeout=patient_s(60))


def _three_done(calls: list[grpc.Future]) -> list[grpc.Future] | None:
    done = [call for call in calls if call.done()]
    return done if len(done) == 3 else None
