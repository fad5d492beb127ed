"""A temporary file of ownership rows in the data directory.

Keeps the rows of an import until all of them are there, so memory stays bounded. The file has no
name where the file system allows that (O_TMPFILE), so a crash leaves nothing; where it does not,
`remove_leftovers` clears what is left at the next start.

One thread at a time; `close` may come from another one, and rows appended after it are dropped.
"""

import contextlib
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ownerd.server.errors import SpoolFailed
from ownerd.v1 import admin_pb2

_PREFIX = "import-"
_LENGTH = struct.Struct("<I")


def remove_leftovers(data_dir: Path) -> int:
    """Remove the files that a crash left behind and return how many there were.

    Called before any import runs, under the lock of the data directory.
    """
    leftovers = list(data_dir.glob(f"{_PREFIX}*"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


class Spool:
    """The file; made empty in `data_dir`."""

    def __init__(self, data_dir: Path) -> None:
        try:
            self._file = tempfile.TemporaryFile(prefix=_PREFIX, dir=data_dir)  # noqa: SIM115
        except OSError:
            raise SpoolFailed from None

    def append(self, rows: bytes) -> None:
        """Keep the rows of a serialized ImportOwnershipRequest.

        Raises:
            SpoolFailed: they cannot be written.
        """
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
            SpoolFailed: what was appended last cannot be written.
        """
        try:
            self._file.seek(0)  # writes what is still buffered
        except OSError:
            raise SpoolFailed from None
        while head := self._file.read(_LENGTH.size):
            (size_bytes,) = _LENGTH.unpack(head)
            yield from admin_pb2.ImportOwnershipRequest.FromString(self._file.read(size_bytes)).rows

    def close(self) -> None:
        """Drop the rows; may be called again."""
        with contextlib.suppress(OSError):  # of writing what is still buffered
            self._file.close()
