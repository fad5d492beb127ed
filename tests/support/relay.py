"""A port that stays while the server behind it restarts: hands bytes on, both ways."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

DEADLINE_S = 5.0


class Relay:
    """Listens on a free port of loopback; a context manager.

    Args:
        target: returns where a new connection goes, as host:port.
    """

    def __init__(self, target: Callable[[], str]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._over = False
        self._passing = threading.Event()
        self._passing.set()

    def __enter__(self) -> "Relay":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._passing.set()
        socket.create_connection(self._listener.getsockname()).close()  # wakes who accepts
        self.cut()
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for each in (*self._open, self._listener):
            each.close()

    def cut(self) -> None:
        """End every connection."""
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def hold(self) -> None:
        """Hand nothing on, and end nothing, as a network does that loses everything."""
        self._passing.clear()

    def go_on(self) -> None:
        """Hand on again: what was held first."""
        self._passing.set()

    def _start(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over:
            near, _ = self._listener.accept()
            self._open.append(near)
            try:
                host, _, port = self._target().rpartition(":")
                far = socket.create_connection((host, int(port)), timeout=DEADLINE_S)
            except (OSError, AssertionError, ValueError):  # the server is down
                near.close()
                continue
            far.settimeout(None)
            self._open.append(far)
            self._start(self._pump, near, far)
            self._start(self._pump, far, near)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._passing.wait()
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
