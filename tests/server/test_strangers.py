"""Strangers at a server's two ports: whatever they hold open, those who are known are served."""

import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from guarded_server import GuardedServer
from harness import listeners, poll
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame
from raw_http2 import DIAL, RawClient, framed, request_headers

from ownerd.v1 import admin_pb2

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
ADMIN = "/ownerd.v1.AdminService/"
CONNECTIONS, CALLS = 6, 255
LIST_SERVICES = framed(b"\x3a\x01*")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedServer]:
    with GuardedServer(
        tmp_path_factory.mktemp("strangers") / "data", *listeners("native")
    ) as process:
        yield process


def hold(
    client: RawClient, path: str, body: bytes | None, end: bool, **changes: str | None
) -> None:
    """Begin as many calls as the listener lets one connection have."""
    for _ in range(CALLS):
        stream = client.new_stream()
        block = client.encoder.encode(request_headers(path, **changes))
        headers = HeadersFrame(stream, data=block, flags=["END_HEADERS"])
        if body is None and end:
            headers.flags.add("END_STREAM")
        frames = [headers]
        if body is not None:
            frames.append(DataFrame(stream, data=body, flags=["END_STREAM"] if end else []))
        client.send(*frames)
        client.read(0)


@pytest.mark.parametrize("port", ["dial", "admin"])
@pytest.mark.parametrize(
    ("path", "body", "end"),
    [
        (HEALTH + "Watch", framed(b""), True),
        (HEALTH + "Watch", None, False),
        (HEALTH + "Check", None, False),
        (HEALTH + "Check", framed(b"")[:3], False),
        (REFLECTION, None, False),
        (REFLECTION, LIST_SERVICES, False),
        (DIAL + "Claim", None, False),
        (DIAL + "Claim", None, True),
        (ADMIN + "ImportOwnership", None, False),
        (ADMIN + "ListContactLists", None, True),
        ("/no/such", None, False),
    ],
)
def test_calls_that_strangers_hold_open_lock_nobody_out(
    server: GuardedServer, port: str, path: str, body: bytes | None, end: bool
) -> None:
    address = server.dial_address if port == "dial" else server.admin_address
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            client = stack.enter_context(RawClient(address))
            hold(client, path, body, end)
        server.root.admin("ListContactLists", admin_pb2.ListContactListsRequest())
        with RawClient(address) as prober:
            assert prober.call(HEALTH + "Check", b"").message == b"\x08\x01"


def test_what_is_no_grpc_call_locks_nobody_out_either(server: GuardedServer) -> None:
    with RawClient(server.admin_address) as client:
        hold(client, "/index.html", None, False, content_type="text/html")
        client.wait(lambda: bool(client.came(RstStreamFrame)), "the oldest to go")
        server.root.admin("ListContactLists", admin_pb2.ListContactListsRequest())


def odd_path(path: bytes) -> bytes:
    """Return the frames of a request to a path that need not be text."""

    def literal(name: bytes, value: bytes) -> bytes:
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

    block = b"".join(
        literal(*pair)
        for pair in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path),
            (b":authority", b"x"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        )
    )
    return struct.pack(">I", len(block))[1:] + b"\x01\x05" + struct.pack(">I", 1) + block


@pytest.mark.parametrize("port", ["dial", "admin"])
@pytest.mark.parametrize("path", [b"/\xff\xfe/x", b"/\xc3\x28", b"", b"*", b"no-slash", b"/" * 99])
def test_an_odd_path_ends_no_other_connection(
    server: GuardedServer, port: str, path: bytes
) -> None:
    address = server.dial_address if port == "dial" else server.admin_address
    with RawClient(address) as other:
        assert other.call(HEALTH + "Check", b"").code == 0
        with RawClient(address) as odd:
            odd.socket.sendall(odd_path(path))
            odd.wait(lambda: odd.closed or 1 in odd.headers or bool(odd.frames[3:]), "an answer")
        assert other.call(HEALTH + "Check", b"").code == 0
        assert not other.goaways()


def test_those_who_are_turned_out_are_told_of(server: GuardedServer) -> None:
    def alarms() -> set[str]:
        answer = server.root.admin("GetServerStatus", admin_pb2.GetServerStatusRequest())
        return {alarm.name for alarm in answer.alarms}

    with RawClient(server.dial_address) as client:
        hold(client, HEALTH + "Watch", framed(b""), True)
        poll(lambda: "STRANGERS_CROWDING" in alarms(), "the alarm")
    assert any(event["event"] == "strangers_crowding" for event in server.events)


def test_a_stranger_cannot_have_much_in_memory_by_reflection(server: GuardedServer) -> None:
    with RawClient(server.admin_address) as client:
        stream = client.new_stream()
        block = client.encoder.encode(request_headers(REFLECTION))
        large = struct.pack(">BI", 0, 1 << 20)
        client.send(
            HeadersFrame(stream, data=block, flags=["END_HEADERS"]), DataFrame(stream, data=large)
        )
        reply = client.reply(stream)
        assert reply.code == 8 and "65536" in reply.headers["grpc-message"]
