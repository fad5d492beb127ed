"""Tokens on the native listener, in process: their end to the nanosecond, and what stays in memory.

What holds on every listener is in test_auth; here the clock stands still until it is moved.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hyperframe.frame import PingFrame
from known import Known
from native_listener import Loopback, claim_request
from raw_http2 import DIAL, RawClient, framed, request_headers

from ownerd.access.table import RIGHTS, Access

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

UNAUTHENTICATED, PERMISSION_DENIED, EXHAUSTED = 16, 7, 8


def token(number: int) -> str:
    return f"ownerd_{number:043}"


def known(number: int, until_ns: int | None = None, **fields: Any) -> Known:
    digest = hashlib.sha256(token(number).encode()).digest()
    return Known(**{"principal_id": f"p{number}", "tokens": ((digest, until_ns),)} | fields)


@pytest.fixture
def access() -> Access:
    return Access()


@pytest.fixture
def loopback(tmp_path: Path, access: Access) -> Iterator[Loopback]:
    with Loopback(tmp_path / "data", access) as listener:
        yield listener


def code(client: RawClient, number: int, record_id: str = "1", path: str = "Claim") -> int:
    reply = client.call(
        DIAL + path, claim_request(record_id), authorization=f"Bearer {token(number)}"
    )
    return reply.code


def test_a_token_ends_at_its_instant_on_a_connection_that_has_used_it(
    loopback: Loopback, access: Access
) -> None:
    clock = loopback.subject.clock
    now_ns = clock.now_ns()
    access.replace([known(1, now_ns + 1_000)])
    with loopback.client() as client:
        assert code(client, 1) == 0
        clock.advance_ns(999)
        assert code(client, 1) == 0
        clock.advance_ns(1)
        assert code(client, 1) == UNAUTHENTICATED


def test_a_new_table_counts_for_the_next_call_of_an_open_connection(
    loopback: Loopback, access: Access
) -> None:
    with loopback.client() as client:
        assert code(client, 1) == UNAUTHENTICATED
        access.replace([known(1)])
        assert code(client, 1) == 0
        access.replace([known(1, grants=((RIGHTS["view"], (), ()),))])
        assert code(client, 1) == PERMISSION_DENIED
        access.replace([])
        assert code(client, 1) == UNAUTHENTICATED


def test_a_token_in_use_does_not_make_another_one_good(loopback: Loopback, access: Access) -> None:
    access.replace([known(1), known(2, grants=())])
    with loopback.client() as client:
        expected = {1: 0, 2: PERMISSION_DENIED, 3: UNAUTHENTICATED}
        for number in (1, 2, 1, 3, 1, 1, 2, 2, 3, 3, 1):
            assert code(client, number, str(number)) == expected[number]


def test_a_table_that_changes_between_headers_and_request_decides_by_the_new_one(
    loopback: Loopback, access: Access
) -> None:
    access.replace([known(1)])
    with loopback.client() as client:
        path, stream = DIAL + "Claim", client.new_stream()
        sent = request_headers(path, authorization=f"Bearer {token(1)}")
        headers, data = client.call_frames(stream, path, framed(claim_request("1")), headers=sent)
        client.send(headers, PingFrame(0, opaque_data=b"arrived?"))
        client.wait(lambda: bool(client.came(PingFrame)), "the headers to be read")
        access.replace([known(2)])
        client.send(data)
        assert client.reply(stream).code == UNAUTHENTICATED
    loopback.wait_empty()


def test_health_is_told_to_anybody(loopback: Loopback) -> None:
    with loopback.client() as client:
        assert client.call("/grpc.health.v1.Health/Check", b"").code == 0


def test_strangers_can_make_the_listener_keep_nothing(loopback: Loopback) -> None:
    with loopback.client() as client:
        reply = client.call("/grpc.health.v1.Health/Check", b"\x0a\xff\x7f" + b"x" * 16_383)
        assert reply.code == EXHAUSTED
        assert client.call("/grpc.health.v1.Health/Check", b"\x0a\x04none").code == 5


def test_strangers_keep_a_connection_for_a_short_time_only(tmp_path: Path, access: Access) -> None:
    access.replace([known(1)])
    limits = {"keepalive_time_s": 0.4, "keepalive_timeout_s": 5, "max_idle_s": 60}
    with (
        Loopback(tmp_path / "short", access, **limits) as loopback,
        loopback.client() as stranger,
        loopback.client() as dialer,
    ):
        assert code(dialer, 1) == 0
        stranger.wait(lambda: bool(stranger.goaways()), "a farewell")
        assert code(dialer, 1) == 0 and not dialer.goaways()


def test_those_refused_are_counted_with_where_they_came_from(
    loopback: Loopback, access: Access
) -> None:
    access.replace([known(1, grants=((RIGHTS["dial"], ("none",), ()),))])
    with loopback.client() as client:
        for _ in range(3):
            assert code(client, 2) == UNAUTHENTICATED
        assert code(client, 1) == PERMISSION_DENIED
    rows, beyond = access.take_refusals()
    assert sorted(rows) == [
        (PERMISSION_DENIED, "p1", "ipv4:127.0.0.1", "Claim", "list", "A", 1),
        (UNAUTHENTICATED, "", "ipv4:127.0.0.1", "Claim", "", "", 3),
    ]
    assert beyond == 0
