"""The list's ownership as an export and the feed tell it, in a file that is gone with its process.

Pages of an export are each exact as of a revision of their own. So the feed is applied to them from
the first page's revision on, to each row what came after its page; at the last page's revision, and
at each later one, the spool is what an export of that one revision would be. No bound on memory
depends on the list's size.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ownerd.mirror.source import Owned
from ownerd.v1 import admin_pb2 as pb

_CACHE_KIB = 65_536
_LOOKUP_COUNT = 500
_ALIVE = "(expires IS NULL OR expires > :time)"


class Spool:
    """Who owns what at `revision`; a `Copy`. Belongs to one thread."""

    def __init__(self) -> None:
        self.revision = 0
        self._base = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._base.execute(f"PRAGMA {pragma}")
        self._base.execute(
            "CREATE TABLE owned"
            " (record TEXT, owner TEXT, name TEXT, expires INTEGER, as_of INTEGER)"
        )

    def close(self) -> None:
        """Forget it all."""
        self._base.close()

    def add_page(self, rows: Iterable[pb.OwnershipRow], revision: int) -> None:
        """Add a page of an export."""
        self._base.execute("BEGIN")
        self._base.executemany(
            "INSERT INTO owned VALUES (?, ?, ?, ?, ?)", (_values(row, revision) for row in rows)
        )
        self._base.execute("COMMIT")

    def pages_end(self) -> None:
        """Go over from pages to the feed."""
        self._base.execute("CREATE UNIQUE INDEX by_record ON owned (record)")

    def put(self, rows: Mapping[str, Owned | None]) -> None:
        """Set who owns some records at `revision`; a page of later knows better."""
        for record_id, row in rows.items():
            if row is None:
                self._run("DELETE FROM owned WHERE record = :record", record=record_id)
            else:
                # As of the revision before, so that what else it changed is done to the row, too.
                self._base.execute(
                    "INSERT INTO owned VALUES (?1, ?2, ?3, ?4, ?5 - 1) ON CONFLICT (record)"
                    " DO UPDATE SET owner = ?2, name = ?3, expires = ?4, as_of = ?5 - 1"
                    " WHERE as_of < ?5",
                    (record_id, *row, self.revision),
                )

    def release(self, time_ns: int, campaign_id: str) -> None:
        """End what a campaign owns, or what all do."""
        whose = "owner = :owner AND " if campaign_id else ""
        self._run(f"DELETE FROM owned WHERE {whose}{_ALIVE}", time=time_ns, owner=campaign_id)

    def expire(self, time_ns: int, expire_ns: int | None) -> None:
        """Let everything end at an instant."""
        self._run(
            f"UPDATE owned SET expires = :expires WHERE {_ALIVE}", time=time_ns, expires=expire_ns
        )

    def transfer(self, time_ns: int, from_id: str, to_id: str, to_name: str) -> None:
        """Give what one campaign owns to another."""
        self._run(
            f"UPDATE owned SET owner = :to_id, name = :name WHERE owner = :from_id AND {_ALIVE}",
            time=time_ns,
            from_id=from_id,
            to_id=to_id,
            name=to_name,
        )

    def rename(self, campaign_id: str, campaign_name: str) -> None:
        """Give a campaign another name."""
        self._run(
            "UPDATE owned SET name = :name WHERE owner = :owner",
            owner=campaign_id,
            name=campaign_name,
        )

    def _run(self, statement: str, **parameters: Any) -> None:
        parameters["revision"] = self.revision
        self._base.execute(f"{statement} AND as_of < :revision", parameters)

    def alive(self, record_ids: Sequence[str], time_ns: int) -> dict[str, Owned]:
        """Return those of some records that are owned at an instant."""
        found = {}
        for begin in range(0, len(record_ids), _LOOKUP_COUNT):
            part = record_ids[begin : begin + _LOOKUP_COUNT]
            marks = ", ".join("?" * len(part))
            for record_id, *row in self._base.execute(
                f"SELECT record, owner, name, expires FROM owned WHERE record IN ({marks})"
                " AND (expires IS NULL OR expires > ?)",
                (*part, time_ns),
            ):
                found[record_id] = Owned(*row)
        return found

    def alive_count(self, time_ns: int) -> int:
        """Return how many records are owned at an instant."""
        statement = f"SELECT count(*) FROM owned WHERE {_ALIVE}"
        count: int = self._base.execute(statement, {"time": time_ns}).fetchone()[0]
        return count


def _values(row: pb.OwnershipRow, revision: int) -> tuple[Any, ...]:
    expires = None
    if row.HasField("expire_time"):
        expires = row.expire_time.seconds * 1_000_000_000 + row.expire_time.nanos
    return row.record_id, row.campaign_id, row.campaign_name or row.campaign_id, expires, revision
