"""Calls with one request on grpcio, where a client sends none, half of one, or two.

grpc.aio waits for a request that never comes whole, and the call stays open for as long as the
client likes; of two it takes the first. So such calls are taken as if they had a stream of requests
(a client sees no difference), and what is no one request is refused as by the native listener, but
that nothing tells none from half of one here.

Runs on the event loop's thread. Knows no service.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, cast

import grpc
import grpc.aio

_NONE = "the call has one request, and found was none"
_MORE = "the call has one request, and found were more"

Context = grpc.aio.ServicerContext[Any, Any]


class Collector:
    """What generated code takes for a server: keeps the services that are added to it."""

    def __init__(self) -> None:
        self.services: list[grpc.GenericRpcHandler] = []

    def add_generic_rpc_handlers(self, services: Iterable[grpc.GenericRpcHandler]) -> None:
        self.services += services

    def add_registered_method_handlers(self, service_name: str, handlers: Any) -> None:
        """Keep nothing: grpc.aio finds methods by the generic handlers."""


class OneRequest(grpc.GenericRpcHandler):
    """A service whose calls with one request hold their clients to it."""

    def __init__(self, service: grpc.GenericRpcHandler) -> None:
        self._service = service
        self._known: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        method = handler_call_details.method
        if (known := self._known.get(method)) is not None:
            return known
        handler = self._service.service(handler_call_details)
        if handler is not None:
            # There are as many as the service has methods.
            handler = self._known[method] = _strict(handler)
        return handler


def _strict(handler: "grpc.RpcMethodHandler[Any, Any]") -> "grpc.RpcMethodHandler[Any, Any]":
    """Return a handler that refuses what is no one request, if it takes one."""
    if handler.request_streaming:
        return handler
    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(
            _answer_many(cast(Any, handler.unary_stream)),
            handler.request_deserializer,
            handler.response_serializer,
        )
    return grpc.stream_unary_rpc_method_handler(
        _answer_one(cast(Any, handler.unary_unary)),
        handler.request_deserializer,
        handler.response_serializer,
    )


def _answer_one(handle: Callable[[Any, Context], Awaitable[Any]]) -> Any:
    async def answer(_: AsyncIterator[Any], context: Context) -> Any:
        return await handle(await _only(context), context)

    return answer


def _answer_many(handle: Callable[[Any, Context], Any]) -> Any:
    async def answer(_: AsyncIterator[Any], context: Context) -> None:
        found = handle(await _only(context), context)
        if not isinstance(found, AsyncIterator):
            await found  # it writes by itself
            return
        async for response in found:
            await context.write(response)

    return answer


async def _only(context: Context) -> Any:
    """Return the call's one request, or end the call."""
    request = await context.read()
    if request is grpc.aio.EOF:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, _NONE)
    if await context.read() is not grpc.aio.EOF:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, _MORE)
    return request
