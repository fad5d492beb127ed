"""What calls hold: counted as it is, a share for each, and an end for what stands still."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from harness import poll
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame, WindowUpdateFrame
from known import Known
from native_listener import LIST, Loopback, claim_request, holder_request
from raw_http2 import DIAL, RawClient, framed, request_headers

from ownerd.access.table import Access
from ownerd.v1 import dial_pb2

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

INITIAL_WINDOW_SIZE = 4
RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED = 8, 4
CANCEL, ENHANCE_YOUR_CALM = 0x8, 0xB
CLAIM, BATCH, GET = DIAL + "Claim", DIAL + "ClaimBatch", DIAL + "GetHolder"
HEALTH = "/grpc.health.v1.Health/Check"


def batch(count: int, campaign_id: str = "A") -> bytes:
    request = dial_pb2.ClaimBatchRequest(list_id=LIST, campaign_id=campaign_id)
    request.record_ids.extend(str(number % 10) for number in range(count))
    return request.SerializeToString()


def token(name: str) -> str:
    return f"ownerd_{name:0>43}"


def known(name: str) -> Known:
    digest = hashlib.sha256(token(name).encode()).digest()
    return Known(principal_id=name, tokens=((digest, None),))


def park(client: RawClient, path: str, body: bytes, **headers: Any) -> str | None:
    """Make a call whose answer is not taken; return its code if it was refused."""
    stream = client.new_stream()
    block = request_headers(path, **headers)
    client.send(*client.call_frames(stream, path, framed(body), headers=block))
    client.wait(partial(client.headers.__contains__, stream), "headers")
    return client.headers[stream].get("grpc-status")


def parked(client: RawClient, path: str, body: bytes, most: int, **headers: Any) -> int:
    """Park calls until one is refused, and return how many were."""
    for count in range(most):
        if (code := park(client, path, body, **headers)) is not None:
            assert code == str(RESOURCE_EXHAUSTED)
            return count
    return most


def test_the_records_of_a_batch_count_while_it_is_decided_and_no_longer(tmp_path: Path) -> None:
    """A record of one letter is a hundred bytes once it is decoded."""
    limits = {"max_message_bytes": 65_536, "max_held_bytes": 131_072}
    with Loopback(tmp_path, **limits) as listener:
        with listener.client() as client:
            # 20 batches in one read: there is a place for one, which may be as large as can be.
            streams = [client.new_stream() for _ in range(20)]
            frames = [client.call_frames(each, BATCH, framed(batch(1_000))) for each in streams]
            client.send(*(frame for each in frames for frame in each))
            codes = [client.reply(each).code for each in streams]
            assert codes[0] == 0
            assert RESOURCE_EXHAUSTED in codes
            assert client.call(BATCH, batch(10_000)).code == 0
        with listener.client(settings={INITIAL_WINDOW_SIZE: 0}) as client:
            assert park(client, BATCH, batch(10_000)) is None
            poll(lambda: listener.stats()["held_bytes"] < 20_000, "a byte for each record")
        listener.wait_empty()
        poll(lambda: listener.stats()["held_bytes"] == 0, "everything to be given back")


def test_calls_that_only_began_count(tmp_path: Path) -> None:
    limits = {"max_message_bytes": 10_000, "max_held_bytes": 100_000}
    with Loopback(tmp_path, **limits) as listener:
        with listener.client() as client:
            block = client.encoder.encode(request_headers(CLAIM))
            for stream in range(1, 1_001, 2):
                client.send(HeadersFrame(stream, data=block, flags=["END_HEADERS"]))
            client.wait(lambda: len(client.headers) > 400, "400 refusals")
            assert {each["grpc-status"] for each in client.headers.values()} == {"8"}
            poll(lambda: listener.stats()["streams"] < 100, "the refused ones to be gone")
            assert listener.stats()["held_bytes"] < 110_000
        listener.wait_empty()


def test_output_that_the_socket_does_not_take_counts(tmp_path: Path) -> None:
    ids = [f"record-{number}" for number in range(10_000)]
    with Loopback(tmp_path, send_bytes=4_096) as listener:
        listener.subject.claim_batch(LIST, "A", ids)
        request = dial_pb2.ClaimBatchRequest(list_id=LIST, campaign_id="B", record_ids=ids)
        body = framed(request.SerializeToString())
        settings = {INITIAL_WINDOW_SIZE: 2**31 - 1}
        with listener.client(settings={INITIAL_WINDOW_SIZE: 0}) as client:
            assert park(client, BATCH, request.SerializeToString()) is None
            poll(lambda: listener.stats()["held_bytes"] < 700_000, "the answer alone")
            answer_bytes = listener.stats()["held_bytes"]
        listener.wait_empty()
        with listener.client(settings=settings, receive_bytes=4_096) as client:
            client.send(WindowUpdateFrame(0, window_increment=2**30))
            client.send(*client.call_frames(1, BATCH, body))
            poll(lambda: listener.stats()["held_bytes"] > answer_bytes + 50_000, "some output")
        listener.wait_empty()
        assert listener.stats()["held_bytes"] == 0


@pytest.mark.parametrize("connections", [1, 8])
def test_one_principal_leaves_room_for_the_others(tmp_path: Path, connections: int) -> None:
    """Whatever it parks, on however many connections: at most half of the memory."""
    access = Access()
    access.replace([known("noisy"), known("good")])
    limits = {"max_message_bytes": 10_000, "max_memory_bytes": 400_000, "max_held_bytes": 1 << 30}
    noisy, good = (f"Bearer {token(name)}" for name in ("noisy", "good"))
    with Loopback(tmp_path, access, **limits) as listener:
        clients = [listener.client(settings={INITIAL_WINDOW_SIZE: 0}) for _ in range(connections)]
        for client in clients:
            parked(client, CLAIM, claim_request("1"), 1_000, authorization=noisy)
        held = listener.stats()["held_bytes"]
        assert 150_000 < held < 250_000
        with listener.client() as client:
            assert client.call(BATCH, batch(250), authorization=good).code == 0
            assert client.call(BATCH, batch(250), authorization=noisy).code == RESOURCE_EXHAUSTED
        for client in clients:
            client.socket.close()
        listener.wait_empty()
        with listener.client() as client:
            assert client.call(BATCH, batch(250), authorization=noisy).code == 0


def test_a_principal_that_is_gone_and_back_has_one_share(tmp_path: Path) -> None:
    access = Access()
    access.replace([known("a")])
    with Loopback(tmp_path, access, keepalive_time_s=0.1) as listener:
        with listener.client(settings={INITIAL_WINDOW_SIZE: 0}) as client:
            bearer = f"Bearer {token('a')}"
            for _ in range(5):
                assert park(client, CLAIM, claim_request("1"), authorization=bearer) is None
                access.replace([])
                assert park(client, CLAIM, claim_request("1"), authorization=bearer) == "16"
                access.replace([known("a")])
        listener.wait_empty()
        assert listener.stats()["held_bytes"] == 0


def test_strangers_together_leave_room_for_those_who_are_known(tmp_path: Path) -> None:
    """Nobody has to say who they are for a look at the health; one that never ends holds memory."""
    access = Access()
    access.replace([known("good")])
    limits = {"max_message_bytes": 10_000, "max_memory_bytes": 400_000}
    with Loopback(tmp_path, access, **limits) as listener:
        with listener.client() as client, listener.client() as good:
            block = client.encoder.encode(request_headers(HEALTH))
            for stream in range(1, 401, 2):
                client.send(HeadersFrame(stream, data=block, flags=["END_HEADERS"]))
            client.wait(lambda: len(client.headers) > 100, "100 refusals")
            assert listener.stats()["held_bytes"] < 60_000
            bearer = f"Bearer {token('good')}"
            assert good.call(BATCH, batch(1_000), authorization=bearer).code == 0
        listener.wait_empty()


# ---- what stands still


def test_an_answer_that_is_not_taken_ends_its_call_alone(tmp_path: Path) -> None:
    settings = {INITIAL_WINDOW_SIZE: 0}
    with (
        Loopback(tmp_path, transfer_timeout_s=0.2) as listener,
        listener.client(settings=settings) as client,
    ):
        assert park(client, CLAIM, claim_request("1")) is None
        client.wait(lambda: bool(client.came(RstStreamFrame)), "the end of the call")
        assert [each.error_code for each in client.came(RstStreamFrame)] == [CANCEL]
        poll(lambda: listener.stats()["held_bytes"] == 0, "its memory")
        assert listener.stats()["stalled"] == 1
        stream = client.new_stream()
        client.send(*client.call_frames(stream, CLAIM, framed(claim_request("2"))))
        client.send(WindowUpdateFrame(stream, window_increment=100))
        assert client.reply(stream).code == 0


@pytest.mark.parametrize("path", [CLAIM, HEALTH])
@pytest.mark.parametrize("piece", [b"", b"\0\0", framed(claim_request("1"))])
def test_a_request_that_does_not_come_in_ends_its_call_alone(
    tmp_path: Path, piece: bytes, path: str
) -> None:
    with Loopback(tmp_path, transfer_timeout_s=0.2) as listener, listener.client() as client:
        stream = client.new_stream()
        block = client.encoder.encode(request_headers(path))
        client.send(HeadersFrame(stream, data=block, flags=["END_HEADERS"]))
        client.send(DataFrame(stream, data=piece))
        reply = client.reply(stream)
        assert (reply.code, "dial_transfer_timeout_s" in reply.headers["grpc-message"]) == (
            DEADLINE_EXCEEDED,
            True,
        )
        assert client.call(GET, holder_request("1")).code == 0


def test_headers_that_do_not_end_end_their_connection(tmp_path: Path) -> None:
    with Loopback(tmp_path, transfer_timeout_s=0.2) as listener:
        with listener.client() as client:
            block = client.encoder.encode(request_headers(CLAIM))
            client.answers = False  # nothing may come between
            client.send(HeadersFrame(client.new_stream(), data=block))
            client.wait_closed()
            assert client.goaways()[-1][1] == ENHANCE_YOUR_CALM
        poll(lambda: listener.ended("stalled") == 1, "the connection to be counted")


def test_a_socket_that_takes_nothing_ends_its_connection(tmp_path: Path) -> None:
    """A peer that reads a byte now and then is alive, and holds its memory all the same."""
    ids = [f"record-{number}" for number in range(10_000)]
    limits = {"transfer_timeout_s": 0.2, "send_bytes": 4_096}
    with Loopback(tmp_path, **limits) as listener:
        listener.subject.claim_batch(LIST, "A", ids)
        request = dial_pb2.ClaimBatchRequest(list_id=LIST, campaign_id="B", record_ids=ids)
        body = framed(request.SerializeToString())
        with listener.client(
            settings={INITIAL_WINDOW_SIZE: 2**31 - 1}, receive_bytes=4_096
        ) as client:
            client.send(WindowUpdateFrame(0, window_increment=2**30))
            client.send(*client.call_frames(1, BATCH, body))
            poll(lambda: listener.ended("stalled") == 1, "the connection to end")
        listener.wait_empty()


def test_what_moves_gets_the_time_for_it(tmp_path: Path) -> None:
    """Slower than the timeout in all, and never standing still."""
    with Loopback(tmp_path, transfer_timeout_s=0.1) as listener, listener.client() as client:
        request = dial_pb2.ClaimBatchRequest(list_id=LIST, campaign_id="A")
        request.record_ids.extend(f"record-{number:0>50}" for number in range(1_000))
        frames = client.call_frames(1, BATCH, framed(request.SerializeToString()))
        for frame in frames:
            client.send(frame)
            client.read(0.1)
        assert client.reply(1).code == 0
