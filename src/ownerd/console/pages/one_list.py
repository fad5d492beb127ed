"""The page of one list, which is the vendor's tab: configuration, and the campaigns that own."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from ownerd.client import AuditEntry, ContactList, PermissionDenied, Right
from ownerd.console import counting
from ownerd.console.pages.csvs import csv_answer
from ownerd.console.pages.visit import Visit, may
from ownerd.console.views import audit, policy
from ownerd.console.views.owners import OwnersView, owners_view
from ownerd.console.words import link

RECENT_ENTRIES = 6
MOST_CHOICES = 2_000


@dataclass(frozen=True, slots=True)
class ListPage:
    """What the page of a list needs of the server."""

    list_id: str
    may: Any
    contact_list: ContactList | None
    owners: OwnersView | None
    recent: tuple[audit.AuditRow, ...]
    names: dict[str, str]

    @property
    def name_choices(self) -> list[tuple[str, str]]:
        """The campaigns to choose from, by id and name."""
        return sorted(self.names.items())[:MOST_CHOICES]

    @property
    def address(self) -> str:
        """Where the page is."""
        return link("/list", id=self.list_id)

    @property
    def now(self) -> datetime:
        """The server's time, or ours where it was not told."""
        told = self.owners.time if self.owners else None
        return told or datetime.now(UTC)


async def load(visit: Visit, *, with_recent: bool = True) -> ListPage:
    """Ask the server for what the page shows; errors as of the client."""
    session, list_id = visit.who, visit.given("id")
    access, everywhere = await asyncio.gather(session.access(list_id), session.access())
    allowed = may(access)
    if not any(allowed.values()):
        raise PermissionDenied("")
    contact_list, names, found, recent = await asyncio.gather(
        _policy(visit, list_id, is_allowed=allowed["view"]),
        session.names(),
        _owners(visit, list_id, is_allowed=allowed["control"]),
        _recent(visit, list_id, is_allowed=with_recent and Right.VIEW in everywhere.rights),
    )
    if allowed["control"]:
        session.counts.follow(list_id)
    view = owners_view(found, names) if found else None
    return ListPage(list_id, allowed, contact_list, view, audit.audit_rows(recent), names)


async def _policy(visit: Visit, list_id: str, *, is_allowed: bool) -> ContactList | None:
    return await visit.who.client.get_list(list_id) if is_allowed else None


async def _owners(visit: Visit, list_id: str, *, is_allowed: bool) -> Any:
    return await counting.owners(visit.who, list_id) if is_allowed else None


async def _recent(visit: Visit, list_id: str, *, is_allowed: bool) -> list[AuditEntry]:
    found: list[AuditEntry] = []
    if is_allowed:
        entries = visit.who.client.audit_entries(list_id=list_id, page_size=RECENT_ENTRIES)
        async for entry in entries:
            found.append(entry)
            if len(found) == RECENT_ENTRIES:
                break
        await entries.aclose()
    return found


def render(
    visit: Visit, page: ListPage, status: int = 200, form: Any = None, **context: Any
) -> Response:
    """Return the page, with a dialog over it where `context` has one."""
    contact_list = page.contact_list
    if form is None and contact_list is not None:
        form = policy.form_of(contact_list.policy)
    dialog = {"dialog": None, "field_error": None, "picked": ()} | context
    rates = visit.who.counts.rates(page.list_id)
    return visit.render("list.html", status, page=page, form=form, rates=rates, **dialog)


async def show(visit: Visit) -> Response:
    """Show a list."""
    return render(visit, await load(visit))


async def back(visit: Visit) -> Response:
    """Send who reloads the answer to a form back to the list."""
    return visit.go(link("/list", id=visit.given("id")))


async def save(visit: Visit) -> Response:
    """Return the campaigns of a list as CSV."""
    page = await load(visit, with_recent=False)
    head = ["campaign_id", "name", "owned", "share", "earliest_expiration", "reserved", "denied"]
    head += ["denied_mostly_by", "called_twice"]
    rows = [
        [
            row.campaign_id,
            row.name,
            row.owned,
            row.share,
            row.earliest,
            row.reserved,
            row.denied,
            row.denied_by,
            row.called_twice,
        ]
        for row in (page.owners.rows if page.owners else ())
    ]
    return csv_answer("campaigns", head, rows)
