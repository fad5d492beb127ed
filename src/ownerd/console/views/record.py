"""One record: who holds it, why a campaign was denied, until when, and what happened to it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ownerd.client import AuditEntry, Holder, HoldKind, Policy
from ownerd.console.words import Name, Names, Roughly, Say, say


@dataclass(frozen=True, slots=True)
class RecordView:
    """What is known of a record now. `kind` is free, owned, reserved or hidden."""

    kind: str
    headline: Say
    until: Say | None
    why: Say | None
    holder: Holder | None
    owner_id: str
    """The campaign that owns it and may be named in a release; empty for none."""


def record_view(
    holder: Holder | None, policy: Policy, asking: str, names: Mapping[str, str], now: datetime
) -> RecordView:
    """Return a record's state.

    Args:
        holder: who holds it, as the server says; None: nobody.
        policy: the list's.
        asking: the campaign of which it is asked why it was denied; empty: none in particular.
        names: of campaigns, by their ids.
        now: the server's time.
    """
    if holder is None:
        then = "record.free.enabled" if policy.enabled else "record.free.disabled"
        name = Name(names.get(asking, asking))
        why = say("why.granted.free", asker=name) if asking else say("why.free")
        return RecordView("free", say("record.free"), say(then), why, None, "")
    is_owned = holder.kind is HoldKind.OWNED
    return RecordView(
        kind="owned" if is_owned else "reserved",
        headline=_headline(holder),
        until=_until(holder, now),
        why=_why(holder, asking, names) if asking else None,
        holder=holder,
        owner_id=holder.campaign_id if is_owned else "",
    )


def _headline(holder: Holder) -> Say:
    kind = "owned" if holder.kind is HoldKind.OWNED else "reserved"
    if not holder.campaign_id:
        return say(f"record.hidden.{kind}")
    return say(f"record.{kind}", campaign=Name(holder.campaign_name))


def _until(holder: Holder, now: datetime) -> Say:
    if holder.expire_time is None:
        return say("record.until.never")
    left = holder.expire_time - now
    return say("record.until", time=holder.expire_time, left=say("in_time", length=Roughly(left)))


def _why(holder: Holder, asking: str, names: Mapping[str, str]) -> Say:
    asker = Name(names.get(asking, asking))
    if not holder.campaign_id:
        return say("why.denied.hidden", asker=asker)
    if holder.campaign_id == asking:
        if holder.dialer_id and holder.reserved_until is not None:
            dialer, until = Name(holder.dialer_id), holder.reserved_until
            return say("why.granted.dialer", asker=asker, dialer=dialer, until=until)
        return say("why.granted.owner", asker=asker)
    campaign = Name(holder.campaign_name)
    if holder.kind is HoldKind.OWNED:
        since: datetime | Say = holder.acquire_time or say("now")
        return say("why.denied.owned", asker=asker, campaign=campaign, since=since)
    end: datetime | Say = holder.reserved_until or holder.expire_time or say("never")
    return say("why.denied.reserved", asker=asker, campaign=campaign, until=end)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a record, or to all of its list."""

    time: datetime | None
    what: Say
    who: str = ""
    reason: str = ""


MOST_NAMED = 5

# What supervisors do to a whole list, or to named records of it.
_LIST_WIDE = ("ReleaseOwnership", "TransferOwnership", "UpdateOwnershipPolicy", "ImportOwnership")


def audit_events(
    entries: Iterable[AuditEntry], record_id: str, names: Mapping[str, str]
) -> list[Event]:
    """Return what the audit of a list says that may touch one of its records, the newest first."""
    return [
        Event(entry.time, _done(entry, names), entry.principal, entry.reason)
        for entry in entries
        if not entry.refusal and _touches(entry, record_id)
    ]


def _done(entry: AuditEntry, names: Mapping[str, str]) -> Say:
    """Return what was done, with whose records it was done to: they need not be this one's."""
    campaigns = tuple(names.get(each, each) for each in entry.campaign_ids)
    if entry.action == "ReleaseOwnership":
        if not campaigns:
            return say("event.released.all")
        return say("event.released", campaign=Names(campaigns[:MOST_NAMED]))
    if entry.action == "TransferOwnership" and len(campaigns) == 2:
        return say("event.transferred", giver=Name(campaigns[0]), receiver=Name(campaigns[1]))
    return say(f"action.{entry.action}")


def _touches(entry: AuditEntry, record_id: str) -> bool:
    if entry.action in _LIST_WIDE:
        return True
    if entry.action != "ReleaseRecords":
        return False
    named = _named_records(entry.detail)
    return named is None or record_id in named


def _named_records(detail: str) -> list[Any] | None:
    """Return the records that an entry names; None where it does not name them all."""
    try:
        told = json.loads(detail)
        named = told["record_ids"]
        return named if len(named) == told.get("record_count", len(named)) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
