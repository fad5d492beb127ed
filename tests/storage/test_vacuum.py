"""Maintenance step by step: what happens between two of its steps is neither lost nor repeated."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from ownerd.base.testing import ManualClock, MapFullAtCommit
from ownerd.engine.engine import CLAIM, REPORT_ATTEMPT, Engine, Policy, Refused
from ownerd.v1 import dial_pb2

START_NS = 1_800_000_000 * 10**9
SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS
RECORD_COUNT = 400


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands."""
    return ManualClock(START_NS)


@pytest.fixture
def engine(tmp_path: Path, clock: ManualClock) -> Iterator[Engine]:
    """An engine whose maintenance is driven by hand and stops after every few dozen records."""
    with Engine(
        str(tmp_path), clock, map_bytes=1 << 26, maintenance_step_ns=0, background=False
    ) as engine:
        engine.create_list("list", Policy(True, None, None, 300 * SECOND_NS))
        rows = [(str(number), "AB"[number % 2], "", None) for number in range(RECORD_COUNT)]
        engine.import_rows("list", rows, 1)
        yield engine


def owned(engine: Engine) -> dict[str, int]:
    """Return the owned records of each campaign."""
    with engine.snapshot("list") as snapshot:
        return {campaign_id: count for campaign_id, _, count, *_ in snapshot.owners()}


def finish(engine: Engine) -> None:
    """Maintain to the end."""
    while engine.maintain():
        pass


def count_of(engine: Engine, entry_id: int) -> int | None:
    """Return the count in an audit entry."""
    return next(count for number, _, _, count, _ in engine.audit(0, 100) if number == entry_id)


def test_r15_a_release_in_the_middle_of_a_vacuum_is_not_cut_from_the_log(engine: Engine) -> None:
    engine.release("list", ["A"], False)
    assert engine.maintain()
    engine.release("list", ["B"], False)
    finish(engine)
    assert owned(engine) == {}
    assert engine.stats()["record_count"] == 0
    assert engine.stats()["unsettled_event_count"] == 0


def test_r12_a_duration_change_in_the_middle_of_a_vacuum_reaches_every_record(
    engine: Engine, clock: ManualClock
) -> None:
    engine.release("list", ["A"], False)
    assert engine.maintain()
    engine.update_policy("list", Policy(True, DAY_NS, None, 300 * SECOND_NS))
    finish(engine)
    clock.advance_ns(DAY_NS - SECOND_NS)
    assert owned(engine) == {"B": RECORD_COUNT // 2}
    clock.advance_ns(2 * SECOND_NS)
    assert owned(engine) == {}


def test_r12_what_is_prolonged_in_the_middle_of_a_vacuum_is_not_dropped_at_its_old_end(
    engine: Engine, clock: ManualClock
) -> None:
    """The vacuum does not know the second change, and by its own events all is over."""
    engine.update_policy("list", Policy(True, DAY_NS, None, 300 * SECOND_NS))
    while engine.stats()["vacuumed_records"] == 0:
        assert engine.maintain()
    assert engine.stats()["vacuumed_records"] < RECORD_COUNT
    clock.advance_ns(DAY_NS - 1)
    engine.update_policy("list", Policy(True, 2 * DAY_NS, None, 300 * SECOND_NS))
    clock.advance_ns(2)
    finish(engine)
    assert owned(engine) == {"A": RECORD_COUNT // 2, "B": RECORD_COUNT // 2}
    clock.advance_ns(2 * DAY_NS - 3)
    assert owned(engine) == {"A": RECORD_COUNT // 2, "B": RECORD_COUNT // 2}
    clock.advance_ns(1)
    assert owned(engine) == {}


def test_what_is_old_in_memory_is_flushed_in_the_middle_of_a_vacuum(
    tmp_path: Path, clock: ManualClock
) -> None:
    with Engine(
        str(tmp_path / "old"), clock, maintenance_step_ns=0, flush_age_s=0.0, background=False
    ) as engine:
        engine.create_list("list", Policy(True, None, None, 300 * SECOND_NS))
        engine.import_rows("list", [(str(number), "A", "", None) for number in range(2_000)], 1)
        finish(engine)
        engine.release("list", ["A"], False)
        while engine.stats()["vacuumed_records"] == 0:
            assert engine.maintain()
        claim = dial_pb2.ClaimRequest(list_id="list", record_id="1", campaign_id="B")
        engine.dial(CLAIM, claim.SerializeToString())
        assert engine.stats()["unflushed_record_count"] == 1
        for _ in range(4):
            engine.maintain()
        assert engine.stats()["unflushed_record_count"] == 0
        assert engine.stats()["unsettled_event_count"] == 1  # and the vacuum goes on
        finish(engine)
        assert engine.stats()["unsettled_event_count"] == 0
        assert owned(engine) == {"B": 0}  # it is dialing one


@pytest.mark.parametrize("steps", [0, 1, 5, 1_000])
def test_r15_the_count_is_the_same_however_far_the_vacuum_is(engine: Engine, steps: int) -> None:
    entry_id = engine.release("list", ["A"], False).entry_id
    for _ in range(steps):
        engine.maintain()
    assert engine.count_released(entry_id) == RECORD_COUNT // 2


def test_r15_a_release_that_nobody_counted_is_counted_by_the_vacuum(engine: Engine) -> None:
    first = engine.release("list", ["A"], False).entry_id
    second = engine.release("list", None, False).entry_id
    assert engine.pending_counts() == [first, second]
    finish(engine)
    assert engine.pending_counts() == []
    assert [count_of(engine, entry) for entry in (first, second)] == [RECORD_COUNT // 2] * 2


def test_r15_records_dialed_between_release_and_count_are_counted_once(engine: Engine) -> None:
    entry_id = engine.release("list", ["A"], False).entry_id
    for number in range(0, 100, 2):
        ids = {"list_id": "list", "record_id": str(number), "campaign_id": "C"}
        engine.dial(CLAIM, dial_pb2.ClaimRequest(**ids).SerializeToString())
        report = dial_pb2.ReportAttemptRequest(**ids, wrap_up_code="Busy")
        engine.dial(REPORT_ATTEMPT, report.SerializeToString())
    engine.maintain()
    assert engine.count_released(entry_id) == RECORD_COUNT // 2
    finish(engine)
    assert owned(engine) == {"B": RECORD_COUNT // 2, "C": 50}


def test_r15_a_refused_change_leaves_the_count_of_a_release_as_it_was(engine: Engine) -> None:
    entry_id = engine.release("list", ["A"], False).entry_id
    rows = [(record_id, "C", "", None) for record_id in ("0", "2", "4", "1")]
    with pytest.raises(Refused, match="rows\\[3\\]"):  # B owns the record 1
        engine.import_rows("list", rows, 1)
    assert engine.count_released(entry_id) == RECORD_COUNT // 2


@pytest.mark.parametrize("dialed", [0, 30])
def test_r15_deleting_the_list_does_not_take_the_count_of_its_release(
    engine: Engine, dialed: int
) -> None:
    entry_id = engine.release("list", ["A"], False).entry_id
    rows = [(str(2 * number), "C", "", None) for number in range(dialed)]
    engine.import_rows("list", rows, 1)
    engine.delete_list("list", force=True)
    assert engine.count_released(entry_id) == RECORD_COUNT // 2
    assert engine.pending_counts() == []
    assert engine.stats()["unsettled_event_count"] == 0


def test_r15_a_commit_that_finds_the_map_full_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path,
) -> None:
    """Each commit of maintenance in turn, the last step of the vacuum among them."""
    for passes in count():
        with Engine(
            str(tmp_path / str(passes)), map_bytes=1 << 26, maintenance_step_ns=0, background=False
        ) as engine:
            engine.create_list("list", Policy(True, None, None, 300 * SECOND_NS))
            engine.import_rows("list", [(str(n), "AB"[n % 2], "", None) for n in range(100)], 1)
            entry_id = engine.release("list", ["A"], False).entry_id
            with MapFullAtCommit(passes) as commit:
                finish(engine)
            finish(engine)
            assert owned(engine) == {"B": 50}, passes
            stats = engine.stats()
            assert (stats["record_count"], stats["vacuumed_records"]) == (50, 100), passes
            assert stats["unsettled_event_count"] == stats["unflushed_record_count"] == 0, passes
            assert count_of(engine, entry_id) == 50, passes
        if not commit.has_failed:
            break
    assert passes > 8, "flush, count, and several steps of the vacuum"


def test_lists_deleted_while_others_are_purged_all_go(engine: Engine) -> None:
    for name in ("second", "third"):
        engine.create_list(name, Policy(True, None, None, 300 * SECOND_NS))
        engine.import_rows(name, [(str(number), "A", "", None) for number in range(100)], 1)
    engine.delete_list("list", force=True)
    assert engine.maintain()
    engine.delete_list("second", force=True)
    assert engine.maintain()
    engine.delete_list("third", force=True)
    finish(engine)
    assert engine.stats()["record_count"] == 0
    assert engine.lists("", 10) == []


def test_r20_a_request_id_is_new_again_after_a_day(engine: Engine, clock: ManualClock) -> None:
    first = engine.upsert_campaign("A", "one", request_id="id", memo=b"1")
    clock.advance_ns(DAY_NS - SECOND_NS)
    assert (
        engine.upsert_campaign("A", "two", request_id="id", memo=b"2")._replace(replayed=False)
        == first
    )
    clock.advance_ns(2 * SECOND_NS)
    assert engine.request("id") is None
    assert engine.upsert_campaign("A", "three", request_id="id", memo=b"3").replayed is False
    assert dict(engine.campaigns("", 10))["A"] == "three"


def test_r20_old_request_ids_are_forgotten(engine: Engine, clock: ManualClock) -> None:
    engine.upsert_campaign("A", "one", request_id="old")
    clock.advance_ns(DAY_NS - SECOND_NS)
    engine.upsert_campaign("A", "two", request_id="young")
    engine.vacuum()
    assert engine.stats()["request_count"] == 2
    clock.advance_ns(2 * SECOND_NS)
    engine.vacuum()
    assert engine.stats()["request_count"] == 1
    assert engine.request("young") is not None


def test_r20_more_old_request_ids_than_one_step_takes_are_all_forgotten(
    engine: Engine, clock: ManualClock
) -> None:
    for number in range(1_200):
        engine.upsert_campaign("A", "", request_id=f"old {number}")
    clock.advance_ns(DAY_NS + SECOND_NS)
    engine.vacuum()
    assert engine.stats()["request_count"] == 0


def test_r2_expired_records_are_dropped_by_a_vacuum_and_live_ones_stay(
    engine: Engine, clock: ManualClock
) -> None:
    rows = [(f"short-{number}", "C", "", START_NS + SECOND_NS) for number in range(200)]
    engine.import_rows("list", rows, 1)
    clock.advance_ns(SECOND_NS - 1)
    engine.vacuum()
    assert engine.stats()["record_count"] == RECORD_COUNT + 200
    clock.advance_ns(1)
    engine.vacuum()
    assert engine.stats()["record_count"] == RECORD_COUNT
    assert owned(engine) == {"A": RECORD_COUNT // 2, "B": RECORD_COUNT // 2}


def test_a_snapshot_that_stays_open_makes_neither_tree_nor_log_grow(
    tmp_path: Path, clock: ManualClock
) -> None:
    """An idle reader keeps LMDB from using pages again; the log has none, the tree waits."""
    with Engine(str(tmp_path), clock, map_bytes=1 << 30, reserve_bytes=1 << 20) as engine:
        engine.create_list("list", Policy(True, None, None, 300 * SECOND_NS))
        engine.import_rows("list", [(str(number), "A", "", None) for number in range(10_000)], 1)
        engine.vacuum()
        before = engine.stats()
        with engine.snapshot("list") as snapshot:
            for number in range(2_000):
                request = dial_pb2.ClaimRequest(
                    list_id="list", record_id=f"new {number % 50}", campaign_id="A"
                )
                engine.dial(CLAIM, request.SerializeToString())
            after = engine.stats()
            assert len(snapshot.records(b"", 20_000)[0]) == 10_000
        tree_grew = (after["store_bytes"] - after["log_bytes"]) - (
            before["store_bytes"] - before["log_bytes"]
        )
        assert after["revision"] == before["revision"] + 2_000
        assert tree_grew == 0
        # A block for each commit, in files each twice as large as the one before, and the next one.
        assert after["log_bytes"] - before["log_bytes"] <= 4 * 2_000 * 4_096
        clock.advance_ns(3_601 * SECOND_NS)  # nobody needs what is flushed any more
        engine.vacuum()
        assert len(list((tmp_path / "log").iterdir())) == 2  # what is appended to, and the next one
        for number in range(2_000):
            request = dial_pb2.ClaimRequest(
                list_id="list", record_id=f"new {number % 50}", campaign_id="A"
            )
            engine.dial(CLAIM, request.SerializeToString())
        assert len(list((tmp_path / "log").iterdir())) <= 3
