"""The file that `ownerctl import` reads: opened so that it can be read more than once.

What comes through a pipe is copied to a temporary file first, by the main thread, which Ctrl-C and
--timeout can end: a thread that reads stdin cannot be ended, and Python aborts over it at its exit.
"""

import os
import select
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ownerd.contactfile.faults import NoRoom
from ownerd.ctl.commands.options import STREAM
from ownerd.ctl.terminal.exits import CtlError, Exit

_BLOCK_BYTES = 1 << 18


class Deadline:
    """How long the whole command may take."""

    def __init__(self, limit_s: float | None) -> None:
        self._end_s = None if limit_s is None else time.monotonic() + limit_s

    @property
    def left_s(self) -> float | None:
        """Seconds that are left, none below 0; None: no limit."""
        return None if self._end_s is None else max(0.0, self._end_s - time.monotonic())


def name_of(file: Path) -> str:
    """Return what messages call the file."""
    return "stdin" if file == STREAM else str(file)


@contextmanager
def opened(file: Path, deadline: Deadline) -> Iterator[BinaryIO]:
    """Lend the file, to be read from where it stands; it can be rewound."""
    if file == STREAM:
        with _rewindable(sys.stdin.buffer, "stdin", deadline) as binary:
            yield binary
        return
    try:
        binary = file.open("rb")
    except OSError as error:
        raise CtlError(Exit.INPUT_FILE, f"cannot read {file}: {error.strerror}") from error
    with binary, _rewindable(binary, str(file), deadline) as found:
        yield found


@contextmanager
def _rewindable(binary: BinaryIO, name: str, deadline: Deadline) -> Iterator[BinaryIO]:
    if binary.seekable():
        yield binary
        return
    with tempfile.TemporaryFile() as copy:
        _copy(binary.fileno(), copy, name, deadline)
        copy.seek(0)
        yield copy


def _copy(source: int, copy: BinaryIO, name: str, deadline: Deadline) -> None:
    poll = select.poll()
    poll.register(source, select.POLLIN)
    while True:
        left_s = deadline.left_s
        if not poll.poll(None if left_s is None else left_s * 1_000):
            raise CtlError(
                Exit.DEADLINE, f"{name} did not end within --timeout; nothing was imported"
            )
        try:
            block = os.read(source, _BLOCK_BYTES)
        except OSError as error:
            raise CtlError(
                Exit.INPUT_FILE, f"cannot read {name} on: {error.strerror}; nothing was imported"
            ) from error
        if not block:
            return
        try:
            copy.write(block)
        except OSError as error:
            raise NoRoom(error.strerror) from error
