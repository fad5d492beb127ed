"""Handlers in Python see a call alike whichever listener brings it: grpcio's, or the native one.

Each test runs on both. Clients are grpc.aio's, on the loop that serves.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio
import pytest
from harness import poll
from native_listener import Loopback

from ownerd.server.native_calls import NativeCalls

SERVICE = "test.Service"
DEADLINE_S = 20.0
# A stream's window is 1 MiB, what is fetched ahead and on its way in sockets comes to it.
LARGE = b"x" * (3 << 20)
PIECE = b"x" * (64 << 10)
PIECES = 1_000
# gRPC lets the window of one who reads nothing grow to 16 MiB; sockets hold some more.
AHEAD_BYTES = 32 << 20

Context = grpc.aio.ServicerContext[bytes, bytes]


class Handlers:
    """A service of every cardinality, and what has happened in it."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.gate = asyncio.Event()
        self.sent = 0
        self.taken = 0
        self.seen: dict[str, Any] = {}

    def table(self) -> dict[str, Any]:
        return {
            "Double": grpc.unary_unary_rpc_method_handler(self.double),
            "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "Abort": grpc.unary_unary_rpc_method_handler(self.abort),
            "Break": grpc.unary_unary_rpc_method_handler(self.broken),
            "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
            "Look": grpc.unary_unary_rpc_method_handler(self.look),
            "Join": grpc.stream_unary_rpc_method_handler(self.join),
            "Hold": grpc.stream_unary_rpc_method_handler(self.hold),
            "Split": grpc.unary_stream_rpc_method_handler(self.split),
            "Flood": grpc.unary_stream_rpc_method_handler(self.flood),
            "Echo": grpc.stream_stream_rpc_method_handler(self.echo),
        }

    async def double(self, body: bytes, context: Context) -> bytes:
        return body * 2

    async def refuse(self, body: bytes, context: Context) -> bytes:
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("100% naïve: no such thing\n")
        context.set_trailing_metadata((("why-bin", b"\x00\xff\x10"), ("hint", "look again")))
        return b"unheard"

    async def abort(self, body: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")

    async def broken(self, body: bytes, context: Context) -> bytes:
        raise ValueError("a secret of the server's")

    async def wait(self, body: bytes, context: Context) -> bytes:
        self.began.set()
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""

    async def look(self, body: bytes, context: Context) -> bytes:
        self.seen = {
            "metadata": dict(context.invocation_metadata() or ()),
            "peer": context.peer(),
            "left": context.time_remaining(),  # type: ignore[attr-defined]  # not in its stubs
            "done": context.done(),
        }
        return b""

    async def join(self, bodies: AsyncIterator[bytes], context: Context) -> bytes:
        return b"|".join([body async for body in bodies])

    async def hold(self, bodies: AsyncIterator[bytes], context: Context) -> bytes:
        self.began.set()
        try:
            await self.gate.wait()
            async for body in bodies:
                self.taken += len(body)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b"%d" % self.taken

    async def split(self, body: bytes, context: Context) -> AsyncIterator[bytes]:
        for at in range(len(body)):
            yield body[at : at + 1]

    async def flood(self, body: bytes, context: Context) -> AsyncIterator[bytes]:
        self.began.set()
        try:
            for _ in range(PIECES):
                yield PIECE
                self.sent += len(PIECE)
        finally:
            self.cancelled.set()

    async def echo(self, bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for body in bodies:
            yield body


class Served(NamedTuple):
    """The service on a listener, and a channel to it."""

    handlers: Handlers
    channel: grpc.aio.Channel

    def unary(self, name: str) -> Any:
        return self.channel.unary_unary(f"/{SERVICE}/{name}")

    def streaming(self, name: str, kind: str) -> Any:
        return getattr(self.channel, kind)(f"/{SERVICE}/{name}")


Run = Callable[[Callable[[Served], Awaitable[None]]], None]


@asynccontextmanager
async def on_grpcio(handlers: Handlers) -> AsyncIterator[str]:
    server = grpc.aio.server()
    generic = grpc.method_handlers_generic_handler(SERVICE, handlers.table())
    server.add_generic_rpc_handlers((generic,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@asynccontextmanager
async def on_native(handlers: Handlers, directory: Path) -> AsyncIterator[str]:
    calls = NativeCalls({SERVICE: handlers.table()})
    calls.attach(asyncio.get_running_loop())
    with Loopback(directory, handlers=calls.bridge) as loopback:
        yield loopback.address
        no_calls = lambda: loopback.stats()["streams"] == 0  # noqa: E731
        await asyncio.to_thread(poll, no_calls, "the calls to be freed")
    calls.detach()


@pytest.fixture(params=["native", "grpcio"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    """Run a coroutine function with the service served by each kind of listener."""
    if request.param == "native":
        pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

    async def main(test: Callable[[Served], Awaitable[None]]) -> None:
        handlers = Handlers()
        native = request.param == "native"
        served = on_native(handlers, tmp_path / "data") if native else on_grpcio(handlers)
        async with served as address:
            options = [("grpc.max_receive_message_length", -1)]
            async with grpc.aio.insecure_channel(address, options=options) as channel:
                await asyncio.wait_for(test(Served(handlers, channel)), DEADLINE_S * 2)

    yield lambda test: asyncio.run(main(test))


async def failure(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


async def soon(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), DEADLINE_S)


def test_messages_of_every_size_come_whole(run: Run) -> None:
    async def body(served: Served) -> None:
        for message in (b"", b"a", b"x" * 511, b"x" * 512, b"x" * 65_536, LARGE):
            assert await served.unary("Double")(message, timeout=DEADLINE_S) == message * 2

    run(body)


def test_many_calls_at_once_get_their_own_answers(run: Run) -> None:
    async def body(served: Served) -> None:
        sent = [b"%d" % number for number in range(500)]
        answers = await asyncio.gather(
            *(served.unary("Double")(each, timeout=DEADLINE_S) for each in sent)
        )
        assert answers == [each * 2 for each in sent]

    run(body)


def test_streams_keep_their_order_both_ways(run: Run) -> None:
    async def body(served: Served) -> None:
        parts = [b"", b"one", LARGE, b"", b"two"]
        joined = await served.streaming("Join", "stream_unary")(iter(parts), timeout=DEADLINE_S)
        assert joined == b"|".join(parts)
        split = served.streaming("Split", "unary_stream")(b"abcdef", timeout=DEADLINE_S)
        assert [each async for each in split] == [b"a", b"b", b"c", b"d", b"e", b"f"]
        nothing = served.streaming("Split", "unary_stream")(b"", timeout=DEADLINE_S)
        assert [each async for each in nothing] == []
        assert await served.streaming("Join", "stream_unary")(iter([])) == b""

    run(body)


def test_a_conversation_goes_to_and_fro(run: Run) -> None:
    async def body(served: Served) -> None:
        call = served.streaming("Echo", "stream_stream")(timeout=DEADLINE_S)
        for number in range(50):
            await call.write(b"%d" % number)
            assert await call.read() == b"%d" % number
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK

    run(body)


def test_a_status_comes_with_its_details_and_trailers(run: Run) -> None:
    async def body(served: Served) -> None:
        failed = await failure(served.unary("Refuse")(b"", timeout=DEADLINE_S))
        assert failed.code() == grpc.StatusCode.NOT_FOUND
        assert failed.details() == "100% naïve: no such thing\n"
        trailers = dict(failed.trailing_metadata())
        assert trailers["why-bin"] == b"\x00\xff\x10" and trailers["hint"] == "look again"
        failed = await failure(served.unary("Abort")(b"", timeout=DEADLINE_S))
        assert (failed.code(), failed.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not now")

    run(body)


def test_a_method_that_is_not_there_is_unimplemented(run: Run) -> None:
    async def body(served: Served) -> None:
        for path in (f"/{SERVICE}/None", "/no.Service/Double", "/"):
            failed = await failure(served.channel.unary_unary(path)(b"", timeout=DEADLINE_S))
            assert failed.code() == grpc.StatusCode.UNIMPLEMENTED

    run(body)


def test_the_handler_knows_who_calls_from_where_and_for_how_long(run: Run) -> None:
    async def body(served: Served) -> None:
        metadata = (("authorization", "Bearer me"), ("extra-bin", b"\x00\x01\xfe"), ("empty", ""))
        await served.unary("Look")(b"", metadata=metadata, timeout=DEADLINE_S)
        seen = served.handlers.seen
        assert dict(metadata).items() <= seen["metadata"].items()
        assert seen["peer"].startswith("ipv4:127.0.0.1:") and seen["peer"][-1].isdigit()
        assert 0 < seen["left"] <= DEADLINE_S + 1 and not seen["done"]

    run(body)


def test_a_client_that_gives_up_cancels_the_handler(run: Run) -> None:
    async def body(served: Served) -> None:
        call = served.unary("Wait")(b"")
        waiting = asyncio.ensure_future(call)
        await soon(served.handlers.began)
        waiting.cancel()
        await soon(served.handlers.cancelled)

    run(body)


def test_a_deadline_cancels_the_handler_and_is_told(run: Run) -> None:
    async def body(served: Served) -> None:
        await served.unary("Double")(b"", timeout=DEADLINE_S)  # connected
        failed = await failure(served.unary("Wait")(b"", timeout=1))
        assert failed.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await soon(served.handlers.cancelled)

    run(body)


def test_a_client_that_goes_in_the_middle_of_its_stream_cancels_the_handler(run: Run) -> None:
    async def body(served: Served) -> None:
        call = served.streaming("Hold", "stream_unary")()
        await call.write(b"one")
        await soon(served.handlers.began)
        # At the gate it waits for nothing of the stream's. One that reads on grpcio may see the
        # stream end first, and return.
        call.cancel()
        await soon(served.handlers.cancelled)

    run(body)


def test_a_handler_that_does_not_read_holds_up_its_client_and_no_other(run: Run) -> None:
    async def body(served: Served) -> None:
        call = served.streaming("Hold", "stream_unary")()
        written = 0

        async def write() -> None:
            nonlocal written
            for _ in range(PIECES):
                await call.write(PIECE)
                written += len(PIECE)
            await call.done_writing()

        writing = asyncio.create_task(write())
        await soon(served.handlers.began)
        for _ in range(20):
            assert await served.unary("Double")(b"a", timeout=DEADLINE_S) == b"aa"
        assert written < AHEAD_BYTES < PIECES * len(PIECE)
        served.handlers.gate.set()
        assert await call == b"%d" % (PIECES * len(PIECE))
        await writing

    run(body)


def test_a_client_that_does_not_read_holds_up_its_handler_and_no_other(run: Run) -> None:
    async def body(served: Served) -> None:
        call = served.streaming("Flood", "unary_stream")(b"")
        await soon(served.handlers.began)
        for _ in range(20):
            assert await served.unary("Double")(b"a", timeout=DEADLINE_S) == b"aa"
        assert served.handlers.sent < AHEAD_BYTES < PIECES * len(PIECE)
        assert sum([len(piece) async for piece in call]) == PIECES * len(PIECE)
        await soon(served.handlers.cancelled)

    run(body)


def test_a_fault_of_the_handler_ends_its_call_alone(run: Run, capsys: Any) -> None:
    async def body(served: Served) -> None:
        failed = await failure(served.unary("Break")(b"", timeout=DEADLINE_S))
        assert failed.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
        assert await served.unary("Double")(b"a", timeout=DEADLINE_S) == b"aa"

    run(body)
