"""Floods of a listener by somebody without a token, from an address of its own on loopback.

A process of its own: `python -m benchmarks.flooding` reads a job and floods until its stdin ends.
"""

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable

import hpack
import msgspec

SOURCE = "127.0.0.2"
CONNECTIONS = 200
STREAMS = 100

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS = 0, 1, 3, 4
_END_STREAM, _END_HEADERS = 1, 4
_INITIAL_WINDOW_SIZE = 4
_RESET_PAUSE_S = 0.05
_RETRY_S = 0.5
_LARGE_HEADER_BYTES = 7_000


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Flood `address` in one of the ways of `KINDS`."""

    address: str
    kind: str


async def _silence(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing at all."""


async def _idle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin HTTP/2 and call nothing."""
    writer.write(_PREFACE + _frame(_SETTINGS, 0, 0))


async def _open_calls(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin calls that never end."""
    await _idle(_, writer)
    encoder = hpack.Encoder()
    for stream in _streams():
        writer.write(_call(encoder, stream, "/grpc.health.v1.Health/Watch"))


async def _untaken(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ask for answers and leave them no window to come in by."""
    shut = _INITIAL_WINDOW_SIZE.to_bytes(2) + bytes(4)
    writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, shut))
    encoder = hpack.Encoder()
    for stream in _streams():
        writer.write(_call(encoder, stream, "/grpc.health.v1.Health/Check"))
        writer.write(_frame(_DATA, _END_STREAM, stream, bytes(5)))


async def _resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take every call back at once."""
    await _idle(_, writer)
    encoder = hpack.Encoder()
    for first in itertools.count(1, 2 * STREAMS):
        if writer.is_closing():
            return
        for stream in range(first, first + 2 * STREAMS, 2):
            writer.write(_call(encoder, stream, "/ownerd.v1.DialService/Claim"))
            writer.write(_frame(_RST_STREAM, 0, stream, (8).to_bytes(4)))
        await writer.drain()
        await asyncio.sleep(_RESET_PAUSE_S)


async def _large_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send nearly as much metadata as is allowed, in calls that never end."""
    await _idle(_, writer)
    encoder = hpack.Encoder()
    for stream in _streams():
        if writer.is_closing():
            return
        writer.write(_call(encoder, stream, "/ownerd.v1.DialService/Claim", _LARGE_HEADER_BYTES))
        await writer.drain()


KINDS: dict[str, Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]] = {
    "silent connections": _silence,
    "idle connections": _idle,
    "open calls": _open_calls,
    "answers not taken": _untaken,
    "resets": _resets,
    "large headers": _large_headers,
}


def _streams() -> range:
    return range(1, 2 * STREAMS, 2)


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _call(encoder: hpack.Encoder, stream: int, path: str, more_bytes: int = 0) -> bytes:
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    if more_bytes:
        headers.append((f"x-{stream}", "x" * more_bytes))
    return _frame(_HEADERS, _END_HEADERS, stream, encoder.encode(headers))


async def _connection(job: Job) -> None:
    """Keep one connection open, and open another one when it has ended."""
    host, _, port = job.address.rpartition(":")
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, int(port), local_addr=(SOURCE, 0))
        except OSError:
            await asyncio.sleep(_RETRY_S)
            continue
        flood = asyncio.ensure_future(KINDS[job.kind](reader, writer))
        try:
            while await reader.read(1 << 16):
                pass
        except OSError:
            pass
        finally:
            flood.cancel()
            writer.close()
        await asyncio.sleep(_RETRY_S)


async def flood(job: Job) -> None:
    """Flood until stdin ends."""
    connections = [asyncio.create_task(_connection(job)) for _ in range(CONNECTIONS)]
    await asyncio.to_thread(sys.stdin.buffer.read)
    for connection in connections:
        connection.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(flood(msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)))
