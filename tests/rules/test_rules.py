"""The rules by themselves: one record's state, its events folded late, against the model."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from model import START_NS, Model
from subject import DAY, HOUR, MINUTE, OVERWRITE, SECOND, SKIP, Code, Policy, Row
from subject_engine import decision_name, outcome_name

from ownerd.rules import testing as rules

CAMPAIGNS = ("A", "B", "C")
KINDS = {1: "RESERVED", 2: "OWNED"}

campaigns = st.sampled_from(CAMPAIGNS)
durations = st.sampled_from((SECOND, HOUR, DAY, None))
codes = st.sampled_from((Code("", True, False), Code("", True, True), Code("", False, False)))
policies = st.builds(
    Policy,
    st.booleans(),
    durations,
    st.sampled_from((None, 0, SECOND, DAY)),
    st.sampled_from((SECOND, MINUTE, 2 * DAY)),
)
operations = st.one_of(
    st.tuples(st.just("claim"), campaigns),
    st.tuples(st.just("claim"), campaigns),
    st.tuples(st.just("attempt"), campaigns, codes),
    st.tuples(st.just("attempt"), campaigns, codes),
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

    def fold(self) -> None:
        """Bring the native record up to the list's last event, as the store does on a read."""
        for name, arguments in self.late:
            getattr(self.native, name)(*arguments)
        self.late.clear()

    def policy(self) -> Policy:
        return self.model.policy("list")

    def apply(self, operation: tuple[Any, ...]) -> None:
        name, *arguments = operation
        getattr(self, name.replace(" ", "_"))(*arguments)

    def claim(self, campaign: str) -> None:
        self.fold()
        found = self.native.claim(number(campaign), tuple(self.policy()), self.model.now_ns())
        expected = self.model.claim("list", "1", campaign)
        assert (decision_name(found[0]), named(found[1])) == (expected.what, expected.holder)

    def attempt(self, campaign: str, code: Code) -> None:
        self.fold()
        found = self.native.attempt(
            number(campaign), code.counts, code.success, tuple(self.policy()), self.model.now_ns()
        )
        self.model.code_table["code"] = code
        expected = self.model.attempt("list", "1", campaign, "code")
        assert (outcome_name(found[0]), named(found[1])) == (expected.what, expected.holder)

    def give(self, campaign: str, length_ns: int | None, overwrite: bool, exact: bool) -> None:
        self.fold()
        end_ns = None if length_ns is None else self.model.now_ns() + length_ns
        outcome = self.native.give(number(campaign), end_ns, overwrite, exact, self.model.now_ns())
        rows = [Row("1", campaign, "", end_ns)]
        tally = self.model.import_rows("list", rows, OVERWRITE if overwrite else SKIP, exact)
        assert min(outcome, 2) == (0 if tally.imported else 1 if tally.overwritten else 2)

    def release_record(self) -> None:
        self.fold()
        released = self.native.release_record(self.model.now_ns())
        assert released == (self.model.release_records("list", ["1"]) == 1)

    def policy_changed(self, policy: Policy) -> None:
        if policy.duration_ns != self.policy().duration_ns:
            arguments = (policy.duration_ns, self.model.now_ns())
            self.late.append(("change_duration", arguments))
        self.model.update_policy("list", policy)

    def release(self, campaign: str | None, reservations: bool) -> None:
        which = None if campaign is None else number(campaign)
        self.late.append(("release", (which, reservations, self.model.now_ns())))
        self.model.release("list", None if campaign is None else [campaign], reservations)

    def stop(self, campaign: str) -> None:
        self.late.append(("stop", (number(campaign), self.model.now_ns())))
        self.model.signal(campaign, "STOPPED", "list", True)

    def wait(self, delta_ns: int) -> None:
        self.model.advance_ns(delta_ns)

    def wait_for_the_end(self, after_ns: int) -> None:
        holder = self.model.holder("list", "1")
        if holder is not None and holder.expire_ns is not None:
            self.model.advance_ns(max(0, holder.expire_ns + after_ns - self.model.now_ns()))

    def check_holder(self) -> None:
        found = named(self.native.holder(self.model.now_ns()))
        assert found == self.model.holder("list", "1")


def number(campaign: str) -> int:
    """Return the native number of a campaign."""
    return CAMPAIGNS.index(campaign)


def named(holder: tuple[int, int, int, int | None] | None) -> Any:
    """Return a native holder as the model shows it."""
    if holder is None:
        return None
    kind, campaign, since_ns, until_ns = holder
    name = CAMPAIGNS[campaign]
    return KINDS[kind], name, name, since_ns, until_ns


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


def test_r15_a_release_says_whether_it_ended_ownership() -> None:
    policy = (True, DAY, None, MINUTE)
    record = rules.Record()
    assert record.attempt(1, True, False, policy, START_NS)[0] == 1
    assert record.release(2, False, START_NS) is False
    assert record.release(None, False, START_NS + DAY) is False
    assert record.release(1, False, START_NS + DAY - 1) is True
    assert record.release(1, False, START_NS + DAY - 1) is False
