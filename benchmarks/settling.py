"""What a release and a duration change of a whole list cost the dialers, while they dial.

A paced load of claims runs all along. A prober, on a connection of its own, asks for holders of
random records one after the other; the first answer that shows the change says when it was seen.
When the change was committed comes from the audit: the server's time of the commit, on the same
machine's clock. Every probe is also held against its revision: an answer from the change's
revision on that shows the old state, or an earlier one that shows the new, would be a fault.
"""

import itertools
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from benchmarks import records
from ownerd.v1 import admin_pb2, admin_pb2_grpc, dial_pb2

NEW_DURATION_S = 7 * 86_400
QUIET_S = 3.0

_POLL_S = 0.05
_CALL_S = 60.0
_LEAD_S = 0.3


def pause() -> None:
    """Let the load run undisturbed for a while; what follows is compared with it."""
    time.sleep(QUIET_S)


class Change(NamedTuple):
    """When one change happened, CLOCK_MONOTONIC nanoseconds; `settled_ns` None: not in time.

    `released` is the count that the answer gave; None where it gives none.
    """

    name: str
    sent_ns: int
    committed_ns: int
    seen_ns: int
    answered_ns: int
    settled_ns: int | None
    released: int | None
    probes: int
    wrong_probes: int


class Prober:
    """Asks who holds random records, one call after the other, while its context lasts."""

    def __init__(self, target: str, bodies: list[bytes]) -> None:
        self._channel = grpc.insecure_channel(
            target, options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self._bodies = itertools.cycle(bodies)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._probe)
        self.answers: list[tuple[int, bytes]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join(_CALL_S)
        self._channel.close()

    def _probe(self) -> None:
        look_up = self._channel.unary_unary("/ownerd.v1.DialService/GetHolder")
        while not self._stopping.is_set():
            answer = look_up(next(self._bodies), timeout=_CALL_S)
            self.answers.append((time.monotonic_ns(), answer))


class Admin:
    """The control plane as this benchmark uses it."""

    def __init__(self, admin_target: str, dial_target: str, bodies: list[bytes]) -> None:
        self._stub = admin_pb2_grpc.AdminServiceStub(grpc.insecure_channel(admin_target))
        self._dial_target = dial_target
        self._bodies = bodies

    def create_list(self, list_id: str, duration_s: int, reservation_ttl_s: int) -> None:
        """Create a list with its policy enabled."""
        policy = admin_pb2.OwnershipPolicy(
            enabled=True,
            duration=Duration(seconds=duration_s),
            reservation_ttl=Duration(seconds=reservation_ttl_s),
        )
        self._stub.CreateContactList(
            admin_pb2.CreateContactListRequest(list_id=list_id, policy=policy), timeout=_CALL_S
        )

    def change_duration(self, settle_limit_s: float) -> Change:
        """Set another duration on the owned list."""
        request = admin_pb2.UpdateOwnershipPolicyRequest(
            list_id=records.OWNED_LIST,
            policy=admin_pb2.OwnershipPolicy(duration=Duration(seconds=NEW_DURATION_S)),
            update_mask=FieldMask(paths=["duration"]),
        )
        latest_s = time.time() + NEW_DURATION_S + 3_600

        def is_new(holder: dial_pb2.Holder) -> bool:
            return bool(holder.expire_time.seconds < latest_s)

        return self._watched(
            "UpdateOwnershipPolicy", self._stub.UpdateOwnershipPolicy, request, is_new,
            settle_limit_s,
        )  # fmt: skip

    def release_all(self, settle_limit_s: float) -> Change:
        """Release every ownership of the owned list."""
        request = admin_pb2.ReleaseOwnershipRequest(list_id=records.OWNED_LIST, all_campaigns=True)

        def is_new(holder: dial_pb2.Holder) -> bool:
            return bool(holder.kind != dial_pb2.HOLD_KIND_OWNED)

        return self._watched(
            "ReleaseOwnership", self._stub.ReleaseOwnership, request, is_new, settle_limit_s
        )

    def _watched(
        self,
        name: str,
        rpc: Callable[..., Any],
        request: Any,
        is_new: Callable[[dial_pb2.Holder], bool],
        settle_limit_s: float,
    ) -> Change:
        """Make a change with the prober looking on, and wait until it is settled."""
        with Prober(self._dial_target, self._bodies) as prober:
            time.sleep(_LEAD_S)
            sent_ns = time.monotonic_ns()
            answer = rpc(request, timeout=_CALL_S)
            answered_ns = time.monotonic_ns()
            time.sleep(_LEAD_S)
        settled_ns = self._wait_settled(answered_ns + int(settle_limit_s * 1e9))
        seen = [
            (at_ns, found.revision, is_new(found.holder))
            for at_ns, found in _parsed(prober.answers)
        ]
        return Change(
            name=name,
            sent_ns=sent_ns,
            committed_ns=self._committed_ns(name),
            seen_ns=next((at_ns for at_ns, _, new in seen if new), answered_ns),
            answered_ns=answered_ns,
            settled_ns=settled_ns,
            released=getattr(answer, "released_count", None),
            probes=len(seen),
            wrong_probes=sum(new != (at >= answer.revision) for _, at, new in seen),
        )

    def _wait_settled(self, limit_ns: int) -> int | None:
        while (now_ns := time.monotonic_ns()) < limit_ns:
            status = self._stub.GetServerStatus(admin_pb2.GetServerStatusRequest(), timeout=_CALL_S)
            if status.unsettled_event_count == 0:
                return now_ns
            time.sleep(_POLL_S)
        return None

    def _committed_ns(self, action: str) -> int:
        """Return the time of the latest change of a kind, turned into CLOCK_MONOTONIC."""
        page = self._stub.ListAuditEntries(
            admin_pb2.ListAuditEntriesRequest(
                filter=admin_pb2.AuditFilter(list_id=records.OWNED_LIST), page_size=1
            ),
            timeout=_CALL_S,
        )
        entry = page.entries[0]
        assert entry.action == action, entry
        status = self._stub.GetServerStatus(admin_pb2.GetServerStatusRequest(), timeout=_CALL_S)
        wall_ns: int = entry.time.ToNanoseconds() - status.clock_offset.ToNanoseconds()
        return wall_ns - (time.time_ns() - time.monotonic_ns())


def _parsed(answers: list[tuple[int, bytes]]) -> list[tuple[int, dial_pb2.GetHolderResponse]]:
    return [(at_ns, dial_pb2.GetHolderResponse.FromString(answer)) for at_ns, answer in answers]
