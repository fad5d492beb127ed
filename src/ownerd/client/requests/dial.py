"""The DialService: claims, reports and holders."""

from collections.abc import Iterable, Mapping
from typing import Any

from ownerd.client import values
from ownerd.client.requests.call import (
    DIAL,
    Call,
    Chunks,
    checked_ids,
    chunk_note,
    members,
    read_time,
    text,
)
from ownerd.client.values import BATCH_LIMIT
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
    )


def _holder_in(response: Any) -> values.Holder | None:
    return _read_holder(response.holder) if response.HasField("holder") else None


def claim(list_id: str, record_id: str, campaign_id: str) -> Call[values.Claim]:
    """Build `Claim`."""
    request = dial_pb2.ClaimRequest(
        list_id=text("list_id", list_id),
        record_id=text("record_id", record_id),
        campaign_id=text("campaign_id", campaign_id),
    )
    return Call(DIAL, "Claim", request, _read_claim)


def _read_claim(response: Any) -> values.Claim:
    return values.Claim(_decision(response.decision), _holder_in(response), response.revision)


def report(
    list_id: str, record_id: str, campaign_id: str, wrap_up_code: str
) -> Call[values.Report]:
    """Build `ReportAttempt`."""
    request = dial_pb2.ReportAttemptRequest(
        list_id=text("list_id", list_id),
        record_id=text("record_id", record_id),
        campaign_id=text("campaign_id", campaign_id),
        wrap_up_code=text("wrap_up_code", wrap_up_code),
    )
    return Call(DIAL, "ReportAttempt", request, _read_report)


def _read_report(response: Any) -> values.Report:
    return values.Report(_outcome(response.outcome), _holder_in(response), response.revision)


def holder(list_id: str, record_id: str) -> Call[values.Holder | None]:
    """Build `GetHolder`."""
    request = dial_pb2.GetHolderRequest(
        list_id=text("list_id", list_id), record_id=text("record_id", record_id)
    )
    return Call(DIAL, "GetHolder", request, _holder_in)


def claim_batch(
    list_id: str, record_ids: Iterable[str], campaign_id: str
) -> Chunks[Any, values.ClaimBatch]:
    """Build the `ClaimBatch` calls for any number of records."""
    ids = checked_ids(record_ids)
    calls = [
        Call(
            DIAL,
            "ClaimBatch",
            dial_pb2.ClaimBatchRequest(
                list_id=text("list_id", list_id),
                campaign_id=text("campaign_id", campaign_id),
                record_ids=ids[start : start + BATCH_LIMIT],
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
    )


def report_batch(
    list_id: str, campaign_id: str, attempts: Iterable[tuple[str, str]]
) -> Chunks[Any, values.ReportBatch]:
    """Build the `ReportAttemptBatch` calls for any number of (record id, wrap-up code)."""
    pairs = list(attempts)
    checked_ids([record_id for record_id, _ in pairs])
    message = dial_pb2.ReportAttemptBatchRequest.Attempt
    calls = [
        Call(
            DIAL,
            "ReportAttemptBatch",
            dial_pb2.ReportAttemptBatchRequest(
                list_id=text("list_id", list_id),
                campaign_id=text("campaign_id", campaign_id),
                attempts=[
                    message(record_id=record_id, wrap_up_code=text("wrap_up_code", code))
                    for record_id, code in pairs[start : start + BATCH_LIMIT]
                ],
            ),
            _as_it_is,
            chunk_note(start),
        )
        for start in range(0, len(pairs), BATCH_LIMIT)
    ]
    return Chunks(calls, _join_reports)


def _join_reports(responses: list[Any]) -> values.ReportBatch:
    return values.ReportBatch(
        outcomes=tuple(_outcome(number) for r in responses for number in r.outcomes),
        holders=_join_holders([r.rejections for r in responses]),
        revisions=tuple(r.revision for r in responses),
    )


def _join_holders(chunks: list[Any]) -> Mapping[int, values.Holder]:
    """Return the holders by their index in the whole batch; the server counts in its chunk."""
    return {
        number * BATCH_LIMIT + entry.index: _read_holder(entry.holder)
        for number, entries in enumerate(chunks)
        for entry in entries
    }
