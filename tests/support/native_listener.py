"""The native listener in this process, on an engine of its own: for raw frames and exact counts.

`Loopback` owns engine, listener and sockets, and takes them down in order. Its counts are read
while its threads run: compare them with `poll`.
"""

import socket
from pathlib import Path
from typing import Any, Self

from harness import poll
from raw_http2 import DIAL, RawClient
from sanitizer import patient_s
from subject import DAY, Policy
from subject_engine import EngineSubject

from ownerd.access.table import Access
from ownerd.v1 import dial_pb2

LIST = "list"
LIMITS: dict[str, Any] = {
    "threads": 1,
    "max_connections": 1_000,
    "max_streams": 1_024,
    "max_header_bytes": 16_384,
    "max_message_bytes": 4 << 20,
    "max_held_bytes": 32 << 20,
    "max_principal_bytes": 256 << 20,
    "max_memory_bytes": 1 << 30,
    "max_resets_per_s": 200,
    "handshake_timeout_s": 10,
    "transfer_timeout_s": 20,
    "keepalive_time_s": 60,
    "keepalive_timeout_s": 10,
    "max_idle_s": 1_800,
    "max_age_s": 1_800,
    "max_age_grace_s": 60,
    "first_call_timeout_s": 60,
    "max_strangers": 1_000,
    "max_stranger_calls": 256,
}
CLOSE_DEADLINE_S = patient_s(10.0)


class Loopback:
    """A listener on a free port of 127.0.0.1 with an open list; a context manager.

    Args:
        directory: of the engine's store.
        access: who may make calls; None: everybody.
        tls: certificate, key and, if clients need a certificate, their CA, as PEM; None: plaintext.
        send_bytes, receive_bytes: sizes of the sockets' buffers; None for the system's.
        limits: what differs from LIMITS.
    """

    def __init__(
        self,
        directory: Path,
        access: Access | None = None,
        *,
        tls: tuple[bytes, ...] | None = None,
        send_bytes: int | None = None,
        receive_bytes: int | None = None,
        **limits: Any,
    ) -> None:
        # Imported here: where it was not built, the tests that need it are skipped.
        from ownerd.net.listener import Listener

        self.subject = EngineSubject(directory)
        self.subject.create_list(LIST, Policy(True, None, None, DAY))
        listening = socket.create_server(("127.0.0.1", 0), backlog=1_024)
        listening.setblocking(False)
        if send_bytes is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
        if receive_bytes is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.address = f"127.0.0.1:{listening.getsockname()[1]}"
        self.listener = Listener(
            self.subject.engine, access or Access(open=True), **(LIMITS | limits)
        )
        if tls is None:
            self.listener.start([listening.detach()])
        else:
            self.listener.use_tls(*tls)
            self.listener.start([], [listening.detach()])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, grace_s: float = 0.0) -> None:
        """End the connections, the threads and the engine."""
        self.listener.close(grace_s)
        poll(lambda: self.listener.ended, "the listener's threads", CLOSE_DEADLINE_S)
        self.subject.close()

    def client(self, **options: Any) -> RawClient:
        """Return a new connection."""
        return RawClient(self.address, **options)

    def stats(self) -> dict[str, Any]:
        """Return the listener's counts."""
        return dict(self.listener.stats())

    def ended(self, reason: str) -> int:
        """Return how many connections have ended for a reason."""
        return int(self.stats()["ended"][reason])

    def wait_empty(self) -> None:
        """Wait until no connection and no call is left in memory."""
        poll(
            lambda: not any(self.stats()[name] for name in ("connections", "streams", "under_way")),
            "the listener to be empty",
        )

    def serves(self, **options: Any) -> bool:
        """Whether a new, well-behaved client is served."""
        with self.client(**options) as client:
            reply = client.call(DIAL + "GetHolder", holder_request("nobody's"))
            return reply.code == 0 and not parsed_holder(reply.message).HasField("holder")


def claim_request(record_id: str, campaign_id: str = "A", list_id: str = LIST) -> bytes:
    """Return a ClaimRequest's bytes."""
    request = dial_pb2.ClaimRequest(list_id=list_id, record_id=record_id, campaign_id=campaign_id)
    return request.SerializeToString()


def writers_request() -> bytes:
    """Return a ClaimBatchRequest's bytes, of more records than a thread that reads it decides."""
    ids = [f"writer's {number}" for number in range(100)]
    request = dial_pb2.ClaimBatchRequest(list_id=LIST, record_ids=ids, campaign_id="A")
    return request.SerializeToString()


def holder_request(record_id: str) -> bytes:
    """Return a GetHolderRequest's bytes."""
    return dial_pb2.GetHolderRequest(list_id=LIST, record_id=record_id).SerializeToString()


def parsed_holder(message: bytes) -> dial_pb2.GetHolderResponse:
    """Return a GetHolderResponse from its bytes."""
    return dial_pb2.GetHolderResponse.FromString(message)
