"""Who is signed in: sessions that live here, of which a browser has only the name, in a cookie.

A session has a client that speaks with that person's token, and ends by sign-out, by idleness, by
age, and when the server no longer takes the token. A name is 256 random bits, made at sign-in and
never taken from a browser, so that nobody can plant one; it is kept as a hash. All of it belongs to
the event loop's thread.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from ownerd.client import AsyncClient, CallerAccess, ContactList, Right
from ownerd.console.counts import SPAN_S, CountBook
from ownerd.console.kept import Kept

MOST_SESSIONS = 1_000
# How long what was read is believed. What somebody may do the server decides in any case.
ACCESS_FOR_S = 15.0
LISTS_FOR_S = 2.0
NAMES_FOR_S = 15.0
KEPT_RECORDS = 16


@dataclass(frozen=True, slots=True)
class Notice:
    """What is said once, on the next page that is shown: a text's key and what goes into it."""

    key: str
    arguments: dict[str, object] = field(default_factory=dict)
    is_error: bool = False


class Session:
    """One signed-in browser."""

    def __init__(
        self, client: AsyncClient, principal_id: str, now_s: float, span_s: float = SPAN_S
    ) -> None:
        self.client = client
        self.principal_id = principal_id
        self.csrf = secrets.token_urlsafe(32)
        self.counts = CountBook(span_s)
        self.notices: list[Notice] = []
        self.began_s = self.used_s = now_s
        self.ended = asyncio.Event()
        self.answered: datetime | None = None
        self.is_sweeping = False
        self._lists: tuple[float, list[ContactList]] | None = None
        self._names: tuple[float, dict[str, str]] | None = None
        self._kept: dict[tuple[str, str], Kept] = {}
        self._open_pages = 0
        self._access: dict[str, tuple[float, CallerAccess]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def access(self, list_id: str = "") -> CallerAccess:
        """Return what this person may do on a list; errors as of the client."""
        known = self._access.get(list_id)
        now_s = time.monotonic()
        if known is None or now_s - known[0] > ACCESS_FOR_S:
            if len(self._access) > MOST_SESSIONS:
                self._access.clear()
            found = await self.client.caller_access(list_id)
            self.principal_id = found.principal_id
            known = self._access[list_id] = now_s, found
        return known[1]

    async def may_control(self, list_id: str) -> bool:
        """Return whether this person may see who owns how much of a list."""
        everywhere = await self.access()
        if Right.OWNERSHIP_CONTROL in everywhere.rights:
            return True
        if Right.OWNERSHIP_CONTROL not in everywhere.partial_rights:
            return False
        return (await self.access(list_id)).may(Right.OWNERSHIP_CONTROL)

    async def lists(self) -> list[ContactList]:
        """Return all lists that this person may see; errors as of the client."""
        began_s = time.monotonic()
        if self._lists is None or began_s > self._lists[0]:
            found = [each async for each in self.client.lists()]
            now_s = time.monotonic()
            # Many take long to read, and are then read less often.
            self._lists = now_s + max(LISTS_FOR_S, 10 * (now_s - began_s)), found
            self.counts.forget(each.list_id for each in found)
        return self._lists[1]

    async def names(self) -> dict[str, str]:
        """Return the names of the campaigns that this person may see, by their ids."""
        if Right.VIEW not in (access := await self.access()).rights | access.partial_rights:
            return {}
        if self._names is None or time.monotonic() - self._names[0] > NAMES_FOR_S:
            found = {each.campaign_id: each.name async for each in self.client.campaigns()}
            self._names = time.monotonic(), found
        return self._names[1]

    def kept(self, list_id: str, record_id: str, *, with_list_wide: bool) -> Kept:
        """Return what this person's pages have read of a record's changes so far."""
        key = (list_id, record_id)
        kept = self._kept.pop(key, None) or Kept(list_id, record_id, with_list_wide)
        self._kept[key] = kept  # the last one of all
        if len(self._kept) > KEPT_RECORDS:
            self._kept.pop(next(iter(self._kept)))
        return kept

    def take_notices(self) -> list[Notice]:
        """Return what is to be said, and forget it."""
        said, self.notices = self.notices, []
        return said

    def begin(self, task: asyncio.Task[None]) -> None:
        """Keep a task that ends with the session."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def is_watched(self) -> bool:
        """Whether a page of it is open."""
        return self._open_pages > 0

    @contextmanager
    def page_is_open(self) -> Iterator[None]:
        """Count an open page as long as it is."""
        self._open_pages += 1
        try:
            yield
        finally:
            self._open_pages -= 1

    async def close(self) -> None:
        """End it: its open pages, its tasks and its connection."""
        self.ended.set()
        for task in [*self._tasks]:
            task.cancel()
        await self.client.close()


class Sessions:
    """All sessions of one console."""

    def __init__(
        self,
        idle_s: float,
        longest_s: float,
        clock: Callable[[], float] = time.monotonic,
        span_s: float = SPAN_S,
    ) -> None:
        self._idle_s = idle_s
        self._longest_s = longest_s
        self._clock = clock
        self._span_s = span_s
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    async def open(self, client: AsyncClient, principal_id: str) -> tuple[str, Session]:
        """Begin a session; return its name and it. The one unused for longest gives way."""
        await self.sweep()
        if len(self._sessions) >= MOST_SESSIONS:
            await self._end(min(self._sessions, key=lambda key: self._sessions[key].used_s))
        name = secrets.token_urlsafe(32)
        session = self._sessions[_key(name)] = Session(
            client, principal_id, self._clock(), self._span_s
        )
        return name, session

    def find(self, name: str | None, *, is_use: bool = True) -> Session | None:
        """Return the session of a name; None if there is none or it is over.

        `is_use` False looks without keeping it from idling: a page that refreshes itself.
        """
        session = self._sessions.get(_key(name)) if name else None
        if session is None or self._is_over(session):
            return None
        if is_use:
            session.used_s = self._clock()
        return session

    async def close(self, session: Session) -> None:
        """End a session."""
        for key, each in [*self._sessions.items()]:
            if each is session:
                await self._end(key)

    async def close_all(self) -> None:
        """End all."""
        for key in [*self._sessions]:
            await self._end(key)

    async def sweep(self) -> None:
        """End those that are over."""
        for key, each in [*self._sessions.items()]:
            if self._is_over(each):
                await self._end(key)

    def _is_over(self, session: Session) -> bool:
        now_s = self._clock()
        return now_s - session.used_s >= self._idle_s or now_s - session.began_s >= self._longest_s

    async def _end(self, key: str) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            await session.close()


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
