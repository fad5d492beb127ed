"""A planned stop costs a well-behaved client no call, and tells it in the right order."""

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from harness import ServerProcess, poll
from hyperframe.frame import GoAwayFrame, PingFrame
from native_listener import Loopback, claim_request, holder_request
from raw_http2 import DIAL, RawClient
from subject import DAY, Policy
from subject_grpc import GrpcSubject

from ownerd.v1 import dial_pb2, dial_pb2_grpc

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

NO_ERROR = 0
GET = DIAL + "GetHolder"
HEALTH = "/grpc.health.v1.Health/Check"
NOT_SERVING = b"\x08\x02"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[ServerProcess]]:
    processes = [ServerProcess(tmp_path / name).start() for name in "ab"]
    try:
        for process in processes:
            subject = GrpcSubject(process.dial_stub(), process.admin_stub())
            subject.create_list("list", Policy(True, None, None, DAY))
        yield processes
    finally:
        for process in processes:
            process.__exit__()


def test_the_ping_of_a_farewell_comes_behind_its_goaway(tmp_path: Path) -> None:
    """Its answer tells that the GOAWAY has been read."""
    with Loopback(tmp_path) as listener, listener.client() as client:
        assert client.call(GET, holder_request("1")).code == 0
        listener.listener.begin_drain()
        client.wait(lambda: len(client.goaways()) == 2, "the last GOAWAY")
        said = [each for each in client.frames if isinstance(each, GoAwayFrame | PingFrame)]
        assert [type(each) for each in said] == [GoAwayFrame, PingFrame, GoAwayFrame]
        assert client.goaways() == [(2**31 - 1, NO_ERROR), (1, NO_ERROR)]


def test_only_the_farewells_own_ping_ends_the_notice(tmp_path: Path) -> None:
    with Loopback(tmp_path) as listener, listener.client() as client:
        assert client.call(GET, holder_request("1")).code == 0
        client.answers = False
        listener.listener.begin_drain()
        client.wait(lambda: bool(client.came(PingFrame)), "the farewell's PING")
        client.send(PingFrame(0, opaque_data=b"ownerd-a", flags=["ACK"]))
        assert client.call(GET, holder_request("1")).code == 0
        assert not listener.listener.told
        client.send(PingFrame(0, opaque_data=b"ownerd-f", flags=["ACK"]))
        client.wait(lambda: len(client.goaways()) == 2, "the last GOAWAY")
        poll(lambda: listener.listener.told, "the listener to know")


def test_an_answer_to_a_farewell_that_was_not_said_means_nothing(tmp_path: Path) -> None:
    with Loopback(tmp_path) as listener, listener.client() as client:
        client.send(PingFrame(0, opaque_data=b"ownerd-f", flags=["ACK"]))
        assert client.call(GET, holder_request("1")).code == 0
        assert not client.goaways()


def test_calls_made_before_the_farewell_is_read_are_served(servers: list[ServerProcess]) -> None:
    with RawClient(servers[0].dial_address) as client:
        assert client.call(GET, _holder()).code == 0
        client.answers = False
        servers[0].ask_to_stop()
        client.wait(lambda: bool(client.came(PingFrame)), "the farewell's PING")
        assert client.call(HEALTH, b"").message == NOT_SERVING
        reply = client.call(DIAL + "Claim", claim_request("late", list_id="list"))
        assert reply.code == 0
        client.send(PingFrame(0, opaque_data=b"ownerd-f", flags=["ACK"]))
        client.wait_closed()
    assert servers[0].wait() == 0


def test_a_peer_that_does_not_listen_does_not_hold_up_the_stop(
    servers: list[ServerProcess],
) -> None:
    with RawClient(servers[0].dial_address) as client:
        client.answers = False
        assert client.call(GET, _holder()).code == 0
        assert servers[0].stop() == 0


def test_a_client_with_two_servers_loses_no_call_as_one_is_stopped(
    servers: list[ServerProcess],
) -> None:
    """As gRPC's own client does it, without waiting for a server.

    A call that it had not sent yet as it heard the farewell goes to the other server by itself.
    """
    addresses = ",".join(each.dial_address for each in servers)
    options = [("grpc.use_local_subchannel_pool", 1)]
    stop = threading.Event()
    found: list[str] = []

    def dial() -> None:
        with grpc.insecure_channel(f"ipv4:{addresses}", options=options) as channel:
            stub = dial_pb2_grpc.DialServiceStub(channel)
            request = dial_pb2.GetHolderRequest(list_id="list", record_id="1")
            while not stop.is_set():
                try:
                    stub.GetHolder(request, timeout=10)
                    found.append("OK")
                except grpc.RpcError as error:
                    found.append(str(error))

    threads = [threading.Thread(target=dial) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        poll(lambda: len(found) > 500, "calls")
        assert servers[0].stop() == 0
        count = len(found)
        poll(lambda: len(found) > count + 500, "calls of the other server")
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert [each for each in found if each != "OK"] == []


def _holder() -> bytes:
    return dial_pb2.GetHolderRequest(list_id="list", record_id="1").SerializeToString()
