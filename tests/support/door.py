"""A door before a server: connections go through it to wherever it leads now, or nowhere.

A server that starts again listens on another port; whoever came through the door finds it behind
the same one. A context manager; `lead_to` and `shut` may be called from any thread.
"""

import asyncio
import threading
from contextlib import suppress
from typing import Self

DEADLINE_S = 10.0


class Door:
    """Listens on a free port of loopback; `address` is host and port."""

    def __init__(self, target: str | None) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self._over: asyncio.Event | None = None
        self.address = ""

    def lead_to(self, target: str) -> None:
        """Lead to another server from now on; what is open is cut."""
        self._target = target
        self._loop.call_soon_threadsafe(self._cut)

    def shut(self) -> None:
        """Lead nowhere; what is open is cut."""
        self._target = None
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.address = "{}:{}".format(*server.sockets[0].getsockname())
        self._ready.set()
        await self._over.wait()
        server.close()
        self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(others, timeout=DEADLINE_S) if others else None
        await asyncio.sleep(0)  # in which what was cut is closed

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._target is None:
            writer.transport.abort()
            return
        host, _, port = self._target.rpartition(":")
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            self._open |= {writer, far_writer}
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
            self._open -= {writer, far_writer}
        writer.transport.abort()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._over is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
