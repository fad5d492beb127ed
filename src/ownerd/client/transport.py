"""How the clients reach a server: channels, the retry policy, and turning errors around.

Both clients and ownerctl open their channels here. Retries live in the gRPC service config, so that
they are made by the transport, within the call's deadline; where there are several addresses, in
`fail_over`. They are safe on every rpc: claims and
reports may be sent again, and admin changes carry a request id (R20).
"""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import grpc
import grpc.aio
import grpc.experimental

from ownerd.client.credentials import Metadata, StrPath, Tls, tls_of, token_source
from ownerd.client.errors import ClientError, error_info, from_rpc_error
from ownerd.client.fail_over import ATTEMPT_TIMEOUT_S, LEADER_ONLY, Attempts, Places, window_s
from ownerd.client.requests.admin import ImportStream, import_note
from ownerd.client.requests.call import ADMIN, DIAL, Call
from ownerd.v1 import admin_pb2_grpc, dial_pb2_grpc

DEFAULT_TARGET = "127.0.0.1:7411"
DIAL_TIMEOUT_S = 5.0
ADMIN_TIMEOUT_S = 60.0

# 10,000 denials with the longest names are over gRPC's default limit of 4 MiB.
MAX_ANSWER_BYTES = 64 << 20

Option = tuple[str, str | int]


# What the answers of every channel's calls need.
_ANSWERS: list[Option] = [
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    # Who reads a stream waits for it in his own thread. By default a thread of gRPC's does, and
    # closing a channel waits for that thread: for ever, when Ctrl-C came before it was started, or
    # a second one while it ended (gRPC 1.85). grpc.aio has no such threads and passes over this.
    (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),
]


def call_options(tries: int, backoff_multiplier: float) -> list[Option]:
    """Return the options of a channel for its calls: tries, if UNAVAILABLE, and their answers."""
    retry_policy = {
        "maxAttempts": tries,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": backoff_multiplier,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    # With a policy, a call whose answers had begun may wait for ever after its connection is lost
    # (gRPC 1.81). Who reads these goes on, or begins again, by itself.
    endless = [
        {"service": f"ownerd.v1.{ADMIN}", "method": method} for method in ("BackupStore", "Watch")
    ]
    config = {"methodConfig": [{"name": endless}, {"name": [{}], "retryPolicy": retry_policy}]}
    return [("grpc.service_config", json.dumps(config)), ("grpc.enable_retries", 1), *_ANSWERS]


OPTIONS: list[Option] = [
    # Four more tries within about two seconds: a restart of the server fits in.
    *call_options(tries=5, backoff_multiplier=2.5),
    # Each client has a connection of its own, and its own waiting time after a loss.
    ("grpc.use_local_subchannel_pool", 1),
    # A server that restarts is found again at once, not after the default of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


# One of several addresses: whoever calls tries the next one, see `fail_over`.
SEVERAL_OPTIONS: list[Option] = [
    *_ANSWERS,
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 400),
    # A stream at a server that is frozen ends, so that it can go on at the next one. The server
    # closes connections that ask more often than every 10 seconds.
    ("grpc.keepalive_time_ms", 12_000),
    ("grpc.keepalive_timeout_ms", 2_500),
]


class ChannelFactory:
    """Opens channels that are secured alike; the TLS files are read once, when this is made."""

    def __init__(self, tls: Tls | None, options: Iterable[Option]) -> None:
        """Read the files; errors as in `Tls.context`."""
        self._credentials = tls.credentials() if tls else None
        self._options = [*options, *(tls.options() if tls else ())]

    def open(self, kind: Any, address: str) -> Any:
        """Return a channel to an address; one to a Unix socket is plain, as the server's end is.

        `kind` is the module that makes it: `grpc` or `grpc.aio`.
        """
        if self._credentials is None or address.startswith("unix:"):
            return kind.insecure_channel(address, self._options)
        return kind.secure_channel(address, self._credentials, self._options)


class Identity:
    """Who one client is, and how its connections are secured. See `Client` for the arguments."""

    def __init__(
        self,
        token: str | None,
        token_file: StrPath | None,
        tls: bool | None,
        ca_file: StrPath | None,
        cert_file: StrPath | None,
        key_file: StrPath | None,
        server_name: str | None,
    ) -> None:
        self._token = token_source(token, token_file)
        tls_files = tls_of(tls, ca_file, cert_file, key_file, server_name)
        self._one = ChannelFactory(tls_files, OPTIONS)
        self._several = ChannelFactory(tls_files, SEVERAL_OPTIONS)

    def open(self, kind: Any, places: Places) -> dict[str, Any]:
        """Return a channel to each address; `kind` as in `ChannelFactory.open`."""
        factory = self._several if places.are_several else self._one
        return {address: factory.open(kind, address) for address in places.addresses}

    def metadata(self) -> Metadata | None:
        """Return the metadata of a call that begins now."""
        return None if self._token is None else self._token.metadata()


class Channels:
    """The open channels of one client, and the stubs of both services over them."""

    def __init__(self, kind: Any, identity: Identity, targets: "Targets") -> None:
        """Open a channel to each address; `kind` as in `ChannelFactory.open`."""
        self._identity = identity
        self._opened: dict[str, Any] = {}
        for places in targets.different:
            self._opened |= identity.open(kind, places)
        self._stubs = {
            service: {address: stub(self._opened[address]) for address in places.addresses}
            for service, stub, places in (
                (DIAL, dial_pb2_grpc.DialServiceStub, targets.dial),
                (ADMIN, admin_pb2_grpc.AdminServiceStub, targets.admin),
            )
        }

    def __iter__(self) -> Iterator[Any]:
        return iter(self._opened.values())

    def send(self, call: Call[Any], attempts: Attempts) -> Any:
        """Send a call with the token of now; return what the stub returns."""
        method = getattr(self._stubs[call.service][attempts.address], call.rpc)
        metadata = self._identity.metadata()
        if attempts.leader_only:
            metadata = (*(metadata or ()), LEADER_ONLY)
        return method(call.request, timeout=attempts.timeout_s, metadata=metadata)


class Targets:
    """Where the calls of each service go; one place for both, where they are the same."""

    def __init__(self, target: str, admin_target: str, attempt_timeout_s: float | None) -> None:
        self.dial = Places(target)
        self.admin = self.dial if admin_target == target else Places(admin_target)
        self.different = {self.dial, self.admin}
        self._attempt_timeout_s = attempt_timeout_s or ATTEMPT_TIMEOUT_S

    @property
    def dial_timeout_s(self) -> float:
        """How long a dial may take by default."""
        return window_s(self._attempt_timeout_s) if self.dial.are_several else DIAL_TIMEOUT_S

    def attempts(self, call: Call[Any], timeout_s: float, *, whole: bool = False) -> Attempts:
        """Return the attempts of a call; `whole` lets one have all the time, as a stream needs."""
        places = self.admin if call.service == ADMIN else self.dial
        return Attempts(places, call.service, timeout_s, None if whole else self._attempt_timeout_s)

    def close(self) -> None:
        """Let no call be sent again."""
        for places in self.different:
            places.closed = True


class SyncTransport:
    """How a `Client` sends; its channels are opened at once, so that threads need no lock."""

    # What a call raises whose stream of requests raised.
    REQUESTS_BROKE_OFF: tuple[type[BaseException], ...] = (ClientError,)

    def __init__(self, identity: Identity, targets: Targets) -> None:
        self._targets = targets
        self._channels = Channels(grpc, identity, targets)

    def send(self, call: Call[Any], attempts: Attempts) -> Any:
        """Send a call; return its response, or the iterator of its responses."""
        return self._channels.send(call, attempts)

    def pause(self, seconds: float) -> None:
        """Let some time pass."""
        time.sleep(seconds)

    def close(self) -> None:
        """Close the channels; closing again does nothing."""
        self._targets.close()
        for channel in self._channels:
            channel.close()


class AsyncTransport:
    """How an `AsyncClient` sends; its channels are opened by the first call.

    Not before: a grpc.aio channel binds itself to the loop that is running.
    """

    # As above; grpc.aio may also cancel the call.
    REQUESTS_BROKE_OFF: tuple[type[BaseException], ...] = (ClientError, asyncio.CancelledError)

    def __init__(self, identity: Identity, targets: Targets) -> None:
        self._targets = targets
        self._open = partial(Channels, grpc.aio, identity, targets)
        self._channels: Channels | None = None

    def send(self, call: Call[Any], attempts: Attempts) -> Any:
        """Send a call; return it, to be awaited or iterated."""
        if self._channels is None:
            self._channels = self._open()
        return self._channels.send(call, attempts)

    async def pause(self, seconds: float) -> None:
        """Let some time pass."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close the channels; closing again does nothing."""
        self._targets.close()
        for channel in self._channels or ():
            await channel.close()


def to_client_error(call: Call[Any], error: grpc.RpcError) -> ClientError:
    """Return the typed exception for a failed call."""
    note = call.note
    if isinstance(call.request, ImportStream):
        info = error_info(error)
        told = "" if info is None else info.reason
        note = import_note(error.code(), told, ended=call.request.ended)
    if call.service == ADMIN and error.code() is grpc.StatusCode.UNIMPLEMENTED:
        note = "give the client admin_target=, the server's admin listener"
    return from_rpc_error(error, note)
