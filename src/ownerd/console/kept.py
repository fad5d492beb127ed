"""What the server still keeps of one record's changes, read once and then gone on with.

The feed is read from some way back up to now; the next look goes on from there, so a page that
refreshes itself reads what is new only. Bounded in revisions, in time and in events.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field

from ownerd.client import AsyncClient, ClientError, Unauthenticated, Unavailable, Unimplemented
from ownerd.console.views.history import Feed
from ownerd.console.views.record import Event

MOST_REVISIONS = 500_000
MOST_EVENTS = 200
LONGEST_S = 2.0
QUIET_S = 0.3
"""A stream that says nothing for so long has said what there is."""


@dataclass(slots=True)
class Kept:
    """What is known of one record: its events, the oldest first, and how far that goes."""

    list_id: str
    record_id: str
    with_list_wide: bool
    events: list[Event] = field(default_factory=list)
    is_short: bool = False
    """Something before was not looked through."""
    is_behind: bool = False
    """There is more, which the next look reads."""
    is_told: bool = True
    """The server has a feed."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is read on: two looks at once would tell everything twice."""
    _revision: int | None = None
    _incarnation_id: str = ""
    _feed: Feed = field(init=False)

    def __post_init__(self) -> None:
        self._feed = Feed(self.record_id, with_list_wide=self.with_list_wide)

    async def read_on(self, client: AsyncClient) -> None:
        """Read what happened since the last look; errors as of the client, but for the feed's."""
        status = await client.status()
        self.is_behind = False
        if self._revision is None:
            self._revision = max(status.oldest_revision, status.revision - MOST_REVISIONS)
            self._incarnation_id = status.incarnation_id
            self.is_short = self._revision > status.oldest_revision
        try:
            await self._follow(client, status.revision)
        except Unimplemented:
            self.is_told = False
        except (Unauthenticated, Unavailable):
            raise
        except ClientError:  # no longer kept, or another incarnation: begin anew with the next look
            self._revision, self.is_short = None, True
        del self.events[:-MOST_EVENTS]

    async def _follow(self, client: AsyncClient, until: int) -> None:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + LONGEST_S
        changes = client.watch(
            [self.list_id],
            from_revision=self._revision,
            incarnation_id=self._incarnation_id,
            include_reservations=True,
        )
        async with aclosing(changes):
            while True:
                try:
                    async with asyncio.timeout(QUIET_S):
                        revision = await anext(changes)
                except TimeoutError:
                    return
                self.events += self._feed.events(revision)
                self._revision = revision.number
                if revision.number >= until:
                    return
                if loop.time() > end_s:
                    self.is_behind = True
                    return
