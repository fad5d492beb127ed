"""What the feed's events mean to a copy of who owns what.

A `Copy` is the table, or the spool of a comparison. Both take the same events in the same order:
revisions as they grow, and within one as they stand.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from ownerd.mirror.faults import CompareAgain
from ownerd.mirror.source import Owned
from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import dial_pb2

NS_PER_SECOND = 1_000_000_000


class Copy(Protocol):
    """A copy of who owns what in a list. `time_ns` is when a change was made: what was over then
    is not meant by it."""

    def put(self, rows: Mapping[str, Owned | None]) -> None:
        """Set who owns some records; None: nobody."""

    def release(self, time_ns: int, campaign_id: str) -> None:
        """End what a campaign owns; "": what anybody does."""

    def expire(self, time_ns: int, expire_ns: int | None) -> None:
        """Let everything end at an instant; None: never."""

    def transfer(self, time_ns: int, from_id: str, to_id: str, to_name: str) -> None:
        """Give what one campaign owns to another."""

    def rename(self, campaign_id: str, campaign_name: str) -> None:
        """Give a campaign another name."""


def apply(events: Iterable[pb.WatchEvent], copy: Copy) -> bool:
    """Apply events in their order.

    Returns:
        Whether the list was deleted, and not created again.

    Raises:
        CompareAgain: An event says too little.
    """
    is_gone = False
    rows: dict[str, Owned | None] = {}
    for event in events:
        kind = event.WhichOneof("kind")
        if kind == "record":
            rows[event.record.record_id] = owned(event.record)
            continue
        if rows and kind in _LIST_WIDE:
            copy.put(rows)  # what follows is done to these, too
            rows = {}
        if kind == "list_deleted":
            copy.release(0, "")
            is_gone = True
        elif kind == "list_created":
            if event.list_created.shares_ownership_with:
                raise CompareAgain("the list was created anew and shares the ownership of another")
            is_gone = False
        else:
            _apply_list_wide(event, kind, copy)
    if rows:
        copy.put(rows)
    return is_gone


_LIST_WIDE = (
    "released",
    "duration_changed",
    "transferred",
    "campaign_renamed",
    "list_deleted",
    "list_created",
    "time_set_back",
)


def is_list_wide(event: pb.WatchEvent) -> bool:
    """Say whether an event is about more than a record."""
    return event.WhichOneof("kind") in _LIST_WIDE


def _apply_list_wide(event: pb.WatchEvent, kind: str | None, copy: Copy) -> None:
    if kind == "released":
        copy.release(nanoseconds(event.released.time), event.released.campaign_id)
    elif kind == "duration_changed":
        changed = event.duration_changed
        time_ns = nanoseconds(changed.time)
        copy.expire(time_ns, _end_ns(changed, time_ns))
    elif kind == "transferred":
        _apply_transfer(event.transferred, copy)
    elif kind == "campaign_renamed":
        copy.rename(event.campaign_renamed.campaign_id, event.campaign_renamed.campaign_name)
    elif kind == "time_set_back":
        # It is about when ownership began, which the table does not have.
        raise CompareAgain("the server's time was set back")


def _apply_transfer(event: pb.TransferredEvent, copy: Copy) -> None:
    time_ns = nanoseconds(event.time)
    if not event.from_campaign_id:
        raise CompareAgain("ownership came from a campaign that you may not view")
    if event.to_campaign_id:
        to_name = event.to_campaign_name or event.to_campaign_id
        copy.transfer(time_ns, event.from_campaign_id, event.to_campaign_id, to_name)
    else:
        copy.release(time_ns, event.from_campaign_id)


def _end_ns(event: pb.DurationChangedEvent, time_ns: int) -> int | None:
    if not event.HasField("duration"):
        return None
    return time_ns + event.duration.seconds * NS_PER_SECOND + event.duration.nanos


def owned(event: pb.RecordEvent) -> Owned | None:
    """Return who owns the record of an event."""
    holder = event.holder
    if not event.HasField("holder") or holder.kind != dial_pb2.HOLD_KIND_OWNED:
        return None
    expire_ns = nanoseconds(holder.expire_time) if holder.HasField("expire_time") else None
    return Owned(holder.campaign_id, holder.campaign_name or holder.campaign_id, expire_ns)


def nanoseconds(time: Timestamp) -> int:
    """Return an instant."""
    return time.seconds * NS_PER_SECOND + time.nanos
