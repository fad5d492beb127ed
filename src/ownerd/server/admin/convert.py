"""Times and lengths: protobuf's Timestamp and Duration to and from the core's int64 nanoseconds."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ownerd.server.errors import InvalidField, Words

SECOND_NS = 1_000_000_000
CENTURY_DAYS = 36_525
CENTURY_NS = CENTURY_DAYS * 86_400 * SECOND_NS

# The last instant in int64 nanoseconds stands for "never" inside.
LAST_NS = 2**63 - 2
_LAST_SECONDS = LAST_NS // SECOND_NS - 1


def time_of(time_ns: int) -> Timestamp:
    """Return the Timestamp of an instant in nanoseconds since the Unix epoch."""
    message = Timestamp()
    message.FromNanoseconds(time_ns)
    return message


def optional_time_of(time_ns: int | None) -> Timestamp | None:
    """Return the Timestamp of an instant, or None for none."""
    return None if time_ns is None else time_of(time_ns)


def instant_ns(field: str, time: Timestamp) -> int:
    """Return nanoseconds since the Unix epoch; an instant before the epoch is the epoch.

    Raises:
        InvalidField: not a valid Timestamp, or after the year 2261.
    """
    if time.seconds > _LAST_SECONDS or not 0 <= time.nanos < SECOND_NS:
        found = Words(f"{time.seconds} s {time.nanos} ns since 1970")
        raise InvalidField(field, found, "a valid time up to the year 2261, or absent for none")
    return max(0, time.seconds * SECOND_NS + time.nanos)


def duration_of(length_ns: int) -> Duration:
    """Return the Duration of a length in nanoseconds."""
    message = Duration()
    message.FromNanoseconds(length_ns)
    return message


def length_ns(field: str, length: Duration, least_ns: int) -> int:
    """Return nanoseconds, between `least_ns` (1 second or 0) and 100 years (R14).

    Raises:
        InvalidField: outside that, or seconds and nanos of different signs.
    """
    found_ns = length.ToNanoseconds()
    same_sign = length.seconds * length.nanos >= 0 and abs(length.nanos) < SECOND_NS
    if not same_sign or not least_ns <= found_ns <= CENTURY_NS:
        found = f"{length.seconds} s" + (f" {length.nanos} ns" if length.nanos else "")
        least = "1 second" if least_ns else "0"
        raise InvalidField(field, Words(found), f"{least} to {CENTURY_DAYS:,} days")
    return found_ns
