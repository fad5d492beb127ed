"""Lines as rows of cells: the csv module where the quotes are right, and what to do where not.

A quote that stands undoubled within a quoted cell, as SQL Server Management Studio writes them, is
taken for a character; the row says in which cells, so that none of them is taken for an id. A quote
that is opened and never closed would swallow the rows behind it: that is a fault of the file, as is
a quoted cell that goes over lines which look like rows themselves.
"""

import csv
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ownerd.contactfile.faults import FileFault

# A cell of any size may stand in a column that is none of ours; the limit is the process's own.
csv.field_size_limit(sys.maxsize)

QUOTE = '"'
# More than any real cell of several lines has, and no more memory than any machine can spare.
CELL_LIMIT = 64 << 20
_ENDS = "\r\n"


class Row(NamedTuple):
    """The cells of a row, and the line that it begins in.

    `stray` are the cells, by index, whose quotes are not as CSV has them.
    """

    line: int
    cells: list[str]
    stray: frozenset[int] = frozenset()


class Rows:
    """Iterates the rows that stand in lines; blank lines are none.

    `looks_like_a_row` tells lines within a quoted cell that are rows themselves; `is_literal`
    leaves the Ctrl-Z at the end of a DOS file where it is.
    """

    def __init__(self, lines: Iterator[str], delimiter: str, first_line: int) -> None:
        self.looks_like_a_row: Callable[[Sequence[str]], bool] | None = None
        self.is_literal = False
        self._lines = lines
        self._delimiter = delimiter
        self._line = first_line

    def __iter__(self) -> Iterator[Row]:
        """Yield row by row.

        Raises:
            FileFault: A quote is opened and not closed.
        """
        delimiter = self._delimiter
        for text in self._lines:
            line = self._line
            self._line += 1
            if QUOTE in text:
                yield self._quoted(line, text)
                continue
            cells = text.rstrip(_ENDS)
            if cells.endswith("\x1a") and not self.is_literal and cells == text:
                cells = cells.rstrip("\x1a")  # nothing can follow
            if cells and not cells.isspace():
                yield Row(line, cells.split(delimiter))

    def _quoted(self, line: int, text: str) -> Row:
        taken = [text]
        try:
            cells = parse(self._with_more(line, taken), self._delimiter)
        except csv.Error:
            found = loose_cells(text, self._delimiter)
            if len(taken) > 1 or found is None:
                raise _unclosed(line, "is not closed") from None
            return Row(line, *found)
        if len(taken) > 1 and self.looks_like_a_row is not None:
            self._check_swallowed(line, taken, cells)
        return Row(line, cells, _stray(cells, "".join(taken)))

    def _with_more(self, line: int, taken: list[str]) -> Iterator[str]:
        """Yield the line that a row begins with, and then those that csv asks for."""
        yield taken[0]
        size = 0
        for text in self._lines:
            self._line += 1
            size += len(text)
            if size > CELL_LIMIT:
                raise _unclosed(line, f"is not closed within {CELL_LIMIT >> 20} MiB")
            taken.append(text)
            yield text

    def _check_swallowed(self, line: int, taken: Sequence[str], cells: Sequence[str]) -> None:
        """Refuse a row of several lines one of which looks like a row itself.

        The first does where only the last cell goes on, and the last where only the first does.
        """
        assert self.looks_like_a_row is not None
        long = [index for index, cell in enumerate(cells) if "\n" in cell or "\r" in cell]
        begin = 0 if long and long[0] < len(cells) - 1 else 1
        end = len(taken) if long and long[-1] > 0 else len(taken) - 1
        for number in range(begin, end):
            if self.looks_like_a_row(taken[number].rstrip(_ENDS).split(self._delimiter)):
                raise _unclosed(
                    line,
                    f"is closed in line {line + len(taken) - 1}, and line {line + number} looks"
                    " like a row itself",
                )


def parse(lines: Iterator[str], delimiter: str) -> list[str]:
    """Return the cells of the first row of lines, taking as many as it goes over.

    Raises:
        csv.Error: Its quotes are not as CSV has them.
    """
    return next(csv.reader(lines, delimiter=delimiter, strict=True), [])


def loose_cells(text: str, delimiter: str) -> tuple[list[str], frozenset[int]] | None:
    """Return the cells of one line where a quote ends a cell only if the cell ends there.

    With the cells that have a quote within, by index. None: a quoted cell does not end in the line.
    """
    text = text.rstrip(_ENDS)
    end = re.compile(rf'" *(?={re.escape(delimiter)}|\Z)')
    cells: list[str] = []
    stray: set[int] = set()
    position = 0
    while position <= len(text):
        if text.startswith(QUOTE, position):
            found = end.search(text, position + 1)
            if found is None:
                return None
            cell, stop = text[position + 1 : found.start()], found.end()
            if len(found[0]) > 1:
                stray.add(len(cells))
        else:
            stop = text.find(delimiter, position)
            stop = len(text) if stop < 0 else stop
            cell = text[position:stop]
        if QUOTE in cell:
            stray.add(len(cells))
        cells.append(cell)
        position = stop + 1
    return cells, frozenset(stray)


def _stray(cells: Sequence[str], text: str) -> frozenset[int]:
    """Return the cells with a quote that was not doubled, within quotes: where there were none."""
    return frozenset(
        index
        for index, cell in enumerate(cells)
        if QUOTE in cell and f'"{cell.replace(QUOTE, QUOTE * 2)}"' not in text
    )


def _unclosed(line: int, how: str) -> FileFault:
    return FileFault(f"the quote that opens in this line {how}", line)
