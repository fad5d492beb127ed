"""A listener that is open only while this node leads.

A node that stands by refuses connections on its dial addresses, so that clients go on to the next
one at once. What it will need is taken at the start: a port that is in use is found out then, not
when it takes over. Each time it leads a new listener is made on these addresses; when it leads no
more that one tells its clients, answers what is in flight, and ends.

`open` and `close` are the application's, one at a time; the rest is as `Listener` says.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import structlog

from ownerd.server import addresses, native_listener, ports, tls
from ownerd.server.addresses import Address
from ownerd.server.config import Settings
from ownerd.server.exits import CannotListen
from ownerd.server.grpc_listener import Listener, stop_all

# Clients that read nothing for a second are not waited for.
_FAREWELL_S = 1.5
# The engine answers at once what it does not decide any more.
_ANSWERING_S = 1.0
_POLL_S = 0.005

log = structlog.get_logger("ownerd.listeners")


class LeaderListener:
    """See above.

    Args:
        make: makes the listener for one time of leading; it has bound nothing yet.
    """

    def __init__(self, make: Callable[[], Listener]) -> None:
        self._make = make
        self._inner = make()
        self.name = self._inner.name
        self._reserved: list[socket.socket] = []
        self._addresses: list[Address] = []
        self._ending: list[Listener] = []
        self._material: tls.Material | None = None
        self._limits: Settings | None = None
        self._is_open = False
        self._is_over = False
        self._broken = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    # ---- while it leads

    async def open(self) -> None:
        """Take calls from now on; what goes wrong ends `failed`."""
        if self._is_open or self._is_over:
            return
        try:
            self._inner.bind(map(str, self._addresses))
            await self._inner.start()
        except CannotListen as error:
            log.error("listener_lost", listener=self.name, cause=str(error))
            self._broken.set()
            return
        self._is_open = True
        self._watch = asyncio.create_task(self._break_with(self._inner))
        for each in self._addresses:
            log.info("listening", listener=self.name, address=str(each))

    async def close(self) -> None:
        """Refuse connections from now on; return when what was in flight is answered."""
        if not self._is_open or self._is_over:
            return
        self._forget_watch()
        self._is_open = False
        ended, self._inner = self._inner, self._made()
        self._ending.append(ended)
        ended.begin_drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                while not ended.told:
                    await asyncio.sleep(_POLL_S)
        await ended.stop(_ANSWERING_S)
        self._ending.remove(ended)
        log.info("listens_no_more", listener=self.name)

    # ---- a Listener

    def bind(self, texts: Iterable[str]) -> list[Address]:
        self._addresses = [self._reserve(addresses.parse(text)) for text in texts]
        return self._addresses

    async def start(self) -> None:
        pass

    def use_tls(self, material: tls.Material) -> None:
        self._inner.use_tls(material)
        self._material = material

    def limit(self, settings: Settings) -> None:
        """As `NativeListener.limit`, where it is one."""
        self._limits = settings
        self._take_limits()

    def begin_drain(self) -> None:
        if self._is_open:
            self._inner.begin_drain()

    @property
    def told(self) -> bool:
        return not self._is_open or self._inner.told

    async def stop(self, grace_s: float) -> None:
        self._is_over = True
        self._forget_watch()
        await stop_all([self._inner, *self._ending], grace_s)
        while self._reserved:
            self._reserved.pop().close()

    async def failed(self) -> None:
        await self._broken.wait()

    @property
    def pending(self) -> int:
        return self._inner.pending + sum(each.pending for each in self._ending)

    @property
    def received(self) -> int:
        return self._inner.received

    def stats(self) -> dict[str, Any]:
        """As `NativeListener.stats`, of the last time that it led; only where it is one."""
        assert isinstance(self._inner, native_listener.NativeListener)
        return self._inner.stats()

    # ---- private

    def _reserve(self, address: Address) -> Address:
        """Make sure that the address can be had, and keep others from a port."""
        try:
            if address.path:
                native_listener.remove_stale(address.path)
                return address
            reserved, address = ports.bind(address)
        except OSError as error:
            raise CannotListen(
                f"{self.name}_listen: cannot listen on {address}: {error.strerror or error}; stop "
                "what uses it or choose another"
            ) from None
        self._reserved += reserved
        return address

    def _made(self) -> Listener:
        made = self._make()
        if self._material is not None:
            made.use_tls(self._material)
        self._take_limits(made)
        return made

    def _take_limits(self, listener: Listener | None = None) -> None:
        listener = listener or self._inner
        if self._limits is not None and isinstance(listener, native_listener.NativeListener):
            listener.limit(self._limits)

    async def _break_with(self, inner: Listener) -> None:
        await inner.failed()
        self._broken.set()

    def _forget_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
