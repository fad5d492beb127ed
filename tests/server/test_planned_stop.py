"""A planned stop costs good clients no call: what they sent before they knew is answered."""

import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import ServerProcess, poll
from hyperframe.frame import DataFrame, HeadersFrame
from raw_http2 import DIAL, RawClient, framed, request_headers
from subject import DAY, Policy
from subject_grpc import GrpcSubject

from ownerd.v1 import admin_pb2, dial_pb2

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

LIST = "list"
ADMIN = "/ownerd.v1.AdminService/"
DEADLINE_S = 20.0


def claim(number: int) -> bytes:
    request = dial_pb2.ClaimRequest(list_id=LIST, record_id=str(number), campaign_id="A")
    return request.SerializeToString()


def look(number: int) -> bytes:
    return admin_pb2.GetContactListRequest(list_id=LIST).SerializeToString()


def answered_until_the_farewell(
    client: RawClient, path: str, request: Callable[[int], bytes], begun: threading.Event
) -> list[int]:
    """Call one after the other until the last GOAWAY; return the codes of all calls."""
    streams = []
    while len(client.goaways()) < 2:
        stream = client.new_stream()
        frames = client.call_frames(stream, path, framed(request(len(streams))))
        client.send(*frames)
        streams.append(stream)
        client.read(0.001)
        begun.set()
    last = client.goaways()[-1][0]
    return [client.reply(stream).code for stream in streams if stream <= last]


@pytest.mark.parametrize(
    ("listener", "path", "request_of"),
    [
        ("dial", f"{DIAL}Claim", claim),
        ("admin", f"{DIAL}Claim", claim),
        ("admin", f"{ADMIN}GetContactList", look),
    ],
)
def test_every_call_up_to_the_farewell_is_answered(
    tmp_path: Path, listener: str, path: str, request_of: Callable[[int], bytes]
) -> None:
    with ServerProcess(tmp_path / "data") as server:
        GrpcSubject(server.dial_stub(), server.admin_stub()).create_list(
            LIST, Policy(True, None, None, DAY)
        )
        begun = threading.Event()
        codes: list[int] = []
        address = server.dial_address if listener == "dial" else server.admin_address
        with RawClient(address) as client:
            calling = threading.Thread(
                target=lambda: codes.extend(
                    answered_until_the_farewell(client, path, request_of, begun)
                )
            )
            calling.start()
            assert begun.wait(DEADLINE_S)
            server.ask_to_stop()
            calling.join(DEADLINE_S)
            assert not calling.is_alive()
        assert server.wait() == 0
    assert len(codes) > 1 and set(codes) == {0}


def test_a_request_that_is_on_its_way_is_waited_for(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        GrpcSubject(server.dial_stub(), server.admin_stub()).create_list(
            LIST, Policy(True, None, None, DAY)
        )
        with RawClient(server.dial_address) as client:
            stream = client.new_stream()
            block = client.encoder.encode(request_headers(f"{DIAL}Claim"))
            client.send(HeadersFrame(stream, data=block, flags=["END_HEADERS"]))
            server.ask_to_stop()
            client.wait(lambda: len(client.goaways()) == 2, "the farewell")
            client.send(DataFrame(stream, data=framed(claim(1)), flags=["END_STREAM"]))
            assert client.reply(stream).code == 0
        assert server.wait() == 0


@pytest.mark.parametrize("listener", ["dial", "admin"])
def test_watchers_are_told_before_anything_is_refused(tmp_path: Path, listener: str) -> None:
    with ServerProcess(tmp_path / "data") as server:
        address = server.dial_address if listener == "dial" else server.admin_address
        stub = health_pb2_grpc.HealthStub(server.channel(address))
        told = []
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S)

        def listen() -> None:
            try:
                told.extend(answer.status for answer in watch)
            except grpc.RpcError as error:
                told.append(error.code())

        listening = threading.Thread(target=listen)
        listening.start()
        poll(lambda: len(told) == 1, "the first word")
        assert server.stop() == 0
        listening.join(DEADLINE_S)
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, 2
    assert told == [serving, not_serving, grpc.StatusCode.UNAVAILABLE]
