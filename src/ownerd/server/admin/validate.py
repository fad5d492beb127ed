"""Requests of AdminService: their bytes, and the limits that admin.proto gives their fields.

Each function returns the checked value, or raises `InvalidField` with the field, what was found and
what is allowed. Limits of strings are in bytes of UTF-8; parsing has checked that they are UTF-8.
"""

from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from ownerd import limits
from ownerd.native import Engine
from ownerd.server.errors import CampaignNotFound, InvalidField, MalformedMessage, Words

Parsed = TypeVar("Parsed", bound=Message)

PAGE_SIZE = 100

_EVERY = 2**31 - 1


def parsed(message_type: type[Parsed], body: bytes) -> Parsed:
    """Return the message that `body` holds.

    Raises:
        MalformedMessage: it holds none.
    """
    try:
        return message_type.FromString(body)
    except DecodeError:
        raise MalformedMessage(message_type.DESCRIPTOR.name) from None


def exactly_one(fields: str, first: bool, second: bool) -> None:
    """Refuse two fields that are both asked for, or neither."""
    if first == second:
        raise InvalidField(fields, Words("both" if first else "neither"), "exactly one of the two")


def text(field: str, value: str, limit_bytes: int, *, required: bool = True) -> str:
    """Return `value` when it has at most `limit_bytes` bytes and, if required, at least one."""
    # No character takes more than four bytes, so most values need not be encoded to be measured.
    size = len(value) if len(value) * 4 <= limit_bytes else len(value.encode())
    if size > limit_bytes or (required and not value):
        least = 1 if required else 0
        raise InvalidField(field, value, f"{least:,} to {limit_bytes:,} bytes of UTF-8")
    return value


def list_id(value: str, field: str = "list_id") -> str:
    """Return a list id, 1 to 128 bytes."""
    return text(field, value, limits.LIST_ID_BYTES)


def campaign_id(value: str, field: str = "campaign_id") -> str:
    """Return a campaign id, 1 to 80 bytes."""
    return text(field, value, limits.CAMPAIGN_ID_BYTES)


def record_id(value: str, field: str = "record_id") -> str:
    """Return a record id, 1 to 128 bytes."""
    return text(field, value, limits.RECORD_ID_BYTES)


def code(value: str, field: str = "code") -> str:
    """Return a wrap-up code, 1 to 64 bytes."""
    return text(field, value, limits.WRAP_UP_CODE_BYTES)


def new_code(value: str, field: str) -> str:
    """Return a wrap-up code that is more than blanks, which are none to dialers (R26)."""
    if not value.strip():
        raise InvalidField(field, value, "a text that is more than blanks")
    return code(value, field)


def one_of(field: str, value: str, allowed: Iterable[str]) -> str:
    """Return a text that is one of some."""
    names = list(allowed)
    if value not in names:
        raise InvalidField(field, value, ", ".join(names))
    return value


def change_fields(reason: str, request_id: str) -> None:
    """Check the two fields that every change has."""
    text("reason", reason, limits.REASON_BYTES, required=False)
    text("request_id", request_id, limits.REQUEST_ID_BYTES, required=False)


def campaign_ids(values: Iterable[str]) -> list[str]:
    """Return the ids of a campaign filter, up to 1,000."""
    ids = list(values)
    if len(ids) > limits.FILTER_CAMPAIGNS:
        found = Words(f"{len(ids):,} ids")
        raise InvalidField("campaign_ids", found, f"up to {limits.FILTER_CAMPAIGNS:,} ids")
    for index, value in enumerate(ids):
        campaign_id(value, f"campaign_ids[{index}]")
    return ids


def every_campaign(engine: Engine) -> list[str]:
    """Return the ids of all campaigns that the store knows."""
    return [campaign_id for campaign_id, _ in engine.campaigns("", _EVERY)]


def known_campaigns(engine: Engine, values: Iterable[str]) -> None:
    """Check that every campaign of a filter is known to the store.

    A misspelt id would look like a campaign that owns nothing.

    Raises:
        CampaignNotFound: for the first one that is not.
    """
    wanted = list(values)
    if not wanted:
        return
    known = set(every_campaign(engine))
    for value in wanted:
        if value not in known:
            raise CampaignNotFound(value)


def record_ids(values: Iterable[str]) -> list[str]:
    """Return the ids of a batch of records, 1 to 10,000."""
    ids = list(values)
    if not 1 <= len(ids) <= limits.BATCH_RECORDS:
        found = Words(f"{len(ids):,} ids")
        raise InvalidField("record_ids", found, f"1 to {limits.BATCH_RECORDS:,} ids")
    for index, value in enumerate(ids):
        record_id(value, f"record_ids[{index}]")
    return ids


def page_size(value: int) -> int:
    """Return how many items a page has: 100 for 0, at most 10,000."""
    if value < 0:
        raise InvalidField("page_size", value, f"0 (for {PAGE_SIZE}) to {limits.PAGE_ITEMS:,}")
    return min(value or PAGE_SIZE, limits.PAGE_ITEMS)
