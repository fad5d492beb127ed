"""The engine against the plain-Python model: the same random calls, every answer compared."""

import random
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import Comparison
from model import Model, Record, Span
from sanitizer import examples
from subject import DAY, HOUR, MS, SKIP, Answer, Holder, Owned, Policy, Row, TimedSubject
from subject_engine import EngineSubject

# Of random stories.
COUNTS = (40, pytest.param(1_000, marks=pytest.mark.long))


class EngineComparison(Comparison):
    """The engine under test, on a data directory of its own."""

    background = False

    def make_subject(self) -> TimedSubject:
        self.directory = tempfile.mkdtemp(prefix="ownerd-test-")
        return EngineSubject(self.directory, background=self.background)

    def look_further(self, list_id: str) -> None:
        """The snapshot's other reads agree with each other."""
        subject = self.subject
        assert isinstance(subject, EngineSubject)
        owned = self.model.owned(list_id)
        assert subject.count_owned(list_id) == len(owned)
        ids = [record.record_id for record in owned]
        expected = [self.model.holder(list_id, name) for name in ids]
        spans = [None if holder is None else Holder(*holder[:5]) for holder in expected]
        assert subject.holders(list_id, ids) == spans

    def teardown(self) -> None:
        assert isinstance(self.subject, EngineSubject)
        self.subject.close()
        shutil.rmtree(self.directory)


class MaintainedEngineComparison(EngineComparison):
    """The engine with maintenance at work at any moment."""

    background = True


@pytest.mark.parametrize("kind", [EngineComparison, MaintainedEngineComparison])
@pytest.mark.parametrize("count", COUNTS)
def test_the_engine_and_the_model_give_the_same_answers(
    count: int, kind: type[EngineComparison]
) -> None:
    run_state_machine_as_test(
        kind, settings=settings(max_examples=examples(count), stateful_step_count=40)
    )


# ---- the comparison itself: a model with one mistake in it must be told from a right one


class EndsTooLate(Model):
    """`<=` where `<` is meant: a hold still exists at its expiration."""

    def _record(self, list_id: str, record_id: str) -> Record | None:
        self.time_ns -= 1
        try:
            return super()._record(list_id, record_id)
        finally:
            self.time_ns += 1


class DeniesNobody(Model):
    """A reservation does not keep others out."""

    def claim(
        self,
        list_id: str,
        record_id: str,
        campaign_id: str,
        dialer_id: str = "",
        ttl_ns: int | None = None,
    ) -> Answer:
        holder = self.holder(list_id, record_id)
        if holder is not None and holder.kind == "RESERVED":
            self.lists[list_id].records.pop(record_id)
        return super().claim(list_id, record_id, campaign_id, dialer_id, ttl_ns)


class OneDialerACampaign(Model):
    """A reservation is the campaign's, whoever of its dialers made it."""

    def _claim(
        self, list_id: str, record_id: str, campaign_id: str, dialer_id: str, ttl_ns: int | None
    ) -> Answer:
        return super()._claim(list_id, record_id, campaign_id, "", ttl_ns)


class EveryReportIsNew(Model):
    """A report that comes again counts again."""

    def _last_attempt(self, list_id: str, record_id: str) -> int:
        return 0


class TransferEndsReservations(Model):
    """What is transferred may be dialed at once."""

    def transfer(self, list_id: str, from_campaign_id: str, to_campaign_id: str) -> int:
        count = super().transfer(list_id, from_campaign_id, to_campaign_id)
        for record in self.lists[list_id].records.values():
            if self._given_away(record):
                record.reservation = None
        return count


class CountsFromTheAcquisition(Model):
    """A duration change counts from the acquisition, not from the change."""

    def update_policy(self, list_id: str, policy: Policy) -> int:
        result = super().update_policy(list_id, policy)
        for record in self.lists[list_id].records.values():
            if record.ownership is not None and policy.duration_ns is not None:
                start_ns = record.ownership.start_ns
                record.ownership = Span(start_ns, start_ns + policy.duration_ns)
        return result


class ReleaseEndsReservations(Model):
    """A release ends dials in progress without being asked."""

    def release(
        self, list_id: str, campaign_ids: list[str] | None = None, reservations: bool = False
    ) -> int:
        return super().release(list_id, campaign_ids, True)


class StopEndsOwnership(Model):
    """A stop releases what the campaign owns."""

    def signal(
        self, campaign_id: str, what: str, list_id: str = "", end_reservations: bool = False
    ) -> int:
        count = super().signal(campaign_id, what, list_id, end_reservations)
        for name in [list_id] if list_id else list(self.lists):
            if what == "STOPPED" and any(o.campaign_id == campaign_id for o in self.owners(name)):
                super().release(name, [campaign_id])
        return count


class StopEndsReservations(Model):
    """A stop ends dials in progress without being asked."""

    def signal(
        self, campaign_id: str, what: str, list_id: str = "", end_reservations: bool = False
    ) -> int:
        return super().signal(campaign_id, what, list_id, what == "STOPPED")


class SuccessRenews(Model):
    """A success renews like any other valid attempt."""

    def _renew(self, ownership: Span, policy: Policy, code: object, ended_ns: int) -> str:
        return super()._renew(ownership, policy, self.code_table["Busy"], ended_ns)


class OldNames(Model):
    """A denial shows the campaign's id where it should show its name."""

    def _holder(self, record: Record) -> Holder:
        return super()._holder(record)._replace(name=record.campaign_id)


class ForgetsTheRevision(Model):
    """The revision starts again after a restart."""

    def reopen(self) -> None:
        self.revision_count = 0


# Each of the others has a test of its own that sees the rule; that the comparison sees it too takes
# a while to find.
OFTEN_WRONG = (DeniesNobody, EveryReportIsNew, OldNames, ForgetsTheRevision)
SELDOM_WRONG = (
    EndsTooLate,
    OneDialerACampaign,
    TransferEndsReservations,
    CountsFromTheAcquisition,
    ReleaseEndsReservations,
    StopEndsOwnership,
    SuccessRenews,
)


@pytest.mark.parametrize(
    "wrong", [*OFTEN_WRONG, *(pytest.param(each, marks=pytest.mark.long) for each in SELDOM_WRONG)]
)
def test_the_comparison_catches_a_wrong_model(wrong: type[Model]) -> None:
    class WrongComparison(Comparison):
        def make_subject(self) -> TimedSubject:
            return wrong()

    generate_only = settings(
        max_examples=3_000, stateful_step_count=40, phases=[Phase.generate], print_blob=False
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(WrongComparison, settings=generate_only)


def test_the_comparison_finds_no_fault_in_a_right_model() -> None:
    class RightComparison(Comparison):
        def make_subject(self) -> TimedSubject:
            return Model()

    run_state_machine_as_test(
        RightComparison, settings=settings(max_examples=30, stateful_step_count=40)
    )


# ---- many records: a vacuum is cut into steps, and everything happens between them


def test_r12_many_records_are_vacuumed_under_way_without_a_trace() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="ownerd-test-") as directory:
        subject, model = EngineSubject(directory, background=True), Model()
        try:
            for each in (subject, model):
                each.create_list("list", Policy(True, DAY, None, HOUR))
            for _ in range(50):
                # In bursts, so that calls come in the middle of a vacuum.
                burst = [_bulk_call(chance) for _ in range(chance.randrange(1, 6))]
                found = [_said(call(subject)) for call in burst]
                assert found == [_said(call(model)) for call in burst]
                assert subject.owners("list") == model.owners("list")
            assert _all_owned(subject) == model.owned("list")
            subject.vacuum()
            assert _all_owned(subject) == model.owned("list")
            assert subject.engine.stats()["unsettled_event_count"] == 0
            kept = set(model._held("list")) | {
                name for name in model.lists["list"].attempts if model._last_attempt("list", name)
            }
            assert subject.engine.stats()["record_count"] == len(kept)
        finally:
            subject.close()


def _bulk_call(chance: random.Random) -> Callable[[TimedSubject], Any]:
    """Return a call on many records of a list of 20,000."""
    start = chance.randrange(20_000)
    ids = [str(number % 20_000) for number in range(start, start + chance.randrange(1, 2_000))]
    campaign_id = chance.choice("ABC")
    attempts = [(name, chance.choice(("Busy", "Busy", "No Lines"))) for name in ids]
    policy = Policy(True, chance.choice((None, HOUR, DAY)), None, HOUR)
    rows = [Row(name, campaign_id) for name in ids]
    delta_ns = chance.choice((1, HOUR // 2, HOUR, DAY))
    calls: list[tuple[int, Callable[[TimedSubject], Any]]] = [
        (6, lambda s: s.claim_batch("list", campaign_id, ids)),
        (12, lambda s: s.attempt_batch("list", campaign_id, attempts)),
        (2, lambda s: s.update_policy("list", policy)),
        (2, lambda s: s.release("list", [campaign_id] if campaign_id in s.campaigns() else None)),
        (1, lambda s: s.release("list", None, start % 2 == 0)),
        (1, lambda s: s.release_records("list", ids)),
        (
            2,
            lambda s: (
                s.signal(campaign_id, "STOPPED", "", True) if campaign_id in s.campaigns() else None
            ),
        ),
        (2, lambda s: s.import_rows("list", rows, SKIP)),
        (2, lambda s: s.advance_ns(delta_ns)),
        (1, _reopen),
    ]
    return chance.choices([call for _, call in calls], [weight for weight, _ in calls])[0]


def _reopen(subject: TimedSubject) -> None:
    """Open the store again; what changed nothing took instants that nothing was stored of."""
    subject.advance_ns(MS)
    subject.reopen()
    subject.advance_ns(MS)


def _said(answer: Any) -> Any:
    return getattr(answer, "what", answer)


def _all_owned(subject: EngineSubject) -> list[Owned]:
    with subject.engine.snapshot("list") as snapshot:
        return [Owned(*record) for record in snapshot.records(b"", 1_000_000, None)[0]]
