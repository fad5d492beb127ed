"""Calls that nobody waits for any more: they are not executed, whatever was read when."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from harness import ServerProcess, poll
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame
from native_listener import Loopback, claim_request, holder_request, parsed_holder
from raw_http2 import DIAL, RawClient, framed, request_headers
from subject import DAY, Policy
from subject_grpc import GrpcSubject

from ownerd.server.config import Settings
from ownerd.v1 import dial_pb2

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

CANCEL, DEADLINE_EXCEEDED, GET = 0x8, 4, DIAL + "GetHolder"
CLAIM = DIAL + "Claim"
INITIAL_WINDOW_SIZE = 4


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Loopback]:
    with Loopback(tmp_path) as listener:
        yield listener
        listener.wait_empty()


def _held(client: RawClient, record_id: str) -> bool:
    reply = client.call(GET, holder_request(record_id))
    return parsed_holder(reply.message).HasField("holder")


@pytest.mark.parametrize("count", [1, 100])
def test_calls_reset_in_the_same_read_are_not_executed(loopback: Loopback, count: int) -> None:
    with loopback.client() as client:
        frames = []
        for number in range(count):
            stream = client.new_stream()
            body = framed(claim_request(f"given-up-{number}"))
            frames += client.call_frames(stream, CLAIM, body)
            frames.append(RstStreamFrame(stream, error_code=CANCEL))
        kept = client.new_stream()
        client.send(*frames, *client.call_frames(kept, CLAIM, framed(claim_request("kept"))))
        assert client.reply(kept).code == 0
        assert _held(client, "kept")
        assert not any(_held(client, f"given-up-{number}") for number in range(count))
        stats = loopback.stats()
        assert (stats["given_up"], stats["under_way"]) == (count, 0)


def test_resets_of_calls_that_were_decided_are_free(tmp_path: Path) -> None:
    """Who cancels a call that the engine has has paid for it as for any other."""
    with Loopback(tmp_path, max_resets_per_s=1) as listener:
        with listener.client(settings={INITIAL_WINDOW_SIZE: 0}) as client:
            for _ in range(100):
                stream = client.new_stream()
                client.send(*client.call_frames(stream, GET, framed(holder_request("1"))))
                client.wait(lambda each=stream: each in client.headers, "the answer's headers")
                client.send(RstStreamFrame(stream, error_code=CANCEL))
            client.read(0.05)
            assert not client.goaways()
        listener.wait_empty()


def test_a_client_that_gives_up_many_calls_runs_into_no_limit(tmp_path: Path) -> None:
    """By the default settings: ten seconds of 900 a second, none of which was ever whole."""
    limits = {"max_resets_per_s": Settings().dial_max_resets_per_s}
    with Loopback(tmp_path, **limits) as listener, listener.client() as client:
        for _ in range(90):
            for _ in range(100):
                stream = client.new_stream()
                frames = client.call_frames(stream, GET, framed(holder_request("1")))
                client.send(frames[0], RstStreamFrame(stream, error_code=CANCEL))
            client.read(0)
        assert client.call(GET, holder_request("1")).code == 0
        assert not client.goaways()


def test_a_deadline_holds_while_the_request_comes_in(loopback: Loopback) -> None:
    """At each step of it; and the caller hears of it without saying anything more."""
    block = request_headers(CLAIM, grpc_timeout="100m")
    body = framed(claim_request("slow"))
    with loopback.client() as client:
        streams = [client.new_stream() for _ in range(3)]
        for stream, piece in zip(streams, (b"", body[:3], body), strict=True):
            client.send(
                HeadersFrame(stream, data=client.encoder.encode(block), flags=["END_HEADERS"]),
                DataFrame(stream, data=piece),
            )
        for stream in streams:
            assert client.reply(stream).code == DEADLINE_EXCEEDED
        assert not _held(client, "slow")


def test_many_deadlines_that_pass_at_once_are_all_told(loopback: Loopback) -> None:
    with loopback.client() as client:
        streams = [client.new_stream() for _ in range(500)]
        for number, stream in enumerate(streams):
            block = client.encoder.encode(request_headers(CLAIM, grpc_timeout=f"{number}m"))
            client.send(HeadersFrame(stream, data=block, flags=["END_HEADERS"]))
        client.wait(lambda: len(client.headers) == 500, "500 refusals")
        assert {found["grpc-status"] for found in client.headers.values()} == {"4"}


# ---- a process that stands still


@pytest.fixture(
    scope="module", params=["native-dial-port", "grpcio-dial-port", "grpcio-admin-port"]
)
def server(request: pytest.FixtureRequest) -> tuple[ServerProcess, str]:
    name = "grpcio_server" if request.param == "grpcio-dial-port" else "shared_server"
    process: ServerProcess = request.getfixturevalue(name)
    address = process.admin_address if "admin" in request.param else process.dial_address
    return process, address


def test_calls_that_were_over_before_they_could_be_read_are_not_executed(
    server: tuple[ServerProcess, str], request: pytest.FixtureRequest
) -> None:
    """Their callers gave up while the process stood still."""
    process, address = server
    list_id = f"still-{request.node.name}"
    _make_list(process, list_id)
    stub = process.dial_stub(address)
    ids = [f"late-{number}" for number in range(50)]
    stub.GetHolder(dial_pb2.GetHolderRequest(list_id=list_id, record_id="1"))
    os.kill(process.pid, signal.SIGSTOP)
    _await_stop(process.pid)
    try:
        calls = [
            stub.Claim.future(
                dial_pb2.ClaimRequest(list_id=list_id, record_id=each, campaign_id="A"), timeout=0.5
            )
            for each in ids
        ]
        assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        time.sleep(0.5)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    for each in ids:
        wanted = dial_pb2.GetHolderRequest(list_id=list_id, record_id=each)
        assert not stub.GetHolder(wanted).HasField("holder")


@pytest.mark.parametrize("unix", [False, True])
def test_a_deadline_counts_from_when_the_bytes_came(tmp_path: Path, unix: bool) -> None:
    """The peer says nothing more: no reset tells that nobody waits."""
    path = tmp_path / "socket"
    listen = ("--dial-listen", f"unix:{path}") if unix else ()
    with ServerProcess(tmp_path / "data", *listen) as process:
        _make_list(process, "still")
        address = f"unix:{path}" if unix else process.dial_address
        with RawClient(address) as client:
            claim = claim_request("late", list_id="still")
            assert client.call(CLAIM, claim_request("first", list_id="still")).code == 0
            os.kill(process.pid, signal.SIGSTOP)
            _await_stop(process.pid)
            try:
                stream = client.new_stream()
                headers = request_headers(CLAIM, grpc_timeout="300m")
                client.send(*client.call_frames(stream, CLAIM, framed(claim), headers=headers))
                time.sleep(1.0)
            finally:
                os.kill(process.pid, signal.SIGCONT)
            assert client.reply(stream).code == DEADLINE_EXCEEDED
            stream = client.new_stream()
            client.send(*client.call_frames(stream, CLAIM, framed(claim), headers=headers))
            assert client.reply(stream).code == 0


def _await_stop(pid: int) -> None:
    """Wait until every thread of a process has stopped."""
    tasks = Path(f"/proc/{pid}/task")

    def stopped() -> bool:
        stats = [(each / "stat").read_text() for each in tasks.iterdir()]
        return {each.rpartition(")")[2].split()[0] for each in stats} == {"T"}

    poll(stopped, "the process to stand still")


def _make_list(process: ServerProcess, list_id: str) -> None:
    subject = GrpcSubject(process.dial_stub(), process.admin_stub())
    subject.create_list(list_id, Policy(True, None, None, DAY))
