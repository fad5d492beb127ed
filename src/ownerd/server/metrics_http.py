"""The metrics page's listener: HTTP, or HTTPS where there is a certificate, for whoever may view.

Each connection has a daemon thread of its own, which also does its TLS handshake; there are only so
many at a time, and one that says nothing, or too slowly, is dropped. Nothing here blocks the event
loop.
"""

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from threading import BoundedSemaphore, Thread, Timer
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from ownerd.server import tls
from ownerd.server.addresses import Address
from ownerd.server.errors import OwnerdError, PermissionDenied, Unauthenticated
from ownerd.server.exits import CannotListen

_SILENCE_S = 10.0
_LONGEST_S = 30.0
_CONNECTIONS = 32
_JOIN_S = 5.0

# Given the Authorization header (or None), the names in the client's certificate and where it comes
# from; raises an OwnerdError for somebody who may not see the page.
Guard = Callable[[str | None, Sequence[str], str], None]

# Kinds of names as the ssl module spells them, and as principals do.
_NAME_KINDS = {"DNS": "DNS", "URI": "URI", "email": "email", "IP Address": "IP"}


class Page:
    """The HTTP listener; `address` is the real one.

    Args:
        registry: what the page shows.
        address: where to listen.
        guard: turns away whoever may not see it.
        material: for TLS; None: plaintext.

    Raises:
        CannotListen: the address is in use or not of this machine.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        address: Address,
        guard: Guard,
        material: tls.Material | None = None,
    ) -> None:
        try:
            self._server = _listen(_guarded(make_wsgi_app(registry), guard), address)
        except (OSError, socket.gaierror) as error:
            raise CannotListen(
                f"metrics_listen: cannot listen on {address}: {error.strerror or error}; choose "
                "another address, or an empty one for no metrics page"
            ) from None
        if material is not None:
            self.use_tls(material)
        self.address = address._replace(port=self._server.server_port)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def use_tls(self, material: tls.Material) -> None:
        """Use this for new connections; may be called at any time."""
        self._server.context = tls.context_of(
            material.certificate, material.key, material.client_cas.get("metrics")
        )

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=_JOIN_S)


class _Server(ThreadingWSGIServer):
    """One thread for each connection, for a bounded number of them and a bounded time."""

    context: ssl.SSLContext | None = None
    request_queue_size = _CONNECTIONS

    def __init__(self, *arguments: Any) -> None:
        self._places = BoundedSemaphore(_CONNECTIONS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on a thread; one for which there is no place is closed."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, which is cut off when its time is over, however it dribbles."""
        cut_off = Timer(_LONGEST_S, _cut_off, [request])
        cut_off.daemon = True
        cut_off.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            cut_off.cancel()
            self._places.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection, on its thread."""
        request.settimeout(_SILENCE_S)
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with self.context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: peers that leave or speak no TLS are no fault of ours."""


def _cut_off(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    def get_environ(self) -> dict[str, Any]:
        """Add the names in the client's certificate."""
        return super().get_environ() | {"ownerd.names": _names(self.request)}

    def log_message(self, format: str, *arguments: Any) -> None:
        """Leave requests out of the log."""


def _names(connection: Any) -> list[str]:
    """Return the names in a client's certificate, spelled as in Principal."""
    if not isinstance(connection, ssl.SSLSocket):
        return []
    found = (connection.getpeercert() or {}).get("subjectAltName", ())
    return [
        f"{_NAME_KINDS[kind]}:{_spelt(kind, name)}" for kind, name in found if kind in _NAME_KINDS
    ]


def _spelt(kind: str, name: str) -> str:
    if kind != "IP Address":
        return name
    # OpenSSL spells out every group of an IPv6 address, in capitals.
    with suppress(ValueError):  # of no known length: as it stands, and nobody's
        return str(ipaddress.ip_address(name.strip()))
    return name


def _guarded(app: Any, guard: Guard) -> Any:
    """Return the page for those who may see it."""

    def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        where = environ["REMOTE_ADDR"]
        peer = f"ipv6:[{where}]:0" if ":" in where else f"ipv4:{where}:0"
        try:
            guard(environ.get("HTTP_AUTHORIZATION"), environ["ownerd.names"], peer)
        except OwnerdError as error:
            start_response(*_refusal(error))
            return [f"{error}\n".encode()]
        found: Iterable[bytes] = app(environ, start_response)
        return found

    return serve


def _refusal(error: OwnerdError) -> tuple[str, list[tuple[str, str]]]:
    """Return status and headers of an error."""
    plain = ("Content-Type", "text/plain; charset=utf-8")
    if isinstance(error, Unauthenticated):
        return "401 Unauthorized", [plain, ("WWW-Authenticate", "Bearer")]
    if isinstance(error, PermissionDenied):
        return "403 Forbidden", [plain]
    return "429 Too Many Requests", [plain, ("Retry-After", "1")]


def _listen(app: Any, address: Address) -> _Server:
    family, _, _, _, found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = type("_FamilyServer", (_Server,), {"address_family": family})
    return make_server(str(found[0]), address.port, app, made, handler_class=_Handler)
