"""The metrics page against strangers: a bounded number of connections, each for a bounded time."""

import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from harness import poll
from prometheus_client import CollectorRegistry, Gauge

from ownerd.server import page
from ownerd.server.addresses import Address
from ownerd.server.page import Page


def guard(*_: object) -> None:
    """Let everybody in."""


@pytest.fixture
def listening() -> Iterator[Page]:
    registry = CollectorRegistry()
    Gauge("here", "A gauge.", registry=registry).set(1)
    made = Page(registry, Address("127.0.0.1", 0), guard)
    yield made
    made.close()


def connect(listening: Page) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listening.address.port), 10)


def scrape(listening: Page) -> str:
    with urllib.request.urlopen(f"http://{listening.address}/metrics", timeout=10) as answer:
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
    listening: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [connect(listening) for _ in range(page._CONNECTIONS + 5)]
    try:
        poll(lambda: sum(map(is_closed, clients)) == 5, "those beyond to be closed")
        threads = sum("process_request_thread" in each.name for each in threading.enumerate())
        assert threads <= page._CONNECTIONS
    finally:
        for client in clients:
            client.close()

    def serves() -> bool:
        try:
            return "here 1.0" in scrape(listening)
        except OSError:
            return False

    poll(serves, "a place")


def test_a_client_that_dribbles_is_cut_off_when_its_time_is_over(
    listening: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "_LONGEST_S", 0.3)
    with connect(listening) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost:")

        def dribbled_enough() -> bool:
            try:
                client.sendall(b"x")
            except OSError:
                return True
            return is_closed(client)

        poll(dribbled_enough, "the end")
    assert "here 1.0" in scrape(listening)
