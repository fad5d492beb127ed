"""What the server's feed of changes tells of one record (R30)."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ownerd.client import (
    AttemptRejected,
    DurationChanged,
    Holder,
    HoldKind,
    OwnershipReleased,
    OwnershipTransferred,
    RecordChanged,
    Revision,
)
from ownerd.console.views.record import Event
from ownerd.console.words import Name, Say, say


class Feed:
    """Tells the revisions of a record's list, which are given in their order.

    Args:
        record_id: the record.
        with_list_wide: what is done to the whole list too: the audit tells that better, to those
            who may read it.
    """

    def __init__(self, record_id: str, *, with_list_wide: bool) -> None:
        self._record_id = record_id
        self._with_list_wide = with_list_wide
        self._before: Holder | None = None

    def events(self, revision: Revision) -> Iterator[Event]:
        """Yield what a revision changed for the record."""
        for event in revision.events:
            said: Say | None = None
            if isinstance(event, RecordChanged) and event.record_id == self._record_id:
                said = _held(event.holder, self._before)
                self._before = event.holder
            elif isinstance(event, AttemptRejected) and event.record_id == self._record_id:
                said = _rejected(event)
            elif self._with_list_wide:
                said = _list_wide(event)
            if said is not None:
                yield Event(_time(event, revision), said)


def _time(event: Any, revision: Revision) -> datetime:
    return event.attempt_time if isinstance(event, AttemptRejected) else revision.time


def _held(holder: Holder | None, before: Holder | None) -> Say:
    """Return what became of a record; None before: free, or not known."""
    if holder is None:
        return say("event.free")
    campaign = Name(holder.campaign_name or holder.campaign_id)
    is_dialed = holder.reserved_until is not None
    if holder.kind is not HoldKind.OWNED or (is_dialed and _goes_on(holder, before)):
        return say("event.reserved", campaign=campaign)
    key = "event.kept" if before and _goes_on(holder, before) else "event.owned"
    if holder.expire_time is None:
        return say(f"{key}.never", campaign=campaign)
    return say(key, campaign=campaign, time=holder.expire_time)


def _goes_on(holder: Holder, before: Holder | None) -> bool:
    """Return whether an ownership is the one of before, as far as that is known."""
    if before is None:
        return True
    return before.kind is HoldKind.OWNED and before.acquire_time == holder.acquire_time


def _rejected(event: AttemptRejected) -> Say:
    holder = event.holder.campaign_name if event.holder else "?"
    campaign = event.campaign_name or event.campaign_id or "?"
    return say("event.rejected", campaign=Name(campaign), holder=Name(holder))


def _list_wide(event: Any) -> Say | None:
    if isinstance(event, OwnershipReleased):
        if not event.campaign_id:
            return say("event.released.all")
        return say("event.released", campaign=Name(event.campaign_id))
    if isinstance(event, OwnershipTransferred):
        receiver = event.to_campaign_name or event.to_campaign_id or "?"
        giver = event.from_campaign_id or "?"
        return say("event.transferred", giver=Name(giver), receiver=Name(receiver))
    if isinstance(event, DurationChanged):
        if event.duration is None:
            return say("event.duration.never")
        return say("event.duration", length=event.duration)
    return None
