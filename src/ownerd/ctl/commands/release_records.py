"""`ownerctl release` of single records: of any number, in calls of 10,000.

What another campaign owns than the one that is named stays, and is told.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from ownerd import limits
from ownerd.ctl.commands import records
from ownerd.ctl.commands.options import Session
from ownerd.ctl.terminal import confirm, times
from ownerd.ctl.terminal.exits import CtlError
from ownerd.ctl.terminal.output import Column, Kind, show_rows
from ownerd.v1 import admin_pb2 as pb

COLUMNS = (
    Column("list_id", "List"),
    Column("released_count", "Released", Kind.COUNT),
    Column("not_released", "Not released", Kind.TEXTS),
    Column("dry_run", "Dry run", Kind.FLAG),
    Column("revision", "Revision", Kind.NUMBER),
)
_SHOWN_RECORDS = 20


class Meant(NamedTuple):
    """What to release: records, gone over more than once, and the rest of every request."""

    list_id: str
    record_ids: Iterable[str]
    request: pb.ReleaseRecordsRequest


class _Sum:
    """What several calls came to."""

    def __init__(self) -> None:
        self.released_count = self.revision = 0
        self.not_released: list[str] = []
        self.shown: list[pb.OwnedRecord] = []

    def add(self, answer: pb.ReleaseRecordsResponse) -> None:
        self.released_count += answer.released_count
        self.revision = answer.revision
        self.not_released += answer.not_released
        self.shown += answer.records[: _SHOWN_RECORDS - len(self.shown)]


def release_records(meant: Meant, session: Session, *, yes: bool, dry_run: bool) -> None:
    """Show what would be released and ask, unless that is answered; then release it."""
    if dry_run or not yes:
        would = _dry_run(meant, session)
        text = what(meant.list_id, would.released_count)
        if dry_run:
            return _print(f"Would release {text}.", meant, would, session, dry_run=True)
        if not would.released_count and not meant.request.include_reservations:
            nobody = "that campaign does not own" if would.not_released else "no campaign owns"
            return _print(f"Nothing to release: {nobody} it.", meant, would, session)
        confirm.confirm(f"Release {text}?")
    done = _release(meant, session)
    _print(f"Released {what(meant.list_id, done.released_count)}.", meant, done, session)


def what(list_id: str, owned_count: int, reserved_count: int = 0) -> str:
    """Say how many records of which list, and how many reservations end."""
    reservations = f" and end {reserved_count:,} reservations" if reserved_count else ""
    where = f"of list {list_id}" if list_id else "in all lists"
    return f"{confirm.counted(owned_count, 'record')} {where}{reservations}"


def _requests(meant: Meant, *, dry_run: bool) -> Iterator[pb.ReleaseRecordsRequest]:
    left = iter(meant.record_ids)
    while ids := list(islice(left, limits.BATCH_RECORDS)):
        request = pb.ReleaseRecordsRequest(record_ids=ids, dry_run=dry_run)
        request.MergeFrom(meant.request)
        yield request


def _dry_run(meant: Meant, session: Session) -> _Sum:
    """Show on stderr which of the records are owned, and by whom, the first of many."""
    connection, would = session.connection, _Sum()
    for request in _requests(meant, dry_run=True):
        would.add(connection.ask(connection.admin.ReleaseRecords, request))
    if would.shown:
        show_rows(records.COLUMNS, list(map(records.record_row, would.shown)), times.now_ns())
    if would.released_count > len(would.shown):
        session.printer.hint(f"... and {would.released_count - len(would.shown):,} more")
    return would


def _release(meant: Meant, session: Session) -> _Sum:
    connection, done = session.connection, _Sum()
    sent_count = 0
    for request in _requests(meant, dry_run=False):
        try:
            done.add(connection.change(connection.admin.ReleaseRecords, request))
        except CtlError as error:
            if not sent_count:
                raise
            text = f"{error}; the first {sent_count:,} records are done, repeat for the rest"
            raise CtlError(error.exit_code, text) from error
        sent_count += len(request.record_ids)
    return done


def _print(
    message: str, meant: Meant, outcome: _Sum, session: Session, *, dry_run: bool = False
) -> None:
    if stay := outcome.not_released:
        some = ", ".join(stay[:_SHOWN_RECORDS]) + (", ..." if stay[_SHOWN_RECORDS:] else "")
        message += f" {confirm.counted(len(stay), 'record')} of another campaign: {some}."
    row = {
        "list_id": meant.list_id,
        "released_count": outcome.released_count,
        "not_released": stay,
        "dry_run": dry_run,
        "revision": outcome.revision or None,
    }
    session.printer.done(message, COLUMNS, row)
