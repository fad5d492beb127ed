"""The comparison: makes the table what an export is, and says as of which revision.

Three steps. The export goes into a spool, page by page. The feed from before the first page on
brings the spool to one revision, at or after the last page's. Then the table is walked in the order
of its keys, and each row that differs is set. What is over may stand.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ownerd.mirror import changes
from ownerd.mirror.database import Database
from ownerd.mirror.faults import Away
from ownerd.mirror.position import Lease
from ownerd.mirror.rows import row_parameters, row_read, row_wanted
from ownerd.mirror.source import Ended, Point, Reader, Source
from ownerd.mirror.spool import Spool
from ownerd.mirror.status import State, Teller
from ownerd.mirror.table import Table
from ownerd.v1 import admin_pb2 as pb

ROW_COUNT = 1_000  # that are looked at together
WAIT_S = 0.5


class _Step(NamedTuple):
    """Some rows that were looked at, in the order of their keys."""

    keys: list[Any]
    owned: set[str]  # records among them that somebody owns
    mended_count: int


class Comparison:
    """One comparison of a table with a list."""

    def __init__(
        self, source: Source, database: Database, table: Table, lease: Lease, teller: Teller
    ) -> None:
        self._source = source
        self._database = database
        self._table = table
        self._lease = lease
        self._teller = teller

    def run(self, list_id: str, column_names: str) -> Point:
        """Compare, and return as of when the table is true.

        Raises:
            Away: The server does not answer; nothing but a comparison brings the table up again.
            CompareAgain: Something happened meanwhile that the feed does not tell.
            MirrorFault: It cannot be done.
        """
        status = self._teller.status
        status.state = State.COMPARING
        self._teller.at()
        begin = self._source.now()
        spool = Spool()
        try:
            last = self._export(spool)
            point = self._catch_up(spool, begin, last)
            self._database.run(
                lambda connection: self._lease.begin_comparison(connection, list_id, column_names)
            )
            mended_count = self._mend(spool, point)
            self._database.run(
                lambda connection: self._lease.end_comparison(
                    connection, point.incarnation_id, point.revision
                )
            )
        finally:
            spool.close()
        status.comparison_count += 1
        status.incarnation_id, status.revision = point.incarnation_id, point.revision
        self._teller.say(f"compared at revision {point.revision:,}: {mended_count:,} rows mended")
        return point

    def _export(self, spool: Spool) -> int:
        """Fill the spool, and return the last page's revision."""
        last = 0
        for page in self._read(self._source.export()):
            spool.add_page(page.rows, page.revision)
            last = page.revision
        spool.pages_end()
        return last

    def _read(
        self, stream: Iterable[pb.ExportOwnershipResponse]
    ) -> Iterable[pb.ExportOwnershipResponse]:
        reader = Reader(stream)
        try:
            while True:
                page = reader.take(WAIT_S)
                self._teller.at()
                if page is not None:
                    yield page
        except Ended:
            return
        finally:
            reader.close()

    def _catch_up(self, spool: Spool, begin: Point, last: int) -> Point:
        """Apply the feed from `begin` to a revision of `last` or later, which is returned."""
        reader = Reader(self._source.watch(begin))
        events: list[pb.WatchEvent] = []
        point = begin
        try:
            while point.revision < last:
                message = reader.take(WAIT_S)
                self._teller.at()
                if message is None:
                    continue
                events += message.events
                if message.complete:
                    spool.revision = message.revision
                    changes.apply(events, spool)
                    events = []
                    time_ns = changes.nanoseconds(message.time)
                    point = Point(message.incarnation_id, message.revision, time_ns)
        except Ended:
            raise Away("the feed ended") from None
        finally:
            reader.close()
        return point

    def _mend(self, spool: Spool, point: Point) -> int:
        """Walk the table, and return how many rows were set."""
        status = self._teller.status
        key: Any = None
        count = ROW_COUNT
        owned_count: int = 0
        mended_count: int = 0
        before = _Step([], set(), 0)
        while True:
            step: _Step = self._database.run(self._look(spool, point.time_ns, key, count))
            # Rows with the last step's last key come again: there may be more with it.
            owned_count += len(step.owned - before.owned)
            mended_count += step.mended_count
            status.compared_count += len(set(step.keys) - set(before.keys))
            status.mended_count += step.mended_count
            self._teller.at()
            if len(step.keys) < count:
                break
            count = count * 2 if step.keys[-1] == key else ROW_COUNT
            key, before = step.keys[-1], step
        status.missing_count = spool.alive_count(point.time_ns) - owned_count
        return mended_count

    def _look(self, spool: Spool, time_ns: int, key: Any, count: int) -> Any:
        def look(connection: sa.Connection) -> _Step:
            found = connection.execute(self._table.rows_from(key, count)).all()
            rows = [row_read(self._table, raw) for raw in found]
            alive = spool.alive(list({record_id for record_id, _ in rows}), time_ns)
            parameters = []
            for raw, (record_id, row) in zip(found, rows, strict=True):
                owned = alive.get(record_id)
                wanted = row_wanted(self._table, owned)
                is_over = owned is None and row.owner and not row.is_alive(time_ns)
                if row != wanted and not is_over:
                    parameters.append(row_parameters(self._table, self._key(raw), wanted))
            if parameters:
                self._lease.hold(connection)
                connection.execute(self._table.update_row, parameters)
            return _Step([self._key(raw) for raw in found], set(alive), len(parameters))

        return look

    def _key(self, raw: Sequence[Any]) -> Any:
        """Return the key of a row as a parameter."""
        written = self._table.keys.write(self._table.keys.read(raw[0]))
        return raw[0] if written is None else written
