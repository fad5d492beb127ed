"""The DialService: claims, reports, holders, and what a dialer gives back."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ownerd.client import values
from ownerd.client.requests.call import (
    DIAL,
    Call,
    Chunks,
    chunk_note,
    id_texts,
    members,
    read_time,
    text,
    write_length,
    write_time,
)
from ownerd.client.values import BATCH_LIMIT, Attempt
from ownerd.v1 import dial_pb2

_decision = members(values.Decision)
_outcome = members(values.Outcome)
_hold_kind = members(values.HoldKind)


def _read_holder(message: Any) -> values.Holder:
    return values.Holder(
        kind=_hold_kind(message.kind),
        campaign_id=message.campaign_id,
        campaign_name=message.campaign_name or message.campaign_id,
        acquire_time=read_time(message, "acquire_time"),
        expire_time=read_time(message, "expire_time"),
        dialer_id=message.dialer_id,
        reserved_until=read_time(message, "reserved_until"),
        last_attempt_time=read_time(message, "last_attempt_time"),
    )


def holder_in(response: Any) -> values.Holder | None:
    """Return whom a message names as the holder, None for nobody."""
    return _read_holder(response.holder) if response.HasField("holder") else None


def claim(
    list_id: str,
    record_id: str,
    campaign_id: str,
    dialer_id: str | None,
    reservation_ttl: timedelta | None,
) -> Call[values.Claim]:
    """Build `Claim`."""
    request = dial_pb2.ClaimRequest(
        list_id=text("list_id", list_id),
        record_id=text("record_id", record_id),
        campaign_id=text("campaign_id", campaign_id),
        dialer_id=dialer_id,
        reservation_ttl=write_length(reservation_ttl),
    )
    return Call(DIAL, "Claim", request, _read_claim)


def _read_claim(response: Any) -> values.Claim:
    return values.Claim(
        _decision(response.decision),
        holder_in(response),
        response.revision,
        read_time(response, "reserved_until"),
        response.reservation_id,
    )


def report(
    list_id: str, campaign_id: str, dialer_id: str | None, attempt: Attempt
) -> Call[values.Report]:
    """Build `ReportAttempt`."""
    request = dial_pb2.ReportAttemptRequest(
        list_id=text("list_id", list_id),
        record_id=text("record_id", attempt.record_id),
        campaign_id=text("campaign_id", campaign_id),
        wrap_up_code=text("wrap_up_code", attempt.wrap_up_code),
        dialer_id=dialer_id,
        attempt_time=write_time(attempt.attempt_time),
        reservation_id=attempt.reservation_id,
    )
    return Call(DIAL, "ReportAttempt", request, _read_report)


def _read_report(response: Any) -> values.Report:
    return values.Report(_outcome(response.outcome), holder_in(response), response.revision)


def holder(list_id: str, record_id: str) -> Call[values.Holder | None]:
    """Build `GetHolder`."""
    request = dial_pb2.GetHolderRequest(
        list_id=text("list_id", list_id), record_id=text("record_id", record_id)
    )
    return Call(DIAL, "GetHolder", request, holder_in)


def give_back(campaign_id: str, dialer_id: str, list_id: str) -> Call[int]:
    """Build `GiveBack`."""
    request = dial_pb2.GiveBackRequest(
        campaign_id=campaign_id, dialer_id=dialer_id, list_id=list_id
    )
    return Call(DIAL, "GiveBack", request, lambda response: response.revision)


def claim_batch(
    list_id: str,
    campaign_id: str,
    record_ids: Iterable[str],
    dialer_id: str | None,
    reservation_ttl: timedelta | None,
) -> Chunks[Any, values.ClaimBatch]:
    """Build the `ClaimBatch` calls for any number of records."""
    ids = id_texts(record_ids)
    calls = [
        Call(
            DIAL,
            "ClaimBatch",
            dial_pb2.ClaimBatchRequest(
                list_id=text("list_id", list_id),
                campaign_id=text("campaign_id", campaign_id),
                record_ids=ids[start : start + BATCH_LIMIT],
                dialer_id=dialer_id,
                reservation_ttl=write_length(reservation_ttl),
                return_reservation_ids=True,
            ),
            _as_it_is,
            chunk_note(start),
        )
        for start in range(0, len(ids), BATCH_LIMIT)
    ]
    return Chunks(calls, _join_claims)


def _as_it_is(response: Any) -> Any:
    """Leave a chunk's response for the join, which reads all of them at once."""
    return response


def _join_claims(responses: list[Any]) -> values.ClaimBatch:
    return values.ClaimBatch(
        decisions=tuple(_decision(number) for r in responses for number in r.decisions),
        holders=_join_holders([r.denials for r in responses]),
        revisions=tuple(r.revision for r in responses),
        invalid=_join_invalid(responses),
        reservation_ids=tuple(number for r in responses for number in r.reservation_ids),
    )


def report_batch(
    list_id: str,
    campaign_id: str,
    attempts: Iterable[Attempt | tuple[str, str] | tuple[str, str, datetime | None]],
    dialer_id: str | None,
) -> Chunks[Any, values.ReportBatch]:
    """Build the `ReportAttemptBatch` calls for any number of attempts."""
    meant = [each if isinstance(each, Attempt) else Attempt(*each) for each in attempts]
    ids = id_texts(each.record_id for each in meant)
    written = [_write_attempt(*each) for each in zip(ids, meant, strict=True)]
    calls = [
        Call(
            DIAL,
            "ReportAttemptBatch",
            dial_pb2.ReportAttemptBatchRequest(
                list_id=text("list_id", list_id),
                campaign_id=text("campaign_id", campaign_id),
                attempts=written[start : start + BATCH_LIMIT],
                dialer_id=dialer_id,
            ),
            _as_it_is,
            chunk_note(start),
        )
        for start in range(0, len(meant), BATCH_LIMIT)
    ]
    return Chunks(calls, _join_reports)


def _write_attempt(record_id: str, attempt: Attempt) -> dial_pb2.ReportAttemptBatchRequest.Attempt:
    return dial_pb2.ReportAttemptBatchRequest.Attempt(
        record_id=record_id,
        wrap_up_code=text("wrap_up_code", attempt.wrap_up_code),
        attempt_time=write_time(attempt.attempt_time),
        reservation_id=attempt.reservation_id,
    )


def _join_reports(responses: list[Any]) -> values.ReportBatch:
    return values.ReportBatch(
        outcomes=tuple(_outcome(number) for r in responses for number in r.outcomes),
        holders=_join_holders([r.rejections for r in responses]),
        revisions=tuple(r.revision for r in responses),
        invalid=_join_invalid(responses),
    )


def _join_invalid(responses: list[Any]) -> Mapping[int, str]:
    """Return why items were not decided, by their index in the whole batch."""
    return {
        number * BATCH_LIMIT + entry.index: entry.reason
        for number, response in enumerate(responses)
        for entry in response.invalid
    }


def _join_holders(chunks: list[Any]) -> Mapping[int, values.Holder]:
    """Return the holders by their index in the whole batch; the server counts in its chunk."""
    return {
        number * BATCH_LIMIT + entry.index: _read_holder(entry.holder)
        for number, entries in enumerate(chunks)
        for entry in entries
    }
