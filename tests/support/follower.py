"""A reader of changes in plain Python: applies messages of Watch as the proto's comments say.

It is written from those comments alone: what it ends up with is compared to what the server shows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from subject import Holder, Owned

from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import dial_pb2

Event = pb.WatchEvent


def ns(time: Any) -> int:
    """Return a Timestamp or a Duration in nanoseconds."""
    return int(time.seconds) * 10**9 + int(time.nanos)


def optional_ns(message: Any, field: str) -> int | None:
    """The same of a field; None where it is absent."""
    return ns(getattr(message, field)) if message.HasField(field) else None


@dataclass(frozen=True)
class Record:
    """What is known of one record; a span is (begin, end), an end None never comes."""

    campaign_id: str
    name: str
    owned: tuple[int, int | None] | None
    reserved: tuple[int | None, int] | None
    dialer_id: str
    given_away: bool
    last_attempt: int | None

    def owns(self, now_ns: int) -> bool:
        """Tell whether its campaign owns it."""
        return self.owned is not None and (self.owned[1] is None or now_ns < self.owned[1])

    def reserves(self, now_ns: int) -> bool:
        """Tell whether it is reserved."""
        return self.reserved is not None and now_ns < self.reserved[1]


def record_of(message: pb.RecordEvent) -> Record | None:
    """Return what an event says of a record; None: nobody holds it."""
    if not message.HasField("holder"):
        return None
    holder = message.holder
    since, until = ns(holder.acquire_time), optional_ns(holder, "expire_time")
    reserved_until = optional_ns(holder, "reserved_until")
    owns = holder.kind == dial_pb2.HOLD_KIND_OWNED
    reserved: tuple[int | None, int] | None = None
    if reserved_until is not None:
        reserved = (None if owns else since, reserved_until)
    return Record(
        holder.campaign_id,
        holder.campaign_name,
        (since, until) if owns else None,
        reserved,
        holder.dialer_id,
        message.given_away,
        optional_ns(holder, "last_attempt_time"),
    )


class Follower:
    """All that a reader of changes knows, list by list.

    Args:
        known: what it begins with, as rows of an export by list.
    """

    def __init__(self, known: dict[str, Iterable[pb.OwnershipRow]] | None = None) -> None:
        self.lists: dict[str, dict[str, Record]] = {
            list_id: {row.record_id: _exported(row) for row in rows}
            for list_id, rows in (known or {}).items()
        }
        self.policies: dict[str, pb.OwnershipPolicy] = {}
        self.rejected: list[tuple[str, pb.RejectedEvent]] = []
        self.revision = -1
        self.seen: list[int] = []
        self._events: list[Event] = []

    def take(self, message: pb.WatchResponse) -> None:
        """Take a message; apply its revision once that is complete, and check the order."""
        assert message.revision >= self.revision
        progress = [each for each in message.events if each.HasField("progress")]
        assert message.events and (not progress or len(message.events) == 1)
        self._events += message.events
        if not message.complete:
            assert message.revision > self.revision
            return
        if not progress:
            assert message.revision > self.revision, "a revision is shown once"
            self.seen.append(message.revision)
        self.revision = message.revision
        records = [
            (each.list_id, each.record.record_id)
            for each in self._events
            if each.HasField("record")
        ]
        assert len(set(records)) == len(records), "a record is shown once a revision"
        for event in self._events:
            self._apply(event)
        self._events.clear()

    def owned(self, list_id: str, now_ns: int) -> dict[str, Owned]:
        """Return what is owned in a list, by record."""
        return {
            record_id: Owned(record_id, record.campaign_id, record.name, *record.owned)
            for record_id, record in self.lists[list_id].items()
            if record.owned is not None and record.owns(now_ns)
        }

    def holder(self, list_id: str, record_id: str, now_ns: int) -> Holder | None:
        """Return who holds a record, as GetHolder would; None: nobody.

        `acquire_ns` is 0 where it does not know: of a reservation beside an ownership.
        """
        record = self.lists[list_id].get(record_id)
        if record is None or not (record.owns(now_ns) or record.reserves(now_ns)):
            return None
        reserved_until = record.reserved[1] if record.reserved and record.reserves(now_ns) else None
        dialer_id = record.dialer_id if reserved_until is not None else ""
        if record.owned is not None and record.owns(now_ns):
            kind, since, until = "OWNED", *record.owned
        else:
            assert record.reserved is not None
            kind, since, until = "RESERVED", record.reserved[0] or 0, record.reserved[1]
        return Holder(
            kind,
            record.campaign_id,
            record.name,
            since,
            until,
            dialer_id,
            reserved_until,
            record.last_attempt,
        )

    # ---- events

    def _apply(self, event: Event) -> None:
        kind = event.WhichOneof("kind")
        assert kind is not None
        getattr(self, f"_on_{kind}")(event.list_id, getattr(event, kind))

    def _meant(self, list_id: str) -> Iterator[tuple[dict[str, Record], str, Record]]:
        for name in [list_id] if list_id else list(self.lists):
            records = self.lists[name]
            for record_id, record in list(records.items()):
                yield records, record_id, record

    def _on_record(self, list_id: str, it: pb.RecordEvent) -> None:
        record = record_of(it)
        if record is None:
            self.lists[list_id].pop(it.record_id, None)
        else:
            self.lists[list_id][it.record_id] = record

    def _on_policy(self, list_id: str, it: pb.PolicyEvent) -> None:
        self.policies[list_id] = it.policy

    def _on_duration_changed(self, list_id: str, it: pb.DurationChangedEvent) -> None:
        time_ns, length_ns = ns(it.time), optional_ns(it, "duration")
        until = None if length_ns is None else time_ns + length_ns
        for records, record_id, record in self._meant(list_id):
            if record.owned is not None and record.owns(time_ns):
                records[record_id] = replace(record, owned=(record.owned[0], until))

    def _on_released(self, list_id: str, it: pb.ReleasedEvent) -> None:
        for records, record_id, record in self._meant(list_id):
            if it.campaign_id not in ("", record.campaign_id):
                continue
            after = replace(record, owned=None)
            if it.include_reservations and not (it.campaign_id and record.given_away):
                after = replace(after, reserved=None, dialer_id="", given_away=False)
            records[record_id] = after

    def _on_transferred(self, list_id: str, it: pb.TransferredEvent) -> None:
        time_ns = ns(it.time)
        for records, record_id, record in self._meant(list_id):
            if record.campaign_id != it.from_campaign_id or not record.owns(time_ns):
                continue
            after = replace(record, campaign_id=it.to_campaign_id, name=it.to_campaign_name)
            if record.reserves(time_ns):
                after = replace(after, dialer_id="", given_away=True)
            else:
                after = replace(after, reserved=None, dialer_id="", given_away=False)
            if it.to_campaign_id:
                records[record_id] = after
            else:
                del records[record_id]

    def _on_reservations_ended(self, list_id: str, it: pb.ReservationsEndedEvent) -> None:
        for records, record_id, record in self._meant(list_id):
            if it.campaign_id not in ("", record.campaign_id) or (
                it.campaign_id and record.given_away
            ):
                continue
            if it.dialer_id in ("", record.dialer_id):
                records[record_id] = replace(record, reserved=None, dialer_id="", given_away=False)

    def _on_list_created(self, list_id: str, it: pb.ListCreatedEvent) -> None:
        shared = next((each for each in it.shares_ownership_with if each in self.lists), None)
        self.lists[list_id] = {} if shared is None else dict(self.lists[shared])
        self.policies[list_id] = it.policy

    def _on_list_deleted(self, list_id: str, _: pb.ListDeletedEvent) -> None:
        del self.lists[list_id]

    def _on_campaign_renamed(self, _: str, it: pb.CampaignRenamedEvent) -> None:
        for records, record_id, record in self._meant(""):
            if record.campaign_id == it.campaign_id:
                records[record_id] = replace(record, name=it.campaign_name)

    def _on_rejected(self, list_id: str, it: pb.RejectedEvent) -> None:
        self.rejected.append((list_id, it))

    def _on_progress(self, list_id: str, _: pb.ProgressEvent) -> None:
        assert not list_id

    def _on_time_set_back(self, list_id: str, it: pb.TimeSetBackEvent) -> None:
        time_ns, by_ns = ns(it.time), ns(it.duration)
        for records, record_id, record in self._meant(list_id):
            after = record
            if record.owned is not None and record.owned[0] > time_ns:
                since, until = record.owned
                after = replace(
                    after, owned=(since - by_ns, None if until is None else until - by_ns)
                )
            if record.reserved is not None and (record.reserved[0] or 0) > time_ns:
                since_ns, until_ns = record.reserved
                assert since_ns is not None
                after = replace(after, reserved=(since_ns - by_ns, until_ns - by_ns))
            records[record_id] = after


def _exported(row: pb.OwnershipRow) -> Record:
    span = (ns(row.acquire_time), optional_ns(row, "expire_time"))
    return Record(row.campaign_id, row.campaign_name, span, None, "", False, None)
