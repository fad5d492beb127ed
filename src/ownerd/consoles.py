"""Rich's console as both programs use it."""

from typing import NoReturn

from rich.console import Console, ConsoleDimensions
from rich.measure import Measurement
from rich.table import Table

# In less, rich's layout may never come to an end; a narrower terminal wraps the lines itself.
LEAST_WIDTH = 20
_ANY_WIDTH = 100_000


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

    def print_table(self, table: Table) -> None:
        """Print a table as wide as its cells need at least: cut short, a number is another one.

        A terminal that is narrower goes on in the next line.
        """
        needed = Measurement.get(self, self.options.update(width=_ANY_WIDTH), table).minimum
        self.print(table, width=max(self.width, needed), crop=False)

    def on_broken_pipe(self) -> NoReturn:
        """Go on with the BrokenPipeError; rich itself would exit with 1, which means a no here."""
        raise BrokenPipeError
