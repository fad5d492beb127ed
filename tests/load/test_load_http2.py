"""The native load over HTTP/2: what it counts is what the server answered, whichever way."""

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from fake_server import FakeServer
from harness import poll

from ownerd.load.plan import Plan
from ownerd.v1 import admin_pb2, dial_pb2

load_http2 = pytest.importorskip("ownerd.load.http2", reason="built without libnghttp2")

SHORT = {"seconds": 0.4, "warm_up_s": 0.1}
MOST_BATCH = 10_000


@pytest.fixture
def contact_list(admin, unique):
    """A list of the server, named `unique`, with its policy enabled."""
    policy = admin_pb2.OwnershipPolicy(enabled=True, no_expiration=True)
    admin.CreateContactList(admin_pb2.CreateContactListRequest(list_id=unique, policy=policy))
    return unique


@pytest.mark.parametrize(
    ("in_flight", "connections", "threads", "batch_records"),
    [(1, 1, 1, 1), (64, 4, 2, 1), (5, 3, 2, 50), (2, 1, 1, MOST_BATCH)],
)
def test_answers_are_counted_as_the_server_gave_them(
    any_server, contact_list, in_flight, connections, threads, batch_records
):
    plan = Plan(contact_list, record_count=500, claims=2, attempts=1, batch_records=batch_records)
    found = load_http2.drive(
        any_server.dial_address,
        plan,
        in_flight=in_flight,
        connections=connections,
        threads=threads,
        **SHORT,
    )
    assert not found.errors and found.calls == found.latency.count > 0
    assert found.records == found.calls * batch_records == sum(found.records_by_second)
    assert found.records == sum(found.decisions.values()) + sum(found.outcomes.values())
    assert set(found.decisions) <= {"granted"}
    assert set(found.outcomes) <= {"ownership_acquired", "ownership_kept"}


def test_campaigns_that_meet_are_denied(any_server, contact_list):
    plan = Plan(contact_list, record_count=10, batch_records=20, campaign_ids=("a" * 80, "b"))
    found = load_http2.drive(any_server.dial_address, plan, **SHORT)
    assert set(found.decisions) == {"granted", "denied"} and not found.errors


def test_an_open_load_keeps_its_rate(any_server, contact_list):
    plan = Plan(contact_list, record_count=1_000)

    def keeps_it() -> bool:
        found = load_http2.drive(
            any_server.dial_address, plan, rate_per_s=300, threads=2, seconds=0.5, warm_up_s=0.1
        )
        assert found.calls <= 1.2 * 150
        return found.calls >= 0.8 * 150

    poll(keeps_it, "a run in which its threads were let run when a call was due")


def test_errors_are_counted_by_status(any_server):
    found = load_http2.drive(any_server.dial_address, Plan("nowhere", record_count=9), **SHORT)
    assert set(found.errors) == {"NOT_FOUND"} and found.calls == 0


def test_a_unix_socket_is_an_address(contact_list, unique, tmp_path):
    path = tmp_path / "socket"
    server = grpc.server(_pool())
    server.add_generic_rpc_handlers([_claims(dial_pb2.ClaimResponse(decision=3))])
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        plan = Plan(unique, record_count=9)
        found = load_http2.drive(f"unix:{path}", plan, in_flight=4, **SHORT)
    finally:
        server.stop(None).wait(10)
    assert set(found.decisions) == {"uncontrolled"} and not found.errors


def test_other_services_requests_are_sent_as_they_are():
    with FakeServer() as server:
        body = dial_pb2.GetHolderRequest(list_id="L", record_id="r" * 40_000).SerializeToString()
        found = load_http2.drive_requests(
            server.address, "/ownerd.v1.DialService/GetHolder", [body, b""], in_flight=4, **SHORT
        )
        sizes = {len(request.record_id) for request in server.requests["GetHolder"]}
    assert found.calls > 0 and not found.errors and sizes == {40_000, 0}


def test_connections_that_the_server_ends_in_order_lose_no_call():
    server = grpc.server(_pool(), options=[("grpc.max_connection_age_ms", 150)])
    server.add_generic_rpc_handlers([_claims(dial_pb2.ClaimResponse(decision=1))])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        plan = Plan("L", record_count=9)
        found = load_http2.drive(
            f"127.0.0.1:{port}", plan, in_flight=4, connections=2, seconds=1.0, warm_up_s=0
        )
    finally:
        server.stop(None).wait(10)
    assert min(found.records_by_second) > 0
    assert set(found.errors) <= {"UNAVAILABLE"}  # refused, as of a connection that is going away
    assert found.errors.get("UNAVAILABLE", 0) < found.calls / 10


def test_calls_end_with_their_connection_and_go_on_over_a_new_one():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        accepted = []

        def hang_up_on_all():
            for _ in range(3):
                connection, _ = listener.accept()
                connection.recv(1_000)
                connection.close()
                accepted.append(connection)

        thread = threading.Thread(target=hang_up_on_all)
        thread.start()
        found = load_http2.drive(
            f"127.0.0.1:{listener.getsockname()[1]}",
            Plan("L", record_count=9),
            in_flight=3,
            connections=1,
            seconds=1.0,
            warm_up_s=0,
        )
        thread.join(10)
    assert len(accepted) == 3  # the probe is one of them
    assert set(found.errors) <= {"CONNECTION_LOST", "DEADLINE_EXCEEDED"}
    assert found.errors["CONNECTION_LOST"] >= 3


def test_calls_that_are_never_answered_are_counted_and_do_not_hold_up_the_end():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        begin_s = time.monotonic()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        found = load_http2.drive(address, Plan("L", record_count=9), in_flight=5, **SHORT)
    assert found.errors == {"DEADLINE_EXCEEDED": 5} and time.monotonic() - begin_s < 10


def test_an_interrupt_ends_a_load():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            load_http2.drive(address, Plan("L", record_count=9), seconds=60)
        timer.join(10)


def test_an_address_where_nobody_listens_is_an_oserror(tmp_path):
    with socket.socket() as taken:  # bound but not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            load_http2.drive(
                f"127.0.0.1:{taken.getsockname()[1]}", Plan("L", record_count=9), **SHORT
            )
    with pytest.raises(FileNotFoundError):
        load_http2.drive(f"unix:{tmp_path}/none", Plan("L", record_count=9), **SHORT)


@pytest.mark.parametrize("shares", [(0, 1, 1), (2, 1, 1), (1, 2, 1)])
def test_a_load_in_which_someone_has_nothing_to_do_is_refused(shares):
    threads, connections, in_flight = shares
    with pytest.raises(ValueError):
        load_http2.drive(
            "127.0.0.1:1",
            Plan("L", record_count=9),
            threads=threads,
            connections=connections,
            in_flight=in_flight,
        )


def _pool():
    return ThreadPoolExecutor(2)


def _claims(answer):
    """Return a DialService whose every Claim is answered the same."""
    handler = grpc.unary_unary_rpc_method_handler(
        lambda request, context: answer.SerializeToString()
    )
    return grpc.method_handlers_generic_handler("ownerd.v1.DialService", {"Claim": handler})
