"""Fixtures of the client tests: a fake server, and each of the two clients connected to it.

`connect` and `client` run a test once with `Client` and once with `AsyncClient`, so that one body
tests both. Test modules import the fixtures by name.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from inspect import isasyncgen, iscoroutine
from typing import Any

import pytest
from fake_server import FakeServer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ownerd.client import AsyncClient, Client

ACQUIRED = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
EXPIRES = ACQUIRED + timedelta(days=2)


class Driven:
    """An `AsyncClient` that is called like a `Client`: each call runs on a loop of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*arguments, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            result = method(*arguments, **options)
            if isasyncgen(result):
                return self._runner.run(_collect(result))
            return self._runner.run(result) if iscoroutine(result) else result

        return call

    def __enter__(self) -> "Driven":
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


async def _collect(items: Any) -> list[Any]:
    return [item async for item in items]


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture(params=[Client, Driven], ids=["sync", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make clients of the one or the other kind, closed at the end of the test."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(
            request.param(*arguments, **options)
        )


@pytest.fixture
def client(fake: FakeServer, connect: Callable[..., Any]) -> Any:
    return connect(fake.address)


def stamp(time: datetime, extra_ns: int = 0) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    message.nanos += extra_ns
    return message


def length(value: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(value)
    return message
