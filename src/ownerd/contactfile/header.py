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
_CTRL_Z = "\x1a"  # that ends a DOS file
_LONGEST_LINES = 100  # that a quoted title may go over
_OUTER = " \t\ufeff\u200b"
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_CR_ENDS = ("\r\n", "\r")
_DASHES = re.compile(r"\s*-+\s*")
# As SQL writes names that it might take for words of its own.
_SQL_QUOTES = re.compile(r"\[(.*)\]|`(.*)`")
# What a text begins with that is no table.
_OTHERS = (
    (re.compile(r"\s*(\{|\[\s*([\[{]|$))"), "JSON; a contact file is CSV"),
    (re.compile(r"\s*<[!?a-zA-Z]"), "HTML or XML; a contact file is CSV"),
)


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
    is_literal: bool  # an export of ownerd: every cell is exactly what it says

    @property
    def width(self) -> int:
        """How many cells every row has."""
        return len(self.titles)

    def is_rule(self, cells: Sequence[str]) -> bool:
        """Say whether a row is the line of dashes that sqlcmd puts under a header."""
        return len(cells) == self.width and all(map(_DASHES.fullmatch, cells))

    def is_repeated(self, cells: Sequence[str]) -> bool:
        """Say whether a row is the header again, as where files were joined, or on a new page."""
        return (
            len(cells) == self.width
            and self.titles[self.record] in cells[self.record]
            and [*map(_bare, cells)] == self.titles
        )


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
        elif not text.strip().rstrip(_CTRL_Z):
            continue
        elif _CONTROL.search(text.rstrip(_CTRL_Z)):
            raise FileFault(
                "it is no text: there are control characters in the header",
                len(taken),
                "if it is text, name the encoding with --encoding",
            )
        else:
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
    for sign, what in _OTHERS:
        if sign.match(text):
            raise FileFault(f"it is {what}", line)
    title_lines = [text.rstrip(_CTRL_Z)]
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
    # A spreadsheet that has saved an export, and may have changed its ids, ends lines otherwise, or
    # separates cells otherwise.
    is_as_written = delimiter == "," and not title_lines[-1].endswith(_CR_ENDS)
    return finder.header(titles, delimiter, len(taken), is_as_written)


def _titles(lines: Sequence[str], delimiter: str) -> list[str]:
    try:
        titles = parse(iter(lines), delimiter)
    except csv.Error:  # as under most delimiters that are not the file's
        titles = "".join(lines).split(delimiter)
    return [_bare(title) for title in titles]


def _bare(title: str) -> str:
    return title.strip().strip(_OUTER)


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

    def header(self, titles: list[str], delimiter: str, lines: int, is_as_written: bool) -> Header:
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
        is_literal = is_as_written and ACQUIRED in titles
        indexes = (record, owner, name, expiration, acquired)
        return Header(delimiter, lines, titles, *indexes, is_literal)

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
            if len(titles) == 1 and column.casefold() in found.casefold():
                raise FileFault(
                    f'the header is one title, "{found}", so it is not known what separates cells',
                    self._line,
                    "put a line like sep=; above it, with the character that does",
                )
            raise FileFault(
                f'no column "{column}"; found: {found}',
                self._line,
                f"name yours with {option}{without}",
            )
        return places[0]


def _places(titles: Sequence[str], column: str) -> list[int]:
    """Return where a title is: as it is spelled, else in any letter case, else in SQL's quotes."""
    exact = [index for index, title in enumerate(titles) if title == column]
    folded = column.casefold()
    return (
        exact
        or [index for index, title in enumerate(titles) if title.casefold() == folded]
        or [index for index, title in enumerate(titles) if _unquoted(title).casefold() == folded]
    )


def _unquoted(title: str) -> str:
    found = _SQL_QUOTES.fullmatch(title)
    return title if found is None else found[1] or found[2] or ""
