"""A new file for one secret: mode 0600, never one that is there already, whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ownerd.ctl.terminal.exits import CtlError, Exit


class NewFile:
    """The file while it is made; `write` may be called once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.written = False

    def write(self, text: str) -> None:
        """Write all of the file, down to the disk."""
        with open(self._descriptor, "w", encoding="ascii", closefd=False) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.written = True


@contextmanager
def made(path: Path) -> Iterator[NewFile]:
    """Make the file, before the secret exists that could not be had again; lend it.

    It is gone at the end if nothing was written.

    Raises:
        CtlError: OUTPUT_FILE, it exists, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise CtlError(
            Exit.OUTPUT_FILE, f"{path} exists, and is left as it is; name a new file"
        ) from error
    except OSError as error:
        raise CtlError(Exit.OUTPUT_FILE, f"cannot write {path}: {error.strerror}") from error
    file = NewFile(descriptor)
    try:
        yield file
    except OSError as error:
        raise CtlError(Exit.OUTPUT_FILE, f"cannot write {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)
        if not file.written:
            os.unlink(path)
