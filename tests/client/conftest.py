"""Fixtures of the client tests: a fake server, and each of the two clients connected to it.

`connect` and `client` run a test once with `Client` and once with `AsyncClient`, so that one body
tests both.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from driven import Driven
from fake_server import FakeServer

from ownerd.client import Client


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
