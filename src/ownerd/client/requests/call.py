"""What the calls of every service share: their form, ids, and the form of times on the wire."""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ownerd import limits
from ownerd.client.errors import InvalidArgument

DIAL = "DialService"
ADMIN = "AdminService"
PAGE_SIZE = 1_000

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


def fresh_request_id(given: str | None = None) -> str:
    """Return the caller's request id or a fresh one, which makes a retried change safe (R20)."""
    return str(uuid.uuid4()) if given is None else given


def members(enum_class: Any) -> Callable[[int], Any]:
    """Return a fast reader of an enum's number, with UNKNOWN for one from a newer server."""
    by_number = {member.value: member for member in enum_class}
    unknown = enum_class.UNKNOWN
    return lambda number: by_number.get(number, unknown)


def chunk_note(start: int) -> str:
    """Return what an error in the chunk that begins at item `start` should add."""
    return f"items are counted from item {start} of your batch" if start else ""


def text(name: str, value: str) -> str:
    """Return an id or a name, refusing what is none: a table's bigint is a number in Python."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is a str, found {value!r}, {_a(value)}; give str({value!r})")
    return value


def _a(value: object) -> str:
    kind = type(value).__name__
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def id_list(given: str | Iterable[str]) -> list[str]:
    """Return a list of ids; a lone string is one id, not its letters."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        return [text("an id", given)]
    return [text("an id", each) for each in given]


def id_texts(record_ids: Iterable[str]) -> list[str]:
    """Return ids that the server judges one by one as a list. Raise TypeError for one string."""
    if isinstance(record_ids, str):
        raise TypeError("record_ids is a collection of ids, not one string")
    return [text(f"the record id at index {i}", each) for i, each in enumerate(record_ids)]


def checked_ids(record_ids: Iterable[str]) -> list[str]:
    """Return the ids as a list, refusing a bad one before anything is sent.

    The server refuses a whole chunk for one bad id; only the client can refuse the whole batch.
    """
    ids = id_texts(record_ids)
    for index, record_id in enumerate(ids):
        text(f"record id at index {index}", record_id)
        size_bytes = len(record_id) if record_id.isascii() else len(record_id.encode())
        if not 1 <= size_bytes <= limits.RECORD_ID_BYTES:
            raise InvalidArgument(
                f"record id at index {index} has {size_bytes} bytes; "
                f"1 to {limits.RECORD_ID_BYTES} are allowed; nothing was sent"
            )
    return ids
