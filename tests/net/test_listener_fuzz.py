"""Random input of the native listener: whatever comes, it serves on and keeps nothing.

The short run is part of the suite; `-m long` runs a hundred times as many examples. Both are worth
most on a build with OWNERD_SANITIZE=1 (CONTRIBUTING). A failure prints what reproduces it.
"""

import random
import struct
from collections.abc import Iterator

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_listener import Loopback, claim_request, holder_request
from raw_http2 import DIAL, PREFACE, framed, request_headers

from ownerd.v1 import dial_pb2

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

EXAMPLES = 600
LONG_EXAMPLES = 60_000
PATHS = [
    *(DIAL + name for name in ("Claim", "ClaimBatch", "ReportAttempt", "ReportAttemptBatch")),
    DIAL + "GetHolder",
    DIAL,
    "/",
    "",
    "/grpc.health.v1.Health/Check",
]
HEADERS = [
    ("te", "trailers"),
    ("te", "gzip"),
    ("content-type", "application/grpc"),
    ("connection", "x"),
    ("content-type", "text/plain"),
    ("grpc-timeout", "1n"),
    ("grpc-timeout", "10S"),
    ("grpc-timeout", "x"),
    ("grpc-encoding", "gzip"),
    (":path", "/x"),
    ("x" * 300, "y" * 9_000),
    ("content-length", "7"),
    ("X-Upper", "1"),
    ("a", "\x00"),
]


def _batch() -> bytes:
    request = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="A")
    request.record_ids.extend(str(number) for number in range(2_000))
    return request.SerializeToString()


BODIES = [
    b"",
    framed(b""),
    framed(claim_request("1")),
    framed(holder_request("1")),
    framed(_batch()),
    framed(claim_request("1"), 1),
    framed(claim_request("1")) * 2,
    b"\0\xff\xff\xff\xff",
    framed(b"\xff" * 40),
    b"\0\0",
    b"x" * 70_000,
]

numbers = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 7, 2, 0x7FFFFFFF])
payloads = st.binary(max_size=40) | st.sampled_from(
    [b"\0" * 4, b"\0" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\3\0\0\0\0", b"\x82" * 500]
)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame's bytes, whether or not it makes sense."""
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes((kind, flags))
        + struct.pack(">I", stream)
        + payload
    )


def _call(draw: st.DrawFn, stream: int) -> bytes:
    """A call, proper or nearly so, in one to many DATA frames."""
    headers = request_headers(draw(st.sampled_from(PATHS)))
    if draw(st.booleans()):
        headers += draw(st.lists(st.sampled_from(HEADERS), max_size=2))
    # Each with a table of its own, as the pieces do not know of each other.
    block = b"\x20" + hpack.Encoder().encode(headers)
    cut = draw(st.sampled_from([len(block), len(block), 1, 0]))
    sent = frame(1, 4 if cut == len(block) else 0, stream, block[:cut])
    if cut < len(block):
        sent += frame(9, 4, stream, block[cut:])
    body = draw(st.sampled_from(BODIES))
    size = draw(st.sampled_from([1, 100, 16_384])) if len(body) < 1_000 else 16_384
    for at in range(0, len(body), size):
        sent += frame(0, 0, stream, body[at : at + size])
    return sent + draw(st.sampled_from([frame(0, 1, stream, b""), b""]))


def _control(draw: st.DrawFn, stream: int) -> bytes:
    """A frame that belongs where it is, more or less."""
    return draw(
        st.sampled_from(
            [
                frame(3, 0, stream, struct.pack(">I", 8)),
                frame(4, 1, 0, b""),
                frame(4, 0, 0, struct.pack(">HI", 4, 0)),
                frame(6, 0, 0, b"12345678"),
                frame(4, 0, 0, struct.pack(">HI", 4, 1 << 20)),
                frame(8, 0, 0, struct.pack(">I", 1)),
                frame(8, 0, stream, struct.pack(">I", 1 << 20)),
                frame(5, 4, stream, b"\0\0\0\2"),
                frame(7, 0, 0, struct.pack(">II", stream, 0)),
                frame(2, 0, stream, b"\0\0\0\0\x10"),
                frame(6, 1, 0, b"ownerd-f"),
            ]
        )
    )


frames = st.builds(
    frame, st.integers(0, 10), st.sampled_from([0, 1, 4, 5, 8, 0x20, 0xFF]), numbers, payloads
)


@st.composite
def inputs(draw: st.DrawFn) -> bytes:
    """Everything that one connection sends."""
    data = bytearray(draw(st.sampled_from([PREFACE + frame(4, 0, 0, b"")] * 8 + [PREFACE, b""])))
    for number in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(["call"] * 8 + ["control"] * 6 + ["frame", "noise"]))
        if kind == "call":
            data += _call(draw, 2 * number + 1)
        elif kind == "control":
            data += _control(draw, max(2 * number - 1, 1))
        else:
            data += draw(frames if kind == "frame" else st.binary(max_size=30))
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 3]))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A listener with small limits, so that they are met."""
    limits = {"max_streams": 4, "max_message_bytes": 65_536, "max_held_bytes": 100_000}
    with Loopback(tmp_path_factory.mktemp("fuzz"), threads=2, **limits) as listener:
        yield listener


def _send(listener: Loopback, data: bytes, patient: bool) -> None:
    chance = random.Random(len(data))
    with listener.client(greet=False) as client:
        try:
            while data:
                size = chance.choice((1, 9, 100, 65_536))
                client.socket.sendall(data[:size])
                data = data[size:]
            client.read(0.002 if patient else 0)
        except (OSError, ValueError):
            pass  # cut off, or an answer that the client cannot read


@settings(max_examples=EXAMPLES)
@given(inputs(), st.booleans())
def test_random_input_is_survived(loopback: Loopback, data: bytes, patient: bool) -> None:
    _send(loopback, data, patient)


@pytest.mark.long
@settings(max_examples=LONG_EXAMPLES)
@given(inputs(), st.booleans())
def test_much_random_input_is_survived(loopback: Loopback, data: bytes, patient: bool) -> None:
    _send(loopback, data, patient)


def test_nothing_is_left_of_the_random_input(loopback: Loopback) -> None:
    assert loopback.serves()
    loopback.wait_empty()
    print(loopback.stats())
