"""A log of small segments for tests: its rows by revision, what is read of it, its files."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ownerd.storage.testing import SegmentLog, SegmentReader

Row = tuple[int, bytes, bytes | None]
BLOCK = 4096
HEAD_BYTES = 64
STORE_ID = 0x1234_5678_9ABC_DEF0
SEGMENT_BYTES = 16 * BLOCK
APPEND_BYTES = 4 * BLOCK
OPTIONS = {"segment_bytes": SEGMENT_BYTES, "append_bytes": APPEND_BYTES}


def rows_of(revision: int, size: int = 100) -> list[Row]:
    """Return rows that tell which revision they are of, about `size` bytes in all."""
    value = revision.to_bytes(8, "big") * (size // 8 + 1)
    return [(1, b"key %d" % revision, value[:size]), (9, b"gone %d" % revision, None)]


def create(directory: Path, revision: int = 0, **options: int) -> str:
    """Make a log in the directory and return it as text."""
    SegmentLog.create(str(directory), STORE_ID, revision, **{**OPTIONS, **options})
    return str(directory)


def acquire(directory: Path | str, flushed_revision: int = 0, **options: int) -> SegmentLog:
    """Open a log."""
    return SegmentLog(str(directory), STORE_ID, flushed_revision, **{**OPTIONS, **options})


def append(log: SegmentLog, revision: int, size: int = 100) -> str:
    """Append the rows of a revision; its time is ten times as much."""
    return log.append(rows_of(revision, size), revision, revision * 10)


def fill(log: SegmentLog, first: int, last: int, size: int = 100) -> None:
    """Append revisions, each of which must succeed; segments are made when they are needed."""
    for revision in range(first, last + 1):
        assert log.prepare() == "ok"
        assert append(log, revision, size) == "ok"


def read_all(log: SegmentLog, after_revision: int = 0) -> list[tuple[int, int, list[Row]]]:
    """Read every entry behind a revision; the end must be the log's."""
    reader = SegmentReader(log, after_revision)
    found: list[Any] = []
    assert reader.status == "tail"
    while not isinstance(entry := reader.next(), str):
        found.append(entry)
    assert entry == "tail"
    return found


def entries(first: int, last: int, size: int = 100) -> list[tuple[int, int, list[Row]]]:
    """Return what `read_all` finds of revisions that `fill` appended."""
    return [(number, number * 10, rows_of(number, size)) for number in range(first, last + 1)]


def segments(directory: Path | str) -> list[int]:
    """Return the numbers of the segments in a directory, in order."""
    return sorted(int(path.name) for path in Path(directory).iterdir() if path.name.isdigit())


def segment_file(directory: Path | str, number: int) -> Path:
    """Return the path of a segment."""
    return Path(directory) / f"{number:020}"


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Yield a directory in memory, where there is one."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as directory:
        yield Path(directory)


def open_files(directory: Path) -> list[str]:
    """Return the files below `directory` that this process has open.

    A count of all it has open would change with whatever an earlier test left to be collected.
    """
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # closed by now; the listing's own is
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [path for path in found if path.startswith(f"{directory}/")]
