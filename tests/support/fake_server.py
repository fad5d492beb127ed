"""A scriptable ownerd server inside the test's process, for tests of clients.

Owns: an in-process gRPC server with every rpc of both services, which records each request and
answers with what the test put in. Knows no rule. `fail` and `answer` belong to the test's thread,
set before the calls they are for; the handlers run on gRPC's threads.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from ownerd.v1 import admin_pb2, dial_pb2

SERVICES = (
    dial_pb2.DESCRIPTOR.services_by_name["DialService"],
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
)
HANDLER_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
}


class FakeServer:
    """Both services on a free loopback port; a context manager.

    `requests` has the requests of each rpc by its name, a streamed one as the list of its messages;
    `authorizations`, `wanted_leader` and `peers` have what came with each request, in the order of
    the calls.
    With credentials it speaks TLS.
    """

    def __init__(
        self,
        services: tuple[ServiceDescriptor, ...] = SERVICES,
        credentials: grpc.ServerCredentials | None = None,
        address: str = "127.0.0.1:0",
    ) -> None:
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.authorizations: list[str | None] = []
        self.wanted_leader: list[bool] = []
        self.peers: list[str] = []
        self.trailers: tuple[tuple[str, str], ...] = ()  # of failures
        self._answers: dict[str, Callable[[Any], Any]] = {}
        self._failures: deque[tuple[grpc.StatusCode, str]] = deque()
        self._held: set[str] = set()
        self._let_go = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        for service in services:
            handlers = {method.name: self._handler(method) for method in service.methods}
            generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
            self._server.add_generic_rpc_handlers((generic,))
        if credentials is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, credentials)
        self.address = f"127.0.0.1:{port}" if not address.startswith("unix:") else address

    def __enter__(self) -> "FakeServer":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go.set()
        assert self._server.stop(None).wait(10)

    def answer(self, rpc: str, answer: Any) -> None:
        """Answer `rpc` with a message (a list of them for a stream), or with `answer(request)`."""
        self._answers[rpc] = answer if callable(answer) else lambda _request: answer

    def fail(
        self, code: grpc.StatusCode, message: str = "as the test asked", times: int = 1
    ) -> None:
        """Fail the next `times` calls, of any rpc."""
        self._failures.extend([(code, message)] * times)

    def stand_by(self) -> None:
        """Refuse every call from now on, as a node that does not lead."""
        self.fail(grpc.StatusCode.UNAVAILABLE, "this node does not lead", times=10_000)

    def lead(self) -> None:
        """Answer again."""
        self._failures.clear()

    def hold(self, rpc: str) -> None:
        """Never answer `rpc` while the server lives."""
        self._held.add(rpc)

    def _handler(self, method: MethodDescriptor) -> grpc.RpcMethodHandler:
        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            return self._serve(method, request, context)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            yield from self._serve(method, request, context)

        make = HANDLER_MAKERS[method.client_streaming, method.server_streaming]
        return make(
            stream if method.server_streaming else unary,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )

    def _serve(self, method: MethodDescriptor, request: Any, context: grpc.ServicerContext) -> Any:
        if method.client_streaming:
            request = list(request)
        self.requests[method.name].append(request)
        metadata = dict(context.invocation_metadata())
        self.authorizations.append(metadata.get("authorization"))
        self.wanted_leader.append(metadata.get("ownerd-leader-only") == "true")
        self.peers.append(context.peer())
        if self._failures:
            context.set_trailing_metadata(self.trailers)
            context.abort(*self._failures.popleft())
        if method.name in self._held:
            self._let_go.wait(30)
        default = [] if method.server_streaming else GetMessageClass(method.output_type)()
        return self._answers.get(method.name, lambda _request: default)(request)
