"""The native listener over time: keepalive, idle and old connections, drain, addresses, limits."""

import asyncio
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import DEADLINE_S, ServerDidNotStart, ServerProcess, listeners, poll
from hyperframe.frame import HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame
from native_listener import LIMITS, LIST, Loopback, claim_request, holder_request, writers_request
from raw_http2 import DIAL, PREFACE, RawClient, framed, request_headers
from sanitizer import patient_s
from shim import SyncShim
from subject import DAY, Policy
from subject_grpc import GrpcSubject

from ownerd.access.table import Access
from ownerd.v1 import dial_pb2, dial_pb2_grpc

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

GET = DIAL + "GetHolder"
NO_ERROR, CANCEL = 0x0, 0x8
LAST_STREAM = 2**31 - 1
HELD = Policy(True, None, None, DAY)


# ---- peers that are silent, idle or old


def test_a_connection_that_never_speaks_is_dropped(tmp_path: Path) -> None:
    with Loopback(tmp_path, handshake_timeout_s=0.2) as listener:
        with listener.client(greet=False) as silent, listener.client(greet=False) as half:
            half.socket.sendall(PREFACE[:10])
            silent.wait_closed()
            half.wait_closed()
        poll(lambda: listener.ended("handshake") == 2, "both connections to be counted")


def test_a_silent_peer_is_pinged_and_stays_as_long_as_it_answers(tmp_path: Path) -> None:
    with Loopback(tmp_path, keepalive_time_s=0.1, keepalive_timeout_s=0.2) as listener:
        with listener.client() as client:
            client.wait(lambda: len(client.came(PingFrame)) >= 5, "five pings")
            assert client.call(GET, holder_request("1")).code == 0
        assert listener.ended("keepalive") == 0


def test_a_dead_peer_is_dropped(tmp_path: Path) -> None:
    with Loopback(tmp_path, keepalive_time_s=0.1, keepalive_timeout_s=0.2) as listener:
        with listener.client() as client:
            client.answers = False
            client.send(client.call_frames(1, GET, framed(b""))[0])
            client.wait_closed()
            assert client.came(PingFrame)
        poll(lambda: listener.ended("keepalive") == 1, "the connection to be counted")
        listener.wait_empty()


def test_a_peer_that_stops_inside_its_headers_is_dropped(tmp_path: Path) -> None:
    with Loopback(tmp_path, keepalive_time_s=0.1, keepalive_timeout_s=0.2) as listener:
        with listener.client() as client:
            client.answers = False
            client.send(HeadersFrame(1, data=b"\x83"))
            client.wait_closed()
        listener.wait_empty()


@pytest.mark.parametrize("limit", ["max_idle_s", "max_age_s"])
def test_an_idle_or_old_connection_is_told_to_go_and_its_calls_are_answered(
    tmp_path: Path, limit: str
) -> None:
    with Loopback(tmp_path, **{limit: 0.3}) as listener, listener.client() as client:
        assert client.call(GET, holder_request("1")).code == 0
        client.answers = False  # the answer to the ping is what the second step waits for
        client.wait(lambda: bool(client.goaways()), "the first GOAWAY")
        assert client.goaways() == [(LAST_STREAM, NO_ERROR)]
        assert client.call(GET, holder_request("1")).code == 0
        client.wait(lambda: len(client.goaways()) == 2, "the second GOAWAY")
        assert client.goaways()[1] == (client._next_stream - 2, NO_ERROR)
        client.wait_closed()
        reason = limit.removeprefix("max_").removesuffix("_s")
        poll(lambda: listener.ended(reason) == 1, "the connection to be counted")


def test_a_busy_connection_is_not_idle(tmp_path: Path) -> None:
    with Loopback(tmp_path, max_idle_s=0.3) as listener, listener.client() as client:
        client.send(client.call_frames(1, GET, framed(b""))[0])
        with pytest.raises(AssertionError, match="waited"):
            client.wait(lambda: bool(client.goaways()), "a GOAWAY", deadline_s=1.0)


def test_an_old_connection_whose_call_does_not_end_is_cut_after_the_grace(tmp_path: Path) -> None:
    with Loopback(tmp_path, max_age_s=0.1, max_age_grace_s=0.2) as listener:
        with listener.client() as client:
            client.send(client.call_frames(1, GET, framed(b""))[0])
            client.wait_closed()
            assert len(client.goaways()) == 2
        poll(lambda: listener.ended("age") == 1, "the connection to be counted")
        listener.wait_empty()


def test_a_peer_that_never_closes_its_end_is_dropped(tmp_path: Path) -> None:
    with Loopback(tmp_path) as listener, listener.client(greet=False) as client:
        client.socket.sendall(b"GET / HTTP/1.1\r\n\r\n" + b" " * 64)
        client.wait_closed()
        poll(lambda: listener.ended("broken") == 1, "the connection to end")
        assert listener.stats()["connections"] == 0


# ---- drain


def test_a_drain_has_two_steps_and_loses_no_call(tmp_path: Path) -> None:
    with Loopback(tmp_path) as listener, listener.client() as client:
        client.answers = False
        assert client.call(GET, holder_request("1")).code == 0
        listener.listener.begin_drain()
        client.wait(lambda: bool(client.goaways()), "the first GOAWAY")
        assert client.goaways() == [(LAST_STREAM, NO_ERROR)]
        assert client.call(DIAL + "Claim", claim_request("late")).code == 0
        [ping] = client.came(PingFrame)
        client.send(PingFrame(0, opaque_data=ping.opaque_data, flags=["ACK"]))
        client.wait(lambda: len(client.goaways()) == 2, "the second GOAWAY")
        client.wait_closed()
        with pytest.raises(OSError):
            listener.client()
        assert listener.subject.holder(LIST, "late") is not None


def test_health_says_not_serving_while_the_listener_drains(tmp_path: Path) -> None:
    with Loopback(tmp_path) as listener, listener.client() as client:
        assert client.call("/grpc.health.v1.Health/Check", b"").message == b"\x08\x01"
        client.answers = False
        listener.listener.begin_drain()
        client.wait(lambda: bool(client.goaways()), "the first GOAWAY")
        assert client.call("/grpc.health.v1.Health/Check", b"").message == b"\x08\x02"


def test_a_draining_engine_answers_unavailable(tmp_path: Path) -> None:
    with Loopback(tmp_path) as listener, listener.client() as client:
        listener.subject.engine.begin_drain()
        assert client.call(DIAL + "Claim", claim_request("1")).code == 14
        assert client.call("/grpc.health.v1.Health/Check", b"").message == b"\x08\x02"


def test_closing_with_peers_of_all_kinds_ends_in_time(tmp_path: Path) -> None:
    with Loopback(tmp_path) as listener:
        clients = [listener.client(greet=number % 2 > 0) for number in range(20)]
        for client in clients[1::4]:
            client.send(client.call_frames(1, GET, framed(b""))[0])
        poll(lambda: listener.stats()["streams"] == len(clients[1::4]), "the calls to begin")
        listener.listener.close(0.3)
        poll(lambda: listener.listener.ended, "the threads", 5.0)
        assert listener.stats()["connections"] == listener.stats()["streams"] == 0
        for client in clients:
            client.socket.close()


def test_a_listener_that_was_never_started_is_freed(tmp_path: Path) -> None:
    from ownerd.net.listener import Listener

    with Loopback(tmp_path) as listener:
        assert Listener(listener.subject.engine, Access(open=True), **LIMITS).ended


# ---- callers who give up


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[ServerProcess, SyncShim, GrpcSubject]]:
    """A server whose commits can be held, with a list and a metrics page."""
    shim = SyncShim(tmp_path / "shim")
    arguments = ("--metrics-listen", "127.0.0.1:0")
    with ServerProcess(tmp_path / "data", *arguments, environment=shim.environment) as server:
        subject = GrpcSubject(server.dial_stub(), server.admin_stub())
        subject.create_list(LIST, HELD)
        yield server, shim, subject


def _metric(server: ServerProcess, name: str) -> float:
    with urllib.request.urlopen(f"http://{server.address('metrics')}/metrics", timeout=10) as page:
        for line in page.read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
    raise AssertionError(f"the metrics page shows no {name}")


@pytest.mark.parametrize("how", ["reset", "close"])
def test_r18_callers_who_leave_in_mid_commit_leak_nothing_and_their_commit_stands(
    held: tuple[ServerProcess, SyncShim, GrpcSubject], how: str
) -> None:
    server, shim, subject = held
    before = _metric(server, "ownerd_dial_calls_in_memory")
    with RawClient(server.dial_address) as client, shim.holding():
        body = framed(writers_request())  # so that the thread of the connection goes on
        client.send(*client.call_frames(client.new_stream(), DIAL + "ClaimBatch", body))
        shim.wait_until_held()
        for number in range(1, 101):
            body = framed(claim_request(str(number)))
            client.send(*client.call_frames(client.new_stream(), DIAL + "Claim", body))
        poll(lambda: _metric(server, "ownerd_dial_calls_in_flight") == 101, "the calls")
        if how == "reset":
            for stream in range(1, 203, 2):
                client.send(RstStreamFrame(stream, error_code=CANCEL))
        else:
            client.socket.close()
        poll(lambda: _metric(server, "ownerd_dial_calls_given_up_total") == 101, "the leaving")
    poll(lambda: _metric(server, "ownerd_dial_calls_in_memory") == before, "the calls to be freed")
    assert _metric(server, "ownerd_dial_calls_in_flight") == 0
    assert subject.claim(LIST, "100", "B").what == "DENIED"
    assert subject.claim(LIST, "100", "A").what == "GRANTED"
    assert server.stop() == 0


LEAVING_CALLER = """
import sys, time
from pathlib import Path
from harness import poll
from native_listener import Loopback, writers_request
from raw_http2 import DIAL, framed

hold, waiting = Path(sys.argv[2], "hold"), Path(sys.argv[2], "waiting")
with Loopback(Path(sys.argv[1])) as listener:
    hold.touch()
    try:
        with listener.client() as client:
            client.send(*client.call_frames(1, DIAL + "ClaimBatch", framed(writers_request())))
            poll(waiting.exists, "a sync to begin")
        poll(lambda: listener.stats()["given_up"], "the caller to leave")
        listener.listener.close(0)
        time.sleep(0.3)
        assert (listener.listener.ended, listener.stats()["under_way"]) == (False, 1)
    finally:
        hold.unlink()
    poll(lambda: listener.listener.ended, "the thread to end")
    assert listener.stats()["streams"] == 0
"""


def test_a_thread_ends_only_when_the_engine_has_none_of_its_calls(tmp_path: Path) -> None:
    """The engine leaves its answer with the thread's loop, though the caller is gone."""
    shim = SyncShim(tmp_path / "shim")
    command = [sys.executable, "-c", LEAVING_CALLER, str(tmp_path / "data"), str(shim.directory)]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment = {**os.environ, **shim.environment, **path}
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=patient_s(60)
    )
    assert run.returncode == 0, run.stderr


def test_work_whose_deadline_has_passed_is_dropped_before_it_is_committed(
    held: tuple[ServerProcess, SyncShim, GrpcSubject],
) -> None:
    server, shim, subject = held
    with RawClient(server.dial_address) as client:
        with shim.holding():
            body = framed(writers_request())
            client.send(*client.call_frames(client.new_stream(), DIAL + "ClaimBatch", body))
            shim.wait_until_held()
            late = {}
            for name, timeout in (("late", "50m"), ("in time", "1M")):
                headers = request_headers(DIAL + "Claim", grpc_timeout=timeout)
                late[name] = client.new_stream()
                frames = client.call_frames(
                    late[name], DIAL + "Claim", framed(claim_request(name)), headers=headers
                )
                client.send(*frames)
            with pytest.raises(AssertionError, match="waited"):
                client.wait(lambda: client._over(late["late"]), "an answer", deadline_s=0.3)
        assert client.reply(late["late"]).code == 4
        assert client.reply(late["in time"]).code == 0
    assert subject.holder(LIST, "late") is None
    assert subject.holder(LIST, "in time") is not None


def test_a_timeout_of_no_time_is_answered_at_once(tmp_path: Path) -> None:
    with Loopback(tmp_path) as listener, listener.client() as client:
        assert client.call(DIAL + "Claim", claim_request("1"), grpc_timeout="0n").code == 4
        assert client.call(DIAL + "Claim", claim_request("1"), grpc_timeout="99999999H").code == 0


# ---- gRPC's words


def test_what_is_no_grpc_call_is_refused_by_name(tmp_path: Path) -> None:
    with Loopback(tmp_path) as listener, listener.client() as client:
        message = holder_request("1")
        for changes, http_status, code in (
            ({"method": "GET"}, "405", 13),
            ({"content_type": "text/html"}, "415", 13),
            ({"content_type": "application/grpcx"}, "415", 13),
            ({"content_type": None}, "415", 13),
            ({"te": None}, "400", 13),
            ({"grpc_timeout": "soon"}, "200", 13),
            ({"grpc_timeout": "S"}, "200", 13),
            ({"grpc_encoding": "gzip"}, "200", 12),
        ):
            reply = client.call(GET, message, **changes)
            assert (reply.headers[":status"], reply.code) == (http_status, code), changes
        assert reply.headers["grpc-accept-encoding"] == "identity"
        for content_type in ("application/grpc", "application/grpc+proto", "application/grpc;x"):
            assert client.call(GET, message, content_type=content_type).code == 0
        assert client.call(GET, message, grpc_encoding="identity").code == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 12),
        (b"\0\0", 13),
        (b"\0\0\0\0\5abc", 13),
        (framed(b"", 1), 13),
        (framed(b"", 2), 13),
        (framed(b"") * 2, 12),
        (b"\0\xff\xff\xff\xff", 8),
        (framed(b"\xff"), 3),
        (framed(b""), 3),
    ],
)
def test_a_body_that_is_not_one_message_is_refused(tmp_path: Path, body: bytes, code: int) -> None:
    with Loopback(tmp_path) as listener, listener.client() as client:
        client.send(*client.call_frames(1, GET, body))
        assert client.reply(1).code == code


def test_a_message_over_the_limit_is_refused_before_it_is_all_there(tmp_path: Path) -> None:
    with Loopback(tmp_path, max_message_bytes=100_000) as listener, listener.client() as client:
        frames = client.call_frames(1, GET, framed(b"x" * 100_001))
        client.send(*frames[:2])
        assert client.reply(1).code == 8
        greatest = dial_pb2.GetHolderRequest(list_id="x" * 99_996).SerializeToString()
        assert len(greatest) == 100_000
        client.send(*client.call_frames(3, GET, framed(greatest)))
        assert client.reply(3).code == 3, "a message of the greatest size is read"


def test_health_knows_the_services_and_no_others(shared_server: ServerProcess) -> None:
    for address in (shared_server.dial_address, shared_server.admin_address):
        stub = health_pb2_grpc.HealthStub(shared_server.channel(address))
        for name in ("", "ownerd.v1.DialService", "ownerd.v1.AdminService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as failure:
            stub.Check(health_pb2.HealthCheckRequest(service="unknown"), timeout=10)
        assert failure.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_message_with_any_characters_reaches_the_client(shared_server: ServerProcess) -> None:
    request = dial_pb2.GetHolderRequest(list_id="ünbekannt 100%41 \n", record_id="1")
    for address in (shared_server.dial_address, shared_server.admin_address):
        with pytest.raises(grpc.RpcError) as failure:
            shared_server.dial_stub(address).GetHolder(request, timeout=10)
        assert '"ünbekannt 100%41 \n"' in failure.value.details()
    with RawClient(shared_server.dial_address) as client:
        reply = client.call(GET, request.SerializeToString())
    assert "%C3%BCnbekannt 100%2541 %0A" in reply.headers["grpc-message"]


# ---- addresses and connections


def test_every_form_of_address_is_served(tmp_path: Path) -> None:
    path = tmp_path / "dial.sock"
    listen = f"127.0.0.1:0,[::1]:0,localhost:0,unix:{path}"
    with ServerProcess(tmp_path / "data", "--dial-listen", listen) as server:
        GrpcSubject(server.dial_stub(), server.admin_stub()).create_list(LIST, HELD)
        found = [
            event["address"]
            for event in server.events
            if event.get("event") == "listening" and event["listener"] == "dial"
        ]
        # The first is of the harness.
        assert [address.rpartition(":")[0] for address in found[1:]] == [
            "127.0.0.1",
            "[::1]",
            "localhost",
            "unix",
        ]
        for address in found:
            request = dial_pb2.ClaimRequest(list_id=LIST, record_id=address, campaign_id="A")
            stub = server.dial_stub(address)
            assert stub.Claim(request, timeout=10).decision == dial_pb2.CLAIM_DECISION_GRANTED
    assert not path.exists()


def test_an_address_in_use_ends_the_server_with_5(tmp_path: Path) -> None:
    path = tmp_path / "dial.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_UNIX) as file:
        file.bind(str(path))
        file.listen()
        port = taken.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"unix:{path}", "192.0.2.1:0", "no.such.host:1"):
            with pytest.raises(ServerDidNotStart) as failure:
                ServerProcess(tmp_path / "data", "--insecure", "--dial-listen", address).start()
            assert failure.value.exit_code == 5
            assert "dial_listen" in failure.value.log_text
            assert address in failure.value.log_text


def test_the_socket_file_of_a_server_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    listen = f"unix:{tmp_path / 'dial.sock'}"
    with ServerProcess(tmp_path / "data", "--dial-listen", listen) as server:
        server.kill()
        server.start()
        request = dial_pb2.GetHolderRequest(list_id=LIST, record_id="1")
        with pytest.raises(grpc.RpcError) as failure:
            server.dial_stub(listen).GetHolder(request, timeout=10)
        assert failure.value.code() == grpc.StatusCode.NOT_FOUND


def test_connections_over_the_limit_wait_until_there_is_room(tmp_path: Path) -> None:
    with Loopback(tmp_path, max_connections=2) as listener:
        with listener.client() as first, listener.client() as second:
            assert first.call(GET, holder_request("1")).code == 0
            assert second.call(GET, holder_request("1")).code == 0
            with listener.client() as third:
                stream = third.new_stream()
                third.send(*third.call_frames(stream, GET, framed(holder_request("1"))))
                with pytest.raises(AssertionError, match="waited"):
                    third.wait(lambda: bool(third.frames), "a frame", deadline_s=0.3)
                first.socket.close()
                assert third.reply(stream).code == 0
        assert listener.stats()["accept_pauses"] > 0


@pytest.mark.unsanitized("thread", reason="it needs descriptors for the names of functions")
def test_a_server_out_of_descriptors_goes_on_and_recovers(tmp_path: Path) -> None:
    limit = ("prlimit", "--nofile=100")
    with ServerProcess(tmp_path / "data", command=limit) as server:
        subject = GrpcSubject(server.dial_stub(), server.admin_stub())
        subject.create_list(LIST, HELD)
        assert subject.claim(LIST, "1", "A").what == "GRANTED"
        many = [socket.create_connection(_pair(server.admin_address)) for _ in range(60)]
        many += [socket.create_connection(_pair(server.dial_address)) for _ in range(100)]
        assert subject.claim(LIST, "1", "A").what == "GRANTED"
        for each in many:
            each.close()
        with RawClient(server.dial_address) as client:
            assert client.call(GET, holder_request("1")).code == 0
        assert server.stop() == 0


def test_dialers_leave_descriptors_for_the_administrators(tmp_path: Path) -> None:
    limit = ("prlimit", "--nofile=100")
    with ServerProcess(tmp_path / "data", command=limit) as server:
        many = [socket.create_connection(_pair(server.dial_address)) for _ in range(150)]
        subject = GrpcSubject(server.dial_stub(server.admin_address), server.admin_stub())
        subject.create_list(LIST, HELD)
        assert subject.claim(LIST, "1", "A").what == "GRANTED"
        for each in many:
            each.close()
        assert "fewer_connections" in server.log_text


def _pair(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def test_several_threads_share_the_connections(tmp_path: Path) -> None:
    with Loopback(tmp_path, threads=3) as listener:
        clients = [listener.client() for _ in range(9)]
        for number, client in enumerate(clients * 5):
            assert client.call(DIAL + "Claim", claim_request(str(number))).code == 0
        for client in clients:
            client.socket.close()
        listener.wait_empty()
        assert listener.stats()["accepted"] == 9


# ---- the choice of the listener


def test_grpcio_serves_the_dial_port_where_it_is_asked_for(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", *listeners("grpcio")) as server:
        with RawClient(server.dial_address) as client:
            reply = client.call(GET, holder_request("1"))
        assert reply.code == 5
        assert "ownerd_dial" not in server.log_text
        # grpcio's SETTINGS have numbers of its own.
        [settings, *_] = client.came(SettingsFrame)
        assert any(number > 1_000 for number in settings.settings)


def test_an_installation_without_the_native_listener_falls_back(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['ownerd.net.listener'] = None\n"
        "from ownerd.server import config, exits, native_listener as native\n"
        "assert not native.wanted(config.Settings(), 'dial')\n"
        "assert not native.wanted(config.Settings(), 'admin')\n"
        "import ownerd.server.app\n"
        "try: native.wanted(config.Settings(admin_listener='native'), 'admin')\n"
        "except exits.ConfigError as error: print(error)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient_s(60))
    assert "libnghttp2-dev" in done.stdout, done.stderr


@pytest.mark.parametrize("channels", [1, 4])
def test_asyncio_clients_get_every_answer(shared_server: ServerProcess, channels: int) -> None:
    admin = shared_server.admin_stub()
    subject = GrpcSubject(shared_server.dial_stub(), admin)
    name = f"asyncio-{channels}"
    subject.create_list(name, HELD)

    async def main() -> int:
        opened = [grpc.aio.insecure_channel(shared_server.dial_address) for _ in range(channels)]
        stubs = [dial_pb2_grpc.DialServiceStub(channel) for channel in opened]
        answers = await asyncio.gather(
            *(
                stubs[number % channels].Claim(
                    dial_pb2.ClaimRequest(list_id=name, record_id=str(number), campaign_id="A"),
                    timeout=30,
                )
                for number in range(3_000)
            )
        )
        for channel in opened:
            await channel.close()
        return sum(answer.decision == dial_pb2.CLAIM_DECISION_GRANTED for answer in answers)

    assert asyncio.run(main()) == 3_000


def test_the_metrics_page_shows_the_dial_listener(
    held: tuple[ServerProcess, SyncShim, GrpcSubject],
) -> None:
    server, _, subject = held
    before = _metric(server, "ownerd_dial_calls_received_total")
    subject.claim(LIST, "1", "A")
    with RawClient(server.dial_address) as client:
        assert client.call(DIAL + "Unknown", b"").code == 12
        assert _metric(server, "ownerd_dial_connections") == 2
    assert _metric(server, "ownerd_dial_calls_received_total") == before + 2
    assert _metric(server, "ownerd_dial_calls_refused_total") == 1
    poll(
        lambda: _metric(server, 'ownerd_dial_connections_ended_total{reason="peer"}') == 1,
        "the connection to be counted",
    )


@pytest.mark.usefixtures("dial_listener")
def test_connections_are_renewed_under_load_without_a_failed_call(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--dial-max-age-s", "0.2") as server:
        GrpcSubject(server.dial_stub(), server.admin_stub()).create_list(LIST, HELD)

        async def dial(stub: dial_pb2_grpc.DialServiceStub, number: int) -> None:
            request = dial_pb2.ClaimRequest(list_id=LIST, record_id=str(number), campaign_id="A")
            end = asyncio.get_running_loop().time() + 1.5
            count = 0
            while count < 10 or asyncio.get_running_loop().time() < end:
                await stub.Claim(request, timeout=DEADLINE_S)
                count += 1

        async def main() -> None:
            async with grpc.aio.insecure_channel(server.dial_address) as channel:
                stub = dial_pb2_grpc.DialServiceStub(channel)
                await asyncio.gather(*(dial(stub, number) for number in range(20)))

        asyncio.run(main())
