"""The page of all contact lists, and the same as CSV."""

from starlette.responses import Response

from ownerd.client import Right
from ownerd.console import counting
from ownerd.console.pages.csvs import csv_answer
from ownerd.console.pages.visit import Visit
from ownerd.console.views import lists as views
from ownerd.console.views.lists import ListsQuery, ListsView
from ownerd.console.words import link

WAIT_S = 0.6
FIRST_FOLLOWED = 20


async def show(visit: Visit) -> Response:
    """Show the lists that are asked for."""
    access = await visit.who.access()
    if not access.may(Right.VIEW):
        return visit.render("lists.html", view=None, counted=False, partial=False)
    counted = access.may(Right.OWNERSHIP_CONTROL)
    view = await _view(visit, counted=counted)
    return visit.render("lists.html", view=view, counted=counted, sort_link=_sort_link(view.query))


async def _view(visit: Visit, *, counted: bool) -> ListsView:
    session = visit.who
    lists = await session.lists()
    query = views.read_query(visit.given)
    view = views.lists_view(lists, session.counts, query)
    if not counted:
        return view
    for each in lists[: FIRST_FOLLOWED - len(session.counts.followed)]:
        session.counts.follow(each.list_id)
    if query.is_counted:
        matched = views.matching(lists, query.search)
        counting.sweep(session, [each.list_id for each in matched])
    await counting.count(session, [row.list_id for row in view.rows], WAIT_S)
    return views.lists_view(lists, session.counts, query)


def _sort_link(query: ListsQuery) -> object:
    """Return what makes the address that sorts by a column, the other way round if it does."""

    def address(column: str) -> str:
        descending = column in views.DESCENDING_FIRST
        if column == query.sort:
            descending = not query.descending
        direction = "desc" if descending else "asc"
        return link("/", q=query.search or None, sort=column, dir=direction)

    return address


async def save(visit: Visit) -> Response:
    """Return the page that is shown as CSV."""
    access = await visit.who.access()
    counted = access.may(Right.OWNERSHIP_CONTROL)
    view = await _view(visit, counted=counted)
    head = [
        "list_id",
        "enabled",
        "duration_s",
        "owned",
        "reserved",
        "granted_per_s",
        "denied_per_s",
    ]
    rows = [
        [
            row.list_id,
            row.enabled,
            None if row.duration is None else row.duration.total_seconds(),
            row.owned,
            row.reserved,
            row.granted_per_s,
            row.denied_per_s,
        ]
        for row in view.rows
    ]
    return csv_answer("lists", head, rows)
