"""Ownership as a CSV file, as the command line tells of it: columns, how to read, and writing one.

What a file may look like that is read is `ownerd.contactfile`'s to say. No gRPC call is made here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Annotated, TextIO

from cyclopts import Group, Parameter

from ownerd.contactfile import instants
from ownerd.contactfile.faults import Refusal
from ownerd.contactfile.header import ACQUIRED, Columns, Header
from ownerd.contactfile.text import UnknownEncoding, find_encoding
from ownerd.contactfile.values import Reading
from ownerd.ctl.terminal import times
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import csv_writer, unguarded
from ownerd.durations import NS_PER_SECOND
from ownerd.v1 import admin_pb2 as pb

COLUMN_GROUP = Group("Columns of the file", sort_key=2)
READING_GROUP = Group("How the file is read", sort_key=3)
BYTE_ORDER_MARK = "\ufeff"
REJECT_COLUMNS = ("ownerd_line", "ownerd_reason")


@Parameter(name="*", group=COLUMN_GROUP)
@dataclass(frozen=True)
class ColumnOptions:
    """What the columns of the file are called; any order, any others beside them."""

    record_column: Annotated[str, Parameter(help="Record id.")] = Columns.record
    owner_column: Annotated[str, Parameter(help="Owner: campaign id.")] = Columns.owner
    name_column: Annotated[str, Parameter(help="Owner's name.")] = Columns.name
    expiration_column: Annotated[str, Parameter(help="Expiration; an empty cell is none.")] = (
        Columns.expiration
    )

    def __post_init__(self) -> None:
        if not (self.record_column and self.owner_column):
            raise CtlError(Exit.USAGE, "--record-column and --owner-column need a name")
        titles = (ACQUIRED, self.record_column, self.owner_column, self.name_column)
        folded = [title.casefold() for title in (*titles, self.expiration_column) if title]
        if len({*folded}) < len(folded):
            raise CtlError(
                Exit.USAGE,
                "--record-column, --owner-column, --name-column and --expiration-column need names"
                f" that differ, from {ACQUIRED} too",
            )

    def columns(self) -> Columns:
        """Return the names as the reader takes them."""
        return Columns(
            self.record_column, self.owner_column, self.name_column, self.expiration_column
        )


@Parameter(name="*", group=READING_GROUP)
@dataclass(frozen=True)
class ReadingOptions:
    """What a file of another program leaves open. A file of `ownerctl export` needs none of it."""

    encoding: Annotated[
        str | None,
        Parameter(
            help="Of the text, such as windows-1252 or utf-16; by default it is found: UTF-8,"
            " UTF-16, else Windows-1252."
        ),
    ] = None
    time_zone: Annotated[
        str | None,
        Parameter(
            help="Of expirations without one, such as America/New_York; where a clock showed a time"
            " twice, the later counts."
        ),
    ] = None
    assume_utc: Annotated[bool, Parameter(negative="", help="The same as --time-zone UTC.")] = False
    trim: Annotated[
        bool, Parameter(negative="", help="Cut blanks around ids; by default such ids are refused.")
    ] = False
    any_ids: Annotated[
        bool,
        Parameter(
            negative="", help="Take ids too that look damaged by a spreadsheet, such as 1.2E+15."
        ),
    ] = False

    def reading(self, columns: ColumnOptions, *, spreadsheet_safe: bool = False) -> Reading:
        """Return how the reader is to read.

        Args:
            columns: What the columns are called.
            spreadsheet_safe: Whether it was written so that a spreadsheet sees no formula in it.
        """
        if self.assume_utc and self.time_zone is not None:
            raise CtlError(Exit.USAGE, "--assume-utc and --time-zone exclude each other")
        try:
            encoding = None if self.encoding is None else find_encoding(self.encoding)
            zone = UTC if self.assume_utc else self._zone()
        except UnknownEncoding as error:
            raise CtlError(Exit.USAGE, f"--encoding: {error}") from error
        undo = unguarded if spreadsheet_safe else None
        return Reading(columns.columns(), encoding, zone, self.trim, self.any_ids, undo=undo)

    def _zone(self) -> tzinfo | None:
        if self.time_zone is None:
            return None
        try:
            return instants.zone(self.time_zone)
        except ValueError as error:
            raise CtlError(Exit.USAGE, f"--time-zone: {error}") from error


class Writer:
    """Writes owned rows as CSV, the header first."""

    def __init__(
        self,
        text: TextIO,
        columns: Sequence[str],
        named: ColumnOptions,
        *,
        spreadsheet_safe: bool = False,
    ) -> None:
        """Write the header.

        Args:
            text: Where to.
            columns: Which columns, in order, by their names.
            named: What the columns are called.
            spreadsheet_safe: Whether no cell may begin as a formula does.
        """
        writers = cell_writers(named)
        self._cells = [writers[column] for column in columns]
        self._write = csv_writer(text, spreadsheet_safe=spreadsheet_safe)
        self._write(columns)

    def write(self, rows: Iterable[pb.OwnershipRow]) -> None:
        """Write rows; times as RFC 3339 in UTC, an empty cell for none."""
        for row in rows:
            self._write([cell(row) for cell in self._cells])


class RejectsWriter:
    """Writes rows that were not taken, each behind its line and the reason.

    The columns have the names that they have in the file, so that it can be mended and imported.
    """

    def __init__(self, text: TextIO, header: Header) -> None:
        self._write = csv_writer(text)
        self._write([*REJECT_COLUMNS, *header.titles])

    def write(self, refusal: Refusal, cells: Sequence[str]) -> None:
        """Write a row, with as many cells as it has."""
        hint = f"; {refusal.hint}" if refusal.hint else ""
        self._write([str(refusal.line), f"{refusal.reason}{hint}", *cells])


def cell_writers(named: ColumnOptions) -> dict[str, Callable[[pb.OwnershipRow], str]]:
    """Return what each column of a file is written with, by its name; "" is no column."""
    writers = {
        named.record_column: lambda row: row.record_id,
        named.owner_column: lambda row: row.campaign_id,
        named.name_column: lambda row: row.campaign_name,
        named.expiration_column: lambda row: _written(row, "expire_time"),
        ACQUIRED: lambda row: _written(row, "acquire_time"),
    }
    writers.pop("", None)
    return writers


def _written(row: pb.OwnershipRow, field: str) -> str:
    if not row.HasField(field):
        return ""
    time = getattr(row, field)
    return times.rfc3339(time.seconds * NS_PER_SECOND + time.nanos)
