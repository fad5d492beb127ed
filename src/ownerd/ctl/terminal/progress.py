"""Progress bars on stderr: for people at a terminal, nothing anywhere else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from ownerd.consoles import PipeConsole
from ownerd.printable import clean


class Bar(Protocol):
    """What long work tells about itself."""

    def at(self, done: int, rows: int | None = None) -> None:
        """Say how much is done, and in rows where it is counted otherwise."""

    def finishing(self, description: str) -> None:
        """Say that the rest takes unknown time."""


class _RichBar:
    def __init__(
        self, progress: Progress, description: str, total: int | None, *, of_bytes: bool
    ) -> None:
        self._progress = progress
        self._of_bytes = of_bytes
        self._begin_s = time.monotonic()
        self._task = progress.add_task(clean(description), total=total, rows="")

    def at(self, done: int, rows: int | None = None) -> None:
        count = done if rows is None else rows
        rate = count / max(time.monotonic() - self._begin_s, 0.1)
        shown = f"{rate:,.0f} rows/s"
        if rows is not None:
            shown = f"{count:,} rows {shown}"
        elif self._of_bytes:
            shown = f"{rate / 1e6:,.1f} MB/s"
        self._progress.update(self._task, completed=done, rows=shown)

    def finishing(self, description: str) -> None:
        self._progress.remove_task(self._task)  # a total cannot be taken back from a task
        self._task = self._progress.add_task(description, total=None, rows="")


class _NoBar:
    def at(self, done: int, rows: int | None = None) -> None:
        pass

    def finishing(self, description: str) -> None:
        pass


@contextmanager
def progress_bar(
    description: str, total: int | None, *, of_bytes: bool, beside: TextIO | None = None
) -> Iterator[Bar]:
    """Show a bar while the block runs, and take it away after it.

    Args:
        description: What is going on.
        total: What 100 % is; None: not known.
        of_bytes: Whether it counts bytes, or things.
        beside: What is written meanwhile: at a terminal it would stand in the bar.
    """
    console = PipeConsole(stderr=True)
    if not console.is_terminal or (beside is not None and beside.isatty()):
        yield _NoBar()
        return
    counted: ProgressColumn = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        counted,
        TextColumn("{task.fields[rows]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _RichBar(progress, description, total, of_bytes=of_bytes)
