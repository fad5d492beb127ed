"""Temporary files of ownership rows in the data directory.

A spool keeps the rows of an import until all of them are there, so memory stays bounded; all spools
together are bounded, and leave the store the room on the disk that it keeps. The file has no
name where the file system allows that (O_TMPFILE), so a crash leaves nothing; where it does not,
`remove_leftovers` clears what is left at the next start.

One thread at a time; `close` may come from another one, and rows appended after it are dropped.
"""

import contextlib
import os
import struct
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from ownerd.server import sizes
from ownerd.server.errors import SpoolFailed, SpoolFull
from ownerd.v1 import admin_pb2

_PREFIX = "import-"
_LENGTH = struct.Struct("<I")
_SMALL_BYTES = 1 << 20


def remove_leftovers(data_dir: Path) -> int:
    """Remove the files that a crash left behind and return how many there were.

    Called before any import runs, under the lock of the data directory.
    """
    leftovers = list(data_dir.glob(f"{_PREFIX}*"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


class Spools:
    """The spools of a server, and what they may take.

    Args:
        data_dir: where they are made.
        limit_bytes: how much all together may take.
        reserve_bytes: how much of the disk the store keeps for itself; they leave twice that.
    """

    def __init__(self, data_dir: Path, limit_bytes: int, reserve_bytes: int) -> None:
        self._data_dir = data_dir
        self._limit_bytes = limit_bytes
        self._reserve_bytes = reserve_bytes
        self._guard = threading.Lock()
        self._taken_bytes = 0

    def open(self) -> "Spool":
        """Return an empty spool.

        Raises:
            SpoolFailed: it cannot be made.
        """
        return Spool(self, self._data_dir)

    def take(self, size_bytes: int, held_bytes: int) -> None:
        """Let a spool that holds `held_bytes` take more; any thread.

        Raises:
            SpoolFull
        """
        with self._guard:
            if self._taken_bytes + size_bytes > self._limit_bytes:
                raise SpoolFull(f"import_spool_bytes allows ({sizes.spell(self._limit_bytes)})")
            # A small import is no matter, and is refused by the store itself if it is full.
            if held_bytes + size_bytes > _SMALL_BYTES and self._leaves_less(size_bytes):
                raise SpoolFull("the store can do without: twice reserve_bytes are to stay free")
            self._taken_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Take note that a spool of that size is gone; any thread."""
        with self._guard:
            self._taken_bytes -= size_bytes

    def _leaves_less(self, size_bytes: int) -> bool:
        disk = os.statvfs(self._data_dir)
        return disk.f_bavail * disk.f_frsize - size_bytes < 2 * self._reserve_bytes


class Spool:
    """The file of one import."""

    def __init__(self, spools: Spools, data_dir: Path) -> None:
        self._spools = spools
        self._size_bytes = 0
        try:
            self._file = tempfile.TemporaryFile(prefix=_PREFIX, dir=data_dir)  # noqa: SIM115
        except OSError:
            raise SpoolFailed from None

    def append(self, rows: bytes) -> None:
        """Keep the rows of a serialized ImportOwnershipRequest.

        Raises:
            SpoolFailed: they cannot be written.
            SpoolFull: they are too much.
        """
        size_bytes = _LENGTH.size + len(rows)
        if self._file.closed:  # the call was cancelled while its rows were on their way here
            return
        self._spools.take(size_bytes, self._size_bytes)
        self._size_bytes += size_bytes
        try:
            self._file.write(_LENGTH.pack(len(rows)))
            self._file.write(rows)
        except OSError:
            raise SpoolFailed from None
        except ValueError:
            # The call was cancelled while its rows were on their way here.
            if not self._file.closed:
                raise

    def rows(self) -> Iterator[admin_pb2.OwnershipRow]:
        """Yield every row from the first on; may be called again.

        Raises:
            SpoolFailed: what was appended last cannot be written, or the rows cannot be read.
        """
        self._seek_first()  # writes what is still buffered
        while head := self._read(_LENGTH.size):
            (size_bytes,) = _LENGTH.unpack(head)
            yield from admin_pb2.ImportOwnershipRequest.FromString(self._read(size_bytes)).rows

    def close(self) -> None:
        """Drop the rows; may be called again."""
        with contextlib.suppress(OSError):  # of writing what is still buffered
            self._file.close()
        self._spools.give_back(self._size_bytes)
        self._size_bytes = 0

    def _seek_first(self) -> None:
        try:
            self._file.seek(0)
        except OSError:
            raise SpoolFailed from None

    def _read(self, size_bytes: int) -> bytes:
        try:
            return self._file.read(size_bytes)
        except OSError:
            raise SpoolFailed from None
