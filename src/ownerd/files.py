"""Files that are written whole or not at all, and are on the disk before they bear their name.

What goes wrong is an OSError. Blocking; any thread.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def replacing(path: Path, *, private: bool) -> Iterator[TextIO]:
    """Lend a text that takes the place of `path` when the block ends well, and else vanishes.

    It lies beside `path` until then, with mode 0600. The new name is not synced: where it must
    outlive a power cut, sync the directory afterwards.

    Args:
        path: the file itself, not a link to it, which would be replaced.
        private: whether it keeps that mode, or gets that of the file that is there or of any new
            file.
    """
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as text:
            yield text
            text.flush()
            if not private:
                os.fchmod(text.fileno(), _usual_mode(path))
            os.fsync(text.fileno())
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def _usual_mode(path: Path) -> int:
    """Return the permissions of the file as it is, or those that a new one gets."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


class NewFile:
    """A file that was not there before; `write` may be called once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.written = False

    def write(self, text: str) -> None:
        """Write all of the file, down to the disk."""
        with open(self._descriptor, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.written = True


@contextmanager
def creating(path: Path) -> Iterator[NewFile]:
    """Make a file with mode 0600 and lend it; it is gone at the end if nothing was written.

    Raises:
        FileExistsError: there is one of that name, which is left as it is.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    file = NewFile(descriptor)
    try:
        yield file
    finally:
        os.close(descriptor)
        if not file.written:
            os.unlink(path)
