"""Rich's console as both programs use it."""

from typing import NoReturn

from rich.console import Console, ConsoleDimensions
from rich.measure import Measurement
from rich.table import Table

# In less, rich's layout may never come to an end; a narrower terminal wraps the lines itself.
LEAST_WIDTH = 20
_ANY_WIDTH = 100_000
_LONG_WORD = 24


class PipeConsole(Console):
    """A console of some width at least, which leaves it to `main` when a pipe's reader has gone."""

    @property
    def size(self) -> ConsoleDimensions:
        """Width and height."""
        found = super().size
        return ConsoleDimensions(max(found.width, LEAST_WIDTH), found.height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    def needed_width(self, table: Table) -> int:
        """Return how wide a table is at least: as its cells are that may not be cut.

        A long word of a text goes on in the next line where room is short.
        """
        wide = self.options.update(width=_ANY_WIDTH)
        spared = 0
        for column in table.columns:
            cells = [
                Measurement.get(self, wide, cell)
                for cell in (column.header, column.footer, *column.cells)
            ]
            if column.no_wrap:  # rich would still make it narrower than its cells
                column.min_width = max(cell.maximum for cell in cells)
            else:
                spared += max(0, max(cell.minimum for cell in cells) - _LONG_WORD)
        return Measurement.get(self, wide, table).minimum - spared

    def print_table(self, table: Table) -> None:
        """Print a table as wide as its cells need at least: cut short, a number is another one.

        A terminal that is narrower goes on in the next line.
        """
        needed = self.needed_width(table)
        before = self._width, self._height
        # Rich takes a width that it is told, but for one wider than the terminal's.
        self.size = (max(self.width, needed), self.height)
        try:
            self.print(table, crop=False)
        finally:
            self._width, self._height = before

    def on_broken_pipe(self) -> NoReturn:
        """Go on with the BrokenPipeError; rich itself would exit with 1, which means a no here."""
        raise BrokenPipeError
