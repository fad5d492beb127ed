"""Files of record ids, one in a line: UTF-8, of any length, checked whole before they are used."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ownerd import limits
from ownerd.ctl.terminal.exits import CtlError, Exit

STREAM = Path("-")


class IdFile:
    """The ids of a file, or of stdin for -, which may be gone over several times.

    Raises:
        CtlError: INPUT_FILE, it cannot be read, a line is no id, or there are none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Only stdin, which can be read once, is kept.
        self._kept = list(_read(path)) if path == STREAM else None
        self.count = sum(1 for _ in self)
        if not self.count:
            raise CtlError(Exit.INPUT_FILE, f"there are no record ids in {path}")

    def __iter__(self) -> Iterator[str]:
        return _read(self._path) if self._kept is None else iter(self._kept)


def _read(path: Path) -> Iterator[str]:
    """Yield the ids; empty lines are none."""
    try:
        if path == STREAM:
            yield from _ids(sys.stdin.buffer)
        else:
            with path.open("rb") as lines:
                yield from _ids(lines)
    except OSError as error:
        raise CtlError(Exit.INPUT_FILE, f"cannot read {path}: {error.strerror}") from error


def _ids(lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        data = line.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        if data:
            yield _checked(data, number)


def _checked(data: bytes, number: int) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise CtlError(Exit.INPUT_FILE, f"line {number}: not UTF-8") from None
    if text != text.strip():
        raise CtlError(
            Exit.INPUT_FILE,
            f"line {number}: blanks around the id {text!r} would make it another record; take them"
            " away, or name a record that has them with --record",
        )
    if len(data) > limits.RECORD_ID_BYTES:
        raise CtlError(
            Exit.INPUT_FILE,
            f"line {number}: {len(data)} bytes; a record id has at most {limits.RECORD_ID_BYTES},"
            " one id in a line",
        )
    return text
