"""A channel to whichever of several servers leads, for the stubs of both services.

A unary call is sent again as `ownerd.client.fail_over` says. A stream begins at the server that
leads, which is asked for first; one that was cut off is not begun again here. The rest of
`grpc.Channel` is not there.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc

from ownerd.client.credentials import Metadata
from ownerd.client.fail_over import LEADER_ONLY, Attempts, Places
from ownerd.client.requests.call import ADMIN, DIAL
from ownerd.v1 import admin_pb2, admin_pb2_grpc

_PROBE_TIMEOUT_S = 15.0
_ADMIN_PATH = f"/ownerd.v1.{ADMIN}/"

Make = Callable[[grpc.Channel], Any]


class LeaderChannel:
    """See above.

    Args:
        places: the addresses.
        channels: a channel to each.
    """

    def __init__(self, places: Places, channels: Mapping[str, grpc.Channel]) -> None:
        self.places = places
        self._channels = channels

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> "_Unary":
        """As `grpc.Channel.unary_unary`."""
        return _Unary(self, method, lambda on: on.unary_unary(method, *arguments, **options))

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """As `grpc.Channel.unary_stream`."""
        return lambda request, timeout=None, metadata=None: _Answers(
            self,
            lambda on: on.unary_stream(method, *arguments, **options),
            request,
            timeout,
            metadata,
        )

    def stream_unary(self, method: str, *arguments: Any, **options: Any) -> "_Sending":
        """As `grpc.Channel.stream_unary`; with `future` only."""
        return _Sending(self, lambda on: on.stream_unary(method, *arguments, **options))

    def close(self) -> None:
        """Close all channels."""
        self.places.closed = True
        for each in self._channels.values():
            each.close()

    def at(self, address: str) -> grpc.Channel:
        """Return the channel to an address."""
        return self._channels[address]

    def leading(self, metadata: Metadata | None) -> grpc.Channel:
        """Return the channel to the server that leads.

        Raises:
            grpc.RpcError: none answered that it does.
        """
        ask = admin_pb2_grpc.AdminServiceStub(self).WhoAmI
        ask(admin_pb2.WhoAmIRequest(), timeout=_PROBE_TIMEOUT_S, metadata=metadata)
        return self.at(self.places.leader)


class _Unary:
    """One rpc with one request and one answer."""

    def __init__(self, channel: LeaderChannel, method: str, make: Make) -> None:
        self._channel = channel
        self._service = ADMIN if method.startswith(_ADMIN_PATH) else DIAL
        self._make = make

    def __call__(
        self, request: Any, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Any:
        attempts = Attempts(self._channel.places, self._service, timeout)
        while True:
            call = self._make(self._channel.at(attempts.address))
            try:
                return call(request, timeout=attempts.timeout_s, metadata=_leaders(metadata))
            except grpc.RpcError as error:
                pause_s = attempts.pause_after(error)
                if pause_s is None:
                    raise
            time.sleep(pause_s)


class _Answers(Iterator[Any]):
    """The answers of one call; it begins when the first is asked for."""

    def __init__(
        self,
        channel: LeaderChannel,
        make: Make,
        request: Any,
        timeout_s: float | None,
        metadata: Metadata | None,
    ) -> None:
        self._channel = channel
        self._make = make
        self._request = request
        self._timeout_s = timeout_s
        self._metadata = metadata
        self._is_cancelled = False
        self._answers: Any = None

    def cancel(self) -> None:
        """End the call."""
        self._is_cancelled = True
        if self._answers is not None:
            self._answers.cancel()

    def __next__(self) -> Any:
        if self._answers is None:
            if self._is_cancelled:
                raise StopIteration
            self._answers = self._begun()
            if self._is_cancelled:  # by another thread, meanwhile
                self._answers.cancel()
        address = self._channel.places.leader
        try:
            return next(self._answers)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                self._channel.places.leave(address)
            raise

    def _begun(self) -> Any:
        call = self._make(self._channel.leading(self._metadata))
        return call(self._request, timeout=self._timeout_s, metadata=_leaders(self._metadata))


class _Sending:
    """One rpc with a stream of requests."""

    def __init__(self, channel: LeaderChannel, make: Make) -> None:
        self._channel = channel
        self._make = make

    def future(
        self, requests: Iterator[Any], timeout: float | None, metadata: Metadata | None
    ) -> Any:
        """Begin the call at the server that leads; errors as of `LeaderChannel.leading`."""
        call = self._make(self._channel.leading(metadata))
        return call.future(requests, timeout=timeout, metadata=_leaders(metadata))


def _leaders(metadata: Metadata | None) -> Metadata:
    return (*(metadata or ()), LEADER_ONLY)
