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


def feed_events(revision: Revision, record_id: str, *, with_list_wide: bool) -> Iterator[Event]:
    """Yield what a revision changed for a record.

    Args:
        revision: of a stream of changes of the record's list.
        record_id: the record.
        with_list_wide: what is done to the whole list too: the audit tells that better, to those
            who may read it.
    """
    for event in revision.events:
        said: Say | None = None
        if isinstance(event, RecordChanged) and event.record_id == record_id:
            said = _held(event.holder)
        elif isinstance(event, AttemptRejected) and event.record_id == record_id:
            said = _rejected(event)
        elif with_list_wide:
            said = _list_wide(event)
        if said is not None:
            yield Event(_time(event, revision), said)


def _time(event: Any, revision: Revision) -> datetime:
    return event.attempt_time if isinstance(event, AttemptRejected) else revision.time


def _held(holder: Holder | None) -> Say:
    if holder is None:
        return say("event.free")
    campaign = Name(holder.campaign_name or holder.campaign_id)
    if holder.kind is not HoldKind.OWNED:
        return say("event.reserved", campaign=campaign)
    if holder.expire_time is None:
        return say("event.owned.never", campaign=campaign)
    return say("event.owned", campaign=campaign, time=holder.expire_time)


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
