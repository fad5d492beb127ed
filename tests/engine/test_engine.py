"""The engine in process, beside the rules: counts, vacuums, repeats, threads, closing."""

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from load import Threads
from model import START_NS
from subject import DAY, HOUR, MINUTE, SECOND, Policy, Refusal, Row
from subject_engine import NOTE, EngineSubject

from ownerd.engine import engine as native
from ownerd.v1 import dial_pb2

REMEMBERED_NS = DAY
FOREVER = Policy(True, None, None, MINUTE)


def _own(subject: EngineSubject, count: int, campaign_id: str = "A", start: int = 0) -> None:
    ids = [(str(number), "Busy") for number in range(start, start + count)]
    subject.attempt_batch("list", campaign_id, ids)


@pytest.fixture
def owned(engine: EngineSubject) -> EngineSubject:
    """An engine with 1,000 records that A owns without end."""
    engine.create_list("list", FOREVER)
    _own(engine, 1_000)
    return engine


# ---- counts of releases


def test_r15_a_release_is_in_force_before_it_is_counted(owned: EngineSubject) -> None:
    outcome = owned.engine.release("list", None, False, **NOTE)
    assert outcome.count is None
    assert owned.owners("list") == []
    assert owned.claim("list", "1", "B").what == "GRANTED"
    assert owned.engine.count_released(outcome.entry_id) == 1_000


Between = Callable[[EngineSubject], Any]


@pytest.mark.parametrize(
    "between",
    [
        lambda s: None,
        lambda s: s.vacuum(),
        lambda s: _own(s, 500, "B"),
        lambda s: (_own(s, 500, "B"), s.vacuum()),
        lambda s: (s.release("list"), s.vacuum()),
        lambda s: s.advance_ns(1000 * DAY),
        lambda s: s.update_policy("list", FOREVER._replace(duration_ns=SECOND)),
        lambda s: s.reopen(),
        lambda s: (_own(s, 300, "B"), s.reopen(), _own(s, 300, "C", 600), s.vacuum(), s.reopen()),
        lambda s: s.release_records("list", [str(number) for number in range(1_000)]),
        lambda s: s.import_rows("list", [Row(str(number), "C") for number in range(700)]),
    ],
    ids=[
        "nothing",
        "a vacuum",
        "new owners",
        "new owners and a vacuum",
        "another release",
        "a long time",
        "a duration change",
        "a restart",
        "everything",
        "releases by id",
        "an import",
    ],
)
def test_r15_the_count_is_what_the_release_ended_whatever_comes_before_it_is_made(
    owned: EngineSubject, between: Between
) -> None:
    outcome = owned.engine.release("list", None, False, **NOTE)
    between(owned)
    assert owned.engine.count_released(outcome.entry_id) == 1_000
    assert owned.engine.count_released(outcome.entry_id) == 1_000
    assert outcome.entry_id not in owned.engine.pending_counts()


def test_r15_two_releases_at_once_are_counted_apart(owned: EngineSubject) -> None:
    _own(owned, 300, "B", start=5_000)
    first = owned.engine.release("list", ["B"], False, **NOTE)
    second = owned.engine.release("list", None, False, **NOTE)
    third = owned.engine.release("list", None, False, **NOTE)
    counts = [owned.engine.count_released(each.entry_id) for each in (third, first, second)]
    assert counts == [0, 300, 1_000]


def test_r15_a_count_that_a_crash_cut_off_is_found_again(owned: EngineSubject) -> None:
    outcome = owned.engine.release(
        "list", ["A"], False, note=b"n", request_id="release-1", memo=b"memo"
    )
    owned.reopen()
    assert owned.engine.pending_counts() == [outcome.entry_id]
    assert owned.engine.count_released(outcome.entry_id) == 1_000
    assert owned.engine.pending_counts() == []
    stored = owned.engine.request("release-1")
    assert (stored.count, stored.memo, stored.replayed) == (1_000, b"memo", True)
    assert [entry[3] for entry in owned.engine.audit(0, 1)] == [1_000]


@pytest.fixture
def dialed(engine: EngineSubject) -> EngineSubject:
    """Two lists in each of which A dials 300 records, and owns a third of them."""
    for list_id in ("list", "other"):
        engine.create_list(list_id, Policy(enabled=True))
        names = [str(number) for number in range(300)]
        engine.attempt_batch(list_id, "A", [(name, "Busy") for name in names[::3]])
        engine.claim_batch(list_id, "B", ["b1", "b2"])
        for record in names:
            engine.claim(list_id, record, "A")
    return engine


def _reserved(subject: EngineSubject, list_id: str) -> int:
    return sum(o.reserved_count for o in subject.owners(list_id) if o.campaign_id == "A")


def _stop(subject: EngineSubject) -> int:
    """Have A's reservations end in all lists; return the audit entry."""
    return subject.engine.signal_campaign("A", "", True, note=b"").entry_id


def test_r16_the_count_is_what_the_stop_ended_whatever_comes_before_it_is_made(
    dialed: EngineSubject,
) -> None:
    ended = _reserved(dialed, "list") + _reserved(dialed, "other")
    entry_id = _stop(dialed)
    assert _reserved(dialed, "list") == _reserved(dialed, "other") == 0
    dialed.claim_batch("list", "B", [str(number) for number in range(1, 90, 3)])
    dialed.claim_batch("other", "A", [str(number) for number in range(1, 60, 3)])
    dialed.release("list", None, True)
    dialed.vacuum()
    dialed.reopen()
    assert dialed.engine.count_released(entry_id) == ended > 300
    assert entry_id not in dialed.engine.pending_counts()


def test_r16_two_stops_and_a_release_are_counted_apart(dialed: EngineSubject) -> None:
    ended = _reserved(dialed, "list") + _reserved(dialed, "other")
    first = _stop(dialed)
    dialed.claim_batch("list", "A", ["1", "2", "4"])
    released = dialed.engine.release("list", None, True, note=b"").entry_id
    dialed.claim_batch("other", "A", ["1", "2"])
    second = _stop(dialed)
    counts = [dialed.engine.count_released(each) for each in (second, released, first)]
    assert counts == [2, 100, ended]


def test_r16_a_count_that_nobody_made_is_found_again_for_all_lists(dialed: EngineSubject) -> None:
    ended = _reserved(dialed, "list") + _reserved(dialed, "other")
    entry_id = _stop(dialed)
    dialed.reopen()
    assert dialed.engine.pending_counts() == [entry_id]
    assert dialed.engine.pending_counts("other") == [entry_id]
    dialed.delete_list("other", True)
    assert dialed.engine.count_released(entry_id) == ended


def test_r16_a_stop_that_ends_nothing_makes_no_event(dialed: EngineSubject) -> None:
    before = dialed.engine.stats()["unsettled_event_count"]
    assert dialed.signal("A", "STOPPED") == dialed.signal("A", "RESET", "list") == 0
    assert dialed.engine.stats()["unsettled_event_count"] == before
    assert dialed.engine.pending_counts() == []


# ---- the vacuum


def test_a_vacuum_drops_what_expired_and_cuts_the_event_log(engine: EngineSubject) -> None:
    engine.create_list("list", Policy(True, HOUR, None, MINUTE))
    _own(engine, 500)
    engine.claim_batch("list", "B", [f"dialing-{number}" for number in range(300)])
    _own(engine, 100, "C", start=900)
    assert engine.engine.stats()["record_count"] == 900
    engine.release("list", ["C"])
    engine.signal("B", "STOPPED", "list", True)
    engine.update_policy("list", Policy(True, 2 * HOUR, None, MINUTE))
    assert engine.engine.stats()["unsettled_event_count"] == 3
    engine.vacuum()
    assert engine.engine.stats()["unsettled_event_count"] == 0
    assert engine.engine.stats()["record_count"] == 600, "of C's, the last attempts are kept (R24)"
    engine.advance_ns(2 * HOUR + SECOND)
    assert engine.owners("list") == []
    engine.vacuum()
    assert engine.engine.stats()["record_count"] == 600
    engine.advance_ns(22 * HOUR)
    engine.vacuum()
    assert engine.engine.stats()["record_count"] == 0


def test_a_vacuum_removes_the_records_of_deleted_lists(owned: EngineSubject) -> None:
    owned.delete_list("list", force=True)
    owned.vacuum()
    assert owned.engine.stats()["record_count"] == 0


def test_many_events_are_folded_in_order(owned: EngineSubject) -> None:
    for number in range(1, 400):
        owned.update_policy("list", FOREVER._replace(duration_ns=number * DAY))
        owned.advance_ns(SECOND)
    last_ns = owned.now_ns() - SECOND
    assert {record.expire_ns for record in owned.owned("list")} == {last_ns + 399 * DAY}
    owned.vacuum()
    assert {record.expire_ns for record in owned.owned("list")} == {last_ns + 399 * DAY}


def test_r3_a_vacuum_at_the_very_end_of_a_hold_neither_ends_nor_revives_it(
    engine: EngineSubject,
) -> None:
    engine.create_list("list", Policy(True, HOUR, None, MINUTE))
    _own(engine, 3)
    last = engine.holder("list", "2")
    assert last is not None and last.expire_ns is not None
    engine.advance_ns(last.expire_ns - 1 - engine.now_ns())
    engine.vacuum()
    assert engine.holder("list", "2") is not None
    engine.advance_ns(1)
    engine.vacuum()
    assert engine.holder("list", "2") is None


# ---- repeats


def test_r20_a_request_is_remembered_for_24_hours(engine: EngineSubject) -> None:
    def upsert() -> Any:
        return engine.engine.upsert_campaign("A", "n", note=b"", request_id="r", memo=b"first")

    first = upsert()
    assert not first.replayed
    engine.advance_ns(REMEMBERED_NS - 1)
    again = upsert()
    assert again.replayed
    assert (again.revision, again.time_ns, again.memo) == (first.revision, START_NS, b"first")
    engine.advance_ns(1)
    later = upsert()
    assert not later.replayed and later.revision > first.revision


def test_r20_a_vacuum_forgets_no_request_too_early(engine: EngineSubject) -> None:
    engine.engine.upsert_campaign("A", "n", note=b"", request_id="r", memo=b"first")
    engine.advance_ns(REMEMBERED_NS - 1)
    engine.vacuum()
    engine.reopen()
    assert engine.engine.request("r").memo == b"first"
    engine.advance_ns(1)
    engine.vacuum()
    assert engine.engine.request("r") is None


# ---- many threads


def test_many_threads_claim_each_record_once(engine: EngineSubject) -> None:
    engine.create_list("list", FOREVER)
    granted: dict[str, list[str]] = {campaign: [] for campaign in "ABCDEFGH"}

    def dialer(campaign: str) -> Callable[[threading.Event], None]:
        def run(_: threading.Event) -> None:
            for number in range(400):
                if engine.claim("list", str(number), campaign).what == "GRANTED":
                    granted[campaign].append(str(number))

        return run

    with Threads(*map(dialer, granted)) as threads:
        threads.join()
    won = [record_id for ids in granted.values() for record_id in ids]
    assert sorted(won, key=int) == [str(number) for number in range(400)]
    stats = engine.engine.stats()
    assert stats["decisions"] == {"granted": 400, "denied": 2_800, "uncontrolled": 0, "invalid": 0}


def test_calls_from_many_threads_share_commits(engine: EngineSubject) -> None:
    engine.create_list("list", FOREVER)
    before = engine.revision()
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda number: engine.claim("list", str(number), "A"), range(2_000))
        )
    commits = engine.revision() - before
    assert len({answer.revision for answer in answers}) == commits
    assert commits < 2_000, "no two calls were ever committed together"


# ---- closing


def test_a_closed_engine_refuses_and_can_be_closed_again(tmp_path: Path) -> None:
    subject = EngineSubject(tmp_path)
    subject.create_list("list", FOREVER)
    subject.close()
    subject.close()
    for call in (
        lambda: subject.claim("list", "1", "A"),
        lambda: subject.create_list("other"),
        lambda: subject.owners("list"),
        lambda: subject.policy("list"),
    ):
        with pytest.raises(Refusal) as refusal:
            call()
        assert refusal.value.code == "UNAVAILABLE"


def test_a_draining_engine_refuses_dials_and_still_reads(owned: EngineSubject) -> None:
    owned.engine.begin_drain()
    with pytest.raises(Refusal) as refusal:
        owned.claim("list", "new", "A")
    assert refusal.value.code == "UNAVAILABLE"
    assert owned.owners("list")[0].owned_count == 1_000


def test_r18_closing_under_load_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    subject = EngineSubject(tmp_path)
    subject.create_list("list", FOREVER)
    answered: list[str] = []

    def dialer(name: str) -> Callable[[threading.Event], None]:
        def run(_: threading.Event) -> None:
            number = 0
            while True:
                try:
                    subject.attempt("list", f"{name}-{number}", "A", "Busy")
                except Refusal as refusal:
                    assert refusal.code == "UNAVAILABLE"
                    return
                answered.append(f"{name}-{number}")
                number += 1

        return run

    with Threads(*map(dialer, "abcd")) as threads:
        while len(answered) < 200 and not threads.failures:
            threads.stopping.wait(0.001)
        subject.close()
        threads.join()
    again = EngineSubject(tmp_path)
    try:
        owned_ids = {record.record_id for record in again.owned("list")}
        assert owned_ids == set(answered)
    finally:
        again.close()


def test_an_engine_is_a_context_manager(tmp_path: Path) -> None:
    with native.Engine(str(tmp_path), map_bytes=1 << 30) as core:
        core.create_list("list", native.Policy(*FOREVER), **NOTE)
        request = dial_pb2.ClaimRequest(list_id="list", record_id="1", campaign_id="A")
        assert core.dial(native.CLAIM, request.SerializeToString())
    with native.Engine(str(tmp_path), map_bytes=1 << 30) as core:
        assert core.get_list("list").list_id == "list"


def test_a_snapshot_stays_as_it_was_while_others_write(owned: EngineSubject) -> None:
    with owned.engine.snapshot("list") as snapshot:
        before = (snapshot.revision, snapshot.owners(), snapshot.count_owned(None))
        owned.release("list")
        _own(owned, 10, "B")
        owned.vacuum()
        assert (snapshot.revision, snapshot.owners(), snapshot.count_owned(None)) == before
        page, _ = snapshot.records(b"", 10_000, ["A"])
        assert len(page) == 1_000
    with pytest.raises(ValueError):
        snapshot.owners()
    assert owned.owners("list")[0].campaign_id == "B"


def test_r17_a_snapshot_shows_campaigns_as_they_were_named_then(owned: EngineSubject) -> None:
    with owned.engine.snapshot("list") as before:
        owned.upsert_campaign("A", "Renamed")
        with owned.engine.snapshot("list") as after:
            for snapshot, name in ((before, "A"), (after, "Renamed"), (before, "A")):
                assert [owner[1] for owner in snapshot.owners()] == [name]
                assert {row[2] for row in snapshot.records(b"", 100)[0]} == {name}
                assert snapshot.holders(["1"])[0][2] == name


def test_an_engine_that_is_dropped_ends_its_threads_and_frees_its_directory(tmp_path: Path) -> None:
    engine = native.Engine(str(tmp_path), map_bytes=1 << 26)
    engine.create_list("list", native.Policy(True, None, None, SECOND))
    del engine
    gc.collect()
    with native.Engine(str(tmp_path), map_bytes=1 << 26) as engine:
        assert [info.list_id for info in engine.lists("", 10)] == ["list"]


class Raced(native.Engine):
    """An engine on which a dial ends in the moment between a delete's check and the delete."""

    def snapshot(self, list_id: str) -> Any:
        snapshot = super().snapshot(list_id)
        attempt = dial_pb2.ReportAttemptRequest(
            list_id=list_id, record_id="1", campaign_id="A", wrap_up_code="Busy"
        )
        self.dial(native.REPORT_ATTEMPT, attempt.SerializeToString())
        return snapshot


def test_a_list_that_is_acquired_from_while_it_is_deleted_stays(tmp_path: Path) -> None:
    with Raced(str(tmp_path), map_bytes=1 << 26) as engine:
        engine.create_list("list", native.Policy(True, None, None, SECOND))
        with pytest.raises(native.Refused, match="being dialed"):
            engine.delete_list("list", force=False)
        assert engine.get_list("list") is not None
        engine.delete_list("list", force=True)
        assert engine.get_list("list") is None
