"""Peers that break HTTP/2, or bend it: the native listener stays up, bounded and fair."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import hpack
import pytest
from harness import poll
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from native_listener import Loopback, claim_request, holder_request, parsed_holder
from raw_http2 import DIAL, PREFACE, RawClient, framed, request_headers

from ownerd.v1 import dial_pb2

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED = 0x0, 0x1, 0x3, 0x5
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0x6, 0x7, 0x8, 0xB
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 4, 5
RESOURCE_EXHAUSTED = 8
GET = DIAL + "GetHolder"


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A listener with the default limits, shared by the module's tests; empty after each."""
    with Loopback(tmp_path_factory.mktemp("frames")) as listener:
        yield listener


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "loopback" in request.fixturenames:
        listener: Loopback = request.getfixturevalue("loopback")
        assert listener.serves()
        listener.wait_empty()


def _ends_with(client: RawClient, *error_codes: int) -> None:
    """Assert that the connection is closed with a GOAWAY of one of these codes."""
    client.wait_closed()
    assert client.goaways(), client.frames
    assert client.goaways()[-1][1] in error_codes, client.goaways()


# ---- what is not HTTP/2


@pytest.mark.parametrize(
    "opening",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 64, PREFACE[:-1] + b"x", b"\x16\x03\x01" * 20],
)
def test_a_bad_preface_is_closed(loopback: Loopback, opening: bytes) -> None:
    before = loopback.ended("broken")
    with loopback.client(greet=False) as client:
        client.socket.sendall(opening)
        client.wait_closed()
    poll(lambda: loopback.ended("broken") == before + 1, "the connection to be counted")


def test_a_first_frame_other_than_settings_is_closed(loopback: Loopback) -> None:
    with loopback.client(greet=False) as client:
        client.socket.sendall(PREFACE)
        client.send(PingFrame(0, opaque_data=b"12345678"))
        client.wait_closed()


def test_a_frame_over_the_size_limit_is_closed(loopback: Loopback) -> None:
    with loopback.client() as client:
        client.socket.sendall(struct.pack(">I", 16_385)[1:] + b"\0\0" + struct.pack(">I", 1))
        client.socket.sendall(b"x" * 100)
        _ends_with(client, FRAME_SIZE_ERROR)


def test_a_frame_of_16_mib_is_closed_at_its_head(loopback: Loopback) -> None:
    with loopback.client() as client:
        client.socket.sendall(b"\xff\xff\xff\x01\x04" + struct.pack(">I", 1))
        _ends_with(client, FRAME_SIZE_ERROR)


def test_headers_that_do_not_end_before_another_frame_are_closed(loopback: Loopback) -> None:
    with loopback.client() as client:
        block = client.encoder.encode(request_headers(GET))
        client.send(HeadersFrame(1, data=block))
        client.send(PingFrame(0, opaque_data=b"12345678"))
        _ends_with(client, PROTOCOL_ERROR)


def test_continuation_frames_without_end_are_cut_off(loopback: Loopback) -> None:
    with loopback.client() as client:
        block = client.encoder.encode(request_headers(GET))
        with pytest.raises(OSError):
            client.send(HeadersFrame(1, data=block))
            for _ in range(10_000):
                client.send(ContinuationFrame(1, data=b""))
                client.read(0)
                if client.closed:
                    raise ConnectionError
    poll(lambda: loopback.stats()["connections"] == 0, "the connection to end")


def test_a_header_of_64_kib_is_refused_or_cut_off(loopback: Loopback) -> None:
    with loopback.client() as client:
        stream = client.new_stream()
        headers = [*request_headers(GET), ("x-long", "a" * 65_000)]
        block = hpack.Encoder().encode(headers)
        pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        frames: list[Frame] = [HeadersFrame(stream, data=pieces[0])]
        frames += [ContinuationFrame(stream, data=piece) for piece in pieces[1:]]
        frames[-1].flags.add("END_HEADERS")
        client.send(*frames, DataFrame(stream, flags=["END_STREAM"]))
        client.wait(lambda: client.closed or client._over(stream), "a refusal")
        assert client.closed or client.reply(stream).code == RESOURCE_EXHAUSTED


def test_more_header_bytes_than_the_limit_are_resource_exhausted(loopback: Loopback) -> None:
    with loopback.client() as client:
        reply = client.call(GET, holder_request("1"), x_long="a" * 16_200)
        assert reply.code == RESOURCE_EXHAUSTED
        assert "16384" in reply.headers["grpc-message"]
        assert client.call(GET, holder_request("1"), x_long="a" * 1_000).code == 0


def test_a_header_bomb_is_cut_off(loopback: Loopback) -> None:
    """A large header that later ones name by number: small on the wire, large in memory."""
    before = loopback.ended("headers")
    with loopback.client() as client:
        headers = [*request_headers(GET), *[("x-bomb", "b" * 3_900)] * 100]
        block = client.encoder.encode(headers)
        assert len(block) < 16_384
        client.send(HeadersFrame(1, data=block, flags=["END_HEADERS"]))
        _ends_with(client, ENHANCE_YOUR_CALM)
    poll(lambda: loopback.ended("headers") == before + 1, "the connection to be counted")


def test_frames_that_no_version_knows_are_ignored(loopback: Loopback) -> None:
    with loopback.client() as client:
        client.socket.sendall(b"\0\0\x04\xfa\xff\0\0\0\0abcd")
        client.send(PriorityFrame(5, depends_on=3, stream_weight=7))
        assert client.call(GET, holder_request("1")).code == 0


# ---- streams


def test_data_on_an_idle_stream_is_closed(loopback: Loopback) -> None:
    with loopback.client() as client:
        client.send(DataFrame(7, data=b"x"))
        _ends_with(client, PROTOCOL_ERROR, STREAM_CLOSED)


def test_data_on_a_closed_stream_harms_nobody_else(loopback: Loopback) -> None:
    with loopback.client() as client:
        assert client.call(GET, holder_request("1")).code == 0
        client.send(DataFrame(1, data=b"x", flags=["END_STREAM"]))
        try:
            assert client.call(GET, holder_request("1")).code == 0
        except AssertionError:
            assert client.goaways()[-1][1] == STREAM_CLOSED


def test_data_behind_the_end_of_a_stream_is_an_error_of_that_stream(loopback: Loopback) -> None:
    with loopback.client() as client:
        frames = client.call_frames(1, GET, framed(holder_request("1")))
        client.send(*frames, DataFrame(1, data=b"more"))
        client.wait(lambda: client.closed or client._over(1), "an answer or an error")


def test_a_stream_number_that_is_not_a_clients_is_closed(loopback: Loopback) -> None:
    with loopback.client() as client:
        client.send(*client.call_frames(2, GET, framed(holder_request("1"))))
        _ends_with(client, PROTOCOL_ERROR)


def test_more_streams_than_the_limit_are_refused(tmp_path: Path) -> None:
    with Loopback(tmp_path, max_streams=10) as listener, listener.client() as client:
        block = client.encoder.encode(request_headers(GET))
        for stream in range(1, 61, 2):
            client.send(HeadersFrame(stream, data=block, flags=["END_HEADERS"]))
        client.wait(lambda: client.closed or len(client.came(RstStreamFrame)) == 20, "20 refusals")
        assert client.closed or {frame.error_code for frame in client.came(RstStreamFrame)} == {
            REFUSED_STREAM
        }
        assert listener.stats()["streams"] <= 10
        assert listener.serves()


def test_a_request_that_stops_in_the_middle_blocks_nobody(loopback: Loopback) -> None:
    with loopback.client() as client:
        frames = client.call_frames(client.new_stream(), GET, framed(holder_request("1")))
        client.send(frames[0])
        for _ in range(20):
            assert client.call(GET, holder_request("1")).code == 0
        assert loopback.stats()["streams"] >= 1


def test_a_call_answered_early_ends_its_upload(loopback: Loopback) -> None:
    with loopback.client() as client:
        block = client.encoder.encode(request_headers("/unknown"))
        client.send(HeadersFrame(1, data=block, flags=["END_HEADERS"]))
        reply = client.reply(1)
        assert reply.code == 12
        client.wait(lambda: bool(client.came(RstStreamFrame)), "the reset")
        assert [frame.error_code for frame in client.came(RstStreamFrame)] == [NO_ERROR]


# ---- windows


def test_windows_that_overflow_are_errors(loopback: Loopback) -> None:
    with loopback.client() as client:
        client.send(WindowUpdateFrame(0, window_increment=2**31 - 1))
        _ends_with(client, FLOW_CONTROL_ERROR)
    with loopback.client(settings={INITIAL_WINDOW_SIZE: 0}) as client:
        client.send(*client.call_frames(1, GET, framed(holder_request("1"))))
        client.send(WindowUpdateFrame(1, window_increment=2**31 - 1))
        client.send(WindowUpdateFrame(1, window_increment=2**31 - 1))
        client.wait(lambda: client.closed or client._over(1), "an error of the stream")
    with loopback.client() as client:
        client.send(SettingsFrame(0, settings={INITIAL_WINDOW_SIZE: 2**31}))
        _ends_with(client, FLOW_CONTROL_ERROR)


def test_more_data_than_the_window_is_an_error(tmp_path: Path) -> None:
    """The listener opens its windows as it reads, so only what comes at once can overflow."""
    with Loopback(tmp_path) as listener, listener.client() as client:
        frames = client.call_frames(1, DIAL + "ClaimBatch", b"\0\0\x3f\xff\xff" + b"x" * (3 << 20))
        try:
            client.send(*frames)
        except OSError:
            client.closed = True
        client.wait(lambda: client.closed or client._over(1), "an answer or an error")
        assert listener.serves()


def _has_come(client: RawClient, size: int) -> bool:
    """Say whether so many bytes of the answer to the first call have come, or all of it."""
    return sum(len(each.data) for each in client.came(DataFrame)) >= size or client._over(1)


def test_an_answer_goes_through_a_window_of_one_byte(loopback: Loopback) -> None:
    with loopback.client(settings={INITIAL_WINDOW_SIZE: 1}) as client:
        loopback.subject.claim("list", "narrow", "A")
        client.send(*client.call_frames(1, GET, framed(holder_request("narrow"))))
        for received in range(1, 200):
            client.wait(partial(_has_come, client, received), "a byte")
            if client._over(1):
                break
            client.send(WindowUpdateFrame(1, window_increment=1))
        reply = client.reply(1)
        assert reply.code == 0
        assert parsed_holder(reply.message).holder.campaign_id == "A"


def test_calls_arrive_and_leave_in_segments_of_one_byte(loopback: Loopback) -> None:
    with loopback.client(greet=False, receive_bytes=1) as client:
        client.send_slowly(PREFACE + SettingsFrame(0).serialize())
        frames = client.call_frames(1, DIAL + "Claim", framed(claim_request("slow")))
        client.send_slowly(b"".join(frame.serialize() for frame in frames))
        end = time.monotonic() + 10
        while not client._over(1) and time.monotonic() < end:
            client.read(0.05, most_bytes=1)
        answer = dial_pb2.ClaimResponse.FromString(client.reply(1).message)
        assert answer.decision == dial_pb2.CLAIM_DECISION_GRANTED


@pytest.mark.parametrize("piece_bytes", [1, 7, 1_000, 16_384])
def test_a_batch_may_be_cut_into_frames_anywhere(loopback: Loopback, piece_bytes: int) -> None:
    count = 50 if piece_bytes == 1 else 10_000
    ids = [f"cut-{piece_bytes}-{number}" for number in range(count)]
    request = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="A", record_ids=ids)
    with loopback.client() as client:
        client.send(
            *client.call_frames(
                1, DIAL + "ClaimBatch", framed(request.SerializeToString()), piece_bytes=piece_bytes
            )
        )
        answer = dial_pb2.ClaimBatchResponse.FromString(client.reply(1).message)
    assert list(answer.decisions) == [dial_pb2.CLAIM_DECISION_GRANTED] * count


def test_a_large_answer_goes_through_the_windows_of_its_reader(loopback: Loopback) -> None:
    ids = [f"large-{number}" for number in range(10_000)]
    loopback.subject.claim_batch("list", "A", ids)
    request = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="B", record_ids=ids)
    with loopback.client() as client:
        body = framed(request.SerializeToString())
        client.send(*client.call_frames(1, DIAL + "ClaimBatch", body))
        opened = 0
        while not client._over(1):
            client.read(1.0)
            received = sum(len(frame.data) for frame in client.came(DataFrame))
            if received > opened:
                grown = received - opened
                client.send(
                    WindowUpdateFrame(0, window_increment=grown),
                    WindowUpdateFrame(1, window_increment=grown),
                )
                opened = received
        answer = dial_pb2.ClaimBatchResponse.FromString(client.reply(1).message)
    assert len(answer.denials) == 10_000
    assert opened > 65_535


def test_a_slow_reader_gets_every_byte_once_and_in_order(tmp_path: Path) -> None:
    """The socket takes a few kilobytes at a time of what the listener has for it."""
    ids = [f"slow-{number}" for number in range(10_000)]
    with Loopback(tmp_path, send_bytes=4_096) as listener:
        listener.subject.claim_batch("list", "A", ids)
        request = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="B", record_ids=ids)
        body = framed(request.SerializeToString())
        with listener.client(
            settings={INITIAL_WINDOW_SIZE: 2**31 - 1}, receive_bytes=4_096
        ) as client:
            client.send(WindowUpdateFrame(0, window_increment=2**30))
            client.send(*client.call_frames(1, DIAL + "ClaimBatch", body))
            client.send(*client.call_frames(3, DIAL + "ClaimBatch", body))
            for stream in (1, 3):
                answer = dial_pb2.ClaimBatchResponse.FromString(client.reply(stream).message)
                assert [denial.index for denial in answer.denials] == list(range(10_000))


def test_calls_of_a_connection_are_answered_in_the_order_they_came(loopback: Loopback) -> None:
    with loopback.client() as client:
        streams = [client.new_stream() for _ in range(200)]
        frames: list[Frame] = []
        for stream in streams:
            frames += client.call_frames(stream, GET, framed(holder_request(str(stream))))
        client.send(*frames)
        client.wait(lambda: client._over(streams[-1]), "the last answer")
        begun = dict.fromkeys(frame.stream_id for frame in client.came(HeadersFrame))
        assert list(begun) == streams


# ---- floods


def test_a_reset_storm_is_told_to_calm_down_and_others_are_served(loopback: Loopback) -> None:
    before = loopback.ended("resets")
    body = framed(holder_request("1"))
    with loopback.client() as good, loopback.client() as client:
        for number in range(20_000):
            stream = client.new_stream()
            frames = client.call_frames(stream, GET, body)
            try:
                client.send(frames[0], RstStreamFrame(stream, error_code=CANCEL))
                if number % 500 == 0:
                    client.read(0)
                    assert good.call(GET, holder_request("1")).code == 0
            except OSError:
                client.closed = True
            if client.closed:
                break
        client.read(0.5)
        assert client.closed or ENHANCE_YOUR_CALM in [code for _, code in client.goaways()]
        assert number < 5_000
    poll(lambda: loopback.ended("resets") == before + 1, "the connection to be counted")


def test_resets_that_the_peer_makes_the_server_send_count_too(loopback: Loopback) -> None:
    """The way around a count of the peer's own resets: requests that oblige the server to reset.

    nghttp2 itself ends a connection for which too many resets wait at once.
    """
    before = loopback.ended("resets") + loopback.ended("broken")
    with loopback.client() as client:
        for _ in range(20_000):
            headers = request_headers(GET, te="gzip")
            try:
                client.send(client.call_frames(client.new_stream(), GET, b"", headers=headers)[0])
            except OSError:
                break
            client.read(0)
            if client.closed:
                break
        assert {frame.error_code for frame in client.came(RstStreamFrame)} == {PROTOCOL_ERROR}
        assert client._next_stream < 10_000
    poll(
        lambda: loopback.ended("resets") + loopback.ended("broken") == before + 1,
        "the connection to be counted",
    )


def test_resets_of_streams_never_begun_count_too(loopback: Loopback) -> None:
    before = loopback.ended("resets")
    with loopback.client() as client:
        resets = [RstStreamFrame(stream, error_code=CANCEL) for stream in range(1, 401, 2)]
        with suppress(OSError):
            for _ in range(100):
                client.send(*resets)
        client.wait_closed()
    poll(lambda: loopback.ended("resets") == before + 1, "the connection to be counted")


@pytest.mark.parametrize("kind", ["ping", "settings", "data"])
def test_a_flood_of_frames_without_work_is_survived(loopback: Loopback, kind: str) -> None:
    with loopback.client() as client, loopback.client() as good:
        client.answers = False
        frames = {
            "ping": PingFrame(0, opaque_data=b"12345678"),
            "settings": SettingsFrame(0, settings={MAX_FRAME_SIZE: 16_384}),
            "data": DataFrame(1, data=b""),
        }
        if kind == "data":
            client.send(client.call_frames(1, GET, b"")[0])
        flood = frames[kind].serialize() * 500
        try:
            client.socket.settimeout(0.2)
            for _ in range(100):
                client.socket.sendall(flood)
        except OSError:
            pass  # cut off, or not read any more
        assert good.call(GET, holder_request("1")).code == 0


def test_a_peer_that_takes_no_output_is_not_read_any_more(tmp_path: Path) -> None:
    """Its requests wait in the system's buffers; the listener's memory does not grow."""
    with Loopback(tmp_path) as listener:
        ids = [f"held-{number}" for number in range(1_000)]
        listener.subject.claim_batch("list", "A", ids)
        request = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="B", record_ids=ids)
        body = framed(request.SerializeToString())
        with listener.client(
            settings={INITIAL_WINDOW_SIZE: 2**31 - 1}, receive_bytes=4_096
        ) as client:
            client.send(WindowUpdateFrame(0, window_increment=2**30))
            sent = _send_until_stuck(listener, client, body)
            assert listener.stats()["received"] < sent
        listener.wait_empty()


def _send_until_stuck(listener: Loopback, client: RawClient, body: bytes) -> int:
    """Send calls until the listener reads no more of them; return how many were sent."""
    client.socket.settimeout(0.5)
    for sent_count in range(100_000):
        frames = client.call_frames(client.new_stream(), DIAL + "ClaimBatch", body)
        unsent = b"".join(frame.serialize() for frame in frames)
        while unsent:
            try:
                unsent = unsent[client.socket.send(unsent) :]
            except TimeoutError:
                if _reads_others_only(listener):
                    return sent_count
    raise AssertionError("all calls were taken from a peer that takes no answer")


def _reads_others_only(listener: Loopback) -> bool:
    """Whether another one's calls are all that the listener receives while it serves them."""
    before = listener.stats()["received"]
    for _ in range(10):
        assert listener.serves()
    return bool(listener.stats()["received"] == before + 10)


def test_a_peer_that_opens_no_window_is_refused_more_calls(tmp_path: Path) -> None:
    with Loopback(tmp_path, max_message_bytes=50_000, max_held_bytes=100_000) as listener:
        ids = [f"held-{number}" for number in range(1_000)]
        listener.subject.claim_batch("list", "A", ids)
        request = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="B", record_ids=ids)
        with listener.client(settings={INITIAL_WINDOW_SIZE: 0}) as client:
            codes = []
            for _ in range(20):
                stream = client.new_stream()
                client.send(
                    *client.call_frames(
                        stream, DIAL + "ClaimBatch", framed(request.SerializeToString())
                    )
                )
                client.wait(partial(client.headers.__contains__, stream), "headers")
                codes.append(client.headers[stream].get("grpc-status"))
            assert codes[0] is None, "the first answer waits for its window"
            assert codes[-1] == str(RESOURCE_EXHAUSTED)
        listener.wait_empty()


def test_requests_that_grow_side_by_side_are_bounded(tmp_path: Path) -> None:
    """Each is within the limit of a message, and none ends."""
    limits = {"max_message_bytes": 1 << 20, "max_held_bytes": 2 << 20}
    with Loopback(tmp_path, **limits) as listener:
        with listener.client() as client:
            block = client.encoder.encode(request_headers(DIAL + "ClaimBatch"))
            streams = range(1, 61, 2)
            for each in streams:
                client.send(HeadersFrame(each, data=block, flags=["END_HEADERS"]))
            piece = b"\0\0\x0f\0\0" + b"x" * 16_000
            for _ in range(20):
                client.send(*(DataFrame(each, data=piece) for each in streams))
                client.read(0)
            client.wait(lambda: len(client.headers) >= 20, "20 refusals")
            codes = {found["grpc-status"] for found in client.headers.values()}
            assert codes == {str(RESOURCE_EXHAUSTED)}
        listener.wait_empty()


def test_all_connections_together_are_bounded(tmp_path: Path) -> None:
    limits = {"max_message_bytes": 65_536, "max_memory_bytes": 1}
    with Loopback(tmp_path, **limits) as listener:
        with ExitStack() as stack:
            clients = [stack.enter_context(listener.client()) for _ in range(20)]
            for client in clients:
                frames = client.call_frames(1, DIAL + "ClaimBatch", framed(b"x" * 60_000))
                client.send(*frames[:-1])
            assert clients[-1].reply(1).code == RESOURCE_EXHAUSTED
            clients[0].read(0.1)
            assert 1 not in clients[0].headers, "the first one waits for the rest of its request"
        listener.wait_empty()
        assert listener.serves()


def test_what_answered_calls_held_is_given_back(tmp_path: Path) -> None:
    """Together they are many times what a connection, and all of them, may have at once."""
    limits = {"max_message_bytes": 10_000, "max_held_bytes": 20_000, "max_memory_bytes": 1}
    request = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="A")
    request.record_ids.extend(f"record-{number:03}" for number in range(500))
    with Loopback(tmp_path, **limits) as listener:
        for _ in range(3):
            with listener.client() as client:
                for _ in range(10):
                    assert client.call(DIAL + "ClaimBatch", request.SerializeToString()).code == 0
        listener.wait_empty()


def test_peers_side_by_side_do_not_wait_for_a_busy_one(loopback: Loopback) -> None:
    """A peer that sends as fast as it can costs another one milliseconds, not seconds."""
    stop = threading.Event()
    thread = threading.Thread(target=_hammer, args=(loopback, stop))
    thread.start()
    try:
        with loopback.client() as good:
            slowest_s = max(_timed(lambda: good.call(GET, holder_request("1"))) for _ in range(50))
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
    assert slowest_s < 1.0


def _hammer(listener: Loopback, stop: threading.Event) -> None:
    with listener.client() as client:
        body = framed(holder_request("1"))
        while not stop.is_set():
            frames: list[Frame] = []
            for _ in range(100):
                frames += client.call_frames(client.new_stream(), GET, body)
            client.send(*frames)
            client.wait(lambda: len(client.frames) > 0, "answers")
            client.read(0.01)
            client.frames.clear()


def _timed(act: Callable[[], object]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def test_connecting_and_leaving_a_thousand_times_leaves_nothing(loopback: Loopback) -> None:
    for number in range(1_000):
        with loopback.client(greet=number % 3 > 0) as client:
            if number % 3 == 2:
                client.send(*client.call_frames(1, GET, framed(holder_request("1"))))
            if number % 2:
                linger = struct.pack("ii", 1, 0)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    loopback.wait_empty()
