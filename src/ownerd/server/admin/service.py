"""AdminService: takes bytes, parses them, runs the noun's handler, answers or refuses.

One code for both kinds of listener. It is given raw bytes, because grpcio's own deserializer would
answer malformed ones with UNKNOWN and exception text. Unary handlers are blocking functions that
run on a worker thread from parsing to serializing; the streaming rpcs are coroutines. This is
where an error becomes a status.

Handlers run on the event loop's thread; nothing here blocks it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from time import perf_counter

import grpc
import grpc.aio

from ownerd.native import Identity
from ownerd.server import errors, rights, tracing
from ownerd.server.admin import (
    audit,
    backups,
    callers,
    campaigns,
    clusters,
    exports,
    imports,
    lists,
    owners,
    policies,
    principals,
    records,
    settings,
    status,
    transfers,
    trouble,
    validate,
    watches,
    wrapup,
)
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.server.admin.import_stream import ImportStream
from ownerd.server.authn import Authenticator
from ownerd.server.workers import Workers
from ownerd.v1 import admin_pb2

SERVICE: str = admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
# Called once for each call: rpc, name of the status code, seconds.
Meter = Callable[[str, str, float], None]
OnEnd = Callable[[str, grpc.StatusCode, float, str], None]

HANDLERS: dict[str, Handler] = {
    **lists.HANDLERS,
    **policies.HANDLERS,
    **owners.HANDLERS,
    **records.HANDLERS,
    **transfers.HANDLERS,
    **campaigns.HANDLERS,
    **wrapup.HANDLERS,
    **settings.HANDLERS,
    **principals.HANDLERS,
    **audit.HANDLERS,
    **status.HANDLERS,
    **clusters.HANDLERS,
    **trouble.HANDLERS,
    **callers.HANDLERS,
}

Context = grpc.aio.ServicerContext[bytes, bytes]

# In the metadata of a call whose answer must be that of whoever leads: a client with several
# addresses does not want what a node has that stands by.
LEADER_ONLY = ("ownerd-leader-only", "true")


class AdminService:
    """The admin rpcs of one server.

    Args:
        context: what handlers work with.
        workers: count and run the calls.
        authenticator: says who makes them.
        meter: told about every call.
        on_end: likewise, with its `traceparent`, or "".
    """

    def __init__(
        self,
        context: AdminContext,
        workers: Workers,
        authenticator: Authenticator,
        meter: Meter,
        on_end: OnEnd,
    ) -> None:
        self._context = context
        self._workers = workers
        self._authenticator = authenticator
        self._meter = meter
        self._on_end = on_end
        self.bell = watches.Bell(context.engine)
        self._backups = backups.Backups()

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """Return the handler of each rpc."""
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            method: grpc.unary_unary_rpc_method_handler(self._unary(method, handler))
            for method, handler in HANDLERS.items()
        }
        handlers["ImportOwnership"] = grpc.stream_unary_rpc_method_handler(self._import)
        handlers["ExportOwnership"] = grpc.unary_stream_rpc_method_handler(self._export)
        handlers["Watch"] = grpc.unary_stream_rpc_method_handler(self._watch)
        handlers["BackupStore"] = grpc.unary_stream_rpc_method_handler(self._backup)
        return handlers

    def generic_handler(self) -> grpc.GenericRpcHandler:
        """Return the service for a gRPC server."""
        return grpc.method_handlers_generic_handler(SERVICE, self.handlers())

    def _unary(self, method: str, handler: Handler) -> Callable[[bytes, Context], Awaitable[bytes]]:
        request_type = getattr(admin_pb2, f"{method}Request")

        def work(body: bytes, caller: Caller) -> bytes:
            request = validate.parsed(request_type, body)
            rights.check(method, request, caller.identity, self._context.sharing)
            return handler(self._context, request, caller).SerializeToString()

        async def handle(body: bytes, context: Context) -> bytes:
            with self._answering(method, context), self._workers.entered():
                caller = self._caller(context, method)
                return await self._workers.run(work, body, caller)
            return b""

        return handle

    async def _import(self, bodies: AsyncIterator[bytes], context: Context) -> bytes:
        with self._answering("ImportOwnership", context), self._workers.entered():
            caller = self._caller(context, "ImportOwnership")
            stream = ImportStream(self._context, caller)
            try:
                await imports.receive(stream, self._workers, bodies, context.time_remaining)
                await _ensure_client_is_there(context)
            except BaseException:
                stream.close()
                raise
            # From here on the rows belong to the worker, which may outlive this call.
            answer = await self._workers.run(imports.apply, self._context, stream, caller)
            return answer.SerializeToString()
        return b""

    async def _export(self, body: bytes, context: Context) -> AsyncIterator[bytes]:
        with self._answering("ExportOwnership", context), self._workers.entered():
            caller = self._caller(context, "ExportOwnership")
            request = validate.parsed(admin_pb2.ExportOwnershipRequest, body)
            rights.check("ExportOwnership", request, caller.identity, self._context.sharing)
            after = b""
            while True:
                page, after = await self._workers.run(
                    exports.page, self._context, request, caller, after
                )
                yield page
                if not after:
                    return

    async def _watch(self, body: bytes, context: Context) -> None:
        with self._answering("Watch", context), self._workers.entered():
            caller = self._caller(context, "Watch")
            request = validate.parsed(admin_pb2.WatchRequest, body)
            rights.check("Watch", request, caller.identity, self._context.sharing)
            feed = await self._workers.run(watches.begin, self._context, request, caller)
            watch = watches.Watch(
                feed,
                self.bell,
                self._workers,
                self._context.principals.access,
                lambda: self._identity(context, "Watch"),
                caller.identity,
            )
            async with aclosing(watch.messages()) as messages:
                async for message in messages:
                    await _written(context, message, watch)

    async def _backup(self, body: bytes, context: Context) -> None:
        with self._answering("BackupStore", context), self._workers.entered():
            caller = self._caller(context, "BackupStore")
            request = validate.parsed(admin_pb2.BackupStoreRequest, body)
            rights.check("BackupStore", request, caller.identity, self._context.sharing)
            with self._backups.entered():
                running = backups.Running(self._context, request, caller)
                try:
                    await self._workers.run(running.begin)
                    await self._send(running, context)
                finally:
                    self._workers.leave(running.close)
                    running.note_end()

    async def _send(self, running: backups.Running, context: Context) -> None:
        """Send a backup to its end.

        Raises:
            BackupTooSlow
        """
        limit_s = self._context.backup_limit_s
        end = asyncio.get_running_loop().time() + limit_s
        while message := await self._workers.run(running.next_message):
            stalls = asyncio.get_running_loop().time() + backups.STALL_LIMIT_S
            try:
                async with asyncio.timeout_at(min(stalls, end)):
                    await context.write(message)
            except TimeoutError:
                raise errors.BackupTooSlow(
                    f"it took {limit_s:g} s (backup_limit_s)"
                    if end < stalls
                    else f"an answer was not taken for {backups.STALL_LIMIT_S:g} s"
                ) from None

    def _caller(self, context: Context, method: str) -> Caller:
        """Return who makes a call.

        Raises:
            Unauthenticated, RateLimited, Refused
        """
        identity = self._identity(context, method)
        self._authenticator.spend(identity)
        return Caller(identity, context.peer(), self._authenticator.token_id(context))

    def _identity(self, context: Context, method: str) -> Identity:
        """Return who makes a call, if it may be answered here.

        Raises:
            Unauthenticated, Refused
        """
        identity = self._authenticator.of_call(context, method)
        if LEADER_ONLY in (context.invocation_metadata() or ()):
            self._context.engine.check_leads()
        return identity

    @contextmanager
    def _answering(self, method: str, context: Context) -> Iterator[None]:
        """Run a call in the block; an error in it becomes the call's status and goes no further."""
        began_s = perf_counter()
        code = grpc.StatusCode.OK
        try:
            yield
        except Exception as error:
            if isinstance(error, errors.PermissionDenied):
                self._authenticator.refused(error, context.peer(), method)
            end = errors.status_of(error, method)
            code = end.code
            end.put(context)
        except (asyncio.CancelledError, GeneratorExit):
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            took_s = perf_counter() - began_s
            self._meter(method, code.name, took_s)
            self._on_end(method, code, took_s, tracing.parent_of(context))


async def _ensure_client_is_there(context: Context) -> None:
    """Raise CancelledError when the call was cancelled or cut off.

    gRPC ends the request stream in the same way for a client that is done and for one that is gone,
    and only later cancels the handler. Sending the headers tells the two apart: it fails on a call
    that is over. Without this an import cut off half-way would be applied half.
    """
    try:
        await context.send_initial_metadata(())
    except grpc.aio.BaseError:
        raise asyncio.CancelledError from None


async def _written(context: Context, message: bytes, watch: watches.Watch) -> None:
    """Send a message once the client has taken those before it.

    Raises:
        ReaderTooSlow: it takes none.
    """
    try:
        async with asyncio.timeout(watches.STALL_S):
            await context.write(message)
    except TimeoutError:
        raise errors.ReaderTooSlow(
            watch.revision, f"no message was taken for {watches.STALL_S:.0f} s"
        ) from None
