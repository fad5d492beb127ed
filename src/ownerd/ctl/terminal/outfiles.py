"""The files that commands write: what goes wrong with them is a `CtlError`, OUTPUT_FILE."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from ownerd import files
from ownerd.ctl.terminal.exits import CtlError, Exit


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Say of an OSError in the block that `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise CtlError(Exit.OUTPUT_FILE, f"cannot write {path}: {error.strerror}") from error


@contextmanager
def replaced(path: Path) -> Iterator[TextIO]:
    """Lend a text that takes the place of `path` when the block ends well, and else vanishes.

    What is no regular file (a pipe, a terminal) is written as it is.
    """
    with written(path):
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", newline="") as text:
                yield text
            return
        with files.replacing(path.resolve(), private=False) as text:
            yield text


@contextmanager
def placed(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Lend a file that gets the name `path` when the block ends well, durably, and else vanishes.

    What is no regular file (a pipe, a device) is written as it is. Of a file that is there, which
    is not to be overwritten, is told before the block.
    """
    with written(path):
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        try:
            with files.placing(path.resolve(), overwrite=overwrite) as file:
                yield file
        except FileExistsError as error:
            raise CtlError(
                Exit.OUTPUT_FILE,
                f"{path} exists, and is left as it is; name a new file, or say --overwrite",
            ) from error


@contextmanager
def made(path: Path) -> Iterator[files.NewFile]:
    """Make a new file for a secret, before that exists which could not be had again; lend it.

    It has mode 0600, and is gone at the end if nothing was written.
    """
    with written(path):
        try:
            with files.creating(path) as file:
                yield file
        except FileExistsError as error:
            raise CtlError(
                Exit.OUTPUT_FILE, f"{path} exists, and is left as it is; name a new file"
            ) from error
