"""A mirror from begin to end: it compares where that is due, follows, goes on after troubles."""

import threading

from ownerd.mirror.comparison import Comparison
from ownerd.mirror.database import Database
from ownerd.mirror.faults import Away, CompareAgain, MirrorFault
from ownerd.mirror.follower import Follower
from ownerd.mirror.position import Lease, Position
from ownerd.mirror.source import Point, Source
from ownerd.mirror.status import State, Teller
from ownerd.mirror.table import Table

PAUSE_S = 1.0


class Mirror:
    """Keeps a table as a list is. Belongs to one thread, and holds the table's row meanwhile."""

    def __init__(
        self,
        source: Source,
        database: Database,
        table: Table,
        lease: Lease,
        teller: Teller,
        list_id: str,
    ) -> None:
        self._source = source
        self._database = database
        self._table = table
        self._lease = lease
        self._teller = teller
        self._list_id = list_id
        self._column_names = ", ".join(table.columns)
        self._pause = threading.Event()

    def run(self, position: Position | None, *, compare: bool, once: bool) -> None:
        """Bring the table in step and keep it so.

        Args:
            position: what the lease says of the table.
            compare: whether to compare in any case.
            once: whether to return as soon as the table is in step. Then nothing is waited for.

        Raises:
            Away: The server does not answer; only before it was reached for the first time, or
                with `once`.
            MirrorFault: It cannot be done.
        """
        point = None if compare else self._usable(position)
        was_reached = is_away = False
        while True:
            try:
                now = self._source.now()
                if is_away:
                    self._teller.say("the server answers again")
                was_reached, is_away = True, False
                self._database.is_patient = not once
                if point is not None and point.incarnation_id != now.incarnation_id:
                    raise CompareAgain("the server's store is another one, or was restored")
                if point is None:
                    point = self._comparison().run(self._list_id, self._column_names)
                point = self._follow(point, now.revision, once)
                return
            except CompareAgain as reason:
                self._teller.say(f"comparing again: {reason}")
                point = None
            except _Broken as broken:
                point = broken.point
                if once:
                    raise broken.reason from None
                is_away = self._wait(broken.reason, is_away)
            except Away as away:
                if once or not was_reached:
                    raise
                is_away = self._wait(away, is_away)

    def _usable(self, position: Position | None) -> Point | None:
        """Return from where to go on; None: a comparison is due.

        Raises:
            MirrorFault: The table is of another list.
        """
        if position is None or position.list_id == "-":
            self._teller.say("comparing: the table was never mirrored")
            return None
        if position.list_id != self._list_id:
            raise MirrorFault(
                f'the table mirrors the list "{position.list_id}"; to make it mirror'
                f' "{self._list_id}" from now on, say --compare'
            )
        if position.revision is None or position.incarnation_id is None:
            self._teller.say("comparing: the comparison before was not finished")
            return None
        if position.column_names != self._column_names:
            self._teller.say("comparing: the columns are others than before")
            return None
        return Point(position.incarnation_id, position.revision, 0)

    def _comparison(self) -> Comparison:
        return Comparison(self._source, self._database, self._table, self._lease, self._teller)

    def _follow(self, point: Point, target: int, once: bool) -> Point:
        follower = Follower(
            self._source, self._database, self._table, self._lease, self._teller, point
        )
        try:
            follower.run(target, once=once)
        except Away as away:
            raise _Broken(follower.point, away) from None
        return follower.point

    def _wait(self, away: Away, was_away: bool) -> bool:
        if not was_away:
            self._teller.say(f"{away}; trying again")
        self._teller.status.state = State.WAITING
        self._teller.at()
        self._pause.wait(PAUSE_S)
        return True


class _Broken(Exception):
    """The server went away while the table was at a point."""

    def __init__(self, point: Point, reason: Away) -> None:
        super().__init__(str(reason))
        self.point = point
        self.reason = reason
