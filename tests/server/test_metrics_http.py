"""The metrics page against strangers: a bounded number of connections, each for a bounded time."""

import contextlib
import gc
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Iterator

import pytest
from harness import poll
from prometheus_client import CollectorRegistry, Gauge
from tls_files import Authority

from ownerd.server import metrics_http, tls
from ownerd.server.addresses import Address
from ownerd.server.metrics_http import MetricsServer

CA = Authority()


def guard(*_: object) -> None:
    """Let everybody in."""


@pytest.fixture
def listening() -> Iterator[MetricsServer]:
    registry = CollectorRegistry()
    Gauge("here", "A gauge.", registry=registry).set(1)
    made = MetricsServer(registry, Address("127.0.0.1", 0), guard)
    yield made
    made.close()


def connect(listening: MetricsServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listening.address.port), 10)


def shaken(plain: socket.socket) -> ssl.SSLSocket:
    """Return a connection that has done its handshake and says nothing else."""
    return ssl.create_default_context(cadata=CA.pem.decode()).wrap_socket(
        plain, server_hostname="127.0.0.1"
    )


def scrape(listening: MetricsServer, secure: bool = False) -> str:
    scheme = "https" if secure else "http"
    trusting = ssl.create_default_context(cadata=CA.pem.decode()) if secure else None
    url = f"{scheme}://{listening.address}/metrics"
    with urllib.request.urlopen(url, timeout=10, context=trusting) as answer:
        return str(answer.read().decode())


def is_closed(client: socket.socket) -> bool:
    client.settimeout(0.001)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def test_a_connection_beyond_the_most_is_closed_and_a_place_is_given_back(
    listening: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [connect(listening) for _ in range(metrics_http._CONNECTIONS + 5)]
    try:
        poll(lambda: sum(map(is_closed, clients)) == 5, "those beyond to be closed")
        threads = sum(each.name.startswith("CP Server") for each in threading.enumerate())
        assert 0 < threads <= metrics_http._CONNECTIONS
    finally:
        for client in clients:
            client.close()

    def serves() -> bool:
        try:
            return "here 1.0" in scrape(listening)
        except OSError:
            return False

    poll(serves, "a place")


def test_connections_that_say_nothing_hold_up_nobody(listening: MetricsServer) -> None:
    clients = [connect(listening) for _ in range(metrics_http._CONNECTIONS)]
    try:
        for _ in range(3):
            assert "here 1.0" in scrape(listening)
        poll(lambda: sum(map(is_closed, clients)) > 0, "the oldest to make room")
        assert sum(map(is_closed, clients)) <= 3
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("secure", [False, True])
def test_a_client_that_dribbles_is_cut_off_when_its_time_is_over(
    listening: MetricsServer, monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    monkeypatch.setattr(metrics_http, "_LONGEST_S", 0.3)
    if secure:
        listening.use_tls(tls.Material(*CA.issue(), {}, 0.0))
    with connect(listening) as plain, shaken(plain) if secure else plain as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost:")

        def dribbled_enough() -> bool:
            try:
                client.sendall(b"x")
            except OSError:
                return True
            return is_closed(client)

        poll(dribbled_enough, "the end")
    assert "here 1.0" in scrape(listening, secure)


def test_clients_that_only_shake_hands_hold_up_nobody(listening: MetricsServer) -> None:
    listening.use_tls(tls.Material(*CA.issue(), {}, 0.0))
    clients = [shaken(connect(listening)) for _ in range(metrics_http._THREADS + 1)]
    try:
        begin_s = time.monotonic()
        assert "here 1.0" in scrape(listening, True)
        assert time.monotonic() - begin_s < metrics_http._SILENCE_S / 2
    finally:
        for client in clients:
            client.close()


def test_every_path_shows_the_metrics_and_other_methods_are_told_so(
    listening: MetricsServer,
) -> None:
    for path in ("/metrics", "/", "/anything?name[]=here"):
        with urllib.request.urlopen(f"http://{listening.address}{path}", timeout=10) as answer:
            assert (answer.status, b"here 1.0" in answer.read()) == (200, True), path
            assert answer.headers["Content-Type"].startswith("text/plain")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{listening.address}/metrics", b"body", timeout=10)
    with refused.value as answer:
        assert answer.status == 405


def test_of_one_that_is_closed_nothing_is_left() -> None:
    made = MetricsServer(CollectorRegistry(), Address("127.0.0.1", 0), guard)
    assert "python_info" not in scrape(made)
    left = weakref.ref(made._server)
    made.close()
    del made
    gc.collect()
    assert left() is None
    assert not [each for each in threading.enumerate() if each.name.startswith("CP Server")]


@pytest.mark.parametrize("secure", [False, True])
def test_requests_that_do_not_become_whole_hold_up_nobody(
    listening: MetricsServer, secure: bool
) -> None:
    if secure:
        listening.use_tls(tls.Material(*CA.issue(), {}, 0.0))
    clients: list[socket.socket] = []
    try:
        for _ in range(metrics_http._CONNECTIONS + 8):
            clients.append(connect(listening))
            # Half of a request, or of a handshake.
            with contextlib.suppress(OSError):
                clients[-1].sendall(b"\x16\x03\x01" if secure else b"GET /metrics HTTP/1.1\r\n")
        for _ in range(3):
            assert "here 1.0" in scrape(listening, secure)
        assert listening.stats()["ended"]["crowded"] > 0
    finally:
        for client in clients:
            client.close()
