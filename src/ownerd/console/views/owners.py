"""The campaigns that hold records of one list, and what each was told."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ownerd.client import Activity, Owner, Owners


@dataclass(frozen=True, slots=True)
class OwnerRow:
    """One campaign; `share` is its part of all owned records, 0 to 1."""

    campaign_id: str
    name: str
    owned: int
    reserved: int
    earliest: datetime | None
    share: float
    denied: int
    denied_by: str
    called_twice: int


@dataclass(frozen=True, slots=True)
class OwnersView:
    """The campaigns of a list, those that own most first, as of one moment."""

    rows: tuple[OwnerRow, ...]
    owned: int
    reserved: int
    granted: int
    denied: int
    time: datetime | None
    revision: int

    @property
    def owning(self) -> int:
        """How many campaigns own records."""
        return sum(row.owned > 0 for row in self.rows)


def owners_view(found: Owners, names: Mapping[str, str]) -> OwnersView:
    """Return who owns what; `names` are those of campaigns that hold nothing now."""
    activity = {each.campaign_id: each for each in found.activity}
    holding = {each.campaign_id: each for each in found.owners}
    known = {**names, **{each.campaign_id: each.campaign_name for each in found.owners}}
    asking = [each.campaign_id for each in found.activity if _was_kept_away(each)]
    rows = [
        _row(campaign_id, holding, activity, known, found.total_owned_count)
        for campaign_id in dict.fromkeys((*holding, *asking))
    ]
    rows.sort(key=lambda row: (-row.owned, -row.reserved, -row.denied, row.campaign_id))
    return OwnersView(
        rows=tuple(rows),
        owned=found.total_owned_count,
        reserved=found.total_reserved_count,
        granted=sum(each.granted_claim_count for each in found.activity),
        denied=sum(each.denied_claim_count for each in found.activity),
        time=found.time,
        revision=found.revision,
    )


def _was_kept_away(each: Activity) -> bool:
    return bool(each.denied_claim_count or each.rejected_attempt_count)


def _row(
    campaign_id: str,
    holding: Mapping[str, Owner],
    activity: Mapping[str, Activity],
    names: Mapping[str, str],
    total: int,
) -> OwnerRow:
    owner, asked = holding.get(campaign_id), activity.get(campaign_id)
    denied_by = asked.denied_by_campaign_id if asked else ""
    return OwnerRow(
        campaign_id=campaign_id,
        name=names.get(campaign_id, campaign_id),
        owned=owner.owned_count if owner else 0,
        reserved=owner.reserved_count if owner else 0,
        earliest=owner.earliest_expire_time if owner else None,
        share=owner.owned_count / total if owner and total else 0.0,
        denied=asked.denied_claim_count if asked else 0,
        denied_by=names.get(denied_by, denied_by),
        called_twice=sum(asked.called_twice.values()) if asked else 0,
    )


def campaign_of(typed: str, names: Mapping[str, str]) -> str:
    """Return the id of the campaign that somebody typed: its id, or its name if one has it."""
    if typed in names:
        return typed
    found = [each for each, name in names.items() if name.casefold() == typed.casefold()]
    return found[0] if len(found) == 1 else typed


def owned_by(view: OwnersView, campaign_ids: Iterable[str]) -> tuple[OwnerRow, ...]:
    """Return the rows of some campaigns, those that are not there left out."""
    wanted = set(campaign_ids)
    return tuple(row for row in view.rows if row.campaign_id in wanted)
