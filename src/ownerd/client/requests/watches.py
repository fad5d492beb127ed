"""Watch: its requests, its events as values, and how a stream goes on after it was cut off."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC
from typing import Any

import grpc

from ownerd.client import events
from ownerd.client.errors import error_info
from ownerd.client.requests.admin import read_policy
from ownerd.client.requests.call import ADMIN, Call, id_list, read_length, read_time
from ownerd.client.requests.dial import holder_in
from ownerd.v1 import admin_pb2

# A connection that died without a word is noticed by the end of a call, and the next one goes on.
CALL_S = 120.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
_GOES_ON = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,  # by a server that ends, which has no better word
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


class Following:
    """Where one reader of changes is: asks for what comes next, and puts revisions together.

    A revision is given out when it is there whole, and never again.

    Args:
        list_ids: lists to follow; none: all.
        from_revision: show changes after it; None: from now on.
        incarnation_id: that of the revision; "": not checked.
        include_reservations: show dial reservations too.
    """

    def __init__(
        self,
        list_ids: str | Iterable[str] = (),
        from_revision: int | None = None,
        incarnation_id: str = "",
        *,
        include_reservations: bool = False,
    ) -> None:
        self._list_ids = id_list(list_ids)
        self._include_reservations = include_reservations
        self._events: list[admin_pb2.WatchEvent] = []
        self.revision = from_revision
        self.incarnation_id = incarnation_id
        self.pause_s = FIRST_PAUSE_S

    def request(self) -> admin_pb2.WatchRequest:
        """Return a request for what comes next; what was there of a revision is sent again."""
        self._events.clear()
        return admin_pb2.WatchRequest(
            list_ids=self._list_ids,
            from_revision=self.revision,
            include_reservations=self._include_reservations,
            incarnation_id=self.incarnation_id,
        )

    def call(self) -> Call[events.Revision | None]:
        """Return it as a call; `read` takes one message."""
        return Call(ADMIN, "Watch", self.request(), self._read)

    def take(self, response: admin_pb2.WatchResponse) -> list[admin_pb2.WatchEvent] | None:
        """Take a message; return all events of its revision once it is complete, else None."""
        self._events += response.events
        if not response.complete:
            return None
        whole, self._events = self._events, []
        self.revision, self.incarnation_id = response.revision, response.incarnation_id
        self.pause_s = FIRST_PAUSE_S
        return whole

    def goes_on(self, error: grpc.RpcError) -> bool:
        """Say whether a stream that ended so is to be asked for again, after `pause_s`."""
        code = error.code()
        if code is grpc.StatusCode.ABORTED:
            info = error_info(error)
            return info is not None and info.reason == "READER_TOO_SLOW"
        return code in _GOES_ON

    def longer_pause(self) -> float:
        """Return how long to wait now, and wait longer the next time."""
        pause_s, self.pause_s = self.pause_s, min(2 * self.pause_s, LONGEST_PAUSE_S)
        return pause_s

    def _read(self, response: admin_pb2.WatchResponse) -> events.Revision | None:
        whole = self.take(response)
        if whole is None:
            return None
        return events.Revision(
            number=response.revision,
            incarnation_id=response.incarnation_id,
            time=response.time.ToDatetime(tzinfo=UTC),
            events=tuple(map(_event, (each for each in whole if not each.HasField("progress")))),
        )


def _event(message: admin_pb2.WatchEvent) -> events.Event:
    kind = message.WhichOneof("kind")
    if kind is None:
        return events.Event(message.list_id)
    return _READERS[kind](message.list_id, getattr(message, kind))


def _record(list_id: str, message: Any) -> events.Event:
    return events.RecordChanged(list_id, message.record_id, holder_in(message), message.given_away)


def _rejected(list_id: str, message: Any) -> events.Event:
    return events.AttemptRejected(
        list_id,
        message.record_id,
        message.campaign_id,
        message.campaign_name,
        holder_in(message),
        message.attempt_time.ToDatetime(tzinfo=UTC),
        message.reported_list_id,
    )


def _time(message: Any) -> Any:
    return read_time(message, "time")


_READERS: Mapping[str, Callable[[str, Any], events.Event]] = {
    "record": _record,
    "policy": lambda list_id, it: events.PolicySaved(list_id, read_policy(it.policy)),
    "duration_changed": lambda list_id, it: events.DurationChanged(
        list_id, _time(it), read_length(it, "duration")
    ),
    "released": lambda list_id, it: events.OwnershipReleased(
        list_id, _time(it), it.campaign_id, it.include_reservations
    ),
    "transferred": lambda list_id, it: events.OwnershipTransferred(
        list_id, _time(it), it.from_campaign_id, it.to_campaign_id, it.to_campaign_name
    ),
    "reservations_ended": lambda list_id, it: events.ReservationsEnded(
        list_id, _time(it), it.campaign_id, it.dialer_id
    ),
    "list_created": lambda list_id, it: events.ListCreated(
        list_id, read_policy(it.policy), tuple(it.shares_ownership_with)
    ),
    "list_deleted": lambda list_id, _: events.ListDeleted(list_id),
    "campaign_renamed": lambda list_id, it: events.CampaignRenamed(
        list_id, it.campaign_id, it.campaign_name
    ),
    "rejected": _rejected,
    "time_set_back": lambda list_id, it: events.TimeSetBack(
        list_id, _time(it), it.duration.ToTimedelta()
    ),
}
