"""The dial listener on the native core: sockets are bound here, calls never come here.

A `Listener` as `grpc_listener` describes it, made of `ownerd.native` where that was built. Owns
the listening sockets until the native side takes them, and the socket files of Unix addresses.
"""

import asyncio
import errno
import os
import resource
import socket
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import structlog

from ownerd.native import Access, Engine, ListenerLoops
from ownerd.server import addresses, tls
from ownerd.server.addresses import Address
from ownerd.server.config import Settings
from ownerd.server.exits import CannotListen, ConfigError

_BACKLOG = 1_024
_POLL_S = 0.005
# After the grace is over, the loops close what is left within this time.
_CLOSING_S = 1.0
_MOST_THREADS = 4
_CPUS_PER_THREAD = 2
# For the store, the admin listener with its clients, the metrics page and the log.
_OTHER_DESCRIPTORS = 512

# Settings that can be changed under a running listener.
LIMITS = (
    "dial_max_connections",
    "dial_max_streams",
    "dial_max_header_bytes",
    "dial_max_held_bytes",
    "dial_max_memory_bytes",
    "dial_max_resets_per_s",
    "dial_handshake_timeout_s",
    "dial_keepalive_time_s",
    "dial_keepalive_timeout_s",
    "dial_max_idle_s",
    "dial_max_age_s",
    "dial_max_age_grace_s",
)

BUILT = ListenerLoops is not None

log = structlog.get_logger("ownerd.listeners")


def wanted(settings: Settings) -> bool:
    """Whether the dial listener is to be the native one.

    Raises:
        ConfigError: it is asked for and was not built.
    """
    if settings.dial_listener == "native" and not BUILT:
        raise ConfigError(
            "dial_listener: found 'native', but this installation was built without libnghttp2; "
            "install it (Debian: libnghttp2-dev) and build again, or use 'grpcio'"
        )
    return BUILT and settings.dial_listener != "grpcio"


class NativeListener:
    """DialService and health on native threads; see `grpc_listener.Listener` for the methods."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        access: Access,
        settings: Settings,
        material: tls.Material | None = None,
    ) -> None:
        self.name = name
        assert ListenerLoops is not None, "see `wanted`"
        self._loops = ListenerLoops(
            engine, access, threads=settings.dial_threads or _threads(), **_limits(settings)
        )
        self._secure = material is not None
        if material is not None:
            self.use_tls(material)
        self._sockets: list[socket.socket] = []
        self._files: list[tuple[str, int]] = []

    def use_tls(self, material: tls.Material) -> None:
        self._loops.use_tls(material.certificate, material.key, material.client_cas.get(self.name))

    def limit(self, settings: Settings) -> None:
        """Have the limits of these settings from now on; `LIMITS` are their names."""
        self._loops.limit(**_limits(settings))

    def bind(self, texts: Iterable[str]) -> list[Address]:
        return [self._bind(addresses.parse(text)) for text in texts]

    async def start(self) -> None:
        # What stays on this machine needs no TLS, and clients speak none on a Unix socket.
        plain = [each for each in self._sockets if not self._secure or _is_file(each)]
        secure = [each for each in self._sockets if each not in plain]
        self._sockets = []
        self._loops.start([each.detach() for each in plain], [each.detach() for each in secure])

    def begin_drain(self) -> None:
        self._loops.begin_drain()
        self._remove_files()

    async def stop(self, grace_s: float) -> None:
        self._remove_files()
        for each in self._sockets:
            each.close()
        self._loops.close(grace_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s + _CLOSING_S):
                while not self._loops.ended:
                    await asyncio.sleep(_POLL_S)

    async def failed(self) -> None:
        # A native loop ends when it is told to, or takes the process with it.
        await asyncio.Event().wait()

    @property
    def pending(self) -> int:
        return self._loops.pending

    @property
    def received(self) -> int:
        return self._loops.received

    def stats(self) -> dict[str, Any]:
        """Return what `ListenerLoops.stats` does."""
        return self._loops.stats()

    # ---- private

    def _bind(self, address: Address) -> Address:
        try:
            if address.path:
                self._bind_file(address.path)
                return address
            return self._bind_port(address)
        except OSError as error:
            raise CannotListen(
                f"{self.name}_listen: cannot listen on {address}: {error.strerror or error}; stop "
                "what uses it or choose another"
            ) from None

    def _bind_port(self, address: Address) -> Address:
        """Listen on every address that the host's name stands for, all on one port."""
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        port = address.port
        for family, at in dict.fromkeys((each[0], each[4][0]) for each in found):
            listening = socket.socket(family, socket.SOCK_STREAM)
            self._sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # As with grpcio, [::] takes IPv4 too.
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(at != "::"))
            listening.bind((at, port))
            listening.listen(_BACKLOG)
            listening.setblocking(False)
            port = listening.getsockname()[1]
        return address._replace(port=port)

    def _bind_file(self, path: str) -> None:
        _remove_stale(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sockets.append(listening)
        listening.bind(path)
        self._files.append((path, os.stat(path).st_ino))
        listening.listen(_BACKLOG)
        listening.setblocking(False)

    def _remove_files(self) -> None:
        while self._files:
            path, inode = self._files.pop()
            with suppress(OSError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)


def _limits(settings: Settings) -> dict[str, Any]:
    """Return what `ListenerLoops` takes of the settings."""
    found = {name.removeprefix("dial_"): getattr(settings, name) for name in LIMITS}
    found["max_connections"] = _connections(settings.dial_max_connections)
    return found | {"max_message_bytes": settings.max_message_bytes}


def _is_file(listening: socket.socket) -> bool:
    return listening.family == socket.AF_UNIX


def _threads() -> int:
    """Return how many loops suit this machine: the writer and the dialers need processors too."""
    cpus = len(os.sched_getaffinity(0))
    return max(1, min(_MOST_THREADS, cpus // _CPUS_PER_THREAD))


def _connections(wanted: int) -> int:
    """Return how many connections there can be, once as many descriptors are allowed as may be.

    Some are left for everything else in the process: dialers must not lock the administrators out.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    possible = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < needed:
        wanted = max(possible - _OTHER_DESCRIPTORS, possible // 2)
        log.warning("fewer_connections", dial_max_connections=wanted, open_files=possible)
    return wanted


def _remove_stale(path: str) -> None:
    """Remove the socket file of a server that is gone.

    Raises:
        OSError: a server answers there.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return  # the bind will say that it is in use
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)
        return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
