"""Lengths of time as people write them (`2d3h`), as whole nanoseconds, and as protobuf Durations.

Everything here is exact: a length is an int of nanoseconds, never a float, and `parse` undoes
`format`. Pure functions, safe from any thread. How long a policy's duration may be is the server's
rule (R14) and is not checked here.
"""

import re
from fractions import Fraction

from google.protobuf.duration_pb2 import Duration

NS_PER_SECOND = 1_000_000_000
NS_PER_UNIT = {
    "d": 86_400 * NS_PER_SECOND,
    "h": 3_600 * NS_PER_SECOND,
    "m": 60 * NS_PER_SECOND,
    "s": NS_PER_SECOND,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
MAX_NS = 2**63 - 1  # what an int64 of nanoseconds holds, about 292 years

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Zµ]*)\s*", re.ASCII)
_ALLOWED = "write numbers with d, h, m, s or ms, the largest first, such as 2d3h or 90m"
_RANKS = {unit: rank for rank, unit in enumerate(NS_PER_UNIT)}


class DurationError(ValueError):
    """A text is no length of time; the message says what was found and what is allowed."""


def parse(text: str) -> int:
    """Return the length that `text` names.

    Args:
        text: Numbers with a unit each (d, h, m, s, ms, us, ns), the largest unit first and each at
            most once: `2d3h`, `1h 30m`, `1.5d`. A decimal must come to whole nanoseconds.

    Returns:
        Nanoseconds, 0 to 2**63 - 1.

    Raises:
        DurationError: Anything else: empty, negative, no unit, an unknown or misplaced unit.
    """
    total_ns, position, rank = Fraction(0), 0, -1
    rest = text.strip()
    if not rest:
        raise DurationError(f"an empty duration; {_ALLOWED}")
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None:
            raise DurationError(f'"{text}" is not a duration: {_complaint(rest)}; {_ALLOWED}')
        total_ns += Fraction(part[1]) * _unit_ns(text, part[1], part[2], rank)
        rank, position = _RANKS[part[2]], part.end()
    return _whole_ns(text, total_ns)


def _complaint(text: str) -> str:
    if text.startswith("-"):
        return "it is negative"
    return "it has something else than numbers and units"


def _unit_ns(text: str, number: str, unit: str, rank: int) -> int:
    if not unit:
        raise DurationError(f'"{text}" is not a duration: {number} has no unit; {_ALLOWED}')
    if unit not in NS_PER_UNIT:
        raise DurationError(f'"{text}" is not a duration: unknown unit "{unit}"; {_ALLOWED}')
    if _RANKS[unit] <= rank:
        raise DurationError(f'"{text}" is not a duration: {unit} is out of order; {_ALLOWED}')
    return NS_PER_UNIT[unit]


def _whole_ns(text: str, total_ns: Fraction) -> int:
    if total_ns.denominator != 1:
        raise DurationError(f'"{text}" is finer than a nanosecond; round it')
    if total_ns > MAX_NS:
        raise DurationError(f'"{text}" is too long; the most is {format(MAX_NS)}')
    return int(total_ns)


def format(length_ns: int) -> str:
    """Write a length of nanoseconds exactly, such as `2d3h`; `0s` for none, `-2d` for a negative.

    `parse(format(x)) == x` for every x from 0 to 2**63 - 1.
    """
    return _join(_parts(length_ns)) if length_ns >= 0 else "-" + format(-length_ns)


def format_short(length_ns: int) -> str:
    """Write a length with its two largest neighbouring units, cut off: `2d3h`, `5m10s`, `<1s`."""
    if length_ns < 0:
        return "-" + format_short(-length_ns)
    if length_ns < NS_PER_SECOND:
        return "0s" if length_ns == 0 else "<1s"
    step_ns = next(ns for ns in NS_PER_UNIT.values() if ns <= length_ns)
    units_ns = list(NS_PER_UNIT.values())
    second_ns = max(units_ns[units_ns.index(step_ns) + 1], NS_PER_SECOND)
    return format(length_ns - length_ns % second_ns)


def _parts(length_ns: int) -> list[tuple[int, str]]:
    parts = []
    for unit, unit_ns in NS_PER_UNIT.items():
        count, length_ns = divmod(length_ns, unit_ns)
        parts.append((count, unit))
    return parts


def _join(parts: list[tuple[int, str]]) -> str:
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def from_parts(*, days: int | None = None, hours: int | None = None) -> int | None:
    """Return the length of so many days and hours in nanoseconds; None if neither is given.

    Raises:
        DurationError: A part is negative, or the sum is over 2**63 - 1.
    """
    if days is None and hours is None:
        return None
    for value, name in ((days, "days"), (hours, "hours")):
        if value is not None and value < 0:
            raise DurationError(f"{value} {name} is negative; give 0 or more")
    return parse(f"{days or 0}d{hours or 0}h")


def to_message(length_ns: int) -> Duration:
    """Return the protobuf Duration of a length of nanoseconds, which may be negative."""
    message = Duration()
    message.FromNanoseconds(length_ns)
    return message
