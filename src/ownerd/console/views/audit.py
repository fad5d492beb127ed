"""The audit as rows (R21): who changed what, when and why, and who was refused."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ownerd.client import AuditEntry
from ownerd.console.texts import TEXTS

PAGE_ROWS = 50
PERIODS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "always": None,
}
ACTIONS = tuple(key.removeprefix("action.") for key in TEXTS if key.startswith("action."))


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which entries are asked for, `limit` at most."""

    list_id: str = ""
    principal: str = ""
    action: str = ""
    period: str = "always"
    only_refused: bool = False
    limit: int = PAGE_ROWS

    def start_time(self, now: datetime) -> datetime | None:
        """Return from when on."""
        length = PERIODS[self.period]
        return None if length is None else now - length


def read_query(given: Callable[[str, str], str], list_id: str) -> AuditQuery:
    """Return what an address asks for; what makes no sense is left out."""
    period, action, limit = given("since", "always"), given("action", ""), given("limit", "")
    return AuditQuery(
        list_id=list_id,
        principal=given("who", "").strip(),
        action=action if action in ACTIONS else "",
        period=period if period in PERIODS else "always",
        only_refused=given("refused", "") == "1",
        limit=min(int(limit), 1_000) if limit.isascii() and limit.isdecimal() else PAGE_ROWS,
    )


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One entry; `facts` are its details, as pairs of name and value."""

    entry_id: int
    time: datetime | None
    who: str
    peer: str
    action: str
    list_id: str
    campaign_ids: tuple[str, ...]
    subject: str
    """Whom a change of principals was about; empty for others."""
    count: int | None
    reason: str
    is_refusal: bool
    facts: tuple[tuple[str, str], ...]


def audit_rows(entries: Iterable[AuditEntry]) -> tuple[AuditRow, ...]:
    """Return entries as rows."""
    return tuple(map(_row, entries))


def _row(entry: AuditEntry) -> AuditRow:
    facts = facts_of(entry.detail)
    return AuditRow(
        entry_id=entry.entry_id,
        time=entry.time,
        who=entry.principal,
        peer=entry.peer,
        action=entry.action,
        list_id=entry.list_id,
        campaign_ids=entry.campaign_ids,
        subject=dict(facts).get("principal_id", ""),
        count=entry.affected_count,
        reason=entry.reason,
        is_refusal=bool(entry.refusal),
        facts=facts,
    )


def facts_of(detail: str) -> tuple[tuple[str, str], ...]:
    """Return what an entry tells in detail: of a change, only what differs before and after."""
    try:
        told = json.loads(detail or "{}")
    except ValueError:
        return (("detail", detail),)
    if not isinstance(told, dict):
        return (("detail", detail),)
    before, after = told.pop("before", None), told.pop("after", None)
    facts = _pairs(told)
    if isinstance(before, dict) and isinstance(after, dict):
        facts += [
            (str(name), f"{_spelled(before.get(name))} → {_spelled(after.get(name))}")
            for name in dict.fromkeys((*before, *after))
            if before.get(name) != after.get(name)
        ]
    else:
        facts += [
            pair for each in (before, after) if isinstance(each, dict) for pair in _pairs(each)
        ]
    return tuple(facts)


def _pairs(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is told, and what that consists of; nothing of what is empty."""
    found = []
    for name, value in told.items():
        if isinstance(value, dict):
            found += _pairs(value)
        elif value not in ("", [], None):
            found.append((str(name), _spelled(value)))
    return found


def _spelled(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "–"
    return json.dumps(value, ensure_ascii=False)
