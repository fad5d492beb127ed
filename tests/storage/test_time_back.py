"""One start with a clock that is ahead, and the way back from it (R19, R3)."""

from pathlib import Path

import pytest

from ownerd.base.testing import ManualClock
from ownerd.engine.engine import CLAIM, Engine, Opening, Policy
from ownerd.rules.testing import Record
from ownerd.storage.verify import verify
from ownerd.v1 import dial_pb2

S = 10**9
DAY = 86_400 * S
RIGHT = 1_750_000_000 * S
AHEAD = 3_650 * DAY
POLICY = Policy(True, 3 * DAY, None, 300 * S)
FOREVER = Policy(True, None, None, 300 * S)


def opened(store: Path, time_ns: int, set_back_ns: int = 0) -> Engine:
    """Return an engine whose clock shows `time_ns`, or the stored time if that is later."""
    opening = Opening(time_ns=set_back_ns)
    return Engine(str(store), ManualClock(time_ns), background=False, opening=opening)


def claim(engine: Engine, record_id: str, campaign_id: str) -> None:
    """Reserve a record."""
    request = dial_pb2.ClaimRequest(list_id="list", record_id=record_id, campaign_id=campaign_id)
    engine.dial(CLAIM, request.SerializeToString())


def holders(engine: Engine, *record_ids: str) -> list[object]:
    """Return (kind, campaign, acquired, until) of each record's holder, in whole seconds.

    The clock stands still, so each decision's instant is some nanoseconds ahead of it.
    """
    with engine.snapshot("list") as snapshot:
        return [
            None if found is None else (found[0], found[1], *map(near, found[3:5]))
            for found in snapshot.holders(record_ids)
        ]


def near(time_ns: int | None) -> int | None:
    """Return a time rounded to a second."""
    return None if time_ns is None else round(time_ns / S) * S


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("folded", ["late", "by the vacuum"])
def test_r3_what_was_made_by_a_time_ahead_keeps_its_length_when_that_is_set_back(
    tmp_path: Path, settled: bool, folded: str
) -> None:
    with opened(tmp_path, RIGHT - S) as engine:
        engine.create_list("list", POLICY)
        engine.import_rows("list", [("before", "A", "", None)], 1)
    wrong = RIGHT + AHEAD
    with opened(tmp_path, wrong) as engine:
        engine.import_rows("list", [("own", "A", "", wrong + DAY), ("ever", "B", "", None)], 1)
        claim(engine, "dial", "C")
        if settled:
            engine.vacuum()
    with opened(tmp_path, RIGHT) as engine:
        assert near(engine.time_ns) == wrong, "the time never goes back by itself (R19)"
    with opened(tmp_path, RIGHT, set_back_ns=RIGHT) as engine:
        assert near(engine.time_ns) == RIGHT
        if folded == "by the vacuum":
            engine.vacuum()
        assert holders(engine, "own", "ever", "dial", "before") == [
            (2, "A", RIGHT, RIGHT + DAY),
            (2, "B", RIGHT, None),
            (1, "C", RIGHT, RIGHT + 300 * S),
            (2, "A", RIGHT - S, None),
        ]
    assert [row for row in verify(str(tmp_path)) if row[2] or row[4]] == []
    with opened(tmp_path, RIGHT + DAY + S) as engine:
        assert holders(engine, "own", "dial") == [None, None]
        assert engine.time_ns == RIGHT + DAY + S


def test_a_time_that_is_not_earlier_is_not_set(tmp_path: Path) -> None:
    with opened(tmp_path, RIGHT) as engine:
        engine.create_list("list", POLICY)
    with opened(tmp_path, RIGHT, set_back_ns=RIGHT + DAY) as engine:
        assert engine.time_ns == RIGHT
        assert engine.stats()["unsettled_event_count"] == 0


def test_r12_a_change_by_the_time_ahead_is_folded_before_it_is_set_back() -> None:
    record = Record()
    wrong = RIGHT + AHEAD
    record.give(1, wrong + DAY, False, False, wrong)
    record.change_duration(2 * DAY, wrong + S)
    record.set_back(AHEAD, RIGHT + S)
    assert record.holder(RIGHT + S)[:4] == (2, 1, RIGHT, RIGHT + S + 2 * DAY)
    record.change_duration(5 * DAY, RIGHT + 2 * S)
    assert record.holder(RIGHT + 2 * S)[:4] == (2, 1, RIGHT, RIGHT + 2 * S + 5 * DAY)


def test_r3_what_was_made_before_is_left_as_it_is() -> None:
    record = Record()
    record.give(1, RIGHT + 20 * AHEAD, False, False, RIGHT)
    record.set_back(AHEAD, RIGHT + DAY)
    assert record.holder(RIGHT + DAY)[:4] == (2, 1, RIGHT, RIGHT + 20 * AHEAD)
