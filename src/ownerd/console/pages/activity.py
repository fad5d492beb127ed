"""The page of what goes on: charts, alarms, and the audit with filters."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from starlette.responses import Response

from ownerd.client import AuditEntry, Right
from ownerd.console.pages.csvs import csv_answer
from ownerd.console.pages.visit import Visit
from ownerd.console.views import audit, charts
from ownerd.console.views.audit import AuditQuery

MOST_SCANNED = 20_000


async def show(visit: Visit) -> Response:
    """Show the charts, the alarms and the audit."""
    session = visit.who
    access = await session.access()
    has_audit = Right.VIEW in access.rights
    query = audit.read_query(visit.given, visit.list_id)
    now = datetime.now(UTC)
    status, lists, entries, recent = await asyncio.gather(
        _status(visit, is_allowed=access.may(Right.VIEW)),
        _lists(visit, is_allowed=access.may(Right.VIEW)),
        _entries(visit, query, now, is_allowed=has_audit),
        _entries(visit, AuditQuery(query.list_id, period="1h"), now, is_allowed=has_audit),
    )
    if query.list_id and await session.may_control(query.list_id):
        session.counts.follow(query.list_id)
    histories = session.counts.histories()
    if query.list_id:
        histories = {key: each for key, each in histories.items() if key == query.list_id}
    steps = charts.summed(histories, time.monotonic())
    return visit.render(
        "activity.html",
        status=200,
        server=status,
        lists=[each.list_id for each in islice(lists, 1_000)],
        followed=len(session.counts.followed),
        list_count=len(lists),
        query=query,
        entries=audit.audit_rows(entries[: query.limit]),
        has_more=len(entries) > query.limit,
        has_audit=has_audit,
        has_control=access.may(Right.OWNERSHIP_CONTROL),
        charts=(
            charts.chart_of("chart.claims", charts.CLAIMS, steps),
            charts.chart_of("chart.attempts", charts.ATTEMPTS, steps),
        ),
        releases=charts.releases(recent, now) if has_audit else None,
        actions=audit.ACTIONS,
        periods=[*audit.PERIODS],
        width=charts.WIDTH,
        height=charts.HEIGHT,
    )


async def _status(visit: Visit, *, is_allowed: bool) -> Any:
    return await visit.who.client.status() if is_allowed else None


async def _lists(visit: Visit, *, is_allowed: bool) -> list[Any]:
    return await visit.who.lists() if is_allowed else []


async def _entries(
    visit: Visit, query: AuditQuery, now: datetime, *, is_allowed: bool
) -> list[AuditEntry]:
    """Return the entries that are asked for, and one more if there are more."""
    found: list[AuditEntry] = []
    if not is_allowed:
        return found
    entries = visit.who.client.audit_entries(
        list_id=query.list_id,
        principal=query.principal,
        action=query.action,
        start_time=query.start_time(now),
        page_size=1_000 if query.only_refused else query.limit + 1,
    )
    scanned = 0
    async for entry in entries:
        scanned += 1
        if entry.refusal or not query.only_refused:
            found.append(entry)
        if len(found) > query.limit or scanned > MOST_SCANNED:
            break
    await entries.aclose()
    return found


async def save(visit: Visit) -> Response:
    """Return the audit entries that are shown as CSV."""
    access = await visit.who.access()
    query = audit.read_query(visit.given, visit.list_id)
    entries = await _entries(
        visit, query, datetime.now(UTC), is_allowed=Right.VIEW in access.rights
    )
    head = ["entry_id", "time", "principal", "peer", "action", "list_id", "campaign_ids"]
    head += ["affected_count", "reason", "refusal", "revision", "detail"]
    rows = [
        [
            each.entry_id,
            each.time,
            each.principal,
            each.peer,
            each.action,
            each.list_id,
            " ".join(each.campaign_ids),
            each.affected_count,
            each.reason,
            each.refusal.name.lower() if each.refusal else "",
            each.revision,
            each.detail,
        ]
        for each in entries[: query.limit]
    ]
    return csv_answer("audit", head, rows)


async def save_charts(visit: Visit) -> Response:
    """Return what the charts show as CSV."""
    session, list_id = visit.who, visit.list_id
    histories = session.counts.histories()
    if list_id:
        histories = {key: each for key, each in histories.items() if key == list_id}
    now, now_s = datetime.now(UTC), time.monotonic()
    head = ["time", "granted_per_s", "denied_per_s", "uncontrolled_per_s", "attempts_per_s"]
    head += ["acquired_per_s", "rejected_per_s"]
    rows = [
        [
            now - timedelta(seconds=ago_s),
            rates.granted,
            rates.denied,
            rates.uncontrolled,
            rates.attempts,
            rates.acquired,
            rates.rejected,
        ]
        for ago_s, rates in charts.summed(histories, now_s)
    ]
    return csv_answer("activity", head, rows)
