"""`ownerd restore`, and `ownerd verify` of a backup: makes a store of it, or says if one can be.

A store is made of it only once all of it is there and was found right: the archive by its
checksums, then the store in it as `ownerd verify` looks at one, then by opening it, up to the
revision that the archive names. Until then everything is in a directory of its own (the native
core's `restoring`), which a restore that is cut off leaves, and the next one begins anew.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
from rich.table import Table
from rich.text import Text

from ownerd.backupfile import reading
from ownerd.backupfile.layout import BackupDamaged, Head, Member, OtherBackupFormat
from ownerd.consoles import PipeConsole
from ownerd.native import STORE_FORMAT, Opening, Restoring, StoreError, StoreInUseError
from ownerd.server import exits, store, verify
from ownerd.server.config import Settings

STREAM = "-"
_ZEROS = bytes(1 << 20)


def check(file: Path) -> int:
    """Read a backup file to its end, print what is in it, return the exit code.

    Raises:
        exits.StoreDamaged: it is not whole, or not as it was written.
        exits.StoreFailed: another version reads it.
        exits.Stop: it cannot be read.
    """
    with _opened(file) as stream, _told_of(file):
        found = reading.read(stream, on_head=_check_format)
    table = Table("file", box=None)
    table.add_column("bytes", justify="right")
    table.add_column("SHA-256")
    for member in found.members:
        table.add_row(Text(member.name), f"{member.bytes:,}", member.sha256)
    PipeConsole().print_table(table)
    head = found.head
    print(
        f"A backup of the store {head.store_id}, revision {head.revision}, of {head.time}: sound."
    )
    return exits.OK


def restore(settings: Settings, file: Path) -> list[str]:
    """Make a store of a backup file in a directory that has none; say what it is, in lines.

    Raises:
        exits.StoreDamaged: the backup is not whole, or not as it was written, or its store is not.
        exits.StoreInUse, exits.StoreFailed: there is a store already, the directory cannot be
            written, or another version reads the backup. There is no store then.
        exits.Stop: the file cannot be read.
    """
    with _opened(file) as stream, _told_of(file):
        return made(settings, stream, str(file), lambda *found: _begin(settings, *found))


def made(
    settings: Settings,
    stream: reading.Stream,
    name: str,
    begin: Callable[[str, Head], list[str]],
    *,
    replace: bool = False,
) -> list[str]:
    """Make a store of a backup as it comes; return what `begin` says of it.

    Args:
        settings: which directory.
        stream: the backup.
        name: what it is called.
        begin: opens the store for the first time, while it is in a directory of its own.
        replace: whether a store that is there makes room for it.

    Raises:
        BackupDamaged, OtherBackupFormat, exits.StoreDamaged, exits.StoreInUse, exits.StoreFailed
    """
    with (
        _refusals(settings.data),
        Restoring(settings.data, settings.allow_filesystems, replace) as restoring,
    ):
        with closing(_Files(restoring.place)) as files:
            found = reading.read(stream, files, lambda head: _check_head(head, settings))
            files.finish(found.members)
        _check_store(name, restoring.place)
        lines = begin(restoring.place, found.head)
        restoring.finish()
    return lines


class _Files:
    """Writes the files of a backup into a directory."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._fd = -1

    def begin(self, name: str) -> None:
        """Go on to a file of the store."""
        self.close()
        self._fd = os.open(
            os.path.join(self._place, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
        )

    def write(self, data: bytes) -> None:
        """Write its next bytes."""
        _write(self._fd, data)

    def close(self) -> None:
        """End the last one."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def finish(self, members: tuple[Member, ...]) -> None:
        """Give each its zeros, and have it on the disk."""
        self.close()
        for member in members[1:]:
            with open(os.path.join(self._place, member.name), "ab", buffering=0) as file:
                for at in range(member.bytes, member.whole_bytes, len(_ZEROS)):
                    _write(file.fileno(), _ZEROS[: member.whole_bytes - at])
                os.fsync(file.fileno())


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


# ---- the steps


def _check_format(head: Head) -> None:
    if head.store_format != STORE_FORMAT:
        raise OtherBackupFormat(
            f"the store in it has format {head.store_format}, this program reads {STORE_FORMAT}: "
            f"use the version that wrote it ({head.version})"
        )


def _check_head(head: Head, settings: Settings) -> None:
    """Refuse what cannot become the store, before much of it is read."""
    _check_format(head)
    if settings.store_id not in ("", head.store_id):
        raise exits.StoreFailed(
            f"the backup is of the store {head.store_id}, and store_id says that it must be "
            f"{settings.store_id}; nothing was restored"
        )
    free = shutil.disk_usage(settings.data).free
    if free < head.total_bytes:
        raise exits.StoreFailed(
            f"the backup has {head.total_bytes:,} bytes, and the disk of {settings.data} "
            f"{free:,} left; nothing was restored"
        )


def _check_store(name: str, place: str) -> None:
    try:
        verify.refuse_damaged(place)
    except exits.StoreDamaged as error:
        raise exits.StoreDamaged(
            f"{name} is as it was written, and its store is damaged: the server's was, when the "
            f"backup was made; nothing was restored ({error})"
        ) from None


def _begin(settings: Settings, place: str, head: Head) -> list[str]:
    """Open the store for the first time, which begins its incarnation; say what it is."""
    opening = Opening(
        create=False,
        store_id=int(head.store_id, 16),
        allowed_filesystems=settings.allow_filesystems,
        restored=True,
    )
    engine = store.open_at(msgspec.structs.replace(settings, data=place), opening)
    try:
        revision, incarnation = engine.revision, engine.incarnation
        if opening.stored_revision != head.revision:
            raise exits.StoreDamaged(
                f"the backup ends at revision {opening.stored_revision}, and says that it is of "
                f"{head.revision}; nothing was restored"
            )
    finally:
        engine.close()
    if engine.failed is not None:
        raise exits.StoreFailed(f"{engine.failed}; nothing was restored")
    return [
        f"Restored the store {head.store_id} into {settings.data}, as of revision {head.revision} "
        f"({head.time}).",
        f"It begins a new incarnation, {store.spell_id(incarnation)}, at revision {revision}.",
    ]


# ---- what goes wrong


@contextmanager
def _opened(file: Path) -> Iterator["_Input"]:
    """Lend the file, or stdin for `-`.

    Raises:
        exits.Stop: it cannot be read.
    """
    if str(file) == STREAM:
        if sys.stdin is None or sys.stdin.isatty():
            raise exits.ConfigError("- reads the backup from stdin, which is a terminal here")
        yield _Input(sys.stdin.buffer, "stdin")
        return
    try:
        opened = file.open("rb")
    except OSError as error:
        raise exits.Stop(f"cannot read {file}: {error.strerror}") from None
    with opened:
        yield _Input(opened, str(file))


class _Input:
    """A file, whose errors end the program with its name: those of the store are others."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes.

        Raises:
            exits.Stop
        """
        try:
            return self._file.read(size)
        except OSError as error:
            raise exits.Stop(f"cannot read {self._name}: {error.strerror}") from None


@contextmanager
def _told_of(file: Path) -> Iterator[None]:
    """Say which file it is that cannot be used."""
    name = "the backup from stdin" if str(file) == STREAM else f"the backup {file}"
    try:
        yield
    except BackupDamaged as error:
        raise exits.StoreDamaged(f"{name} cannot be used: {error}") from None
    except OtherBackupFormat as error:
        raise exits.StoreFailed(f"{name} cannot be used: {error}") from None


@contextmanager
def _refusals(data: str) -> Iterator[None]:
    try:
        yield
    except StoreInUseError as error:
        raise exits.StoreInUse(str(error)) from None
    except StoreError as error:
        raise exits.StoreFailed(str(error)) from None
    except OSError as error:
        named = error.filename or data
        raise exits.StoreFailed(
            f"nothing was restored: cannot write {named}: {error.strerror or error}"
        ) from None
