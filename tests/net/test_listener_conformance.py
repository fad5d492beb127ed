"""The native listener beside RFC 9113, in the words of h2spec, the public conformance suite.

Of its 147 strict cases 145 pass. The two others are one question, 5.1/2 and 6.4/2: a RST_STREAM on
an idle stream is dropped instead of ending the connection, since gRPC's C core sends one for a call
that is given up before its headers are written, and the other calls of that connection would pay.

What nghttp2 does not decide by itself is tried here frame by frame, and what could be mistaken for
it beside: what honest peers send must pass.
"""

from collections.abc import Callable, Iterator, Sequence

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)
from native_listener import Loopback, claim_request, holder_request
from raw_http2 import DIAL, PREFACE, RawClient, framed, request_headers

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

PROTOCOL_ERROR, STREAM_CLOSED, REFUSED_STREAM, CANCEL = 0x1, 0x5, 0x7, 0x8
ENHANCE_YOUR_CALM = 0xB
INITIAL_WINDOW_SIZE = 4
GET = DIAL + "GetHolder"
GOAWAY, RESET, SERVED = "GOAWAY", "RST_STREAM", "served"
MOST_CONTINUATIONS = 16


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A listener with the default limits, shared by the module's tests."""
    with Loopback(tmp_path_factory.mktemp("conformance"), max_streams=100) as listener:
        yield listener


def _headers(client: RawClient, stream: int, *flags: str, **changes: str | None) -> HeadersFrame:
    block = client.encoder.encode(request_headers(GET, **changes))
    return HeadersFrame(stream, data=block, flags=["END_HEADERS", *flags])


def _call(client: RawClient, stream: int) -> Sequence[Frame]:
    return client.call_frames(stream, GET, framed(holder_request("1")))


def _ended(client: RawClient, stream: int) -> None:
    """Have a call end on both sides."""
    client.send(*_call(client, stream))
    assert client.reply(stream).code == 0


def data_after_reset(client: RawClient) -> None:
    client.send(_headers(client, 1), RstStreamFrame(1, error_code=CANCEL), DataFrame(1, data=b"x"))


def headers_after_reset(client: RawClient) -> None:
    client.send(_headers(client, 1), RstStreamFrame(1, error_code=CANCEL))
    client.send(_headers(client, 1, "END_STREAM"))


def data_after_the_end(client: RawClient) -> None:
    _ended(client, 1)
    client.send(DataFrame(1, data=b"x", flags=["END_STREAM"]))


def headers_after_the_end(client: RawClient) -> None:
    _ended(client, 1)
    client.send(_headers(client, 1, "END_STREAM"))


def headers_after_the_end_in_one_piece_with_a_reset(client: RawClient) -> None:
    client.send(
        _headers(client, 1), RstStreamFrame(1, error_code=CANCEL), _headers(client, 1, "END_STREAM")
    )


def headers_of_a_stream_passed_over(client: RawClient) -> None:
    client.send(*_call(client, 5), *_call(client, 3))


def headers_of_a_stream_passed_over_long_ago(client: RawClient) -> None:
    _ended(client, 1)
    for stream in range(5, 105, 2):
        _ended(client, stream)
    client.send(*_call(client, 3))


def priority_of_the_connection(client: RawClient) -> None:
    client.socket.sendall(b"\0\0\5\2\0\0\0\0\0" + b"\0\0\0\3\7")


def priority_of_itself(client: RawClient) -> None:
    client.send(PriorityFrame(1, depends_on=1, stream_weight=7))


def priority_of_itself_byte_by_byte(client: RawClient) -> None:
    client.send_slowly(PriorityFrame(1, depends_on=1, stream_weight=7).serialize())


def more_pieces_of_headers_than_may_be(client: RawClient) -> None:
    _send_pieces(client, MOST_CONTINUATIONS + 1)


def pseudo_headers_in_trailers(client: RawClient) -> None:
    trailers = client.encoder.encode([(":method", "POST")])
    client.send(
        _headers(client, 1),
        DataFrame(1, data=framed(holder_request("1"))),
        HeadersFrame(1, data=trailers, flags=["END_HEADERS", "END_STREAM"]),
    )


def trailers_without_end(client: RawClient) -> None:
    trailers = client.encoder.encode([("x-trailer", "1")])
    client.send(
        _headers(client, 1),
        DataFrame(1, data=framed(holder_request("1"))),
        HeadersFrame(1, data=trailers, flags=["END_HEADERS"]),
    )


def more_streams_than_may_be(client: RawClient) -> None:
    client.send(*(_headers(client, stream) for stream in range(1, 203, 2)))


def more_bytes_than_announced(client: RawClient) -> None:
    client.send(
        _headers(client, 1, method="GET", content_length="1"),
        DataFrame(1, data=b"xy", flags=["END_STREAM"]),
    )


def window_of_a_stream_not_opened(client: RawClient) -> None:
    client.send(_headers(client, 1))
    client.send(WindowUpdateFrame(1, window_increment=0))


def window_of_a_stream_past_its_largest(client: RawClient) -> None:
    client.send(_headers(client, 1, method="GET"))
    for _ in range(2):
        client.send(WindowUpdateFrame(1, window_increment=2**31 - 1))


ANSWERS: list[tuple[Callable[[RawClient], None], tuple[tuple[str, int], ...]]] = [
    (data_after_reset, ((RESET, STREAM_CLOSED),)),
    (headers_after_reset, ((GOAWAY, STREAM_CLOSED),)),
    (data_after_the_end, ((RESET, STREAM_CLOSED),)),
    (headers_after_the_end, ((GOAWAY, STREAM_CLOSED),)),
    (headers_after_the_end_in_one_piece_with_a_reset, ((GOAWAY, STREAM_CLOSED),)),
    (headers_of_a_stream_passed_over, ((GOAWAY, PROTOCOL_ERROR),)),
    (headers_of_a_stream_passed_over_long_ago, ((GOAWAY, PROTOCOL_ERROR),)),
    (priority_of_the_connection, ((GOAWAY, PROTOCOL_ERROR),)),
    (priority_of_itself, ((GOAWAY, PROTOCOL_ERROR),)),
    (priority_of_itself_byte_by_byte, ((GOAWAY, PROTOCOL_ERROR),)),
    (more_pieces_of_headers_than_may_be, ((GOAWAY, ENHANCE_YOUR_CALM),)),
    (pseudo_headers_in_trailers, ((RESET, PROTOCOL_ERROR), (GOAWAY, PROTOCOL_ERROR))),
    (trailers_without_end, ((RESET, PROTOCOL_ERROR), (GOAWAY, PROTOCOL_ERROR))),
    (more_streams_than_may_be, ((RESET, REFUSED_STREAM),)),
    (more_bytes_than_announced, ((RESET, PROTOCOL_ERROR),)),
    (window_of_a_stream_not_opened, ((RESET, PROTOCOL_ERROR), (GOAWAY, PROTOCOL_ERROR))),
    (window_of_a_stream_past_its_largest, ((RESET, 0x3),)),
]


@pytest.mark.parametrize(
    ("case", "allowed"), ANSWERS, ids=lambda each: getattr(each, "__name__", "")
)
def test_what_breaks_the_rules_is_answered_as_they_say(
    loopback: Loopback, case: Callable[[RawClient], None], allowed: tuple[tuple[str, int], ...]
) -> None:
    with loopback.client() as client:
        case(client)
        client.wait(lambda: bool(_errors(client)), "an error")
        assert _errors(client)[0] in allowed, client.frames
        if _errors(client)[0][0] == GOAWAY:
            client.wait_closed()
    loopback.wait_empty()


def _errors(client: RawClient) -> list[tuple[str, int]]:
    found = [(GOAWAY, code) for _, code in client.goaways()]
    resets = [frame for frame in client.came(RstStreamFrame) if frame.error_code]
    return found + [(RESET, frame.error_code) for frame in resets]


# ---- what honest peers send


def _send_pieces(client: RawClient, count: int) -> None:
    block = client.encoder.encode(request_headers(GET))
    client.send(
        HeadersFrame(1, data=block[:20]),
        *[ContinuationFrame(1, data=b"") for _ in range(count - 1)],
        ContinuationFrame(1, data=block[20:], flags=["END_HEADERS"]),
        DataFrame(1, data=framed(holder_request("1")), flags=["END_STREAM"]),
    )


@pytest.mark.parametrize("count", [1, 8, 9, MOST_CONTINUATIONS])
def test_headers_may_come_in_some_pieces(loopback: Loopback, count: int) -> None:
    with loopback.client() as client:
        _send_pieces(client, count)
        assert client.reply(1).code == 0


@pytest.mark.parametrize("slowly", [False, True])
def test_a_call_given_up_before_its_headers_costs_the_others_nothing(
    loopback: Loopback, slowly: bool
) -> None:
    """As gRPC's C core does it: a RST_STREAM for a stream that was never begun."""
    with loopback.client() as client:
        head, body = client.call_frames(1, DIAL + "Claim", framed(claim_request("idle")))
        given_up = RstStreamFrame(3, error_code=CANCEL).serialize()
        following = b"".join(each.serialize() for each in _call(client, 5))
        sent = head.serialize() + given_up + body.serialize() + following
        (client.send_slowly if slowly else client.socket.sendall)(sent)
        assert client.reply(1).code == client.reply(5).code == 0
        assert not client.goaways()


@pytest.mark.parametrize("cut", range(1, 14))
def test_frames_may_be_cut_anywhere(loopback: Loopback, cut: int) -> None:
    """A piece that ends in the middle of what is looked at is looked at with the next one."""
    with loopback.client(greet=False) as client:
        frames = [
            *_call(client, 1),
            RstStreamFrame(9, error_code=CANCEL),
            PriorityFrame(11, depends_on=1, stream_weight=3),
            WindowUpdateFrame(0, window_increment=10),
            PingFrame(0, opaque_data=b"12345678"),
            *_call(client, 3),
        ]
        sent = PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"".join(each.serialize() for each in frames)
        for at in range(0, len(sent), cut):
            client.socket.sendall(sent[at : at + cut])
            if at % 5 == 0:
                client.read(0)
        assert client.reply(1).code == client.reply(3).code == 0
        assert not client.goaways()


def test_what_is_sent_on_a_stream_that_was_answered_early_is_ignored(loopback: Loopback) -> None:
    """The peer cannot know yet: the rest of its request, and its trailers, are on their way."""
    with loopback.client() as client:
        client.send(_headers(client, 1, grpc_timeout="soon"))
        assert client.reply(1).code == 13
        trailers = client.encoder.encode([("x-trailer", "1")])
        client.send(
            DataFrame(1, data=b"more"),
            HeadersFrame(1, data=trailers, flags=["END_HEADERS", "END_STREAM"]),
        )
        _ended(client, 3)
        assert not client.goaways()


def test_what_is_sent_on_a_stream_that_was_refused_is_ignored(loopback: Loopback) -> None:
    with loopback.client() as client:
        client.send(*(_headers(client, stream) for stream in range(1, 203, 2)))
        client.wait(lambda: bool(client.came(RstStreamFrame)), "a refusal")
        (refused,) = {frame.stream_id for frame in client.came(RstStreamFrame)}
        trailers = client.encoder.encode([("x-trailer", "1")])
        client.send(
            DataFrame(refused, data=b"more"),
            HeadersFrame(refused, data=trailers, flags=["END_HEADERS", "END_STREAM"]),
            DataFrame(1, data=framed(holder_request("1")), flags=["END_STREAM"]),
        )
        assert client.reply(1).code == 0
        assert not client.goaways()


def test_windows_resets_and_priorities_of_a_stream_that_is_over_are_ignored(
    loopback: Loopback,
) -> None:
    with loopback.client() as client:
        _ended(client, 1)
        client.send(
            WindowUpdateFrame(1, window_increment=10),
            PriorityFrame(1, depends_on=0, stream_weight=3),
            RstStreamFrame(1, error_code=CANCEL),
        )
        _ended(client, 3)
        assert not client.goaways()


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"method": "GET"}, "405"), ({"method": "HEAD"}, "405"), ({"content_type": "a/b"}, "415")],
)
def test_what_is_no_grpc_call_is_answered_like_by_any_http_server(
    loopback: Loopback, changes: dict[str, str], status: str
) -> None:
    """Once the request is whole, with a text."""
    with loopback.client(settings={INITIAL_WINDOW_SIZE: 5}) as client:
        client.send(_headers(client, 1, **changes))
        client.read(0.05)
        assert 1 not in client.headers
        client.send(DataFrame(1, data=b"whatever", flags=["END_STREAM"]))
        client.wait(lambda: 1 in client.headers, "the answer's headers")
        client.send(WindowUpdateFrame(1, window_increment=1_000))
        reply = client.reply(1)
        assert (reply.headers[":status"], reply.code) == (status, 13)
        assert reply.body.startswith({"405": b"HTTP method", "415": b"content-type"}[status]) or (
            changes.get("method") == "HEAD" and reply.body == b""
        )
