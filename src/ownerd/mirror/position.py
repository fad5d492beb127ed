"""How far a table is, and whose turn it is: one row a mirrored table, in a table beside it.

The revision moves in the transaction that brings the table up to it. A mirror holds the row by
writing its name there and counting on from time to time; a name whose count stands still is a dead
mirror's, and another takes the row. No two machines' clocks are compared. Whoever was taken for
dead finds at its next transaction, which begins with the row, that it is no longer its own.
"""

import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import exc

from ownerd.mirror.database import Database, told
from ownerd.mirror.faults import DatabaseFault, InUse
from ownerd.mirror.table import Table

POSITIONS = "ownerd_mirror"
BEAT_S = 2.0
DEAD_AFTER_S = 10.0  # of no beat
LOOK_S = 0.25


class Position(NamedTuple):
    """What the row says of the table: it is as of a revision of a list, in certain columns.

    None as revision: a comparison began and did not end, or there never was one.
    """

    list_id: str
    column_names: str
    incarnation_id: str | None
    revision: int | None


class Lease:
    """The row of a table, held by this mirror."""

    def __init__(
        self,
        database: Database,
        table: Table,
        *,
        beat_s: float = BEAT_S,
        dead_after_s: float = DEAD_AFTER_S,
    ) -> None:
        self._database = database
        self._mirrored = table.full_name
        self._beat_s = beat_s
        self._dead_after_s = dead_after_s
        self._me = f"{platform.node()} pid {os.getpid()} {uuid.uuid4().hex[:12]}"
        self._stopped = threading.Event()
        self._heart = threading.Thread(target=self._beat_on, name="mirror-heart", daemon=True)
        self._rows = _positions(table.schema)
        self._mine = sa.and_(
            self._rows.c.mirrored == self._mirrored, self._rows.c.holder == self._me
        )

    def take(self, say: Callable[[str], object]) -> Position | None:
        """Take the row and return what it says; None: the table was never mirrored.

        Raises:
            InUse: Another mirror has it, and lives.
            DatabaseFault: The database says no.
        """
        try:
            self._make_table()
            position = self._take(say)
        except exc.DBAPIError as error:
            raise DatabaseFault(
                f"the table {POSITIONS} beside {self._mirrored}: {told(error)}"
            ) from error
        self._heart.start()
        return position

    def release(self) -> None:
        """Leave the row to whoever comes next."""
        self._stopped.set()
        if self._heart.ident is not None:
            self._heart.join(self._dead_after_s)
        with suppress(exc.SQLAlchemyError):
            self._database.once(
                lambda connection: connection.execute(
                    sa.update(self._rows).where(self._mine).values(holder=None)
                )
            )

    def begin_comparison(self, connection: sa.Connection, list_id: str, column_names: str) -> None:
        """Say that the table is of no revision."""
        self._set(
            connection,
            list_id=list_id,
            column_names=column_names,
            incarnation_id=None,
            revision=None,
        )

    def end_comparison(self, connection: sa.Connection, incarnation_id: str, revision: int) -> None:
        """Say of what revision the table is, whatever it was."""
        self._set(connection, incarnation_id=incarnation_id, revision=revision)

    def advance(self, connection: sa.Connection, before: int, revision: int) -> bool:
        """Move the table from one revision to a later one.

        Returns:
            False: it is there already, and nothing is to be done.

        Raises:
            InUse: The row is another mirror's, so nothing may be done.
        """
        count = connection.execute(
            sa.update(self._rows)
            .where(self._mine, self._rows.c.revision == before)
            .values(revision=revision, **self._counted())
        ).rowcount
        if count == 1:
            return True
        row = self._row(connection)
        if row is None or row.holder != self._me:
            raise self._taken_over(row)
        if row.revision != revision:
            raise InUse(f"the row of {self._mirrored} in {POSITIONS} was changed by hand")
        return False

    def hold(self, connection: sa.Connection) -> None:
        """Begin a transaction that is this mirror's or fails."""
        self._set(connection)

    def _set(self, connection: sa.Connection, **values: Any) -> None:
        count = connection.execute(
            sa.update(self._rows).where(self._mine).values(**values, **self._counted())
        ).rowcount
        if count != 1:
            raise self._taken_over(self._row(connection))

    def _counted(self) -> dict[str, Any]:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return {"beat_count": self._rows.c.beat_count + 1, "beat_time": now}

    def _taken_over(self, row: Any) -> InUse:
        who = "nobody" if row is None else row.holder or "nobody"
        return InUse(
            f"the row of {self._mirrored} in {POSITIONS} was taken over while this mirror was not"
            f" heard of; {who} has it now"
        )

    def _make_table(self) -> None:
        for last in (False, True):
            try:
                self._database.once(
                    lambda connection: self._rows.create(connection, checkfirst=True)
                )
                return
            except exc.DBAPIError:  # perhaps another mirror made it between look and make
                if last:
                    raise

    def _take(self, say: Callable[[str], object]) -> Position | None:
        dead_at_s = time.monotonic() + self._dead_after_s
        seen = first = self._database.once(self._row)
        told_of = False
        while True:
            if seen is None:
                if self._inserted():
                    return None
            elif seen.holder is None or time.monotonic() >= dead_at_s:
                if self._taken_from(seen):
                    return Position(
                        seen.list_id, seen.column_names, seen.incarnation_id, seen.revision
                    )
            elif not told_of:
                say(f"{seen.holder} was mirroring into it; looking whether it lives")
                told_of = True
            time.sleep(LOOK_S if seen is not None and seen.holder else 0)
            first, seen = seen, self._database.once(self._row)
            if seen is not None and seen.holder and _moved(first, seen):
                raise InUse(
                    f"another mirror is at work on {self._mirrored}: {seen.holder}; one table has"
                    " one mirror"
                )

    def _inserted(self) -> bool:
        values = {
            "mirrored": self._mirrored,
            "list_id": "-",
            "column_names": "-",
            "holder": self._me,
            "beat_count": 1,
        }
        try:
            self._database.once(
                lambda connection: connection.execute(sa.insert(self._rows).values(values))
            )
        except exc.IntegrityError:
            return False
        return True

    def _taken_from(self, seen: Any) -> bool:
        held = self._rows.c.holder
        whose = held.is_(None) if seen.holder is None else held == seen.holder
        statement = (
            sa.update(self._rows)
            .where(
                self._rows.c.mirrored == self._mirrored,
                whose,
                self._rows.c.beat_count == seen.beat_count,
            )
            .values(holder=self._me, **self._counted())
        )
        return self._database.once(lambda connection: connection.execute(statement).rowcount == 1)

    def _row(self, connection: sa.Connection) -> Any:
        return connection.execute(
            sa.select(self._rows).where(self._rows.c.mirrored == self._mirrored)
        ).one_or_none()

    def _beat_on(self) -> None:
        while not self._stopped.wait(self._beat_s):
            # Where the row is another's, or the database away, the next transaction finds that out.
            with suppress(exc.SQLAlchemyError, InUse):
                self._database.once(self.hold)


def _moved(before: Any, after: Any) -> bool:
    if before is None:
        return True
    return (before.holder, before.beat_count) != (after.holder, after.beat_count)


def _positions(schema: str | None) -> sa.Table:
    return sa.Table(
        POSITIONS,
        sa.MetaData(),
        sa.Column("mirrored", sa.String(255), primary_key=True),
        sa.Column("list_id", sa.String(128), nullable=False),
        sa.Column("column_names", sa.String(600), nullable=False),
        sa.Column("incarnation_id", sa.String(16)),
        sa.Column("revision", sa.BigInteger),
        sa.Column("holder", sa.String(255)),
        sa.Column("beat_count", sa.BigInteger, nullable=False),
        sa.Column("beat_time", sa.String(20)),
        schema=schema,
    )
