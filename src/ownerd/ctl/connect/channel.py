"""The one gRPC channel of a command, and what becomes of its errors.

Invariants: every change carries a fresh request_id, so that sending it again after an unknown
outcome does no harm (R20); UNAVAILABLE is retried by the channel itself with the same bytes, where
several servers are named at whichever leads (see `leader_channel`). The
token goes with each call, and into no message. A `Connection` belongs to one thread. It knows no
command and prints nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from ownerd import machine
from ownerd.client.credentials import Metadata, TokenSource
from ownerd.client.errors import error_info
from ownerd.client.fail_over import Places
from ownerd.client.requests.call import PAGE_SIZE, fresh_request_id
from ownerd.client.transport import SEVERAL_OPTIONS, ChannelFactory, call_options
from ownerd.ctl.connect import diagnose, words
from ownerd.ctl.connect.access import DEFAULT_SERVER, Access
from ownerd.ctl.connect.leader_channel import LeaderChannel
from ownerd.ctl.terminal.exits import CtlError, Exit, exit_of_status
from ownerd.v1 import admin_pb2
from ownerd.v1.admin_pb2_grpc import AdminServiceStub
from ownerd.v1.dial_pb2_grpc import DialServiceStub

DEFAULT_TIMEOUT_S = 30.0
GRPC_THREADS = 12  # that a channel may start; without them gRPC ends the process

NO_PROXY = ("grpc.enable_http_proxy", 0)  # an http_proxy of the machine is not meant for us
CHANNEL_OPTIONS = [
    *call_options(tries=4, backoff_multiplier=3),  # a little over a second: a person waits
    NO_PROXY,
    ("grpc.max_reconnect_backoff_ms", 2_000),  # for who waits on a server that restarts
]

Answer = TypeVar("Answer", bound=Message)


class Paged(Protocol):
    """A request with pages, as every List rpc has."""

    page_size: int
    page_token: str


class Connection:
    """Speaks to a server, or to the leading one of several; opens the channel at the first call."""

    def __init__(self, access: Access, timeout_s: float | None = None) -> None:
        """Remember where to connect.

        Args:
            access: Which server, how it is reached, and whose calls they are.
            timeout_s: Seconds that one call may take; None: 30, and a stream as long as it takes.
        """
        self.access = access
        self._places = Places(access.server)
        self.timeout_s = DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s
        self.stream_timeout_s = timeout_s
        self._channel: grpc.Channel | LeaderChannel | None = None
        self._token: TokenSource | None = None

    @property
    def server(self) -> str:
        """The address that is spoken to, as far as is known which leads."""
        return self._places.leader

    @property
    def admin(self) -> AdminServiceStub:
        """The rpcs of the control plane."""
        return AdminServiceStub(self._open())

    @property
    def dial(self) -> DialServiceStub:
        """The rpcs of the data plane, which the admin address serves too."""
        return DialServiceStub(self._open())

    def _open(self) -> grpc.Channel | LeaderChannel:
        if self._channel is None:
            self.metadata()  # without a token there is no use in connecting
            self._channel = self._make_channel()
        return self._channel

    def _make_channel(self) -> grpc.Channel | LeaderChannel:
        try:
            machine.need_threads(GRPC_THREADS)
            options = [*SEVERAL_OPTIONS, NO_PROXY] if self._places.are_several else CHANNEL_OPTIONS
            factory = ChannelFactory(self.access.tls, options)
        except OSError as error:
            raise CtlError(Exit.USAGE, f"cannot read {error.filename}: {error.strerror}") from error
        except ValueError as error:
            raise CtlError(Exit.USAGE, str(error)) from error
        except machine.TooLittle as error:
            raise CtlError(Exit.INTERNAL, str(error)) from error
        opened = {each: factory.open(grpc, each) for each in self._places.addresses}
        if self._places.are_several:
            return LeaderChannel(self._places, opened)
        channel: grpc.Channel = opened[self.server]
        return channel

    def metadata(self) -> Metadata | None:
        """Return what goes with a call that begins now: the token, if there is one."""
        if self._token is None and self.access.token is not None:
            self._token = self.access.token.open()
        return self._token.metadata() if self._token else None

    def close(self) -> None:
        """Close the channel; without effect if it was never opened."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def ask(
        self, rpc: "grpc.UnaryUnaryMultiCallable[Any, Answer]", request: Message | Paged
    ) -> Answer:
        """Send a request and return the answer; a failed call becomes a `CtlError`."""
        try:
            return rpc(request, timeout=self.timeout_s, metadata=self.metadata())
        except grpc.RpcError as error:
            raise self.explain(error, request) from error

    @contextmanager
    def stream(
        self, rpc: "grpc.UnaryStreamMultiCallable[Any, Answer]", request: Message
    ) -> Iterator[Iterator[Answer]]:
        """Lend the answers of a call that has many; a failed one becomes a `CtlError`."""
        answers = rpc(request, timeout=self.stream_timeout_s, metadata=self.metadata())
        try:
            yield answers
        except grpc.RpcError as error:
            raise self.explain(error, request) from error
        finally:
            answers.cancel()

    def try_out(self, rpc: "grpc.UnaryUnaryMultiCallable[Any, Answer]", request: Any) -> Answer:
        """Ask what a change would do: send it as a dry run, and leave the request as it is."""
        trial = type(request)()
        trial.CopyFrom(request)
        trial.dry_run = True
        return self.ask(rpc, trial)

    def change(self, rpc: "grpc.UnaryUnaryMultiCallable[Any, Answer]", request: Any) -> Answer:
        """Send a change under a fresh request_id, so that a retry cannot do it twice (R20)."""
        request.request_id = fresh_request_id()
        return self.ask(rpc, request)

    def pages(
        self, rpc: "grpc.UnaryUnaryMultiCallable[Any, Any]", request: Paged, limit: int = 0
    ) -> Iterator[Any]:
        """Yield the answers of a paged rpc.

        Args:
            rpc: The List rpc.
            request: Its request; page_size and page_token are ours.
            limit: Items wanted, which sizes the pages; 0 for all. Stopping there is the caller's.
        """
        request.page_size = min(limit, PAGE_SIZE) if limit else PAGE_SIZE
        while True:
            answer = self.ask(rpc, request)
            yield answer
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def explain(self, error: grpc.RpcError, request: object = None) -> CtlError:
        """Return what a failed call means to a person who asked for `request`."""
        status, details = error.code(), " ".join((error.details() or "").split())
        if status is grpc.StatusCode.UNAVAILABLE and (found := self._unreachable()):
            return CtlError(
                Exit.UNAVAILABLE,
                f"cannot reach an ownerd server at {self.access.server} ({found.why});"
                f" {found.advice}",
            )
        if status is grpc.StatusCode.UNIMPLEMENTED:
            return CtlError(
                Exit.UNAVAILABLE,
                f"{self.server} does not serve this ({details}); --server takes the *admin*"
                f" address of an ownerd server, by default {DEFAULT_SERVER}",
            )
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            return CtlError(
                Exit.DEADLINE,
                f"no answer from {self.server} in time, the outcome is unknown; look, then repeat"
                " with a longer --timeout",
            )
        if status is grpc.StatusCode.UNAUTHENTICATED:
            return CtlError(Exit.PERMISSION, f"{details or status.name}; {self._token_hint()}")
        said = words.in_commands(details or status.name)
        info = error_info(error)
        reason = "" if info is None else info.reason
        if meant := words.meant(reason, request, self._existing):
            said = f"{said}; {meant}"
        return CtlError(exit_of_status(status), said)

    def _existing(self, known: words.Known) -> Iterator[str]:
        """Yield the ids that exist, as far as the caller may see them."""
        request = getattr(admin_pb2, f"{known.rpc}Request")(page_size=PAGE_SIZE)
        rpc = getattr(self.admin, known.rpc)
        while True:
            try:
                answer = rpc(request, timeout=self.timeout_s, metadata=self.metadata())
            except grpc.RpcError:
                return
            yield from (getattr(item, known.field) for item in getattr(answer, known.items))
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def _token_hint(self) -> str:
        if self.access.token is not None:
            return f"the token is from the {self.access.token}"
        if self.access.tls is not None and self.access.tls.cert_file is not None:
            return f"the certificate {self.access.tls.cert_file} stands for nobody who is known"
        return (
            "say who you are with --token-file, OWNERD_TOKEN_FILE or a context (`ownerctl context"
            " add`); the first token of a new store is in admin.token in its data directory"
        )

    def _unreachable(self) -> diagnose.Complaint | None:
        """Say why no server can be reached; None where one can."""
        found = {each: self._complaint(each) for each in self._places.addresses}
        known = {address: each for address, each in found.items() if each is not None}
        if len(known) < len(found):
            return None
        if not self._places.are_several:
            return known[self.server]
        why = ", ".join(f"{address}: {each.why}" for address, each in known.items())
        return diagnose.Complaint(why, " / ".join({each.advice: None for each in known.values()}))

    def _complaint(self, address: str) -> diagnose.Complaint | None:
        return diagnose.complaint(address, self.access.tls, lambda: self._becomes_ready(address))

    def _becomes_ready(self, address: str) -> bool:
        opened = self._open()
        channel = opened.at(address) if isinstance(opened, LeaderChannel) else opened
        ready = grpc.channel_ready_future(channel)
        try:
            ready.result(timeout=diagnose.PROBE_TIMEOUT_S)
        except grpc.FutureTimeoutError:
            return False
        finally:
            ready.cancel()
        return True
