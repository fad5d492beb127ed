"""Two subjects driven by the same random calls, compared after every step.

`Comparison` is a hypothesis state machine. A subclass says which subject is under test; the model
is the oracle. Time steps land on, just before and just after the instants that matter: the ends of
holds and the instants at which a renewal becomes possible.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from model import NEVER, SHIPPED_CODES, Model
from subject import (
    DAY,
    FAIL,
    HOUR,
    MINUTE,
    MS,
    OVERWRITE,
    SECOND,
    SKIP,
    Attempt,
    Code,
    Policy,
    Refusal,
    Row,
    TimedSubject,
)

LISTS = ("north", "south")
CAMPAIGNS = ("A", "B", "C")
RECORDS = ("1", "2", "-3", "10", "x", "y-1", "ö")
CODES = ("Busy", "Success", "No Lines", "Own code", "Nonsense")

lists = st.sampled_from(LISTS)
campaigns = st.sampled_from(CAMPAIGNS)
records = st.sampled_from(RECORDS)
codes = st.sampled_from(CODES)
dialers = st.sampled_from(("", "d1", "d1", "d2"))
ttls = st.sampled_from((None, None, SECOND, HOUR, 24 * HOUR))
# How long before its report an attempt ended; negative: by a clock that is ahead.
ages = st.sampled_from(
    (None, None, -11 * SECOND, -5 * SECOND, 0, 1, SECOND, HOUR, 23 * HOUR, 25 * HOUR)
)
some_campaigns = st.none() | st.lists(campaigns, min_size=1, max_size=3, unique=True)
durations = st.sampled_from((SECOND, MINUTE, HOUR, DAY, 36525 * DAY, None))
policies = st.builds(
    Policy,
    st.sampled_from((True, True, True, False)),
    durations,
    st.sampled_from((None, None, 0, 5 * SECOND, 36525 * DAY)),
    st.sampled_from((SECOND, 5 * SECOND, 5 * MINUTE, 2 * DAY)),
)
rows = st.tuples(
    records,
    campaigns,
    st.sampled_from(("", "Imported", "Another")),
    st.integers(-1, 4),
    st.integers(-1, 2),
)
meanings = st.sampled_from(
    (Code("Busy", True, False), Code("Busy", False, False), Code("Success", True, True))
)


class Comparison(RuleBasedStateMachine):
    """Drive the subject under test and the model alike; every difference is a failure."""

    def __init__(self) -> None:
        super().__init__()
        self.reservations: dict[tuple[str, str], int] = {}
        self.reports: list[tuple[Any, ...]] = []
        self.subject = self.make_subject()
        self.model = Model()
        self.last_revision = self.subject.revision()
        assert self.subject.now_ns() == self.model.now_ns()

    def make_subject(self) -> TimedSubject:
        """Return the subject under test, at the model's start time."""
        raise NotImplementedError

    # ---- comparing

    def both(self, call: Callable[[TimedSubject], Any]) -> Any:
        """Make the call on both; the answers, or the refusals' codes, must be the same."""
        before = self.model.revision_count
        expected = _attempted(call, self.model)
        found = _attempted(call, self.subject)
        model_changed = self.model.revision_count != before
        self.check_revision(getattr(found, "revision", None), model_changed)
        if hasattr(expected, "revision"):
            expected, found = expected._replace(revision=0), found._replace(revision=0)
        assert found == expected
        return found

    def check_revision(self, shown: int | None, model_changed: bool) -> None:
        """More for a call that changed something; an answer shows the latest revision.

        Counting a release is a change of its own, so a release may be two.
        """
        now = self.subject.revision()
        assert now - self.last_revision in ((1, 2) if model_changed else (0, 1))
        assert shown is None or shown == now
        self.last_revision = now

    @invariant()
    def everything_tracked_is_the_same(self) -> None:
        """Owners, owned records, holders, names and codes agree (R1, R17)."""
        for list_id in self.model.lists:
            assert self.subject.owners(list_id) == self.model.owners(list_id)
            assert self.subject.owned(list_id) == self.model.owned(list_id)
            assert self.subject.policy(list_id) == self.model.policy(list_id)
            for record_id in RECORDS:
                expected = self.model.holder(list_id, record_id)
                assert self.subject.holder(list_id, record_id) == expected
            self.look_further(list_id)
        assert self.subject.campaigns() == self.model.campaigns()

    def look_further(self, list_id: str) -> None:
        """Compare what only this kind of subject shows."""

    # ---- dialing

    @initialize(first=policies, second=policies)
    def open_lists(self, first: Policy, second: Policy) -> None:
        self.both(lambda s: s.create_list(LISTS[0], first))
        self.both(lambda s: s.create_list(LISTS[1], second))

    @rule(list_id=lists, record_id=records, campaign_id=campaigns, dialer_id=dialers, ttl_ns=ttls)
    def claim(
        self, list_id: str, record_id: str, campaign_id: str, dialer_id: str, ttl_ns: int | None
    ) -> None:
        answer = self.both(lambda s: s.claim(list_id, record_id, campaign_id, dialer_id, ttl_ns))
        if getattr(answer, "reservation_id", 0):
            self.reservations[list_id, record_id] = answer.reservation_id

    @rule(
        list_id=lists,
        record_id=records,
        campaign_id=campaigns,
        code=codes,
        dialer_id=dialers,
        age_ns=ages,
        named=st.booleans(),
    )
    def attempt(
        self,
        list_id: str,
        record_id: str,
        campaign_id: str,
        code: str,
        dialer_id: str,
        age_ns: int | None,
        named: bool,
    ) -> None:
        told_ns = None if age_ns is None else self.model.time_ns - age_ns
        reservation_id = self.reservations.get((list_id, record_id), 7) if named else 0
        report = (list_id, record_id, campaign_id, code, dialer_id, told_ns, reservation_id)
        self.reports.append(report)
        self.both(lambda s: s.attempt(*report))

    @precondition(lambda self: self.reports)
    @rule(index=st.integers(0, 10_000))
    def attempt_again(self, index: int) -> None:
        report = self.reports[index % len(self.reports)]
        self.both(lambda s: s.attempt(*report))

    @rule(list_id=lists, record_id=records, campaign_id=campaigns, code=codes, dialer_id=dialers)
    def dial(
        self, list_id: str, record_id: str, campaign_id: str, code: str, dialer_id: str
    ) -> None:
        self.both(lambda s: s.claim(list_id, record_id, campaign_id, dialer_id))
        self.both(lambda s: s.attempt(list_id, record_id, campaign_id, code, dialer_id))

    @rule(
        list_id=lists,
        campaign_id=campaigns,
        ids=st.lists(records | st.just(""), min_size=1, max_size=8),
        dialer_id=dialers,
    )
    def claim_batch(self, list_id: str, campaign_id: str, ids: list[str], dialer_id: str) -> None:
        self.both(lambda s: s.claim_batch(list_id, campaign_id, ids, dialer_id))

    @rule(
        list_id=lists,
        campaign_id=campaigns,
        drawn=st.lists(st.tuples(records, codes, ages), min_size=1, max_size=8),
        dialer_id=dialers,
    )
    def attempt_batch(
        self, list_id: str, campaign_id: str, drawn: list[Any], dialer_id: str
    ) -> None:
        now_ns = self.model.time_ns
        attempts = [
            Attempt(name, code, None if age_ns is None else now_ns - age_ns)
            for name, code, age_ns in drawn
        ]
        self.both(lambda s: s.attempt_batch(list_id, campaign_id, attempts, dialer_id))

    @rule(campaign_id=campaigns, dialer_id=dialers.filter(bool), list_id=lists | st.just(""))
    def give_back(self, campaign_id: str, dialer_id: str, list_id: str) -> None:
        self.both(lambda s: s.give_back(campaign_id, dialer_id, list_id))

    # ---- steering

    @rule(list_id=lists, policy=policies)
    def set_policy(self, list_id: str, policy: Policy) -> None:
        self.both(lambda s: s.update_policy(list_id, policy))

    @rule(list_id=lists, duration_ns=durations)
    def set_duration(self, list_id: str, duration_ns: int | None) -> None:
        policy = self.model.policy(list_id)._replace(duration_ns=duration_ns)
        self.both(lambda s: s.update_policy(list_id, policy))

    @rule(list_id=lists, which=some_campaigns, reservations=st.booleans())
    def release(self, list_id: str, which: list[str] | None, reservations: bool) -> None:
        self.both(lambda s: s.release(list_id, which, reservations))

    @rule(list_id=lists, giver=campaigns, receiver=campaigns)
    def transfer(self, list_id: str, giver: str, receiver: str) -> None:
        if giver != receiver:
            self.both(lambda s: s.transfer(list_id, giver, receiver))

    @rule(list_id=lists, ids=st.lists(records | st.just("unseen"), min_size=1, max_size=4))
    def release_records(self, list_id: str, ids: list[str]) -> None:
        self.both(lambda s: s.release_records(list_id, ids))

    @rule(
        campaign_id=campaigns,
        what=st.sampled_from(("STOPPED", "RECYCLED", "RESET")),
        list_id=lists | st.just(""),
        ending=st.booleans(),
    )
    def signal(self, campaign_id: str, what: str, list_id: str, ending: bool) -> None:
        ending = ending and what == "STOPPED"
        self.both(lambda s: s.signal(campaign_id, what, list_id, ending))

    @rule(campaign_id=campaigns, name=st.sampled_from(("", "Spring", "Été")))
    def name_campaign(self, campaign_id: str, name: str) -> None:
        self.both(lambda s: s.upsert_campaign(campaign_id, name))

    @rule(meaning=meanings | st.none())
    def define_code(self, meaning: Code | None) -> None:
        if meaning is None:
            self.both(lambda s: s.delete_code("Own code"))
        else:
            self.both(lambda s: s.upsert_code("Own code", meaning))
        self.both(lambda s: s.codes())

    @rule(
        list_id=lists,
        drawn=st.lists(rows, min_size=1, max_size=4, unique_by=lambda row: row[0]),
        strategy=st.sampled_from((FAIL, SKIP, OVERWRITE)),
        options=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    )
    def import_rows(
        self, list_id: str, drawn: list[Any], strategy: int, options: tuple[bool, bool, bool]
    ) -> None:
        """Rows end before, at and after now, or never, and began before or after it."""
        now_ns = self.model.now_ns()
        ends_ns = {-1: now_ns - 1, 0: now_ns, 1: now_ns + 1, 2: now_ns + SECOND, 3: now_ns + HOUR}
        begins_ns = {-1: now_ns - HOUR, 0: now_ns, 1: now_ns + HOUR}
        meant = [
            Row(r, c, name, ends_ns.get(end), begins_ns.get(begin))
            for r, c, name, end, begin in drawn
        ]
        self.both(lambda s: s.import_rows(list_id, meant, strategy, *options))

    @rule(list_id=lists, force=st.booleans(), policy=policies)
    def delete_list(self, list_id: str, force: bool, policy: Policy) -> None:
        self.both(lambda s: s.delete_list(list_id, force))
        self.both(lambda s: s.create_list(list_id, policy))

    # ---- time, background work, restarts

    @rule(delta_ns=st.sampled_from((0, 1, MS, SECOND, MINUTE, HOUR, DAY)))
    def pass_time(self, delta_ns: int) -> None:
        self.advance_ns(delta_ns)

    @precondition(lambda self: self.instants_ns())
    @rule(data=st.data(), after_ns=st.sampled_from((-MS, -1, 0, 1, MS)))
    def pass_to_an_instant_that_matters(self, data: st.DataObject, after_ns: int) -> None:
        index = data.draw(st.integers(0, 10_000))
        instants_ns = self.instants_ns()
        target_ns = instants_ns[index % len(instants_ns)] + after_ns
        self.advance_ns(max(0, target_ns - self.model.now_ns()))

    @rule()
    def vacuum(self) -> None:
        self.subject.vacuum()
        assert self.subject.revision() >= self.last_revision
        self.last_revision = self.subject.revision()

    @rule()
    def reopen(self) -> None:
        # What changed nothing took an instant that nothing was stored of.
        self.advance_ns(MS)
        self.subject.reopen()
        self.advance_ns(MS)
        assert self.subject.revision() >= self.last_revision
        self.last_revision = self.subject.revision()

    def advance_ns(self, delta_ns: int) -> None:
        # Past the year 2200 the int64 nanoseconds come to an end.
        delta_ns = min(delta_ns, NEVER // 4 * 3 - self.model.now_ns())
        self.model.advance_ns(delta_ns)
        self.subject.advance_ns(delta_ns)

    def instants_ns(self) -> list[int]:
        """The ends of all holds and of what a last attempt says, and when renewal windows begin."""
        found: set[int] = set()
        for contact_list in self.model.lists.values():
            policy = contact_list.policy
            windows_ns = (policy.renewal_window_ns or (policy.duration_ns or 0) // 10,)
            for record in contact_list.records.values():
                for span in filter(None, (record.ownership, record.reservation)):
                    found.add(span.end_ns)
                    found.update(span.end_ns - window_ns for window_ns in windows_ns)
            for last_ns in contact_list.attempts.values():
                found.add(last_ns + 24 * HOUR)
        now_ns = self.model.now_ns()
        return sorted(ns for ns in found if now_ns < ns < now_ns + 400 * DAY)


def _attempted(call: Callable[[TimedSubject], Any], subject: TimedSubject) -> Any:
    try:
        return call(subject)
    except Refusal as refusal:
        return f"refused with {refusal.code}"


assert set(CODES) & set(SHIPPED_CODES) == {"Busy", "Success", "No Lines"}
