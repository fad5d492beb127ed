"""The gRPC listeners: each takes calls on its own addresses, with its own services and options.

`app` knows of a listener only what the protocol `Listener` says, so one of another make fits in
by having the same methods. All of them run on the event loop's thread.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol, cast

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from ownerd.server import addresses, native_calls, tls
from ownerd.server.addresses import Address
from ownerd.server.exits import CannotListen
from ownerd.server.native_calls import Services
from ownerd.server.one_request import Collector, OneRequest

HEALTH_SERVICE = "grpc.health.v1.Health"

_LOOK_S = 0.25
_BURY_S = 1.0

log = structlog.get_logger("ownerd.listeners")


class Listener(Protocol):
    """What takes calls on one or more addresses."""

    name: str

    def bind(self, texts: Iterable[str]) -> list[Address]:
        """Take the addresses and return the real ones; a port 0 has become a free port.

        Raises:
            CannotListen: an address is in use, or not of this machine.
        """

    async def start(self) -> None:
        """Take calls from now on."""

    def use_tls(self, material: tls.Material) -> None:
        """Use this for new connections; only where there was material from the start.

        Raises:
            ValueError: it does not work; the old is used on.
        """

    def begin_drain(self) -> None:
        """Prepare the clients for `stop`; calls on their way are still answered."""

    @property
    def told(self) -> bool:
        """Whether `begin_drain` has come to every client, so that none begins a call any more."""

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, and end after at most `grace_s` seconds. May be called again."""

    async def failed(self) -> None:
        """Return when the listener takes no calls any more without having been stopped."""

    @property
    def pending(self) -> int:
        """How many dials of this listener the engine has yet to answer."""

    @property
    def received(self) -> int:
        """How many dials this listener has ever handed on; refused ones may be included."""


class GrpcioListener:
    """A listener made of one grpc.aio server at a time.

    A request whose path is not UTF-8 makes grpc.aio end the whole server (seen in 1.85), so anyone
    who can connect can do that. The listener then starts a new server on the same addresses; the
    connections of the old one are lost, and clients connect again.

    Args:
        name: what the log and the configuration call it.
        options: gRPC's channel arguments.
        handlers: the services.
        call_limit: most calls under way on all connections.
        health_service: answers for the services' health.
        reflected: full names of the services that reflection shows; none leaves reflection out.
        material: for TLS on every address but Unix sockets; None: plaintext.
    """

    def __init__(
        self,
        name: str,
        options: Sequence[tuple[str, int]],
        handlers: Iterable[grpc.GenericRpcHandler],
        call_limit: int,
        health_service: health.HealthServicer,
        reflected: Iterable[str] = (),
        material: tls.Material | None = None,
    ) -> None:
        self.name = name
        self._options = options
        self._handlers = tuple(handlers)
        self._call_limit = call_limit
        self._health_service = health_service
        self._reflected = tuple(reflected)
        self._material = material
        # gRPC calls back into these for as long as its server lives.
        self._credentials: list[grpc.ServerCredentials] = []
        self._addresses: list[Address] = []
        self._stopping = False
        self._crashed: list[asyncio.Task[None]] = []
        self._server = self._make_server()

    def bind(self, texts: Iterable[str]) -> list[Address]:
        self._addresses = [self._bind(addresses.parse(text)) for text in texts]
        return self._addresses

    async def start(self) -> None:
        await self._server.start()

    def use_tls(self, material: tls.Material) -> None:
        self._material = material

    def begin_drain(self) -> None:
        # grpc.aio has no farewell without a stop, and a stop cuts off calls that it has not handed
        # over: the engine refuses new calls meanwhile.
        pass

    # There is nothing to wait for.
    told = True

    async def stop(self, grace_s: float) -> None:
        self._stopping = True
        await self._server.stop(grace_s)

    async def failed(self) -> None:
        while True:
            cause = await self._ended()
            if self._stopping:
                # Stopped as asked; whoever waits here is about to be cancelled.
                await asyncio.Event().wait()
            log.error("listener_ended", listener=self.name, cause=cause)
            if not await self._started_again():
                return

    # The bridge counts for every grpcio listener.
    pending = received = 0

    async def _ended(self) -> str:
        """Return why the gRPC server is over, once it is."""
        # Asked again and again: a crash shows only when the wait times out, and without a timeout
        # a cancelled waiter would break the server's own shutdown.
        try:
            while await self._server.wait_for_termination(_LOOK_S):
                pass
        except Exception as error:
            return repr(error)
        return "it was stopped"

    async def _started_again(self) -> bool:
        # The crashed server may never end, as it holds on to the call that it crashed on.
        self._crashed.append(asyncio.create_task(self._server.stop(0)))
        await asyncio.wait(self._crashed[-1:], timeout=_BURY_S)
        self._server = self._make_server()
        try:
            for address in self._addresses:
                self._bind(address)
        except CannotListen as error:
            log.error("listener_lost", listener=self.name, cause=str(error))
            return False
        await self._server.start()
        log.info("listening_again", listener=self.name)
        return True

    def _make_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=self._options, maximum_concurrent_rpcs=self._call_limit)
        services = Collector()
        services.add_generic_rpc_handlers(self._handlers)
        health_pb2_grpc.add_HealthServicer_to_server(
            self._health_service, cast(grpc.aio.Server, services)
        )
        server.add_generic_rpc_handlers([OneRequest(each) for each in services.services])
        if self._reflected:
            reflection.enable_server_reflection(_with_own(self._reflected), server)
        return server

    def _bind(self, address: Address) -> Address:
        try:
            if self._material is None or address.path:
                port = self._server.add_insecure_port(str(address))
            else:
                port = self._server.add_secure_port(str(address), self._secure(self._material))
        except RuntimeError:
            raise CannotListen(
                f"{self.name}_listen: cannot listen on {address}: it is in use, or not an address "
                "of this machine; stop what uses it or choose another"
            ) from None
        return address if address.path else address._replace(port=port)

    def _secure(self, material: tls.Material) -> grpc.ServerCredentials:
        """Return credentials that follow `use_tls`."""
        shown = material

        def changed() -> grpc.ServerCertificateConfiguration | None:
            # Called for each new connection, on a thread of gRPC's.
            nonlocal shown
            if (now := self._material) is shown or now is None:
                return None
            shown = now
            return self._configuration(now)

        credentials = grpc.dynamic_ssl_server_credentials(
            self._configuration(material),
            changed,  # type: ignore[arg-type]  # None says that nothing has
            require_client_authentication=self.name in material.client_cas,
        )
        self._credentials.append(credentials)
        return credentials

    def _configuration(self, material: tls.Material) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(material.key, material.certificate)], material.client_cas.get(self.name)
        )


def reflection_handlers(services: Iterable[str]) -> Services:
    """Return the handlers of reflection for these services, and those that are always there."""
    found = native_calls.Collector()
    servicer = reflection.aio.ReflectionServicer(_with_own(services))
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
        servicer, found
    )
    return found.services


def _with_own(services: Iterable[str]) -> tuple[str, ...]:
    return (*services, HEALTH_SERVICE, reflection.SERVICE_NAME)


async def stop_all(listeners: Iterable[Listener], grace_s: float) -> None:
    """Stop listeners side by side."""
    await asyncio.gather(*(listener.stop(grace_s) for listener in listeners))
