"""Watch: the changes that one caller follows, as they come (R30).

Owns when a stream reads, what it waits for, and when it ends: `Bell` wakes those who wait for a
commit, `Watch` is one call. What is sent comes whole out of the native core (`ownerd.native.Feed`),
message by message; nothing here looks at an event.

A stream holds no more than one reading. While its client takes nothing nothing is read, and the
log's files are its buffer; after a while, or when they go, it is ended with the revision to go on
from. Everything runs on the event loop's thread, but for the readings, which are the workers'.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from time import monotonic

from ownerd.native import Access, Engine, Feed, Identity
from ownerd.server import errors, rights
from ownerd.server.admin import validate
from ownerd.server.admin.context import AdminContext, Caller
from ownerd.server.workers import Workers
from ownerd.v1 import admin_pb2

PROGRESS_S = 5.0
# A client that takes no message for so long is too slow.
STALL_S = 30.0
# So long commits are let come together before they are read, and so often at most.
_PAUSE_S = 0.005
# Of one reading, about.
_READ_BYTES = 64 << 10
# How often it is looked whether the caller is still who it was, where nothing says it is not.
_IDENTIFY_S = 1.0
_MOST_LISTS = 1_000

Identify = Callable[[], Identity]


class Bell:
    """Wakes those who wait for a revision, many at once.

    Args:
        engine: whose.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rung = asyncio.Event()

    async def wait(self, after_revision: int, timeout_s: float) -> None:
        """Return once there is a later revision, or after a while."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._engine.feed_fd, self._ring)
        rung = self._rung
        if self._engine.await_revision(after_revision):
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, timeout_s)):
                    await rung.wait()

    def ring(self) -> None:
        """Wake everybody, to look for themselves."""
        self._rung.set()
        self._rung = asyncio.Event()

    def close(self) -> None:
        """Wake nobody any more."""
        if self._loop is not None:
            self._loop.remove_reader(self._engine.feed_fd)

    def _ring(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._engine.feed_fd)
        self.ring()


def begin(context: AdminContext, request: admin_pb2.WatchRequest, caller: Caller) -> Feed:
    """Return the feed that a request asks for, begun. Blocking.

    Raises:
        InvalidField, PermissionDenied, ListNotFound, OtherIncarnation, RevisionNotKept,
        RevisionAhead
    """
    engine = context.engine
    list_ids = _list_ids(request)
    for list_id in list_ids:
        rights.require(caller.identity, rights.VIEW, list_id, rights.NOT_ASKED)
    if request.incarnation_id and request.incarnation_id != f"{engine.incarnation:016x}":
        raise errors.OtherIncarnation(
            "incarnation_id: found that", "all that there is, and without incarnation_id"
        )
    after = request.from_revision if request.HasField("from_revision") else engine.revision
    feed = caller.identity.follow(engine, list_ids, request.include_reservations)
    _refuse(engine, after, feed.begin(after))
    for list_id in list_ids:
        if not feed.knows(list_id):
            raise errors.ListNotFound(list_id)
    return feed


def _refuse(engine: Engine, after: int, outcome: str | None) -> None:
    """Raise what a feed could not begin for, if anything."""
    if outcome == "ahead":
        raise errors.RevisionAhead(after, engine.revision)
    if after < engine.first_revision:
        raise errors.OtherIncarnation(
            f"from_revision: {after} is a revision", "all that there is (ExportOwnership)"
        )
    if outcome == "trimmed":
        raise errors.RevisionNotKept(after, engine.oldest_revision)


def _list_ids(request: admin_pb2.WatchRequest) -> list[str]:
    if len(request.list_ids) > _MOST_LISTS:
        raise errors.InvalidField(
            "list_ids", errors.Words(f"{len(request.list_ids)} lists"), f"up to {_MOST_LISTS:,}"
        )
    return [validate.list_id(each, "list_ids") for each in request.list_ids]


class Watch:
    """One stream of changes.

    Args:
        feed: what it sends, begun.
        bell: tells it of commits.
        workers: read for it.
        access: its number tells that rights have changed.
        identify: returns who calls, as known now.
        caller: who called.
    """

    def __init__(
        self,
        feed: Feed,
        bell: Bell,
        workers: Workers,
        access: Access,
        identify: Identify,
        caller: Identity,
    ) -> None:
        self._feed = feed
        self._bell = bell
        self._workers = workers
        self._access = access
        self._identify = identify
        self._caller = caller
        self._access_number = -1
        self._identified_s = 0.0
        # Up to it everything was handed out.
        self.revision = feed.revision

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """Yield messages until something ends the stream.

        Raises:
            Draining, RightsChanged, Unauthenticated, ReaderTooSlow
        """
        yield self._feed.progress()
        told_s = read_s = monotonic()
        more, caught_up = False, False
        while True:
            if not more:
                await self._bell.wait(self.revision, told_s + PROGRESS_S - monotonic())
                await asyncio.sleep(max(0.0, read_s + _PAUSE_S - monotonic()))
            self._workers.refuse_if_draining()
            self._ensure_may_go_on()
            read_s = monotonic()
            messages, more = await self._workers.run(self._feed.read, _READ_BYTES)
            if messages is None:
                raise errors.ReaderTooSlow(
                    self.revision,
                    "what comes next is not kept any more: the reader was too slow for log_keep_s "
                    "and log_keep_bytes",
                )
            for message in messages:
                yield message
            self.revision = self._feed.revision
            if monotonic() >= told_s + PROGRESS_S or not (more or caught_up):
                yield self._feed.progress()
                told_s = monotonic()
                caught_up |= not more

    def _ensure_may_go_on(self) -> None:
        """Look whether the caller is still known, with the rights that it had.

        Raises:
            RightsChanged, Unauthenticated
        """
        number = self._access.number
        if number == self._access_number and monotonic() < self._identified_s + _IDENTIFY_S:
            return
        self._access_number, self._identified_s = number, monotonic()
        if not self._identify().sees_as(self._caller):
            raise errors.RightsChanged(self.revision)
