"""Instants as ownerctl reads and writes them: RFC 3339 in files and JSON, short in tables.

An instant is an int of nanoseconds since the Unix epoch, None where there is none. Always UTC on
the way out, so that what is exported reads the same everywhere. Pure functions but for `now_ns`.
"""

import re
import time
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from ownerd import durations
from ownerd.durations import NS_PER_SECOND

ALLOWED = "RFC 3339 with a zone, such as 2026-01-31T18:00:00Z"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\s*([Zz]|[+-]\d\d:\d\d)?", re.ASCII
)


class TimeError(ValueError):
    """A text is no instant; the message says why, without naming where it stood."""


def now_ns() -> int:
    """Return this machine's wall clock; good enough to show how far away an instant is."""
    return time.time_ns()


def parse(text: str, *, assume_utc: bool = False) -> int:
    """Return the instant that an RFC 3339 text names, exact to the nanosecond.

    Args:
        text: Such as `2026-01-31T18:00:00Z`; a blank instead of the T is fine.
        assume_utc: Read a time without a zone as UTC rather than refusing it.

    Raises:
        TimeError: No such time in the calendar, no zone, or another notation.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise TimeError("is not a time")
    day, clock, fraction, zone = match.groups()
    if zone is None and not assume_utc:
        raise TimeError("has no time zone")
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{_offset(zone)}")
        seconds = (moment - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise TimeError("is no such time in the calendar") from error
    return seconds * NS_PER_SECOND + int((fraction or "0").ljust(9, "0"))


def _offset(zone: str | None) -> str:
    return "+00:00" if zone in (None, "Z", "z") else str(zone)


def to_message(time_ns: int) -> Timestamp:
    """Return the protobuf Timestamp of an instant; the server says which ones it takes.

    A zone can make an instant before the year 1 or after 9999, which `FromNanoseconds` refuses.
    """
    seconds, nanos = divmod(time_ns, NS_PER_SECOND)
    return Timestamp(seconds=seconds, nanos=nanos)


def rfc3339(time_ns: int) -> str:
    """Write an instant as RFC 3339 in UTC, with as many decimals as it needs (0, 3, 6 or 9)."""
    return to_message(time_ns).ToJsonString()


def plain(time_ns: int) -> str:
    """Write an instant for a table: UTC, to the second, without naming the zone."""
    moment = _EPOCH + timedelta(seconds=time_ns // NS_PER_SECOND)
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def relative(time_ns: int, now_ns: int) -> str:
    """Say how far an instant is from now: `in 2d3h`, `5m10s ago`, `now`."""
    distance_ns = time_ns - now_ns
    if distance_ns == 0:
        return "now"
    short = durations.format_short(abs(distance_ns))
    return f"in {short}" if distance_ns > 0 else f"{short} ago"
