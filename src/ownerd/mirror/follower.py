"""Brings the table from a revision to later ones, as the feed has them, strictly in their order.

A revision is never cut: it is in the table as a whole, with the position that says so, or not at
all. Where several wait they go in one transaction.
"""

import time
from collections.abc import Callable
from itertools import chain, takewhile

import sqlalchemy as sa

from ownerd.mirror import changes
from ownerd.mirror.database import Database
from ownerd.mirror.faults import Away, ListGone
from ownerd.mirror.position import Lease
from ownerd.mirror.rows import TableCopy
from ownerd.mirror.source import Ended, Point, Reader, Source
from ownerd.mirror.status import State, Teller
from ownerd.mirror.table import Table
from ownerd.v1 import admin_pb2 as pb

EVENT_COUNT = 1_000  # after which a transaction ends
WAIT_S = 0.5


class Follower:
    """Follows a list from `point` on."""

    def __init__(
        self,
        source: Source,
        database: Database,
        table: Table,
        lease: Lease,
        teller: Teller,
        point: Point,
    ) -> None:
        self._source = source
        self._database = database
        self._table = table
        self._lease = lease
        self._teller = teller
        self.point = point
        self._waiting: list[pb.WatchResponse] = []  # of a revision that is not complete

    def run(self, target: int, *, once: bool) -> None:
        """Apply what comes.

        Args:
            target: the revision from which on the table is in step.
            once: whether to return there.

        Raises:
            Away: The server does not answer, or ended the stream; go on from `point`.
            CompareAgain: The feed cannot say how it goes on.
            MirrorFault: It cannot be done.
        """
        self._tell_state(target)
        if once and self.point.revision >= target:
            return
        self._waiting = []
        reader = Reader(self._source.watch(self.point))
        try:
            while not (once and self.point.revision >= target):
                messages = self._gather(reader)
                if messages:
                    self._write(messages)
                self._tell_state(target)
        finally:
            reader.close()

    def _tell_state(self, target: int) -> None:
        status = self._teller.status
        status.incarnation_id, status.revision = self.point.incarnation_id, self.point.revision
        is_in_step = self.point.revision >= target
        if is_in_step and status.state is not State.IN_STEP:
            self._teller.say(f"in step at revision {self.point.revision:,}")
        status.state = State.IN_STEP if is_in_step else State.CATCHING_UP
        self._teller.at()

    def _gather(self, reader: "Reader[pb.WatchResponse]") -> list[pb.WatchResponse]:
        """Return whole revisions that are there, in order; none after a while without."""
        timeout_s = WAIT_S
        event_count = 0
        try:
            while event_count < EVENT_COUNT:
                message = reader.take(timeout_s)
                if message is None:
                    break
                timeout_s = 0
                if message.revision > self.point.revision:
                    self._waiting.append(message)
                    event_count += len(message.events)
        except Ended:
            if not any(message.complete for message in self._waiting):
                raise Away("the feed ended") from None
        except Exception:  # is raised again by the next take
            if not any(message.complete for message in self._waiting):
                raise
        rest = list(takewhile(lambda each: not each.complete, reversed(self._waiting)))
        whole = self._waiting[: len(self._waiting) - len(rest)]
        self._waiting = rest[::-1]
        return whole

    def _write(self, messages: list[pb.WatchResponse]) -> None:
        last = messages[-1]
        events = list(chain.from_iterable(message.events for message in messages))
        written = self._database.run(self._work(events, last.revision))
        point_time_ns = changes.nanoseconds(last.time)
        self.point = Point(last.incarnation_id, last.revision, point_time_ns)
        self._count(messages, events)
        if written is None:  # its commit had gone well, as it turned out
            return
        copy, is_gone = written
        self._teller.status.written_count += copy.written_count
        self._teller.status.missing_count += copy.missing_count
        if is_gone:
            raise ListGone("the list was deleted; nobody owns a row of the table any more")

    def _work(
        self, events: list[pb.WatchEvent], revision: int
    ) -> Callable[[sa.Connection], tuple[TableCopy, bool] | None]:
        def work(connection: sa.Connection) -> tuple[TableCopy, bool] | None:
            if not self._lease.advance(connection, self.point.revision, revision):
                return None
            copy = TableCopy(self._table, connection, self._source.holder)
            return copy, changes.apply(events, copy)

        return work

    def _count(self, messages: list[pb.WatchResponse], events: list[pb.WatchEvent]) -> None:
        status = self._teller.status
        eventful = [each for each in messages if any(map(_is_change, each.events))]
        if not eventful:
            return
        status.revision_count += len({each.revision for each in eventful})
        status.record_count += sum(event.WhichOneof("kind") == "record" for event in events)
        status.list_wide_count += sum(map(changes.is_list_wide, events))
        status.lag_ns = max(0, time.time_ns() - changes.nanoseconds(eventful[0].time))


def _is_change(event: pb.WatchEvent) -> bool:
    return event.WhichOneof("kind") == "record" or changes.is_list_wide(event)
