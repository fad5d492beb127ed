"""Instants and lengths as protobuf has them."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

ACQUIRED = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
EXPIRES = ACQUIRED + timedelta(days=2)


def stamp(time: datetime, extra_ns: int = 0) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    message.nanos += extra_ns
    return message


def length(value: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(value)
    return message
