"""The rules by themselves: one record's state, its events folded late, against the model."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model import START_NS, Model
from subject import (
    DAY,
    HOUR,
    MINUTE,
    OVERWRITE,
    SECOND,
    SKIP,
    Answer,
    Attempt,
    Code,
    Holder,
    Policy,
    Row,
)
from subject_engine import decision_name, outcome_name

from ownerd.rules import testing as rules

CAMPAIGNS = ("A", "B", "C")
KINDS = {1: "RESERVED", 2: "OWNED"}
TAKEN, TAKEN_OVER, OWNED, DIALED = range(4)

campaigns = st.sampled_from(("A", "A", "A", "B", "B", "C"))
durations = st.sampled_from((SECOND, HOUR, DAY, None))
codes = st.sampled_from(
    (Code("", True, False), Code("", True, False), Code("", True, True), Code("", False, False))
)
policies = st.builds(
    Policy,
    st.sampled_from((True, True, True, True, False)),
    durations,
    st.sampled_from((None, 0, SECOND, DAY)),
    st.sampled_from((SECOND, MINUTE, 2 * DAY)),
)
dialers = st.sampled_from((0, 1, 1, 2))
ttls = st.sampled_from((None, None, SECOND, HOUR))
ages = st.none() | st.sampled_from(
    (-HOUR, -11 * SECOND, -5 * SECOND, 0, 1, SECOND, HOUR, 25 * HOUR)
)
named_ids = st.sampled_from(("none", "live", "former"))
claims = st.tuples(st.just("claim"), campaigns, dialers, ttls)
attempts = st.tuples(st.just("attempt"), campaigns, codes, dialers, ages, named_ids)
operations = st.one_of(
    claims,
    claims,
    attempts,
    attempts,
    st.tuples(st.just("report again"), st.integers(0, 5)),
    st.tuples(st.just("give back"), campaigns, st.sampled_from((1, 2))),
    st.tuples(st.just("transfer"), campaigns, campaigns),
    st.tuples(st.just("policy"), policies),
    st.tuples(st.just("release"), st.none() | campaigns, st.booleans()),
    st.tuples(st.just("release record")),
    st.tuples(st.just("stop"), campaigns),
    st.tuples(
        st.just("give"), campaigns, st.sampled_from((1, HOUR, None)), st.booleans(), st.booleans()
    ),
    st.tuples(st.just("wait"), st.sampled_from((0, 1, SECOND - 1, SECOND, MINUTE, HOUR, DAY))),
    st.tuples(st.just("wait for the end"), st.sampled_from((-1, 0, 1))),
)


class OneRecord:
    """The native record and the model's, side by side; list events reach the native one late."""

    def __init__(self, policy: Policy) -> None:
        self.model = Model()
        self.model.create_list("list", policy)
        for campaign in CAMPAIGNS:
            self.model.upsert_campaign(campaign, "")
        self.native = rules.Record()
        self.late: list[tuple[str, tuple[Any, ...]]] = []
        self.reservation_id = 0
        self.reports: list[tuple[str, Code, int, int | None, int]] = []

    def fold(self) -> None:
        """Bring the native record up to the list's last event, as the store does on a read."""
        for name, arguments in self.late:
            getattr(self.native, name)(*arguments)
        self.late.clear()

    def policy(self) -> Policy:
        return self.model.policy("list")

    def rules_policy(self) -> tuple[Any, ...]:
        return (*self.policy(), self.model.lists["list"].enabled_since_ns)

    def apply(self, operation: tuple[Any, ...]) -> None:
        name, *arguments = operation
        getattr(self, name.replace(" ", "_"))(*arguments)

    def claim(self, campaign: str, dialer: int, ttl_ns: int | None) -> None:
        self.fold()
        expected = self.model.claim("list", "1", campaign, dialer_name(campaign, dialer), ttl_ns)
        what, holder, until_ns, reservation_id = self.native.claim(
            number(campaign),
            dialer_number(campaign, dialer),
            ttl_ns,
            self.rules_policy(),
            self.model.time_ns,
        )
        found = Answer(decision_name(what), named(holder), 0, until_ns, reservation_id)
        assert found == expected._replace(revision=0)
        self.reservation_id = reservation_id or self.reservation_id

    def attempt(
        self, campaign: str, code: Code, dialer: int, age_ns: int | None, which: str
    ) -> None:
        told_ns = None if age_ns is None else self.model.time_ns - age_ns
        reservation_id = {"none": 0, "live": self.reservation_id, "former": 7}[which]
        self.reports.append((campaign, code, dialer, told_ns, reservation_id))
        self.report(*self.reports[-1])

    def report_again(self, index: int) -> None:
        if index < len(self.reports):
            self.report(*self.reports[-1 - index])

    def report(
        self, campaign: str, code: Code, dialer: int, told_ns: int | None, reservation_id: int
    ) -> None:
        self.fold()
        self.model.code_table["code"] = code
        attempt = Attempt("1", "code", told_ns, reservation_id)
        expected = self.model.attempt_batch(
            "list", campaign, [attempt], dialer_name(campaign, dialer)
        )
        told = (number(campaign), dialer_number(campaign, dialer), told_ns, reservation_id)
        what, holder, _ = self.native.attempt(
            told, code.counts, code.success, self.rules_policy(), self.model.time_ns
        )
        assert outcome_name(what) == expected.what[0]
        assert named(holder) == expected.holders.get(0)

    def give(self, campaign: str, length_ns: int | None, overwrite: bool, exact: bool) -> None:
        self.fold()
        # The row's import is the next decision, so it has the next instant.
        end_ns = None if length_ns is None else self.model.time_ns + 1 + length_ns
        rows = [Row("1", campaign, "", end_ns)]
        tally = self.model.import_rows("list", rows, OVERWRITE if overwrite else SKIP, exact)
        outcome = self.native.give(number(campaign), end_ns, overwrite, exact, self.model.time_ns)
        assert (
            outcome
            in ((TAKEN,), (TAKEN_OVER,), (OWNED, DIALED))[
                0 if tally.imported else 1 if tally.overwritten else 2
            ]
        )

    def release_record(self) -> None:
        self.fold()
        expected = self.model.release_records("list", ["1"])
        assert self.native.release_record(self.model.time_ns) == (expected == 1)

    def policy_changed(self, policy: Policy) -> None:
        if policy.duration_ns != self.policy().duration_ns:
            self.model.update_policy("list", policy)
            self.late.append(("change_duration", (policy.duration_ns, self.model.time_ns)))
        else:
            self.model.update_policy("list", policy)

    def release(self, campaign: str | None, reservations: bool) -> None:
        which = None if campaign is None else number(campaign)
        self.model.release("list", None if campaign is None else [campaign], reservations)
        self.late.append(("release", (which, reservations, self.model.time_ns)))

    def stop(self, campaign: str) -> None:
        self.model.signal(campaign, "STOPPED", "list", True)
        self.late.append(("stop", (number(campaign), self.model.time_ns)))

    def transfer(self, giver: str, receiver: str) -> None:
        if giver != receiver:
            self.model.transfer("list", giver, receiver)
            arguments = (number(giver), number(receiver), self.model.time_ns)
            self.late.append(("transfer", arguments))

    def give_back(self, campaign: str, dialer: int) -> None:
        self.fold()
        self.model.give_back(campaign, dialer_name(campaign, dialer))
        self.native.give_back(dialer_number(campaign, dialer), self.model.time_ns)

    def wait(self, delta_ns: int) -> None:
        self.model.advance_ns(delta_ns)

    def wait_for_the_end(self, after_ns: int) -> None:
        holder = self.model.holder("list", "1")
        if holder is not None and holder.expire_ns is not None:
            self.model.advance_ns(max(0, holder.expire_ns + after_ns - self.model.now_ns()))

    def check_holder(self) -> None:
        found = named(self.native.holder(self.model.time_ns))
        assert found == self.model.holder("list", "1")
        last_ns = self.native.last_attempt(self.model.time_ns)
        assert (last_ns or 0) == self.model._last_attempt("list", "1")


def number(campaign: str) -> int:
    """Return the native number of a campaign."""
    return CAMPAIGNS.index(campaign)


def dialer_number(campaign: str, dialer: int) -> int:
    """Return the native number of a campaign's dialer; 0 stands for none."""
    return 0 if dialer == 0 else 10 * number(campaign) + dialer


def dialer_name(campaign: str, dialer: int) -> str:
    """Return the name of a campaign's dialer, "" for none."""
    return "" if dialer == 0 else f"d{dialer_number(campaign, dialer)}"


def named(holder: tuple[Any, ...] | None) -> Holder | None:
    """Return a native holder as the model shows it."""
    if holder is None:
        return None
    kind, campaign, since_ns, until_ns, dialer, reserved_until_ns, last_ns = holder
    name = CAMPAIGNS[campaign]
    dialer_id = f"d{dialer}" if dialer else ""
    spans = (since_ns, until_ns, dialer_id, reserved_until_ns, last_ns)
    return Holder(KINDS[kind], name, name, *spans)


@settings(max_examples=1500)
@given(policies, st.lists(operations, max_size=25))
def test_the_rules_and_the_model_agree_however_late_events_are_folded(
    policy: Policy, drawn: list[tuple[Any, ...]]
) -> None:
    record = OneRecord(policy)
    for name, *arguments in drawn:
        record.apply(("policy changed" if name == "policy" else name, *arguments))
        if not record.late:
            record.check_holder()
    record.fold()
    record.check_holder()


@pytest.mark.parametrize("offset_ns", [-HOUR, -5 * SECOND, 0, 5 * SECOND, HOUR, 23 * HOUR])
def test_r24_a_time_that_was_reported_is_that_of_the_wall_whatever_the_servers_is(
    offset_ns: int,
) -> None:
    policy = (True, DAY, DAY, MINUTE, 0)
    claimed, reported = START_NS, START_NS + SECOND
    wall_ns = reported - offset_ns
    record = rules.Record()
    record.claim(1, 0, None, policy, claimed)

    def report(attempt_ns: int) -> str:
        told = (1, 0, attempt_ns, 0)
        return outcome_name(record.attempt(told, True, False, policy, reported, offset_ns)[0])

    assert report(wall_ns - MINUTE) == "OWNERSHIP_ACQUIRED"
    holder = record.holder(reported)
    assert holder is not None and holder[3] == reported - MINUTE + DAY
    assert holder[5] is not None, "a dial that ended before this one began has not ended this one"
    assert report(wall_ns) == "OWNERSHIP_RENEWED"
    holder = record.holder(reported)
    assert holder is not None and (holder[3], holder[5]) == (reported + DAY, None)
    assert record.last_attempt(reported) == wall_ns
    assert report(wall_ns + 11 * SECOND) == "INVALID"


def test_r15_a_release_says_whether_it_ended_ownership() -> None:
    policy = (True, DAY, None, MINUTE, 0)
    record = rules.Record()
    assert record.attempt((1, 0, None, 0), True, False, policy, START_NS)[0] == 1
    assert record.release(2, False, START_NS) is False
    assert record.release(None, False, START_NS + DAY) is False
    assert record.release(1, False, START_NS + DAY - 1) is True
    assert record.release(1, False, START_NS + DAY - 1) is False
