"""Many events that a record has not seen: folded at once, they make of it what they did one by one.

The model applies each event to every record when it happens. The engine is asked late, so that its
records have dozens of events before them, and vacuumed in between, as far as counts allow.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from model import Model
from subject import DAY, HOUR, MINUTE, MS, SECOND, Owned, Policy, Row
from subject_engine import EngineSubject

CAMPAIGNS = ("A", "B", "C", "D")
DIALERS = ("", "", "d1", "d2")
EVENTS = ("release", "release", "duration", "duration", "stop", "transfer")
RECORDS = [str(number) for number in range(60)]
ENDS = (SECOND, MINUTE, HOUR, DAY, 3 * DAY, None)
EVENTS_AT_ONCE = 70


class Both:
    """Engine and model with the same calls; the engine's releases are counted when asked for."""

    def __init__(self, place: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.model = Model()
        self.subject = EngineSubject(place, background=False, map_bytes=1 << 28)
        self.uncounted: dict[int, int] = {}
        for each in (self.model, self.subject):
            each.create_list("list", Policy(True, DAY, 0, 2 * DAY))
            for campaign in CAMPAIGNS:
                each.upsert_campaign(campaign, "")

    def give(self) -> None:
        """Have some records owned, and some dialed."""
        for record_id in self.chance.sample(RECORDS, 25):
            campaign, end_ns = self.chance.choice(CAMPAIGNS), self.chance.choice(ENDS)
            if end_ns is not None:
                end_ns += self.model.now_ns()
            for each in (self.model, self.subject):
                each.import_rows("list", [Row(record_id, campaign, "", end_ns)], 2)
        for record_id in self.chance.sample(RECORDS, 15):
            campaign, dialer = self.chance.choice(CAMPAIGNS), self.chance.choice(DIALERS)
            for each in (self.model, self.subject):
                each.claim("list", record_id, campaign, dialer)

    def happen(self, kinds: tuple[str, ...] = (*EVENTS, "give back")) -> None:
        """Change the list as a whole, and let some time pass."""
        what = self.chance.choice(kinds)
        campaign, other = self.chance.sample(CAMPAIGNS, 2)
        if what == "release":
            chosen = None if self.chance.random() < 0.1 else [campaign]
            reservations = self.chance.random() < 0.2
            count = self.model.release("list", chosen, reservations)
            entry = self.subject.engine.release("list", chosen, reservations).entry_id
            self.uncounted[entry] = count
        elif what == "duration":
            policy = Policy(True, self.chance.choice(ENDS), 0, 2 * DAY)
            self.model.update_policy("list", policy)
            self.subject.update_policy("list", policy)
        elif what == "transfer":
            count = self.model.transfer("list", campaign, other)
            self.uncounted[self.subject.engine.transfer("list", campaign, other).entry_id] = count
        elif what == "give back":
            for each in (self.model, self.subject):
                each.give_back(campaign, "d1")
        else:
            count = self.model.signal(campaign, "STOPPED", "list", True)
            entry = self.subject.engine.signal_campaign(campaign, "list", True).entry_id
            self.uncounted[entry] = count
        delta_ns = self.chance.choice((0, 1, SECOND - 1, SECOND, MINUTE, HOUR))
        self.model.advance_ns(delta_ns)
        self.subject.advance_ns(delta_ns)

    def reopen(self) -> None:
        """Open the store again; what changed nothing took instants that nothing was stored of."""
        for each in (self.model, self.subject):
            each.advance_ns(MS)
        self.subject.reopen()
        for each in (self.model, self.subject):
            each.advance_ns(MS)

    def compare(self) -> None:
        for record_id in self.chance.sample(RECORDS, 20):
            assert self.subject.holder("list", record_id) == self.model.holder("list", record_id)
        assert self.subject.owners("list") == self.model.owners("list")
        assert owned(self.subject.owned("list")) == owned(self.model.owned("list"))

    def count(self) -> None:
        """Count one release, which counts all."""
        entry, count = self.uncounted.popitem()
        assert self.subject.engine.count_released(entry) == count
        assert self.subject.engine.pending_counts() == []
        for entry, count in self.uncounted.items():
            assert self.subject.engine.count_released(entry) == count
        self.uncounted.clear()


def owned(rows: list[Owned]) -> list[tuple[str, str, int | None]]:
    return [(row.record_id, row.campaign_id, row.expire_ns) for row in rows]


@pytest.fixture
def both(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Both]:
    both = Both(tmp_path, request.param)
    yield both
    both.subject.close()


@pytest.mark.parametrize("both", range(12), indirect=True)
def test_r12_r15_many_unseen_events_make_of_a_record_what_each_did(both: Both) -> None:
    for _ in range(4):
        both.give()
        for _ in range(both.chance.randrange(1, EVENTS_AT_ONCE)):
            both.happen()
            if both.chance.random() < 0.05:
                both.subject.engine.maintain()
        if both.chance.random() < 0.5:
            both.reopen()
        both.compare()
        if both.uncounted:
            both.count()
        if both.chance.random() < 0.5:
            both.subject.vacuum()
            both.compare()


@pytest.mark.parametrize("both", range(8), indirect=True)
def test_r2_what_is_over_is_dropped_by_the_next_round_and_nothing_else(both: Both) -> None:
    """When a list is due is known, whatever moved the ends of its records."""
    for _ in range(12):
        both.give()
        for _ in range(both.chance.randrange(4)):
            both.happen(EVENTS)  # what is given back is dropped when it would have ended
        if both.chance.random() < 0.2:
            both.reopen()
        both.subject.vacuum()
        held = sum(both.model.holder("list", each) is not None for each in RECORDS)
        assert both.subject.engine.stats()["record_count"] == held
        assert both.subject.engine.stats()["unsettled_event_count"] == 0
        delta_ns = both.chance.choice((1, SECOND, MINUTE, HOUR, DAY))
        both.model.advance_ns(delta_ns)
        both.subject.advance_ns(delta_ns)
        both.subject.vacuum()
        held = sum(both.model.holder("list", each) is not None for each in RECORDS)
        assert both.subject.engine.stats()["record_count"] == held
