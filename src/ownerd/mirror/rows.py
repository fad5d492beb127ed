"""Rows of the table: what one holds, what it is to hold, and the feed's events done to them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ownerd.mirror.changes import nanoseconds
from ownerd.mirror.codecs import Unreadable
from ownerd.mirror.database import changed_count
from ownerd.mirror.source import Owned
from ownerd.mirror.table import EXPIRATION, KEY, NAME, OWNER, Table
from ownerd.v1 import dial_pb2

LOOKUP_COUNT = 500  # keys in a statement: SQL Server takes 2,100 parameters, Oracle 1,000

Holder = Callable[[str], dial_pb2.Holder | None]


class Row(NamedTuple):
    """The three columns of a row, as texts and nanoseconds."""

    owner: str | None
    name: str | None
    expire_ns: int | Unreadable | None

    def is_alive(self, time_ns: int) -> bool:
        """Say whether somebody owns it, as far as the row tells."""
        return bool(self.owner) and not (
            isinstance(self.expire_ns, int) and self.expire_ns <= time_ns
        )


NOBODY = Row(None, None, None)


def row_read(table: Table, raw: Sequence[Any]) -> tuple[str, Row]:
    """Return the record of a row and what the row holds."""
    key, owner, name, expiration = raw
    return table.keys.read(key), Row(
        table.owners.read(owner), table.owner_names.read(name), table.expirations.read(expiration)
    )


def row_wanted(table: Table, owned: Owned | None) -> Row:
    """Return what a row is to hold.

    Raises:
        TableFault: A column has no room for it.
    """
    if owned is None:
        return NOBODY
    expire_ns = owned.expire_ns
    return Row(
        table.owners.write(owned.campaign_id),
        table.owner_names.write(owned.campaign_name),
        None if expire_ns is None else table.expirations.rounded_up(expire_ns),
    )


def row_parameters(table: Table, key: Any, row: Row) -> dict[str, Any]:
    """Return the parameters that make a row hold what it is to hold."""
    assert not isinstance(row.expire_ns, Unreadable)
    return {
        KEY: key,
        OWNER: row.owner,
        NAME: row.name,
        EXPIRATION: table.expirations.write(row.expire_ns),
    }


class TableCopy:
    """The table within one transaction; a `Copy`.

    Attributes:
        written_count: rows that were changed.
        missing_count: records that are not in the table.
    """

    def __init__(self, table: Table, connection: sa.Connection, holder: Holder) -> None:
        """Begin with no changes.

        Args:
            table: which.
            connection: of the transaction.
            holder: returns who holds a record now.
        """
        self._table = table
        self._connection = connection
        self._holder = holder
        self.written_count = 0
        self.missing_count = 0

    def put(self, rows: Mapping[str, Owned | None]) -> None:
        """Set who owns some records."""
        keys = {record_id: self._table.keys.write(record_id) for record_id in rows}
        self.missing_count += sum(key is None for key in keys.values())
        known = [(record_id, key) for record_id, key in keys.items() if key is not None]
        for part in _parts(known):
            self._put(dict(part), rows)

    def _put(self, keys: dict[str, int | str], rows: Mapping[str, Owned | None]) -> None:
        found: dict[str, list[Row]] = {}
        for raw in self._connection.execute(self._table.rows_of(keys.values())):
            record_id, row = row_read(self._table, raw)
            found.setdefault(record_id, []).append(row)
        parameters = []
        for record_id, key in keys.items():
            there = found.get(record_id)
            if there is None:
                self.missing_count += 1
                continue
            wanted = row_wanted(self._table, rows[record_id])
            if any(row != wanted for row in there):
                parameters.append(row_parameters(self._table, key, wanted))
                self.written_count += len(there)
        if parameters:
            self._connection.execute(self._table.update_row, parameters)

    def release(self, time_ns: int, campaign_id: str) -> None:
        """End what a campaign owns, or what all do."""
        self._change(self._table.release(time_ns, campaign_id))

    def expire(self, time_ns: int, expire_ns: int | None) -> None:
        """Let everything end at an instant."""
        doubtful: list[tuple[str, Any, Row]] = []
        if not self._table.expirations.is_exact(time_ns):
            for raw in self._connection.execute(self._table.doubtful(time_ns)):
                record_id, row = row_read(self._table, raw)
                doubtful.append((record_id, raw[0], row))
        self._change(self._table.expire(time_ns, expire_ns))
        parameters = []
        for record_id, raw_key, row in doubtful:
            key = self._table.keys.write(record_id)
            lasts = self._owned_at(record_id, time_ns)
            wanted = row_wanted(self._table, Owned(row.owner or "", row.name or "", expire_ns))
            parameters.append(
                row_parameters(
                    self._table, raw_key if key is None else key, wanted if lasts else NOBODY
                )
            )
        if parameters:
            self._connection.execute(self._table.update_row, parameters)
            self.written_count += len(parameters)

    def _owned_at(self, record_id: str, time_ns: int) -> bool:
        """Say whether somebody owned a record at an instant that is a little ago.

        Who owns it since before then did, whoever that is by now; else nobody does of whom later
        events do not tell.
        """
        holder = self._holder(record_id)
        return (
            holder is not None
            and holder.kind == dial_pb2.HOLD_KIND_OWNED
            and nanoseconds(holder.acquire_time) <= time_ns
        )

    def transfer(self, time_ns: int, from_id: str, to_id: str, to_name: str) -> None:
        """Give what one campaign owns to another."""
        self._change(self._table.transfer(time_ns, from_id, to_id, to_name))

    def rename(self, campaign_id: str, campaign_name: str) -> None:
        """Give a campaign another name."""
        self._change(self._table.rename(campaign_id, campaign_name))

    def _change(self, statement: sa.Update) -> None:
        self.written_count += changed_count(self._connection.execute(statement))


def _parts(known: list[tuple[str, int | str]]) -> Iterator[list[tuple[str, int | str]]]:
    for begin in range(0, len(known), LOOKUP_COUNT):
        yield known[begin : begin + LOOKUP_COUNT]
