"""What the engine keeps of dialers and attempts, and what it tells of them (R22 to R24, R31)."""

import tempfile
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model import START_NS
from sanitizer import examples
from structlog.testing import capture_logs
from subject import DAY, HOUR, MINUTE, MS, SECOND, Attempt, Policy, Refusal
from subject_engine import EngineSubject

from ownerd.server.called_twice import CalledTwiceLog

CAMPAIGNS = ("A", "B", "C")
RECORDS = ("1", "2", "3")


def test_r31_a_rejected_valid_attempt_is_counted_by_list_and_pair(engine: EngineSubject) -> None:
    engine.create_list("list")
    engine.create_list("other")
    for list_id in ("list", "other"):
        engine.attempt(list_id, "1", "A", "Busy")
    for campaign_id in ("B", "B", "C"):
        assert engine.attempt("list", "1", campaign_id, "Busy").what == "REJECTED"
    engine.attempt("other", "1", "B", "Busy")
    assert engine.engine.called_twice() == [
        ("list", "B", "A", 2),
        ("list", "C", "A", 1),
        ("other", "B", "A", 1),
    ]
    assert engine.engine.stats()["called_twice"] == 4
    assert "B" not in engine.campaigns(), "who is rejected is granted nothing"


def test_r31_neither_a_repeat_nor_what_is_no_attempt_is_counted(engine: EngineSubject) -> None:
    engine.create_list("list")
    engine.attempt("list", "1", "A", "Busy")
    ended_ns = engine.time_ns + 1
    for _ in range(3):
        engine.attempt("list", "1", "B", "Busy", "", ended_ns)
    engine.attempt("list", "1", "C", "No Lines")
    assert engine.engine.called_twice() == [("list", "B", "A", 1)]


def test_r27_a_report_of_the_giver_is_not_counted(engine: EngineSubject) -> None:
    engine.create_list("list")
    engine.attempt("list", "1", "A", "Busy")
    engine.claim("list", "1", "A")
    engine.transfer("list", "A", "B")
    assert engine.attempt("list", "1", "A", "Success").what == "REJECTED"
    assert engine.engine.called_twice() == []


def test_r31_the_log_tells_how_much_the_counts_have_grown(engine: EngineSubject) -> None:
    engine.create_list("list")
    engine.attempt("list", "1", "A", "Busy")
    told = CalledTwiceLog(engine.engine)
    for campaign_id in ("B", "B", "C"):
        engine.attempt("list", "1", campaign_id, "Busy")
    with capture_logs() as logs:
        told.look()
        told.look()
        engine.attempt("list", "1", "B", "Busy")
        told.look()
    assert [(line["campaign_id"], line["count"]) for line in logs] == [("B", 2), ("C", 1), ("B", 1)]
    assert {line["event"] for line in logs} == {"two_campaigns_called_one_person"}


def test_r24_attempts_ahead_are_counted_and_raise_an_alarm(engine: EngineSubject) -> None:
    engine.create_list("list")
    assert engine.engine.alarms() == []
    ahead_ns = engine.now_ns() + 60 * SECOND
    with pytest.raises(Refusal, match=r"attempt_time: 59999 ms|attempt_time: 60000 ms"):
        engine.attempt("list", "1", "A", "Busy", "", ahead_ns)
    attempts = [
        Attempt("1", "Busy", ahead_ns),
        Attempt("2", "Busy"),
        Attempt("3", "Busy", ahead_ns),
    ]
    assert engine.attempt_batch("list", "A", attempts).what[0] == "INVALID"
    assert engine.engine.stats()["attempts_ahead"] == 3
    (name, text), *_ = engine.engine.alarms()
    assert name == "attempts_ahead" and "60.0 s" in text


def test_a_reservation_that_nobody_reported_on_is_counted_when_it_is_seen(
    engine: EngineSubject,
) -> None:
    engine.create_list("list", Policy(reservation_ttl_ns=MINUTE))
    engine.claim("list", "1", "A")
    engine.claim("list", "2", "A")
    engine.attempt("list", "2", "A", "No Lines")
    engine.advance_ns(HOUR)
    engine.claim("list", "1", "B")
    engine.claim("list", "2", "B")
    assert engine.engine.stats()["lapsed_reservations"] == 1


def test_r22_dialers_are_forgotten_once_nothing_of_theirs_is_reserved(
    engine: EngineSubject,
) -> None:
    engine.create_list("list", Policy(reservation_ttl_ns=HOUR))
    for number in range(50):
        engine.claim("list", str(number), "A", f"d{number}")
    engine.give_back("A", "d1")
    engine.claim("list", "long", "A", "d2", 24 * HOUR)
    assert engine.engine.stats()["dialer_count"] == 50
    engine.reopen()
    engine.advance_ns(3 * HOUR)
    engine.vacuum()
    assert engine.engine.stats()["dialer_count"] == 1
    assert engine.claim("list", "long", "A", "d3").what == "DENIED"
    holder = engine.holder("list", "long")
    assert holder is not None and holder.dialer_id == "d2"
    engine.reopen()
    assert engine.engine.stats()["dialer_count"] == 1


def test_r22_a_number_that_is_given_out_again_is_another_dialers(engine: EngineSubject) -> None:
    engine.create_list("list", Policy(reservation_ttl_ns=MINUTE))
    engine.claim("list", "1", "A", "old")
    engine.advance_ns(DAY)
    engine.vacuum()
    engine.claim("list", "2", "A", "new")
    assert engine.claim("list", "1", "A", "new").what == "GRANTED"
    engine.give_back("A", "new")
    assert (engine.holder("list", "1"), engine.holder("list", "2")) == (None, None)


# ---- reports delivered again, in any order and at any distance


@dataclass
class Floor:
    """A list, and the reports that were delivered, each dial's once before it is again."""

    subject: EngineSubject
    delivered: list[tuple[Any, ...]] = field(default_factory=list)
    # Those that a disabled policy left unnoted: the first that is seen under an enabled one may be
    # noted as the last attempt, and changes nothing else either.
    uncontrolled: set[tuple[Any, ...]] = field(default_factory=set)

    def dial(
        self, record_id: str, campaign_id: str, dialer: str, code: str, length_ns: int, skew_ns: int
    ) -> None:
        """Claim, dial and report by a clock that is off; or, if it may be dialed freely, by a right
        one, as nothing else says which dial that was."""
        claim = self.subject.claim("list", record_id, campaign_id, dialer)
        self.subject.advance_ns(length_ns)
        if claim.what == "DENIED":
            return
        ended_ns = self.subject.time_ns + (skew_ns if claim.reservation_id else 0)
        report = ("list", record_id, campaign_id, code, dialer, ended_ns, claim.reservation_id)
        self.subject.attempt(*report)
        self.delivered.append(report)
        if claim.what == "UNCONTROLLED":
            self.uncontrolled.add(report)
        self.subject.advance_ns(1)

    def again(self, index: int) -> None:
        """Deliver a report again: nothing that anybody can see is another than before."""
        if not self.delivered:
            return
        while self.ends_soon():
            self.subject.advance_ns(MS)
        report = self.delivered[index % len(self.delivered)]
        before = self.seen()
        self.subject.attempt(*report)
        after = self.seen()
        if report in self.uncontrolled:
            before, after = without_last_attempts(before), without_last_attempts(after)
        assert after == before, report

    def ends_soon(self) -> bool:
        """Tell whether a hold, or a last attempt, is over by itself in a moment."""
        now_ns = self.subject.time_ns
        ends_ns = [
            end_ns
            for holder in filter(None, self.seen())
            for end_ns in (
                holder.expire_ns,
                holder.reserved_until_ns,
                holder.last_attempt_ns and holder.last_attempt_ns + DAY,
            )
        ]
        return any(end_ns and now_ns <= end_ns <= now_ns + MS for end_ns in ends_ns)

    def seen(self) -> list[Any]:
        return [self.subject.holder("list", record_id) for record_id in RECORDS]

    def steer(self, what: str, campaign_id: str, other: str, policy: Policy) -> None:
        if what == "release":
            self.subject.release("list", None if other == campaign_id else [campaign_id])
        elif what == "transfer" and campaign_id != other:
            self.subject.transfer("list", campaign_id, other)
        elif what == "policy":
            self.subject.update_policy("list", policy)
        elif what == "vacuum":
            self.subject.vacuum()
        elif what == "restart":
            self.subject.advance_ns(MS)
            self.subject.reopen()
            self.subject.advance_ns(MS)
        elif what == "give back":
            self.subject.give_back(campaign_id, "d1")


def without_last_attempts(holders: list[Any]) -> list[Any]:
    return [holder and holder._replace(last_attempt_ns=None) for holder in holders]


campaigns = st.sampled_from(CAMPAIGNS)
dials = st.tuples(
    st.just("dial"),
    st.sampled_from(RECORDS),
    campaigns,
    st.sampled_from(("", "d1", "d2")),
    st.sampled_from(("Busy", "Busy", "Success", "No Lines")),
    st.sampled_from((0, SECOND, MINUTE, HOUR)),
    st.sampled_from((0, -10 * SECOND, -3 * SECOND, 3 * SECOND, 10 * SECOND)),
)
policies = st.builds(
    Policy,
    st.sampled_from((True, True, False)),
    st.sampled_from((SECOND, MINUTE, HOUR, DAY, None)),
    st.sampled_from((None, 36525 * DAY)),
    st.sampled_from((MINUTE, 2 * HOUR)),
)
kinds = st.sampled_from(
    ("release", "transfer", "policy", "policy", "vacuum", "restart", "give back")
)
steps = st.one_of(
    dials,
    dials,
    st.tuples(st.just("again"), st.integers(0, 50)),
    st.tuples(st.just("steer"), kinds, campaigns, campaigns, policies),
    st.tuples(st.just("wait"), st.sampled_from((SECOND, MINUTE, HOUR, 23 * HOUR, DAY))),
)


@settings(max_examples=examples(150))
@given(policies, st.lists(steps, min_size=4, max_size=30))
def test_r24_reports_delivered_again_change_nothing(
    policy: Policy, drawn: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory(prefix="ownerd-test-") as directory:
        subject = EngineSubject(directory, START_NS)
        try:
            subject.create_list("list", policy)
            for campaign_id in CAMPAIGNS:
                subject.upsert_campaign(campaign_id, "")
            floor = Floor(subject)
            for name, *arguments in drawn:
                if name == "wait":
                    subject.advance_ns(arguments[0])
                else:
                    getattr(floor, name)(*arguments)
            for index in range(len(floor.delivered)):
                floor.again(index)
        finally:
            subject.close()
