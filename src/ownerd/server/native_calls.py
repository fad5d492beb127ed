"""Calls of the native listener that handlers in Python serve: the same handlers that grpcio has.

Owns the table of paths, with what grpcio's generic handlers have for each (request deserializer,
function, response serializer), and a task for each call under way. A handler sees a `Context` where
grpcio would give it its own, and may do the same with it; a client that gives up, or a deadline
that passes, cancels the task as grpcio does.

Everything runs on the event loop's thread; nothing here blocks it. It knows no service.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from inspect import isasyncgen
from typing import Any, NamedTuple, NoReturn

import grpc
import grpc.aio

from ownerd.native import REASONS, CallBridge, NativeCall
from ownerd.server import errors

# Under this key a call's auth context has the names in its client's certificate.
CERTIFICATE_NAMES = "ownerd_certificate_names"
# So many answers of a stream may be on their way before its handler waits.
_ANSWERS_AHEAD = 1
# Of the event loop: one to begin a call's task, and one for its handler to begin.
_TURNS = 2
_PLAIN = range(0x20, 0x7F)
# A certificate stands for its first name that is known, in this order.
_KINDS = ("DNS:", "URI:", "email:", "IP:")

Services = Mapping[str, Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]]
Metadata = Sequence[tuple[str, str | bytes]]


class Collector:
    """What `add_XServicer_to_server` takes for a server, to get at a service's handlers."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Leave out what `add_registered_method_handlers` has by name."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
    ) -> None:
        """Take a service's handlers, by rpc."""
        self.services[service] = handlers


class _Method(NamedTuple):
    name: str
    handler: Any


class NativeCalls:
    """The handlers of the calls that a native listener does not serve by itself.

    Args:
        services: handlers by service and rpc.
        open_services: those for whose calls nobody has to say who they are.
    """

    def __init__(self, services: Services, open_services: Iterable[str] = ()) -> None:
        is_open = frozenset(open_services)
        self._methods: list[_Method] = []
        rows = []
        for service, handlers in services.items():
            for name, handler in handlers.items():
                self._methods.append(_Method(name, handler))
                path = f"/{service}/{name}"
                rows.append((path, name, bool(handler.request_streaming), service in is_open))
        self.bridge = CallBridge(rows)
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve calls on this loop from now on."""
        self._loop = loop
        self.bridge.attach(loop, self._begin)

    def detach(self) -> None:
        """Take no more calls, and cancel those under way."""
        self.bridge.deliver()
        self.bridge.detach(self._loop)
        for task in self._tasks:
            task.cancel()

    async def settle(self) -> None:
        """Return once every call that has come this far has begun to be served."""
        self.bridge.deliver()
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def _begin(self, call: NativeCall) -> None:
        context = Context(call)
        task = self._loop.create_task(_serve(self._methods[call.method], call, context))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        context.is_served_by(task, self._loop)


class Context(grpc.aio.ServicerContext[Any, Any]):
    """One call as its handler sees it; see `grpc.aio.ServicerContext` for the methods."""

    def __init__(self, call: NativeCall) -> None:
        self._call = call
        self._changed = asyncio.Event()
        self._code: grpc.StatusCode | int = grpc.StatusCode.OK
        self._details = ""
        self._trailing: Metadata = ()
        self._callbacks: list[Callable[[Any], None]] = []
        self._end_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.serializer: Callable[[Any], bytes] | None = None
        self.deserializer: Callable[[bytes], Any] | None = None
        self.timed_out = False

    def is_served_by(self, task: "asyncio.Task[None]", loop: asyncio.AbstractEventLoop) -> None:
        """Have the call's end and its deadline cancel the task that serves it."""
        self._task, self._loop = task, loop
        self._call.on_change = self._on_change
        timeout_s = self._call.timeout_s
        if timeout_s is not None:
            self._end_s = loop.time() + timeout_s
            self._timer = loop.call_at(self._end_s, self._on_deadline)
        task.add_done_callback(self._on_served)

    # ---- messages

    async def read(self) -> Any:
        """Return the next message of the request, or `grpc.aio.EOF`."""
        while (body := self._call.take()) is None:
            if self._call.is_over:
                raise asyncio.CancelledError
            if self._call.request_ended:
                return grpc.aio.EOF
            await self._change()
        return body if self.deserializer is None else self.deserializer(body)

    async def requests(self) -> AsyncIterator[Any]:
        """Yield the messages of the request."""
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    async def write(self, message: Any) -> None:
        """Send a message, once the client has taken most of those before it."""
        self.send(message)
        while self._call.unsent > _ANSWERS_AHEAD:
            await self._change()

    def send(self, message: Any) -> None:
        """Send a message without waiting for anything."""
        self._call.send(message if self.serializer is None else self.serializer(message))

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Find out whether the client is there; there is no metadata to send.

        Raises:
            grpc.aio.UsageError: the call is over.
        """
        if self._call.is_over:
            raise grpc.aio.UsageError("the call is over")

    # ---- the end

    def finish(self) -> None:
        """End the call with the status that was set; only the first time counts."""
        code = self._code if isinstance(self._code, int) else self._code.value[0]
        trailers = [(b"grpc-status", b"%d" % code)]
        if self._details:
            trailers.append((b"grpc-message", _escaped(self._details)))
        trailers += [(name.encode(), _spelt(name, value)) for name, value in self._trailing]
        self._call.finish(trailers)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> NoReturn:
        """End the call with this status, and its handler by an exception."""
        self._code, self._details = code, details
        self._trailing = tuple(trailing_metadata) or self._trailing
        raise grpc.aio.AbortError(f"{code}: {details}")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """As `abort`."""
        await self.abort(status.code, status.details, status.trailing_metadata or ())

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._trailing = tuple(trailing_metadata)

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailing

    # ---- who and how long

    def invocation_metadata(self) -> Any:
        return tuple((name, _read(name, value)) for name, value in self._call.metadata)

    def peer(self) -> str:
        return self._call.peer

    def peer_identities(self) -> None:
        return None

    def peer_identity_key(self) -> None:
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        names = sorted(self._call.names, key=_kind_of)
        return {CERTIFICATE_NAMES: [name.encode() for name in names]} if names else {}

    def time_remaining(self) -> float | None:  # type: ignore[override]  # None: no deadline
        return None if self._end_s is None else max(0.0, self._end_s - self._loop.time())

    def cancelled(self) -> bool:
        return self._call.is_over and not self._task.done()

    def done(self) -> bool:
        return self._call.is_over or self._task.done()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    # ---- answers are small, and not compressed

    def set_compression(self, compression: grpc.Compression) -> None:
        pass

    def disable_next_message_compression(self) -> None:
        pass

    # ---- private

    async def _change(self) -> None:
        """Return when something has happened to the call."""
        self._changed.clear()
        await self._changed.wait()

    def _on_change(self) -> None:
        self._changed.set()
        if self._call.is_over:
            self._task.cancel()

    def _on_deadline(self) -> None:
        self.timed_out = True
        _, (text,) = REASONS["DEADLINE_PASSED"]
        late = errors.Status(grpc.StatusCode.DEADLINE_EXCEEDED, text, "DEADLINE_PASSED")
        late.put(self)
        self.finish()
        self._task.cancel()

    def _on_served(self, _: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for callback in self._callbacks:
            callback(self)


async def _serve(method: _Method, call: NativeCall, context: Context) -> None:
    """Serve one call to its end; whatever happens, its client is told a status."""
    try:
        await _answer(method.handler, context)
    except asyncio.CancelledError:
        context.set_code(grpc.StatusCode.CANCELLED)
        raise
    except grpc.aio.AbortError:
        pass
    except Exception as error:
        errors.status_of(error, method.name).put(context)
    finally:
        context.finish()


async def _answer(handler: Any, context: Context) -> None:
    context.serializer = handler.response_serializer
    context.deserializer = handler.request_deserializer
    if handler.request_streaming:
        request: Any = context.requests()
    else:
        request = await context.read()
    if handler.response_streaming:
        behavior = handler.stream_stream if handler.request_streaming else handler.unary_stream
        answers = behavior(request, context)
        if not isasyncgen(answers):
            await answers  # it writes by itself
            return
        async for answer in answers:
            await context.write(answer)
        return
    behavior = handler.stream_unary if handler.request_streaming else handler.unary_unary
    answer = await behavior(request, context)
    if context.code() is grpc.StatusCode.OK:
        context.send(answer)


def _kind_of(name: str) -> int:
    return next((at for at, kind in enumerate(_KINDS) if name.startswith(kind)), len(_KINDS))


def _read(name: str, value: bytes) -> str | bytes:
    """Return a header's value as grpcio gives it."""
    if not name.endswith("-bin"):
        return value.decode("ascii", errors="replace")
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4))
    except ValueError:
        return b""


def _spelt(name: str, value: str | bytes) -> bytes:
    """Return a trailer's value as it goes out."""
    data = value.encode() if isinstance(value, str) else value
    return base64.b64encode(data).rstrip(b"=") if name.endswith("-bin") else data


def _escaped(text: str) -> bytes:
    """Return a grpc-message percent-encoded."""
    return b"".join(
        b"%c" % byte if byte in _PLAIN and byte != 0x25 else b"%%%02X" % byte
        for byte in text.encode(errors="replace")
    )
