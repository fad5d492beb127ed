"""Files that are written whole or not at all, and are on the disk before they bear their name.

What goes wrong is an OSError. Blocking; any thread.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO


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
    descriptor, draft = _draft(path)
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


@contextmanager
def placing(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Lend a file that gets the name `path` when the block ends well, durably, and else vanishes.

    It lies beside `path` until then, and has mode 0600.

    Args:
        path: the file itself, not a link to it.
        overwrite: whether it takes the place of a file of that name.

    Raises:
        FileExistsError: there is one, which is left as it is; before the block, or after it.
    """
    if not overwrite and path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    descriptor, draft = _draft(path)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(draft, path)
        else:
            _name_new(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    _sync(path.parent)


def _name_new(draft: str, path: Path) -> None:
    """Give a file a name that no file has."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # not every filesystem has links
        os.rename(draft, path)
    else:
        os.unlink(draft)


def _draft(path: Path) -> tuple[int, str]:
    return tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
