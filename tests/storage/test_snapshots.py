"""R17: a snapshot shows each record as its revision left it, wherever that is kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ownerd.base.testing import ManualClock
from ownerd.engine.engine import Engine, Policy

START_NS = 1_800_000_000 * 10**9
RECORD_COUNT = 10_000
OVERWRITE = 3


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine that vacuums only when told to."""
    clock = ManualClock(START_NS)
    with Engine(str(tmp_path), clock, map_bytes=1 << 26, background=False) as engine:
        engine.create_list("list", Policy(True, None, None, 10**9))
        yield engine


def shown(snapshot: Any) -> dict[str, str]:
    """Return each record's owner; all ways to read them must agree."""
    rows, _ = snapshot.records(b"", 2 * RECORD_COUNT)
    found = {record_id: campaign_id for record_id, campaign_id, *_ in rows}
    counts = {campaign_id: owned for campaign_id, _, owned, *_ in snapshot.owners()}
    assert counts == {each: list(found.values()).count(each) for each in set(found.values())}
    some = [str(number) for number in range(0, RECORD_COUNT, 7)]
    holders = [holder and holder[1] for holder in snapshot.holders(some)]
    assert holders == [found.get(record_id) for record_id in some]
    return found


@pytest.mark.parametrize("vacuumed", ["nothing", "at first", "in between"])
def test_r17_every_snapshot_shows_what_came_before_it_and_nothing_else(
    engine: Engine, vacuumed: str
) -> None:
    """Many changes make a sorted run of their own, more are merged, a few are sorted each time."""
    state: dict[str, str] = {}
    taken: list[tuple[Any, dict[str, str]]] = []
    stages = [(RECORD_COUNT, "A"), (6_000, "B"), (2_000, "C"), (40, "D"), (3_000, ""), (30, "E")]
    for stage, (count, campaign_id) in enumerate(stages):
        ids = [str(number * 7 % RECORD_COUNT) for number in range(count)]
        if campaign_id:
            engine.import_rows("list", [(each, campaign_id, "", None) for each in ids], OVERWRITE)
            state |= dict.fromkeys(ids, campaign_id)
        else:
            engine.release_records("list", ids)
            state = {each: owner for each, owner in state.items() if each not in set(ids)}
        if (stage, vacuumed) in ((0, "at first"), (2, "in between")):
            engine.vacuum()
        snapshot, read_later = engine.snapshot("list"), engine.snapshot("list")
        taken += [(snapshot, dict(state)), (read_later, dict(state))]
        assert shown(snapshot) == state
    for snapshot, before in taken:
        assert shown(snapshot) == before
        snapshot.close()
