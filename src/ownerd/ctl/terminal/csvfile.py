"""Ownership as a table in a CSV file: which columns, what a row may hold, what is wrong with one.

Reading and writing are streams: one row at a time, whatever the size of the file. A broken row is
an error that names file, line, column, what was found and what is allowed. No gRPC call is made
here.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, BinaryIO, TextIO

from cyclopts import Group, Parameter

from ownerd import limits
from ownerd.ctl.terminal import times
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import csv_writer, unguarded
from ownerd.v1 import admin_pb2 as pb

MAX_BYTES = {
    "record id": limits.RECORD_ID_BYTES,
    "campaign id": limits.CAMPAIGN_ID_BYTES,
    "campaign name": limits.CAMPAIGN_NAME_BYTES,
}
COLUMN_GROUP = Group("Columns of the file", sort_key=2)


@Parameter(name="*", group=COLUMN_GROUP)
@dataclass(frozen=True)
class ColumnOptions:
    """What the columns of the file are called; any order, any others beside them."""

    record_column: Annotated[str, Parameter(help="Record id.")] = "i3_identity"
    owner_column: Annotated[str, Parameter(help="Owner: campaign id.")] = "i3_campaignownerid"
    name_column: Annotated[str, Parameter(help="Owner's name.")] = "i3_campaignownername"
    expiration_column: Annotated[str, Parameter(help="Expiration; an empty cell is none.")] = (
        "i3_campaignownerexpiration"
    )

    def __post_init__(self) -> None:
        if not (self.record_column and self.owner_column):
            raise CtlError(Exit.USAGE, "--record-column and --owner-column need a name")

    def names(self) -> tuple[str, str, str, str]:
        """Return the four names in the order that they are written in."""
        return (self.record_column, self.owner_column, self.name_column, self.expiration_column)


@dataclass(frozen=True)
class Cells:
    """Where the columns of a file are; None: the file has no such column."""

    width: int
    record: int
    owner: int
    name: int | None
    expiration: int | None


class Reader:
    """Reads the owned rows of one CSV file.

    `unowned_count` is the rows without an owner so far, `read_bytes` how far in the file it is.
    """

    def __init__(
        self,
        binary: BinaryIO,
        file_name: str,
        columns: ColumnOptions,
        *,
        assume_utc: bool,
        spreadsheet_safe: bool = False,
    ) -> None:
        self.unowned_count = 0
        self.read_bytes = 0
        self._file_name = file_name
        self._columns = columns
        self._assume_utc = assume_utc
        self._as_written = unguarded if spreadsheet_safe else str
        self._binary = binary
        self._csv = csv.reader(self._lines(), strict=True)
        self._line = 1

    def __iter__(self) -> Iterator[pb.OwnershipRow]:
        header = next(self._rows(), None)
        if header is None:
            raise self._broken("the file is empty; it needs a header line that names the columns")
        cells = self._find_columns(header)
        for row in self._rows():
            if len(row) != cells.width:
                raise self._broken(f"{len(row)} cells, but the header has {cells.width}")
            if row[cells.owner].strip():
                yield self._ownership(row, cells)
            else:
                self.unowned_count += 1

    def _lines(self) -> Iterator[str]:
        # Decoded line by line, so that a wrong byte is reported with the line that it is on.
        for number, line in enumerate(self._binary, start=1):
            self.read_bytes += len(line)
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                self._line = number
                byte = line[error.start]
                raise self._broken(f"byte 0x{byte:02x} is not UTF-8; save it as UTF-8") from error

    def _rows(self) -> Iterator[list[str]]:
        while True:
            self._line = self._csv.line_num + 1  # a quoted cell may go over several lines
            try:
                row = next(self._csv, None)
            except csv.Error as error:
                raise self._broken(f"no valid CSV: {error}") from error
            if row is None:
                return
            if row:
                yield row

    def _find_columns(self, header: Sequence[str]) -> Cells:
        titles = [title.strip() for title in header]
        twice = [title for title in titles if title and titles.count(title) > 1]
        if twice:
            raise self._broken(f'column "{twice[0]}" is there twice; names must differ')
        columns = self._columns
        name_is_given = columns.name_column not in ("", ColumnOptions.name_column)
        return Cells(
            width=len(titles),
            record=self._find(titles, columns.record_column, "--record-column"),
            owner=self._find(titles, columns.owner_column, "--owner-column"),
            name=self._find_optional(
                titles, columns.name_column, "--name-column", needed=name_is_given
            ),
            # A missing expiration would make every ownership endless; that must be said aloud.
            expiration=self._find_optional(
                titles, columns.expiration_column, "--expiration-column", needed=True
            ),
        )

    def _find(self, titles: Sequence[str], column: str, option: str) -> int:
        if column in titles:
            return titles.index(column)
        found = ", ".join(titles)
        without = ' (or "" for a file without it)' if option == "--expiration-column" else ""
        raise self._broken(
            f'no column "{column}"; found: {found}; name yours with {option}{without}'
        )

    def _find_optional(
        self, titles: Sequence[str], column: str, option: str, *, needed: bool
    ) -> int | None:
        if not column or (column not in titles and not needed):
            return None
        return self._find(titles, column, option)

    def _ownership(self, row: Sequence[str], cells: Cells) -> pb.OwnershipRow:
        columns = self._columns
        message = pb.OwnershipRow(
            record_id=self._text(row[cells.record], columns.record_column, "record id"),
            campaign_id=self._text(row[cells.owner].strip(), columns.owner_column, "campaign id"),
        )
        if cells.name is not None:
            name = row[cells.name].strip()
            message.campaign_name = self._text(name, columns.name_column, "campaign name")
        if cells.expiration is not None and row[cells.expiration].strip():
            self._set_expiration(message, row[cells.expiration])
        return message

    def _text(self, text: str, column: str, what: str) -> str:
        text = self._as_written(text)
        length = len(text.encode())
        if not text and what != "campaign name":
            raise self._broken(f'column "{column}" is empty; a {what} has 1 byte or more')
        if length > MAX_BYTES[what]:
            raise self._broken(
                f'column "{column}" has {length} bytes, "{text[:40]}...";'
                f" a {what} has at most {MAX_BYTES[what]}"
            )
        return text

    def _set_expiration(self, message: pb.OwnershipRow, text: str) -> None:
        try:
            time_ns = times.parse(text, assume_utc=self._assume_utc)
        except times.TimeError as error:
            hint = ", or say --assume-utc" if "zone" in str(error) else ""
            raise self._broken(
                f'column "{self._columns.expiration_column}": "{text}" {error};'
                f" allowed is {times.ALLOWED}{hint}, or nothing for no expiration"
            ) from error
        message.expire_time.CopyFrom(times.to_message(time_ns))

    def _broken(self, complaint: str) -> CtlError:
        where = f"{self._file_name} line {self._line}"
        return CtlError(Exit.INPUT_FILE, f"{where}: {complaint}; nothing was imported")


class Writer:
    """Writes owned rows as CSV, the header first; a column named "" is left out."""

    def __init__(
        self, text: TextIO, columns: ColumnOptions, *, spreadsheet_safe: bool = False
    ) -> None:
        named = zip(columns.names(), WRITERS, strict=True)
        titles, self._writers = zip(*((name, write) for name, write in named if name), strict=True)
        self._write = csv_writer(text, spreadsheet_safe=spreadsheet_safe)
        self._write(titles)

    def write(self, rows: Iterable[pb.OwnershipRow]) -> None:
        """Write rows; expirations as RFC 3339 in UTC, an empty cell for none."""
        for row in rows:
            self._write([write(row) for write in self._writers])


def _written_expiration(row: pb.OwnershipRow) -> str:
    return row.expire_time.ToJsonString() if row.HasField("expire_time") else ""


WRITERS = (
    attrgetter("record_id"),
    attrgetter("campaign_id"),
    attrgetter("campaign_name"),
    _written_expiration,
)
