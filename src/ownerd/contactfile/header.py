"""The header of a contact file: what separates its cells, and where the columns of ours are.

Comma, semicolon, tab and | separate cells, or what a first line `sep=;` says. Titles are found in
any order and any letter case, with any others beside them.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ownerd.contactfile.faults import FileFault
from ownerd.contactfile.rows import QUOTE, parse

DELIMITERS = ",;\t|"
ACQUIRED = "ownerd_acquired"

_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_LONGEST_LINES = 100  # that a quoted title may go over
_OUTER = " \t\ufeff\u200b"
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_DASHES = re.compile(r"\s*-+\s*")


@dataclass(frozen=True)
class Columns:
    """What the columns are called; "" is a column that the file is not to have."""

    record: str = "i3_identity"
    owner: str = "i3_campaignownerid"
    name: str = "i3_campaignownername"
    expiration: str = "i3_campaignownerexpiration"


@dataclass(frozen=True)
class Header:
    """What the first line says; a column is an index, None where the file has no such column.

    `lines` is how many lines of the file end with it.
    """

    delimiter: str
    lines: int
    titles: list[str]
    record: int
    owner: int | None
    name: int | None
    expiration: int | None
    acquired: int | None

    @property
    def is_literal(self) -> bool:
        """Whether the file is an export of ownerd, in which every cell is exactly what it says."""
        return self.acquired is not None

    @property
    def width(self) -> int:
        """How many cells every row has."""
        return len(self.titles)

    def is_rule(self, cells: Sequence[str]) -> bool:
        """Say whether a row is the line of dashes that sqlcmd puts under a header."""
        return len(cells) == self.width and all(map(_DASHES.fullmatch, cells))


def read_header(lines: Iterator[str], columns: Columns, *, records_only: bool = False) -> Header:
    """Take the lines of the header, no more.

    Args:
        lines: The file's lines, from the first.
        columns: What to look for.
        records_only: Whether the record's column alone counts.

    Raises:
        FileFault: There is none, or a column that is needed is not there, or twice.
    """
    taken: list[str] = []
    told = None
    for text in lines:
        taken.append(text)
        found = _SEPARATOR.fullmatch(text)
        if len(taken) == 1 and found is not None:
            told = found[1]
        elif _CONTROL.search(text):
            raise FileFault("it is no text: there are control characters in the header", len(taken))
        elif text.strip():
            return _read(text, lines, taken, told, columns, records_only)
    raise FileFault("the file is empty; it needs a header line that names the columns", 1)


def _read(
    text: str,
    lines: Iterator[str],
    taken: list[str],
    told: str | None,
    columns: Columns,
    records_only: bool,
) -> Header:
    line = len(taken)
    title_lines = [text]
    while sum(part.count(QUOTE) for part in title_lines) % 2:
        more = next(lines, None)
        if more is None or len(title_lines) == _LONGEST_LINES:
            raise FileFault("a quote opens in the header and is not closed", line)
        title_lines.append(more)
        taken.append(more)
    finder = _Finder(line, columns, records_only)
    delimiters = told if told is not None else DELIMITERS
    candidates = [(_titles(title_lines, delimiter), delimiter) for delimiter in delimiters]
    titles, delimiter = max(candidates, key=lambda each: finder.fits(each[0]))
    return finder.header(titles, delimiter, len(taken))


def _titles(lines: Sequence[str], delimiter: str) -> list[str]:
    try:
        titles = parse(iter(lines), delimiter)
    except csv.Error:  # as under most delimiters that are not the file's
        titles = "".join(lines).split(delimiter)
    return [title.strip().strip(_OUTER) for title in titles]


class _Finder:
    """Finds columns among titles."""

    def __init__(self, line: int, columns: Columns, records_only: bool) -> None:
        self._line = line
        self._columns = columns
        self._records_only = records_only

    def fits(self, titles: Sequence[str]) -> tuple[int, int]:
        """Say how well a delimiter fits: how many of our columns it shows, then how many in all."""
        columns = self._columns
        wanted = (columns.record, columns.owner, columns.name, columns.expiration)
        return sum(bool(_places(titles, each)) for each in wanted if each), len(titles)

    def header(self, titles: list[str], delimiter: str, lines: int) -> Header:
        columns = self._columns
        owner = name = expiration = None
        record = self._needed(titles, columns.record, "--record-column")
        if not self._records_only:
            owner = self._needed(titles, columns.owner, "--owner-column")
            name = self._optional(
                titles, columns.name, columns.name != Columns.name, "--name-column"
            )
            # A missing expiration would make every ownership endless; that must be said aloud.
            expiration = self._optional(titles, columns.expiration, True, "--expiration-column")
        acquired = self._optional(titles, ACQUIRED, False, "")
        return Header(delimiter, lines, titles, record, owner, name, expiration, acquired)

    def _optional(
        self, titles: Sequence[str], column: str, is_needed: bool, option: str
    ) -> int | None:
        if not column or not (is_needed or _places(titles, column)):
            return None
        return self._needed(titles, column, option)

    def _needed(self, titles: Sequence[str], column: str, option: str) -> int:
        places = _places(titles, column)
        if len(places) > 1:
            raise FileFault(f'column "{column}" is there twice; names must differ', self._line)
        if not places:
            found = ", ".join(titles)
            found = found if len(found) <= 200 else f"{found[:200]} ..."
            without = ' (or "" for a file without it)' if option == "--expiration-column" else ""
            raise FileFault(
                f'no column "{column}"; found: {found}',
                self._line,
                f"name yours with {option}{without}",
            )
        return places[0]


def _places(titles: Sequence[str], column: str) -> list[int]:
    """Return where a title is: as it is spelled, or else in any letter case."""
    exact = [index for index, title in enumerate(titles) if title == column]
    folded = column.casefold()
    return exact or [index for index, title in enumerate(titles) if title.casefold() == folded]
