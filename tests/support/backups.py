"""Backups of an engine in process, and stores that are made of them without a program."""

import io
from pathlib import Path

from ownerd.backupfile import reading, writing
from ownerd.backupfile.layout import Head
from ownerd.engine.backup import STORE_FORMAT, Backup
from ownerd.engine.engine import Engine, Opening
from ownerd.storage.restoring import Restoring
from ownerd.storage.verify import verify

MAP_BYTES = 1 << 31
TIME_S = 1_800_000_000


def head_of(backup: Backup) -> Head:
    """Return a head for a backup."""
    return Head(
        backup.revision,
        "2027-01-15T08:00:00Z",
        f"{backup.store_id:016x}",
        f"{backup.incarnation:016x}",
        STORE_FORMAT,
        "of the test",
    )


def archive(backup: Backup, piece_bytes: int = 1 << 20) -> bytes:
    """Return the archive of a backup, and close it."""
    with backup:
        return b"".join(writing.pieces(head_of(backup), backup, TIME_S, piece_bytes))


class Unpacked:
    """A sink that writes a backup's files into a directory."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.name = ""

    def begin(self, name: str) -> None:
        (self.place / name).write_bytes(b"")
        self.name = name

    def write(self, data: bytes) -> None:
        with (self.place / self.name).open("ab") as file:
            file.write(data)

    def fill(self, contents: reading.Contents) -> None:
        """Give each file its zeros."""
        for member in contents.members[1:]:
            with (self.place / member.name).open("ab") as file:
                file.truncate(member.whole_bytes)


def restored(data: bytes, directory: Path, *, replace: bool = False) -> tuple[int, int]:
    """Make a store of an archive; return the revision that it had, and its incarnation."""
    opening = Opening(create=False, restored=True)
    with Restoring(str(directory), (), replace) as restoring:
        sink = Unpacked(Path(restoring.place))
        sink.fill(reading.read(io.BytesIO(data), sink))
        with Engine(
            restoring.place, map_bytes=MAP_BYTES, background=False, opening=opening
        ) as engine:
            incarnation = engine.incarnation
        restoring.finish()
    return opening.stored_revision, incarnation


def sound(store: Path) -> bool:
    """Tell whether nothing in a store is damaged."""
    return all(not row[2] and not row[4] for row in verify(str(store)))
