"""The metrics page's listener: HTTP, or HTTPS where there is a certificate, for whoever may view.

cheroot serves it, one request a connection. A connection waits in the server's selector and takes a
thread only once it has said something, first for its TLS handshake, then for its request, and only
for so long. There are so many connections at a time; the one that has been silent for longest makes
room for one more. No more of them are heard than there are threads, and there it is the one that
has been talking for longest without having said all. Nothing here blocks the event loop.
"""

import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from threading import Lock, Thread, Timer
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from cheroot import wsgi
from cheroot.server import HTTPConnection, HTTPRequest
from cheroot.ssl.builtin import BuiltinSSLAdapter
from prometheus_client import CollectorRegistry, make_wsgi_app

from ownerd.server import certificates, tls
from ownerd.server.addresses import Address
from ownerd.server.errors import OwnerdError, PermissionDenied, Unauthenticated
from ownerd.server.exits import CannotListen

_SILENCE_S = 10
_LONGEST_S = 30.0
_CONNECTIONS = 32
_THREADS = 16
_LAST_WORDS_S = 1
_LARGEST_BYTES = 64 << 10
_NAMES = "ownerd.names"

# Given the Authorization header (or None), the names in the client's certificate and where it comes
# from; raises an OwnerdError for somebody who may not see the page.
Guard = Callable[[str | None, Sequence[str], str], None]

log = structlog.get_logger("ownerd.metrics")


class MetricsServer:
    """The HTTP listener; `address` is the real one.

    Args:
        registry: what the page shows.
        address: where to listen.
        guard: refuses whoever may not see it.
        material: for TLS; None: plaintext.
        unready: why no calls should be sent here now, in a few words; "": they should.

    Raises:
        CannotListen: the address is in use or not of this machine.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        address: Address,
        guard: Guard,
        material: tls.Material | None = None,
        unready: Callable[[], str] = lambda: "",
    ) -> None:
        # Every path that is not another's shows the metrics.
        routes = wsgi.PathInfoDispatcher(
            {
                "/": _guarded(make_wsgi_app(registry), guard),
                "/livez": _told(lambda: ""),
                "/readyz": _told(unready),
            }
        )
        self._server = _Server(address, routes)
        if material is not None:
            self.use_tls(material)
        self._server.prepare()
        self.address = address._replace(port=self._server.bind_addr[1])
        self._thread = Thread(target=self._server.serve, daemon=True)
        self._thread.start()

    def use_tls(self, material: tls.Material) -> None:
        """Use this for new connections; may be called at any time."""
        self._server.ssl_adapter = _Tls(
            tls.context_of(material.certificate, material.key, material.client_cas.get("metrics"))
        )

    def stats(self) -> dict[str, Any]:
        """Return how often a limit was met, as a native listener does."""
        return {
            "ended": {"crowded": self._server.crowded_count, "stalled": 0},
            "calls_turned_out": 0,
            "accept_pauses": 0,
            "stalled": 0,
        }

    def close(self) -> None:
        """Stop listening, and end every connection."""
        self._server.cut_off_all()
        self._server.stop()
        self._thread.join()


class _Server(wsgi.Server):
    """cheroot's server, for a bounded number of connections of which each has a bounded time."""

    keep_alive_conn_limit = 0
    max_request_header_size = _LARGEST_BYTES
    max_request_body_size = _LARGEST_BYTES

    def __init__(self, address: Address, app: WSGIApplication) -> None:
        self.ConnectionClass = _Connection
        self._address = address
        self._lock = Lock()
        self._silent: dict[_Connection, None] = {}  # the one that has been so for longest first
        self._heard: dict[_Connection, None] = {}  # has not said all; likewise
        self._busy: set[_Connection] = set()
        self.crowded_count = 0
        super().__init__(
            (address.host, address.port),
            app,
            _THREADS,
            server_name="ownerd",
            max=_THREADS,
            request_queue_size=_CONNECTIONS,
            timeout=_SILENCE_S,
            shutdown_timeout=_LAST_WORDS_S,
        )

    def clear_stats(self) -> None:
        """Begin to count anew."""
        super().clear_stats()  # type: ignore[no-untyped-call]
        # Else it, and all that it refers to, would live until the interpreter has half ended.
        logging.statistics.pop(f"Cheroot HTTPServer {id(self)}", None)  # type: ignore[attr-defined]

    def prepare(self) -> None:
        """Listen, and start the threads."""
        # Where a service manager has set it, cheroot would take descriptor 3 for a socket of its.
        os.environ.pop("LISTEN_PID", None)
        super().prepare()

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:
        """Take the address."""
        try:
            listening: socket.socket = super().bind(family, type, proto)
        except OSError as error:
            raise CannotListen(
                f"metrics_listen: cannot listen on {self._address}: {error.strerror or error}; "
                "choose another address, or an empty one for no metrics page"
            ) from None
        return listening

    def process_conn(self, conn: "_Connection") -> None:
        """Have a new connection wait until it says something; one that has, be served.

        cheroot would give a new one a thread at once, and leave it to wait there.
        """
        if conn.last_used is not None:
            with self._lock:
                self._silent.pop(conn, None)
                self._busy.add(conn)
                if len(self._heard) >= _THREADS:
                    self._cut_off_first(self._heard)
                self._heard[conn] = None
            super().process_conn(conn)
        elif self._has_place():
            self.put_conn(conn)
        else:
            conn.close()

    def put_conn(self, conn: "_Connection") -> None:
        """Have a connection wait; any thread."""
        with self._lock:
            self._busy.discard(conn)
            self._heard.pop(conn, None)
            self._silent[conn] = None
        super().put_conn(conn)

    def has_said_all(self, conn: "_Connection") -> None:
        """Leave a connection its thread, as its request is whole; any thread."""
        with self._lock:
            self._heard.pop(conn, None)

    def forget(self, conn: "_Connection") -> None:
        """Give back the place of a connection that is closed; any thread."""
        with self._lock:
            self._silent.pop(conn, None)
            self._heard.pop(conn, None)
            self._busy.discard(conn)

    def cut_off_all(self) -> None:
        """Have every connection end at once; any thread."""
        with self._lock:
            for conn in (*self._silent, *self._busy):
                conn.cut_off()

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Log a fault of ours; peers that leave or speak no TLS are none."""
        if level >= logging.ERROR:
            log.error("metrics_request_failed", cause=msg, exc_info=traceback)

    def _has_place(self) -> bool:
        """Return whether one more is taken, maybe in the place of one that has not said all."""
        with self._lock:
            if len(self._silent) + len(self._busy) < _CONNECTIONS:
                return True
            return self._cut_off_first(self._silent) or self._cut_off_first(self._heard)

    def _cut_off_first(self, some: dict["_Connection", None]) -> bool:
        """End the first of some connections, if there is one; the lock is held."""
        first = next(iter(some), None)
        if first is None:
            return False
        del some[first]
        self.crowded_count += 1
        first.cut_off()
        return True


class _Request(HTTPRequest):
    """A request that tells when it is whole."""

    def respond(self) -> None:
        """Answer it."""
        self.conn.server.has_said_all(self.conn)
        super().respond()


class _Connection(HTTPConnection):
    """A connection that is cut off when its time is over, however it dribbles."""

    RequestHandlerClass = _Request

    def communicate(self) -> bool:
        """Shake hands or serve a request, on a thread of the server's; True: wait for more."""
        timer = Timer(_LONGEST_S, self.cut_off)
        timer.daemon = True
        timer.start()
        try:
            if isinstance(self.socket, ssl.SSLSocket) and not self.ssl_env:
                self.socket.do_handshake()
                self.ssl_env = {_NAMES: _names(self.socket)}
                return True
            return bool(super().communicate())  # type: ignore[no-untyped-call]
        except OSError:  # ssl.SSLError is one
            return False
        finally:
            timer.cancel()

    def cut_off(self) -> None:
        """Have whoever waits for this connection find that it has ended; any thread."""
        # Not SSLSocket's own, which would take the session from under the thread that uses it.
        with suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it."""
        self.server.forget(self)
        super().close()


class _Tls(BuiltinSSLAdapter):
    """cheroot's adapter for a context of ours, which leaves the handshake to the thread."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, Any]]:
        """Return the socket as one that speaks TLS; its peer is not heard yet."""
        secure = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return secure, {}


def _names(connection: ssl.SSLSocket) -> tuple[str, ...]:
    """Return the names in a client's certificate, spelt as in Principal."""
    certificate = connection.getpeercert(binary_form=True)
    if certificate is None:
        return ()
    return certificates.names_in(ssl.DER_cert_to_PEM_cert(certificate).encode())


def _guarded(app: WSGIApplication, guard: Guard) -> WSGIApplication:
    """Return the page for those who may see it."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        where = environ["REMOTE_ADDR"]
        peer = f"ipv6:[{where}]:0" if ":" in where else f"ipv4:{where}:0"
        try:
            guard(environ.get("HTTP_AUTHORIZATION"), environ.get(_NAMES, ()), peer)
        except OwnerdError as error:
            start_response(*_refusal(error))
            return [f"{error}\n".encode()]
        return app(environ, start_response)

    return serve


def _told(unready: Callable[[], str]) -> WSGIApplication:
    """Return a page that says, to anybody, that all is well, or why not."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        why = unready()
        start_response(
            "503 Service Unavailable" if why else "200 OK",
            [("Content-Type", "text/plain; charset=utf-8")],
        )
        return [f"{why or 'ok'}\n".encode()]

    return serve


def _refusal(error: OwnerdError) -> tuple[str, list[tuple[str, str]]]:
    """Return status and headers of an error."""
    plain = ("Content-Type", "text/plain; charset=utf-8")
    if isinstance(error, Unauthenticated):
        return "401 Unauthorized", [plain, ("WWW-Authenticate", "Bearer")]
    if isinstance(error, PermissionDenied):
        return "403 Forbidden", [plain]
    return "429 Too Many Requests", [plain, ("Retry-After", "1")]
