"""Strangers on the native listener: what they may have, who makes room, and that nobody else does.

A stranger is a connection on which nobody known has made a call. What is asserted holds whatever
strangers say or do not say; known callers are never turned out for them.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from harness import poll
from hyperframe.frame import DataFrame, HeadersFrame, PingFrame, RstStreamFrame
from known import Known
from native_listener import Loopback, claim_request
from raw_http2 import DIAL, RawClient, framed, request_headers

from ownerd.access.table import Access

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

TOKEN = f"ownerd_{1:043}"
BEARER = f"Bearer {TOKEN}"
HEALTH = "/grpc.health.v1.Health/"
SERVING = framed(b"\x08\x01")
NOT_SERVING = framed(b"\x08\x02")
SERVICE_UNKNOWN = framed(b"\x08\x03")
ENHANCE_YOUR_CALM = 11
DEADLINE_EXCEEDED, UNAVAILABLE = 4, 14


@pytest.fixture
def access() -> Access:
    made = Access()
    digest = hashlib.sha256(TOKEN.encode()).digest()
    made.replace([Known(principal_id="dialer", tokens=((digest, None),))])
    return made


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Whatever a test opens, closed at its end."""
    with ExitStack() as stack:
        yield stack


def claims(client: RawClient) -> bool:
    return client.call(DIAL + "Claim", claim_request("1"), authorization=BEARER).code == 0


def begin(client: RawClient, path: str, message: bytes | None = b"", **changes: Any) -> int:
    """Begin a call; without a message it stays half open."""
    stream = client.new_stream()
    headers = request_headers(path, **changes)
    if message is None:
        block = client.encoder.encode(headers)
        client.send(HeadersFrame(stream, data=block, flags=["END_HEADERS"]))
    else:
        client.send(*client.call_frames(stream, path, framed(message), headers=headers))
    return stream


def told(client: RawClient, stream: int) -> bytes:
    return b"".join(
        frame.data
        for frame in client.frames
        if isinstance(frame, DataFrame) and frame.stream_id == stream
    )


def reset(client: RawClient, stream: int) -> int | None:
    for frame in client.frames:
        if isinstance(frame, RstStreamFrame) and frame.stream_id == stream:
            return int(frame.error_code)
    return None


def arrived(client: RawClient) -> None:
    """Wait until the listener has read all that was sent."""
    before = len(client.came(PingFrame))
    client.send(PingFrame(0, opaque_data=b"arrived?"))
    client.wait(lambda: len(client.came(PingFrame)) > before, "the answer to a ping")


# ---- connections


@pytest.mark.parametrize("threads", [1, 2])
def test_of_one_address_the_oldest_stranger_makes_room_and_never_a_known_caller(
    tmp_path: Path, access: Access, opened: ExitStack, threads: int
) -> None:
    with Loopback(tmp_path / "data", access, max_strangers=6, threads=threads) as loopback:
        dialer = opened.enter_context(loopback.client())
        assert claims(dialer)
        strangers = [opened.enter_context(loopback.client()) for _ in range(20)]
        poll(lambda: loopback.ended("crowded") == 14, "the oldest to go")
        assert loopback.stats()["strangers"] == 6
        # Connections go to the loops in turn, and each has its share.
        for stranger in strangers[:12]:
            stranger.wait_closed()
            assert [code for _, code in stranger.goaways()] == [0]
        assert claims(dialer) and claims(strangers[-1])
        assert loopback.stats()["strangers"] == 5


@pytest.mark.parametrize("threads", [1, 2])
def test_a_full_listener_takes_a_known_caller_in_the_place_of_a_stranger(
    tmp_path: Path, access: Access, opened: ExitStack, threads: int
) -> None:
    with Loopback(tmp_path / "data", access, max_connections=10, threads=threads) as loopback:
        known = [opened.enter_context(loopback.client()) for _ in range(5)]
        assert all(map(claims, known))
        for _ in range(12):
            opened.enter_context(loopback.client())
        poll(lambda: loopback.ended("crowded") == 7, "those who make room")
        for _ in range(5):
            known.append(opened.enter_context(loopback.client()))
            assert claims(known[-1])
        assert all(map(claims, known))
        assert loopback.ended("crowded") == 12
        assert (loopback.stats()["connections"], loopback.stats()["strangers"]) == (10, 0)


def test_where_all_are_known_the_next_one_waits(
    tmp_path: Path, access: Access, opened: ExitStack
) -> None:
    with Loopback(tmp_path / "data", access, max_connections=2) as loopback:
        one, two = (opened.enter_context(loopback.client()) for _ in range(2))
        assert claims(one) and claims(two)
        waiting = opened.enter_context(loopback.client())
        poll(lambda: loopback.stats()["accept_pauses"] > 0, "a pause")
        two.socket.close()
        assert claims(waiting) and claims(one)
        assert loopback.ended("crowded") == 0


@pytest.mark.parametrize("silent", ["plain", "tls"])
def test_connections_that_never_speak_hold_up_nobody(
    tmp_path: Path, access: Access, opened: ExitStack, silent: str
) -> None:
    with Loopback(tmp_path / "data", access, max_connections=10) as loopback:
        for _ in range(30):
            mute = opened.enter_context(loopback.client(greet=False))
            if silent == "tls":
                mute.socket.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        with loopback.client() as dialer:
            assert claims(dialer)


# ---- calls


@pytest.mark.parametrize(("path", "message"), [("Check", None), ("Watch", b""), ("Watch", None)])
def test_of_open_calls_of_strangers_the_oldest_makes_room(
    tmp_path: Path, access: Access, opened: ExitStack, path: str, message: bytes | None
) -> None:
    with Loopback(tmp_path / "data", access, max_stranger_calls=40) as loopback:
        watcher = opened.enter_context(loopback.client())
        assert claims(watcher)
        watching = begin(watcher, HEALTH + "Watch")
        clients = [opened.enter_context(loopback.client()) for _ in range(4)]
        begun = []
        for client in clients:
            begun += [(client, begin(client, HEALTH + path, message)) for _ in range(30)]
            arrived(client)
        assert loopback.stats()["stranger_calls"] == 40
        assert loopback.stats()["calls_turned_out"] == 80
        for client in clients:
            arrived(client)
        ended = [reset(client, stream) for client, stream in begun]
        assert ended == [ENHANCE_YOUR_CALM] * 80 + [None] * 40
        with loopback.client() as prober:
            assert prober.call(HEALTH + "Check", b"").message == b"\x08\x01"
        arrived(watcher)
        assert told(watcher, watching) == SERVING and reset(watcher, watching) is None
    poll(lambda: loopback.stats()["streams"] == 0, "every call to be freed")


def test_one_connection_of_a_stranger_has_few_open_calls(tmp_path: Path, access: Access) -> None:
    with Loopback(tmp_path / "data", access) as loopback, loopback.client() as client:
        streams = [begin(client, HEALTH + "Watch") for _ in range(100)]
        arrived(client)
        open_now = [stream for stream in streams if reset(client, stream) is None]
        assert open_now == streams[-len(open_now) :]
        assert len(open_now) == loopback.stats()["stranger_calls"] < 50
        assert claims(client)
        assert loopback.stats()["stranger_calls"] == 0


def test_a_watcher_who_says_who_it_is_is_no_stranger(tmp_path: Path, access: Access) -> None:
    with Loopback(tmp_path / "data", access, max_stranger_calls=1) as loopback:
        with loopback.client() as client:
            streams = [begin(client, HEALTH + "Watch", authorization=BEARER) for _ in range(50)]
            arrived(client)
            assert [told(client, stream) for stream in streams] == [SERVING] * 50
            assert loopback.stats()["strangers"] == loopback.stats()["stranger_calls"] == 0
        with loopback.client() as client:
            begin(client, HEALTH + "Watch", authorization=f"Bearer ownerd_{2:043}")
            arrived(client)
            assert loopback.stats()["strangers"] == 1


def test_a_request_that_does_not_become_whole_is_refused_in_time(
    tmp_path: Path, access: Access
) -> None:
    limits = {"transfer_timeout_s": 0.3}
    with Loopback(tmp_path / "data", access, **limits) as loopback, loopback.client() as client:
        for path in (HEALTH + "Check", HEALTH + "Watch", DIAL + "ClaimBatch"):
            stream = begin(client, path, None, authorization=BEARER)
            client.send(DataFrame(stream, data=b"\0\0\0"))
            reply = client.reply(stream)
            assert reply.code == DEADLINE_EXCEEDED
        assert loopback.stats()["stalled"] == 3
        assert claims(client)


# ---- watching


def test_a_watch_tells_the_health_and_its_end_before_the_farewell(tmp_path: Path) -> None:
    with Loopback(tmp_path / "data") as loopback, loopback.client() as client:
        names = [b"", b"\x0a\x15ownerd.v1.DialService"]
        known = [begin(client, HEALTH + "Watch", name) for name in names]
        unknown = begin(client, HEALTH + "Watch", b"\x0a\x02no")
        arrived(client)
        assert [told(client, stream) for stream in known] == [SERVING] * 2
        assert told(client, unknown) == SERVICE_UNKNOWN
        loopback.listener.begin_drain()
        client.wait(lambda: bool(client.goaways()), "the farewell")
        kinds = [type(frame).__name__ for frame in client.frames]
        before = client.frames[: kinds.index("GoAwayFrame")]
        last = [frame.data for frame in before if isinstance(frame, DataFrame)][-2:]
        assert last == [NOT_SERVING] * 2
        assert told(client, unknown) == SERVICE_UNKNOWN
        for stream in (*known, unknown):
            reply = client.reply(stream)
            assert reply.code == UNAVAILABLE
        poll(lambda: loopback.listener.told, "the listener to be left")


def test_a_watch_begun_while_draining_is_not_served(tmp_path: Path) -> None:
    with Loopback(tmp_path / "data") as loopback, loopback.client() as client:
        client.answers = False  # no PING of it ends the first half of the farewell
        loopback.listener.begin_drain()
        client.wait(lambda: bool(client.goaways()), "the farewell")
        stream = begin(client, HEALTH + "Watch")
        client.wait(lambda: told(client, stream) != b"", "the health")
        assert told(client, stream) == NOT_SERVING


# ---- the farewell


def test_calls_that_came_before_the_last_farewell_are_waited_for(tmp_path: Path) -> None:
    with Loopback(tmp_path / "data") as loopback, loopback.client() as client:
        stream = begin(client, DIAL + "Claim", None)
        arrived(client)
        assert not loopback.listener.told
        loopback.listener.begin_drain()
        client.wait(lambda: len(client.goaways()) == 2, "both farewells")
        assert not loopback.listener.told, "the request is on its way"
        client.send(DataFrame(stream, data=framed(claim_request("1")), flags=["END_STREAM"]))
        assert client.reply(stream).code == 0
        poll(lambda: loopback.listener.told, "the listener to be left")
