"""A contact file as rows of who owns which record, one at a time, each with its line.

Yields what can be taken and what cannot; whoever iterates decides whether a refusal ends it. What
only the whole file shows is in `evidence` afterwards, and what was guessed in `notes`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from ownerd.contactfile import source
from ownerd.contactfile.damage import Evidence, sign_of_damage
from ownerd.contactfile.faults import Refusal, RowFault
from ownerd.contactfile.header import Header, read_header
from ownerd.contactfile.rows import Row, Rows
from ownerd.contactfile.text import Text
from ownerd.contactfile.values import Foreign, Literal, Reading, Remembered, damaged, shown

# What query tools write below the rows: (12 rows affected), 12 rows selected., \., Ctrl-Z.
_FOOTER = re.compile(
    r"\(\d+ [^\d;,|\t]+\)|(\d+|no) (rows?|record\(s\)) (selected|in set|affected).*|"
    r"\\\.|Completion time: .*|\x1a+",
    re.IGNORECASE,
)


class Owned(NamedTuple):
    """A row that has an owner.

    `expire_ns` None: its ownership does not expire; `acquire_ns` None: the file does not say since
    when it is owned.
    """

    line: int
    record_id: str
    campaign_id: str
    campaign_name: str
    expire_ns: int | None
    acquire_ns: int | None = None


class Reader:
    """Reads one file, any number of times.

    Attributes:
        header: what its first line says, once it is read.
        unowned_count: rows without an owner, so far.
        cells: of the row that was yielded last, as they stand in the file.
        evidence: what all ids show together.
    """

    def __init__(self, binary: BinaryIO, reading: Reading) -> None:
        """Remember what to read.

        Args:
            binary: The file, to be read from where it stands; it can be rewound.
            reading: How.
        """
        self.unowned_count = 0
        self.cells: list[str] = []
        self.evidence = Evidence()
        self._binary = binary
        self._start = binary.tell()
        self._reading = reading
        self._text: Text | None = None
        self._header: Header | None = None

    @property
    def header(self) -> Header:
        """What the first line says; there is none before the first row was asked for."""
        assert self._header is not None
        return self._header

    @property
    def notes(self) -> list[str]:
        """What a person should know of how the file was read."""
        return [self._text.guess] if self._text is not None and self._text.guess else []

    @property
    def read_bytes(self) -> int:
        """How far in the file it is."""
        return self._binary.tell() - self._start

    def __iter__(self) -> Iterator[Owned | Refusal]:
        """Yield every row with an owner, and every one that cannot be taken.

        Raises:
            FileFault: It is no contact file from some line on.
            OSError: It cannot be read.
        """
        rows = self._open()
        values = Literal(self._reading) if self.header.is_literal else Foreign(self._reading)
        self.evidence = values.evidence
        read = _RowReader(self.header, values)
        undo = self._reading.undo
        for row in self._in_shape(rows):
            if isinstance(row, Refusal):
                yield row
                continue
            if undo is not None:
                row = row._replace(cells=[*map(undo, row.cells)])
            try:
                owned = read.row(row)
            except RowFault as fault:
                yield Refusal(row.line, fault.message, fault.hint)
                continue
            if owned is not None:
                yield owned
            elif any(map(str.strip, row.cells)):
                self.unowned_count += 1
                values.pass_over(row.cells[self.header.record])

    def again(self) -> "Reader":
        """Return a reader of the same file."""
        self._binary.seek(self._start)
        return Reader(self._binary, self._reading)

    def record_ids(self) -> Iterator[tuple[int, str] | Refusal]:
        """Yield the id of every row, with its line, whoever owns it.

        Raises:
            FileFault, OSError: As when it is iterated.
        """
        rows = self._open()
        values = Foreign(self._reading)
        self.evidence = values.evidence
        index = self.header.record
        for row in self._in_shape(rows):
            if isinstance(row, Refusal):
                yield row
            elif any(map(str.strip, row.cells)):
                try:
                    _check_quotes(row, (index,), self.header)
                    yield row.line, values.record_id(row.cells[index])
                except RowFault as fault:
                    yield Refusal(row.line, fault.message, fault.hint)

    def _open(self) -> Rows:
        """Begin from the start, and read the header."""
        self.unowned_count = 0
        self._binary.seek(self._start)
        self._text = Text(source.blocks(self._binary), self._reading.encoding)
        lines = iter(self._text)
        header = read_header(lines, self._reading.columns, records_only=self._reading.records_only)
        self._header = header
        rows = Rows(lines, header.delimiter, header.lines + 1)
        rows.is_literal = header.is_literal
        if not header.is_literal and header.expiration is not None:
            rows.looks_like_a_row = _Recognizer(header, self._reading)
        return rows

    def _in_shape(self, rows: Rows) -> Iterator[Row | Refusal]:
        """Yield the rows that have as many cells as the header; pass over dashes and footers."""
        header, width = self.header, self.header.width
        last: list[Row] = []  # that are footers, if nothing follows
        is_first = True
        for row in rows:
            self.cells = row.cells
            if header.is_repeated(row.cells):
                is_first = True
                continue
            if is_first:
                is_first = False
                if not header.is_literal and header.is_rule(row.cells):
                    continue
            if (
                len(row.cells) == 1
                and not header.is_literal
                and _FOOTER.fullmatch(row.cells[0].strip())
            ):
                last.append(row)
                continue
            for footer in last:
                self.cells = footer.cells
                yield _misshapen(footer, width)
            if last:
                last.clear()
                self.cells = row.cells
            yield row if len(row.cells) == width else _misshapen(row, width)


class _RowReader:
    """Reads the cells of rows that have the shape of a header."""

    def __init__(self, header: Header, values: Literal) -> None:
        self._header = header
        self._values = values
        self._campaign_ids = Remembered(values.campaign_id)
        self._names = Remembered(values.name)
        self._expirations = Remembered(values.expiration)
        self._acquisitions = Remembered(values.acquisition)
        indexes = (header.record, header.owner, header.name, header.expiration, header.acquired)
        self._ours = tuple(index for index in indexes if index is not None)

    def row(self, row: Row) -> Owned | None:
        """Return who owns what; None: nobody does, whatever else the row says.

        Raises:
            RowFault: A cell does not hold what it should.
        """
        header, cells = self._header, row.cells
        assert header.owner is not None
        if row.stray:
            _check_quotes(row, self._ours, header)
        campaign_id = self._campaign_ids[cells[header.owner]]
        if campaign_id is None:
            return None
        return Owned(
            row.line,
            self._values.record_id(cells[header.record]),
            campaign_id,
            "" if header.name is None else self._names[cells[header.name]],
            None if header.expiration is None else self._expirations[cells[header.expiration]],
            None if header.acquired is None else self._acquisitions[cells[header.acquired]],
        )


class _Recognizer:
    """Says whether a line within a quoted cell looks like a row: it has an id and an expiration."""

    def __init__(self, header: Header, reading: Reading) -> None:
        self._header = header
        self._values = Foreign(reading)

    def __call__(self, cells: Sequence[str]) -> bool:
        header = self._header
        assert header.expiration is not None
        if len(cells) != header.width or not cells[header.record].strip():
            return False
        try:
            self._values.expiration(cells[header.expiration].strip('"'))
        except RowFault:
            return False
        return True


def _check_quotes(row: Row, ours: Sequence[int], header: Header) -> None:
    for index in ours:
        if index in row.stray:
            cell = row.cells[index]
            damage = sign_of_damage(cell)
            if damage is not None:
                raise damaged(cell, header.titles[index], damage)
            raise RowFault(
                f'column "{header.titles[index]}": the quotes of "{shown(cell)}" are not as CSV has'
                " them: first and last in a cell, and double within"
            )


def _misshapen(row: Row, width: int) -> Refusal:
    count = len(row.cells)
    noun = "cell" if count == 1 else "cells"
    if row.cells[0].startswith("\x1a"):
        return Refusal(row.line, "Ctrl-Z ends a file, but this one goes on")
    return Refusal(row.line, f"{count} {noun}, but the header has {width}")
