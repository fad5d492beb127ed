"""Times as other people's programs write them, as nanoseconds since the Unix epoch.

A time without a zone is of the zone that is told, and where its clock showed that time twice, or
never, the later reading counts: ownership that ends late does less harm than one that ends early.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

NS_PER_SECOND = 1_000_000_000
ALLOWED = "RFC 3339 with a zone, such as 2026-01-31T18:00:00Z"
# What programs that know no "never" write for it.
NO_EXPIRATION_YEAR = "9999"
LAST_YEAR = 2261
# The last second that the server takes.
LAST_S = 2**63 // NS_PER_SECOND - 2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"(?P<year>\d{4})-(?P<day>\d\d-\d\d)"
    r"(?:[Tt ]\s*(?P<clock>\d\d:\d\d)(?P<second>:\d\d)?(?:[.,](?P<fraction>\d{1,9}))?"
    r"\s*(?P<zone>[Zz]|(?i:UTC|GMT)|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?)?",
    re.ASCII,
)


class TimeFault(ValueError):
    """A text is no instant; the message says why, `lacks_zone` if that is all that is missing."""

    lacks_zone = False


def zone(name: str) -> tzinfo:
    """Return a time zone by its name in the IANA database, such as Europe/Berlin.

    Raises:
        ValueError: There is no such zone on this machine.
    """
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, OSError, ValueError):
        raise ValueError(
            f'"{name}" is no time zone that this machine knows; such are UTC, Europe/Berlin and'
            " America/New_York"
        ) from None


def parse(text: str, local: tzinfo | None) -> int | None:
    """Return the instant that a text names, exact to the nanosecond; None: never.

    Args:
        text: `2026-01-31T18:00:00Z`; with a blank instead of the T, without seconds, with an offset
            as PostgreSQL and SQL Server write it; the year 9999 and `infinity` are never.
        local: The zone of a time that has none; None: that is a fault.

    Raises:
        TimeFault: It is no time, has no zone, is not in the calendar, or too late for the server.
    """
    if text.lower() == "infinity":
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise TimeFault("is not a time")
    if match["year"] == NO_EXPIRATION_YEAR:
        return None
    if match["clock"] is None:
        raise TimeFault("is a day without a time of day")
    written = f"{match['year']}-{match['day']}T{match['clock']}{match['second'] or ':00'}"
    seconds = _seconds(written, match["zone"], local)
    if seconds > LAST_S:
        raise TimeFault(
            f"is after {LAST_YEAR}, the last year that ownerd knows; the year 9999 is never"
        )
    return seconds * NS_PER_SECOND + int((match["fraction"] or "0").ljust(9, "0"))


def _seconds(written: str, offset: str | None, local: tzinfo | None) -> int:
    try:
        if offset is None:
            return max(_local_readings(datetime.fromisoformat(written), local))
        moment = datetime.fromisoformat(written + _iso_offset(offset))
        return (moment - _EPOCH) // timedelta(seconds=1)
    except TimeFault:
        raise
    except (ValueError, OverflowError):
        raise TimeFault("is no such time in the calendar") from None


def _local_readings(moment: datetime, local: tzinfo | None) -> list[int]:
    """Return the instants that a clock without a zone may mean."""
    if local is None:
        fault = TimeFault("has no time zone")
        fault.lacks_zone = True
        raise fault
    readings = (moment.replace(tzinfo=local, fold=fold).astimezone(UTC) for fold in (0, 1))
    return [(reading - _EPOCH) // timedelta(seconds=1) for reading in readings]


def _iso_offset(offset: str) -> str:
    if offset.upper() in ("Z", "UTC", "GMT"):
        return "+00:00"
    digits = offset[1:].replace(":", "")
    return (
        offset[0]
        + ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
        + (":00" if len(digits) == 2 else "")
    )
