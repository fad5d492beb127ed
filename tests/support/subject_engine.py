"""The engine in process as a subject: raw protobuf bytes in and out, on a manual clock.

Owns the engine it opens; `close` it. One thread at a time, as the tests that drive it do.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from model import START_NS
from subject import (
    FAIL,
    OVERWRITE,
    Answer,
    Answers,
    Attempt,
    Code,
    Holder,
    Owned,
    Owner,
    Policy,
    Refusal,
    Row,
    Tally,
)

from ownerd.base.testing import ManualClock
from ownerd.engine import engine as native
from ownerd.v1 import dial_pb2

Result = TypeVar("Result")

_STATUS_NAMES = {status.value[0]: status.name for status in grpc.StatusCode}
_KINDS = {1: "RESERVED", 2: "OWNED"}
NOTE: dict[str, Any] = {"note": b"test"}


def decision_name(value: int) -> str:
    """Return a `ClaimDecision` without its prefix."""
    return dial_pb2.ClaimDecision.Name(value).removeprefix("CLAIM_DECISION_")


def outcome_name(value: int) -> str:
    """Return an `AttemptOutcome` without its prefix."""
    return dial_pb2.AttemptOutcome.Name(value).removeprefix("ATTEMPT_OUTCOME_")


def timestamp_ns(time: Timestamp) -> int:
    """Return a Timestamp in nanoseconds since the Unix epoch."""
    return time.seconds * 1_000_000_000 + time.nanos


def expire_ns(message: Any) -> int | None:
    """Return `expire_time` of a message; None where it is absent: no expiration."""
    return timestamp_ns(message.expire_time) if message.HasField("expire_time") else None


def optional_ns(message: Any, field: str) -> int | None:
    """Return a Timestamp field in nanoseconds; None where it is absent."""
    return timestamp_ns(getattr(message, field)) if message.HasField(field) else None


def holder_of(message: Any) -> Holder | None:
    """Return the `holder` field of a response; None where it is absent."""
    if not message.HasField("holder"):
        return None
    holder = message.holder
    return Holder(
        dial_pb2.HoldKind.Name(holder.kind).removeprefix("HOLD_KIND_"),
        holder.campaign_id,
        holder.campaign_name,
        timestamp_ns(holder.acquire_time),
        expire_ns(holder),
        holder.dialer_id,
        optional_ns(holder, "reserved_until"),
        optional_ns(holder, "last_attempt_time"),
    )


def _given(message: Any) -> Holder:
    holder = holder_of(message)
    assert holder is not None, "a refused item has no holder"
    return holder


def sent_time(time_ns: int | None) -> Timestamp | None:
    """Return nanoseconds since the Unix epoch as a Timestamp, None as none."""
    if time_ns is None:
        return None
    return Timestamp(seconds=time_ns // 1_000_000_000, nanos=time_ns % 1_000_000_000)


def sent_ttl(length_ns: int | None) -> Duration | None:
    """Return nanoseconds as a Duration, None as none."""
    if length_ns is None:
        return None
    return Duration(seconds=length_ns // 1_000_000_000, nanos=length_ns % 1_000_000_000)


class DialMessages:
    """The DialService calls as subject methods, over anything that can carry messages."""

    def _dial(self, kind: int, request: Any) -> Any:
        raise NotImplementedError

    def claim(
        self,
        list_id: str,
        record_id: str,
        campaign_id: str,
        dialer_id: str = "",
        ttl_ns: int | None = None,
    ) -> Answer:
        request = dial_pb2.ClaimRequest(
            list_id=list_id,
            record_id=record_id,
            campaign_id=campaign_id,
            dialer_id=dialer_id,
            reservation_ttl=sent_ttl(ttl_ns),
        )
        answer = self._dial(native.CLAIM, request)
        return Answer(
            decision_name(answer.decision),
            holder_of(answer),
            answer.revision,
            optional_ns(answer, "reserved_until"),
            answer.reservation_id,
        )

    def claim_batch(
        self,
        list_id: str,
        campaign_id: str,
        record_ids: list[str],
        dialer_id: str = "",
        ttl_ns: int | None = None,
    ) -> Answers:
        request = dial_pb2.ClaimBatchRequest(
            list_id=list_id,
            campaign_id=campaign_id,
            record_ids=record_ids,
            dialer_id=dialer_id,
            reservation_ttl=sent_ttl(ttl_ns),
            return_reservation_ids=True,
        )
        answer = self._dial(native.CLAIM_BATCH, request)
        holders = {denial.index: _given(denial) for denial in answer.denials}
        decisions = [decision_name(d) for d in answer.decisions]
        check_invalid(decisions, answer.invalid)
        return Answers(decisions, holders, answer.revision, tuple(answer.reservation_ids))

    def attempt(
        self,
        list_id: str,
        record_id: str,
        campaign_id: str,
        code: str,
        dialer_id: str = "",
        attempt_time_ns: int | None = None,
        reservation_id: int = 0,
    ) -> Answer:
        request = dial_pb2.ReportAttemptRequest(
            list_id=list_id,
            record_id=record_id,
            campaign_id=campaign_id,
            wrap_up_code=code,
            dialer_id=dialer_id,
            attempt_time=sent_time(attempt_time_ns),
            reservation_id=reservation_id,
        )
        answer = self._dial(native.REPORT_ATTEMPT, request)
        return Answer(outcome_name(answer.outcome), holder_of(answer), answer.revision)

    def attempt_batch(
        self, list_id: str, campaign_id: str, attempts: list[Attempt], dialer_id: str = ""
    ) -> Answers:
        request = dial_pb2.ReportAttemptBatchRequest(
            list_id=list_id, campaign_id=campaign_id, dialer_id=dialer_id
        )
        for attempt in (Attempt(*each) for each in attempts):
            request.attempts.add(
                record_id=attempt.record_id,
                wrap_up_code=attempt.code,
                attempt_time=sent_time(attempt.attempt_time_ns),
                reservation_id=attempt.reservation_id,
            )
        answer = self._dial(native.REPORT_ATTEMPT_BATCH, request)
        holders = {rejection.index: _given(rejection) for rejection in answer.rejections}
        outcomes = [outcome_name(o) for o in answer.outcomes]
        check_invalid(outcomes, answer.invalid)
        return Answers(outcomes, holders, answer.revision, (0,) * len(outcomes))

    def holder(self, list_id: str, record_id: str) -> Holder | None:
        request = dial_pb2.GetHolderRequest(list_id=list_id, record_id=record_id)
        return holder_of(self._dial(native.GET_HOLDER, request))

    def give_back(self, campaign_id: str, dialer_id: str, list_id: str = "") -> None:
        request = dial_pb2.GiveBackRequest(
            campaign_id=campaign_id, dialer_id=dialer_id, list_id=list_id
        )
        self._dial(native.GIVE_BACK, request)


def check_invalid(answers: list[str], invalid: Any) -> None:
    """Check that exactly the invalid items of a batch have a reason, in order (R25)."""
    assert [i for i, what in enumerate(answers) if what == "INVALID"] == [i.index for i in invalid]
    assert all(item.reason for item in invalid)


_RESPONSES = {
    native.CLAIM: dial_pb2.ClaimResponse,
    native.CLAIM_BATCH: dial_pb2.ClaimBatchResponse,
    native.REPORT_ATTEMPT: dial_pb2.ReportAttemptResponse,
    native.REPORT_ATTEMPT_BATCH: dial_pb2.ReportAttemptBatchResponse,
    native.GET_HOLDER: dial_pb2.GetHolderResponse,
    native.GIVE_BACK: dial_pb2.GiveBackResponse,
}


def refusals(call: Callable[[], Result]) -> Result:
    """Run `call`, turning the engine's refusal into the tests' own."""
    try:
        return call()
    except native.Refused as refused:
        raise Refusal(_STATUS_NAMES[refused.code], refused.message) from None


class EngineSubject(DialMessages):
    """A `TimedSubject` on `ownerd.engine.engine.Engine`; keyword options go to the engine."""

    def __init__(self, directory: Path | str, start_ns: int = START_NS, **options: Any) -> None:
        self.directory = str(directory)
        self.options = {"map_bytes": 1 << 30, "background": False, **options}
        self.clock = ManualClock(start_ns)
        self.engine = native.Engine(self.directory, self.clock, **self.options)

    def close(self) -> None:
        self.engine.close()

    @property
    def time_ns(self) -> int:
        return self.engine.time_ns

    def now_ns(self) -> int:
        return self.clock.now_ns()

    def advance_ns(self, delta_ns: int) -> None:
        self.clock.advance_ns(delta_ns)

    def vacuum(self) -> None:
        self.engine.vacuum()

    def reopen(self) -> None:
        now_ns = self.now_ns()
        self.engine.close()
        self.clock = ManualClock(now_ns)
        self.engine = native.Engine(self.directory, self.clock, **self.options)

    def _dial(self, kind: int, request: Any) -> Any:
        body = refusals(lambda: self.engine.dial(kind, request.SerializeToString()))
        return _RESPONSES[kind].FromString(body)

    def create_list(self, list_id: str, policy: Policy = Policy()) -> None:
        refusals(lambda: self.engine.create_list(list_id, native.Policy(*policy), **NOTE))

    def update_policy(self, list_id: str, policy: Policy) -> int:
        outcome = refusals(
            lambda: self.engine.update_policy(list_id, native.Policy(*policy), **NOTE)
        )
        return outcome.time_ns

    def policy(self, list_id: str) -> Policy:
        found = refusals(lambda: self.engine.get_list(list_id))
        if found is None:
            raise Refusal("NOT_FOUND")
        return Policy(*found.policy)

    def delete_list(self, list_id: str, force: bool = False) -> None:
        refusals(lambda: self.engine.delete_list(list_id, force=force, **NOTE))

    def release(
        self, list_id: str, campaign_ids: list[str] | None = None, reservations: bool = False
    ) -> int:
        outcome = refusals(lambda: self.engine.release(list_id, campaign_ids, reservations, **NOTE))
        return self.engine.count_released(outcome.entry_id)

    def transfer(self, list_id: str, from_campaign_id: str, to_campaign_id: str) -> int:
        outcome = refusals(
            lambda: self.engine.transfer(list_id, from_campaign_id, to_campaign_id, **NOTE)
        )
        return self.engine.count_released(outcome.entry_id)

    def release_records(self, list_id: str, record_ids: list[str]) -> int:
        return refusals(lambda: self.engine.release_records(list_id, record_ids, **NOTE)).count

    def signal(
        self, campaign_id: str, what: str, list_id: str = "", end_reservations: bool = False
    ) -> int:
        outcome = refusals(
            lambda: self.engine.signal_campaign(campaign_id, list_id, end_reservations, **NOTE)
        )
        return self.engine.count_released(outcome.entry_id) if end_reservations else 0

    def upsert_campaign(self, campaign_id: str, name: str) -> None:
        # For the engine an empty name keeps the name; the service makes it the id.
        refusals(lambda: self.engine.upsert_campaign(campaign_id, name or campaign_id, **NOTE))

    def campaigns(self) -> dict[str, str]:
        return dict(self.engine.campaigns("", 10_000))

    def upsert_code(self, code: str, meaning: Code) -> None:
        refusals(lambda: self.engine.upsert_code(code, *meaning, **NOTE))

    def delete_code(self, code: str) -> None:
        refusals(lambda: self.engine.delete_code(code, **NOTE))

    def codes(self) -> dict[str, Code]:
        return {code: Code(*rest) for code, *rest in self.engine.codes("", 10_000)}

    def import_rows(
        self,
        list_id: str,
        rows: list[Row],
        strategy: int = FAIL,
        exact: bool = False,
        rename: bool = False,
        by_policy: bool = False,
    ) -> Tally:
        foreseen = self._foreseen(list_id, rows, strategy, exact, by_policy)
        outcome = refusals(
            lambda: self.engine.import_rows(
                list_id,
                [tuple(row) for row in rows],
                strategy,
                exact=exact,
                rename_campaigns=rename,
                expire_by_policy=by_policy,
                **NOTE,
            )
        )
        assert len({row.record_id for row in rows}) < len(rows) or foreseen == outcome.tally
        return Tally(*outcome.tally)

    def _foreseen(
        self, list_id: str, rows: list[Row], strategy: int, exact: bool, by_policy: bool
    ) -> tuple[int, ...]:
        """Return what a snapshot says that an import will do; the engine's time stands still."""
        with refusals(lambda: self.engine.snapshot(list_id)) as snapshot:
            outcomes = snapshot.import_outcomes(
                [tuple(row) for row in rows],
                overwrite=strategy == OVERWRITE,
                exact=exact,
                expire_by_policy=by_policy,
            )
        return tuple(outcomes.count(place) for place in range(4))

    def owners(self, list_id: str) -> list[Owner]:
        with refusals(lambda: self.engine.snapshot(list_id)) as snapshot:
            return [Owner(*owner[:5]) for owner in snapshot.owners()]

    def owned(self, list_id: str, campaign_ids: list[str] | None = None) -> list[Owned]:
        """Read in pages of three, so that every call crosses page borders."""
        found: list[Owned] = []
        with refusals(lambda: self.engine.snapshot(list_id)) as snapshot:
            after = b""
            while True:
                page, after = refusals(lambda start=after: snapshot.records(start, 3, campaign_ids))
                found.extend(Owned(*record) for record in page)
                if not after:
                    return found

    def revision(self) -> int:
        return self.engine.revision

    def count_owned(self, list_id: str) -> int:
        with refusals(lambda: self.engine.snapshot(list_id)) as snapshot:
            return snapshot.count_owned(None)

    def holders(self, list_id: str, record_ids: list[str]) -> list[Holder | None]:
        with refusals(lambda: self.engine.snapshot(list_id)) as snapshot:
            found = snapshot.holders(record_ids)
        return [h if h is None else Holder(_KINDS[h[0]], *h[1:]) for h in found]
