"""The listeners on the native core: sockets are bound here, calls never come here.

A `Listener` as `grpc_listener` describes it, made of `ownerd.native` where that was built. Owns
the listening sockets until the native side takes them, and the socket files of Unix addresses.
Which limits a listener has is decided here too.
"""

import asyncio
import errno
import os
import resource
import socket
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import structlog

from ownerd.native import Access, Engine, ListenerLoops
from ownerd.server import addresses, ports, tls
from ownerd.server.addresses import Address
from ownerd.server.config import Settings, defaults
from ownerd.server.exits import CannotListen, ConfigError
from ownerd.server.native_calls import NativeCalls

_BACKLOG = 1_024
_POLL_S = 0.005
# After the grace is over, the loops close what is left within this time.
_CLOSING_S = 1.0
_MOST_THREADS = 4
_CPUS_PER_THREAD = 2
# For the store, the admin listener with its clients, the metrics page and the log.
_OTHER_DESCRIPTORS = 512
# Imports and exports may take what time they need, also on a connection that is to be renewed.
_ADMIN_GRACE_S = 86_400.0

# Settings that can be changed under a running listener, by its name.
_STRANGERS_LIMITS = ("first_call_timeout_s", "max_strangers", "max_stranger_calls")
_DIAL_LIMITS = (
    "dial_max_connections",
    "dial_max_streams",
    "dial_max_header_bytes",
    "dial_max_held_bytes",
    "dial_max_principal_bytes",
    "dial_max_memory_bytes",
    "dial_max_resets_per_s",
    "dial_handshake_timeout_s",
    "dial_transfer_timeout_s",
    "dial_keepalive_time_s",
    "dial_keepalive_timeout_s",
    "dial_max_idle_s",
    "dial_max_age_s",
    "dial_max_age_grace_s",
)
LIMITS = {
    "dial": (*_DIAL_LIMITS, *_STRANGERS_LIMITS),
    "admin": ("admin_max_connections", *_STRANGERS_LIMITS),
}

BUILT = ListenerLoops is not None

log = structlog.get_logger("ownerd.listeners")


def wanted(settings: Settings, name: str) -> bool:
    """Whether the listener of that name, dial or admin, is to be a native one.

    Raises:
        ConfigError: it is asked for and was not built.
    """
    choice = getattr(settings, f"{name}_listener")
    if choice == "native" and not BUILT:
        raise ConfigError(
            f"{name}_listener: found 'native', but this installation was built without libnghttp2; "
            "install it (Debian: libnghttp2-dev) and build again, or use 'grpcio'"
        )
    return BUILT and choice != "grpcio"


def dial_limits(settings: Settings) -> dict[str, Any]:
    """Return the limits of the dial listener, as `ListenerLoops` names them."""
    return _limits(settings) | {
        "threads": settings.dial_threads or _threads(),
        "max_connections": _connections(settings),
    }


def admin_limits(settings: Settings) -> dict[str, Any]:
    """Return the limits of the admin listener: the dial listener's defaults, but for a few."""
    by_default = {name: value for name, value in defaults().items() if name.startswith("dial_")}
    return _limits(msgspec.structs.replace(settings, **by_default)) | {
        "threads": 1,
        "max_connections": settings.admin_max_connections,
        "max_age_grace_s": _ADMIN_GRACE_S,
    }


def _limits(settings: Settings) -> dict[str, Any]:
    return {
        "max_streams": settings.dial_max_streams,
        "max_header_bytes": settings.dial_max_header_bytes,
        "max_message_bytes": settings.max_message_bytes,
        "max_held_bytes": settings.dial_max_held_bytes,
        "max_principal_bytes": settings.dial_max_principal_bytes,
        "max_memory_bytes": settings.dial_max_memory_bytes,
        "max_resets_per_s": settings.dial_max_resets_per_s,
        "handshake_timeout_s": settings.dial_handshake_timeout_s,
        "transfer_timeout_s": settings.dial_transfer_timeout_s,
        "keepalive_time_s": settings.dial_keepalive_time_s,
        "keepalive_timeout_s": settings.dial_keepalive_timeout_s,
        "max_idle_s": settings.dial_max_idle_s,
        "max_age_s": settings.dial_max_age_s,
        "max_age_grace_s": settings.dial_max_age_grace_s,
        "first_call_timeout_s": settings.first_call_timeout_s,
        "max_strangers": settings.max_strangers,
        "max_stranger_calls": settings.max_stranger_calls,
    }


class NativeListener:
    """A listener on native threads; see `grpc_listener.Listener` for the methods.

    Args:
        name: what the log and the configuration call it.
        engine: decides DialService's calls, which need no Python.
        access: who may make calls.
        limits: as above.
        material: for TLS on every address but Unix sockets; None: plaintext.
        calls: serve what is neither DialService nor health; None: there is nothing else.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        access: Access,
        limits: Mapping[str, Any],
        material: tls.Material | None = None,
        calls: NativeCalls | None = None,
    ) -> None:
        self.name = name
        assert ListenerLoops is not None, "see `wanted`"
        bridge = None if calls is None else calls.bridge
        self._loops = ListenerLoops(engine, access, handlers=bridge, **limits)
        self._secure = material is not None
        if material is not None:
            self.use_tls(material)
        self._sockets: list[socket.socket] = []
        self._files: list[tuple[str, int]] = []

    def use_tls(self, material: tls.Material) -> None:
        self._loops.use_tls(material.certificate, material.key, material.client_cas.get(self.name))

    def limit(self, settings: Settings) -> None:
        """Have the limits of these settings from now on; `LIMITS` are their names."""
        limits = (dial_limits if self.name == "dial" else admin_limits)(settings)
        self._loops.limit(**{name: each for name, each in limits.items() if name != "threads"})

    def bind(self, texts: Iterable[str]) -> list[Address]:
        return [self._bind(addresses.parse(text)) for text in texts]

    async def start(self) -> None:
        # What stays on this machine needs no TLS, and clients speak none on a Unix socket.
        plain = [each for each in self._sockets if not self._secure or _is_file(each)]
        secure = [each for each in self._sockets if each not in plain]
        self._sockets = []
        self._loops.start([each.detach() for each in plain], [each.detach() for each in secure])

    def tell_health(self) -> None:
        """Tell those who watch the health what it is now."""
        self._loops.tell_health()

    def begin_drain(self) -> None:
        self._loops.begin_drain()
        self._remove_files()

    @property
    def told(self) -> bool:
        return self._loops.told

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
        bound, address = ports.bind(address)
        self._sockets += bound
        for listening in bound:
            listening.listen(_BACKLOG)
            listening.setblocking(False)
        return address

    def _bind_file(self, path: str) -> None:
        remove_stale(path)
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


def _is_file(listening: socket.socket) -> bool:
    return listening.family == socket.AF_UNIX


def _threads() -> int:
    """Return how many loops suit this machine: the writer and the dialers need processors too."""
    cpus = len(os.sched_getaffinity(0))
    return max(1, min(_MOST_THREADS, cpus // _CPUS_PER_THREAD))


def _connections(settings: Settings) -> int:
    """Return how many dialers can be connected, once as many descriptors are allowed as may be.

    Some are left for everything else in the process: dialers must not lock the administrators out.
    """
    wanted = settings.dial_max_connections
    others = _OTHER_DESCRIPTORS + settings.admin_max_connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + others
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    possible = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < needed:
        wanted = max(possible - others, possible // 2)
        log.warning("fewer_connections", dial_max_connections=wanted, open_files=possible)
    return wanted


def remove_stale(path: str) -> None:
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
