"""The page of one record: who holds it, why a campaign was denied, what happened, release it."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from ownerd.client import AuditEntry, Policy, Right
from ownerd.console.kept import Kept
from ownerd.console.pages.visit import Visit, may
from ownerd.console.views import record as views
from ownerd.console.views.owners import campaign_of
from ownerd.console.words import Name, link

MOST_ENTRIES = 200
MOST_CHOICES = 2_000


async def show(visit: Visit) -> Response:
    """Show a record."""
    return await _render(visit)


async def _render(visit: Visit, status: int = 200, **context: Any) -> Response:
    session, list_id, record_id = visit.who, visit.list_id, visit.given("id").strip()
    now = datetime.now(UTC)
    if not record_id:
        visit.say("find.empty", is_error=True)
        return visit.go(link("/list", id=list_id))
    access, everywhere = await asyncio.gather(session.access(list_id), session.access())
    allowed = may(access)
    holder, names = await asyncio.gather(session.client.holder(list_id, record_id), session.names())
    policy = (await session.client.get_list(list_id)).policy if allowed["view"] else Policy()
    has_audit = Right.VIEW in everywhere.rights
    entries = await _entries(visit, list_id) if has_audit else []
    kept = await _kept(visit, list_id, record_id, has_audit=has_audit) if allowed["view"] else None
    events = views.audit_events(entries, record_id, names) + (kept.events if kept else [])
    events.sort(key=lambda event: event.time or now, reverse=True)
    asking = campaign_of(visit.given("campaign").strip(), names)
    view = views.record_view(holder, policy, asking, names, now)
    return visit.render(
        "record.html",
        status,
        list_id=list_id,
        record_id=record_id,
        asking=asking,
        view=view,
        may=allowed,
        name_choices=sorted(names.items())[:MOST_CHOICES],
        events=events[:MOST_ENTRIES],
        kept=kept,
        has_audit=has_audit,
        address=link("/record", list=list_id, id=record_id, campaign=asking or None),
        **({"dialog": None, "complaint": ""} | context),
    )


async def _kept(visit: Visit, list_id: str, record_id: str, *, has_audit: bool) -> Kept:
    kept = visit.who.kept(list_id, record_id, with_list_wide=not has_audit)
    async with kept.lock:
        await kept.read_on(visit.who.client)
    return kept


async def _entries(visit: Visit, list_id: str) -> list[AuditEntry]:
    found: list[AuditEntry] = []
    entries = visit.who.client.audit_entries(list_id=list_id, page_size=MOST_ENTRIES)
    async for entry in entries:
        found.append(entry)
        if len(found) == MOST_ENTRIES:
            break
    await entries.aclose()
    return found


async def review(visit: Visit) -> Response:
    """Ask for the reason of a release; nothing changes."""
    await visit.read_form()
    return await _render(visit, dialog="release", request_id=str(uuid.uuid4()))


async def back(visit: Visit) -> Response:
    """Send who reloads the answer to a form back to the record."""
    return visit.go(f"/record?{visit.request.url.query}")


async def release(visit: Visit) -> Response:
    """Release the record, if the campaign that was shown still owns it."""
    await visit.read_form()
    reason, owner_id = visit.field("reason").strip(), "".join(visit.ids("owner"))
    if not reason:
        return await _render(
            visit, 422, dialog="release", complaint="reason.missing", request_id=str(uuid.uuid4())
        )
    record_id = visit.given("id").strip()
    done = await visit.who.client.release_records(
        visit.list_id, [record_id], only_if_campaign_id=owner_id, reason=reason
    )
    if done.released_count:
        visit.say("record.released")
    else:
        name = (await visit.who.names()).get(owner_id, owner_id)
        visit.say("record.not_released", is_error=True, campaign=Name(name))
    return visit.go(f"/record?{visit.request.url.query}")
