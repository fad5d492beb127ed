"""The contact lists that somebody may see: searched, sorted, and one page of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ownerd.client import ContactList
from ownerd.console.counts import CountBook

PAGE_ROWS = 50
# Sorted by these, a list has to be counted first.
COUNTED = ("owned", "reserved", "granted", "denied")
SORTS = ("list", "enabled", "duration", *COUNTED)
# What one wants to see first of each.
DESCENDING_FIRST = frozenset({"enabled", *COUNTED})

_LONGEST = timedelta.max


@dataclass(frozen=True, slots=True)
class ListRow:
    """One list; what was not counted (yet) is None."""

    list_id: str
    enabled: bool
    duration: timedelta | None
    shares_with: tuple[str, ...]
    owned: int | None
    reserved: int | None
    granted_per_s: float | None
    denied_per_s: float | None


@dataclass(frozen=True, slots=True)
class ListsQuery:
    """What of them is asked for."""

    search: str = ""
    sort: str = "list"
    descending: bool = False
    page: int = 1

    @property
    def is_counted(self) -> bool:
        """Whether the order depends on counts."""
        return self.sort in COUNTED


@dataclass(frozen=True, slots=True)
class ListsView:
    """One page of the lists that fit; `counted` of them are counted."""

    rows: tuple[ListRow, ...]
    query: ListsQuery
    total: int
    matched: int
    page: int
    pages: int
    counted: int

    @property
    def is_counting(self) -> bool:
        """Whether the order may still change."""
        return self.query.is_counted and self.counted < self.matched


def read_query(given: Callable[[str, str], str]) -> ListsQuery:
    """Return what an address asks for; what makes no sense is the default."""
    sort = given("sort", "list")
    if sort not in SORTS:
        sort = "list"
    page = given("page", "1")
    descending = given("dir", "desc" if sort in DESCENDING_FIRST else "asc") == "desc"
    return ListsQuery(given("q", "").strip(), sort, descending, _page(page))


def _page(text: str) -> int:
    return max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) < 7 else 1


def matching(lists: Sequence[ContactList], search: str) -> list[ContactList]:
    """Return the lists that have a text in their ids, whatever its case."""
    wanted = search.casefold()
    return [each for each in lists if wanted in each.list_id.casefold()] if wanted else [*lists]


def lists_view(lists: Sequence[ContactList], counts: CountBook, query: ListsQuery) -> ListsView:
    """Return the page of lists that is asked for; the last one, if there are not so many."""
    found = matching(lists, query.search)
    counted = sum(counts.latest(each.list_id) is not None for each in found)
    key = _KEYS[query.sort](counts)
    found.sort(key=lambda each: each.list_id)
    if query.sort != "list" or query.descending:
        # Those without a value come last in either direction.
        known = [each for each in found if key(each) is not None]
        unknown = [each for each in found if key(each) is None]
        found = sorted(known, key=key, reverse=query.descending) + unknown
    pages = max(1, -(-len(found) // PAGE_ROWS))
    page = min(query.page, pages)
    shown = found[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
    return ListsView(
        rows=tuple(_row(each, counts) for each in shown),
        query=query,
        total=len(lists),
        matched=len(found),
        page=page,
        pages=pages,
        counted=counted,
    )


def _row(each: ContactList, counts: CountBook) -> ListRow:
    look, rates = counts.latest(each.list_id), counts.rates(each.list_id)
    return ListRow(
        list_id=each.list_id,
        enabled=each.policy.enabled,
        duration=each.policy.duration,
        shares_with=each.shares_ownership_with,
        owned=look.owned if look else None,
        reserved=look.reserved if look else None,
        granted_per_s=rates.granted if rates else None,
        denied_per_s=rates.denied if rates else None,
    )


Key = Callable[[ContactList], Any]


def _looked(name: str) -> Callable[[CountBook], Key]:
    def of(counts: CountBook) -> Key:
        return lambda each: (look := counts.latest(each.list_id)) and getattr(look, name)

    return of


def _rated(name: str) -> Callable[[CountBook], Key]:
    def of(counts: CountBook) -> Key:
        return lambda each: (rates := counts.rates(each.list_id)) and getattr(rates, name)

    return of


_KEYS: dict[str, Callable[[CountBook], Key]] = {
    "list": lambda _: lambda each: each.list_id,
    "enabled": lambda _: lambda each: each.policy.enabled,
    "duration": lambda _: lambda each: each.policy.duration or _LONGEST,
    "owned": _looked("owned"),
    "reserved": _looked("reserved"),
    "granted": _rated("granted"),
    "denied": _rated("denied"),
}
