"""The DialService: claims, reports and holders; and what the calls of all services share."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ownerd.client import values
from ownerd.client.errors import InvalidArgument
from ownerd.client.values import BATCH_LIMIT
from ownerd.v1 import dial_pb2

DIAL = "DialService"
ADMIN = "AdminService"
RECORD_ID_LIMIT_BYTES = 128

Result = TypeVar("Result")
Chunk = TypeVar("Chunk")


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """One rpc to send. `note` is what an error should add to the server's words."""

    service: str
    rpc: str
    request: Any
    read: Callable[[Any], Result]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Chunks(Generic[Chunk, Result]):
    """Several calls that are one to the caller, and how to join their results."""

    calls: list[Call[Chunk]]
    join: Callable[[list[Chunk]], Result]


@dataclass(frozen=True, slots=True)
class Page(Generic[Result]):
    """One page of a listing; an empty `next_token` ends it."""

    items: list[Result]
    next_token: str


def read_time(message: Any, field: str) -> datetime | None:
    """Return a Timestamp field as a UTC datetime, None where it is absent."""
    return getattr(message, field).ToDatetime(tzinfo=UTC) if message.HasField(field) else None


def write_time(value: datetime | None) -> Timestamp | None:
    """Return an aware datetime as a Timestamp. Raise ValueError for one without a time zone."""
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError(f"the time {value} has no time zone; give an aware datetime, such as UTC")
    message = Timestamp()
    message.FromDatetime(value)
    return message


def write_length(value: timedelta | None) -> Duration | None:
    """Return a timedelta as a Duration, None as an absent field."""
    if value is None:
        return None
    message = Duration()
    message.FromTimedelta(value)
    return message


def read_length(message: Any, field: str) -> timedelta | None:
    """Return a Duration field as a timedelta, None where it is absent."""
    return getattr(message, field).ToTimedelta() if message.HasField(field) else None


def fresh_request_id(given: str | None) -> str:
    """Return the caller's request id or a fresh one, which makes a retried change safe (R20)."""
    return uuid.uuid4().hex if given is None else given


def id_list(given: str | Iterable[str]) -> list[str]:
    """Return a list of ids; a lone string is one id, not its letters."""
    return [given] if isinstance(given, str) else list(given)


def members(enum_class: Any) -> Callable[[int], Any]:
    """Return a fast reader of an enum's number, with UNKNOWN for one from a newer server."""
    by_number = {member.value: member for member in enum_class}
    unknown = enum_class.UNKNOWN
    return lambda number: by_number.get(number, unknown)


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
    request = dial_pb2.ClaimRequest(list_id=list_id, record_id=record_id, campaign_id=campaign_id)
    return Call(DIAL, "Claim", request, _read_claim)


def _read_claim(response: Any) -> values.Claim:
    return values.Claim(_decision(response.decision), _holder_in(response), response.revision)


def report(
    list_id: str, record_id: str, campaign_id: str, wrap_up_code: str
) -> Call[values.Report]:
    """Build `ReportAttempt`."""
    request = dial_pb2.ReportAttemptRequest(
        list_id=list_id, record_id=record_id, campaign_id=campaign_id, wrap_up_code=wrap_up_code
    )
    return Call(DIAL, "ReportAttempt", request, _read_report)


def _read_report(response: Any) -> values.Report:
    return values.Report(_outcome(response.outcome), _holder_in(response), response.revision)


def holder(list_id: str, record_id: str) -> Call[values.Holder | None]:
    """Build `GetHolder`."""
    request = dial_pb2.GetHolderRequest(list_id=list_id, record_id=record_id)
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
                list_id=list_id,
                campaign_id=campaign_id,
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
                list_id=list_id,
                campaign_id=campaign_id,
                attempts=[
                    message(record_id=record_id, wrap_up_code=code)
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


def chunk_note(start: int) -> str:
    """Return what an error in the chunk that begins at item `start` should add."""
    return f"items are counted from item {start} of your batch" if start else ""


def checked_ids(record_ids: Iterable[str]) -> list[str]:
    """Return the ids as a list, refusing a bad one before anything is sent.

    The server refuses a whole chunk for one bad id; only the client can refuse the whole batch.
    """
    if isinstance(record_ids, str):
        raise TypeError("record_ids is a collection of ids, not one string")
    ids = list(record_ids)
    for index, record_id in enumerate(ids):
        size_bytes = len(record_id) if record_id.isascii() else len(record_id.encode())
        if not 1 <= size_bytes <= RECORD_ID_LIMIT_BYTES:
            raise InvalidArgument(
                f"record id at index {index} has {size_bytes} bytes; "
                f"1 to {RECORD_ID_LIMIT_BYTES} are allowed; nothing was sent"
            )
    return ids
