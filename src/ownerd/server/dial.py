"""DialService on grpcio: raw protobuf bytes in, raw bytes out, nothing else on the path.

A call is handed to the engine through the bridge with a future of the event loop; decoding,
deciding and encoding happen in the native core. A call whose deadline passes, or whose client
gives up, before the engine has it is not decided; after that only the future is cancelled: the
commit goes on, and its answer is dropped. Handlers run on the event loop's thread.

No interceptor, no message object and no counter belongs here; counts come from `Engine.stats`.
"""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio

from ownerd.native import DIAL_METHODS, AioBridge
from ownerd.server import errors, tracing
from ownerd.server.authn import Authenticator
from ownerd.v1 import dial_pb2

# Imported for its descriptor, which reflection shows; its messages are not used here.
SERVICE: str = dial_pb2.DESCRIPTOR.services_by_name["DialService"].full_name

Handler = Callable[[bytes, grpc.aio.ServicerContext[bytes, bytes]], Awaitable[bytes]]


def generic_handler(
    bridge: AioBridge, authenticator: Authenticator, loop: asyncio.AbstractEventLoop
) -> grpc.GenericRpcHandler:
    """Return DialService for one gRPC server; one bridge may serve several."""
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        method: grpc.unary_unary_rpc_method_handler(
            _handler(bridge, authenticator, loop, kind, method)
        )
        for kind, method in enumerate(DIAL_METHODS)
    }
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _handler(
    bridge: AioBridge,
    authenticator: Authenticator,
    loop: asyncio.AbstractEventLoop,
    kind: int,
    method: str,
) -> Handler:
    submit, new_future, of_call = bridge.dial, loop.create_future, authenticator.of_call

    async def handle(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            identity = of_call(context, method)
            future: asyncio.Future[bytes] = new_future()
            trace_parent = tracing.parent_of(context)
            left_s = context.time_remaining()
            submit(kind, body, future, identity, context.peer, left_s, trace_parent)
            return await future
        except Exception as error:
            errors.status_of(error, method).put(context)
            return b""

    return handle
