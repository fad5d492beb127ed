"""Reads a backup from a stream, and checks every byte of it on the way.

What is in its files is given to a sink as it comes, before it is known whether it is right: nothing
is to be made of it before `read` has returned.
"""

import hashlib
import tarfile
from collections.abc import Callable
from itertools import zip_longest
from typing import NamedTuple, Protocol

from ownerd.backupfile.layout import (
    BLOCK_BYTES,
    END,
    HEAD_NAME,
    MANIFEST_NAME,
    MOST_JSON_BYTES,
    SEAL_NAME,
    SEGMENT_NAME,
    TREE_NAME,
    BackupDamaged,
    Head,
    Member,
    header,
    json_object,
    manifest_bytes,
    padding,
    seal_bytes,
)

_PIECE_BYTES = 1 << 20


class Stream(Protocol):
    """Where a backup comes from."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes; b"" at the end."""


class Sink(Protocol):
    """Who is given what is in a backup, while it is checked."""

    def begin(self, name: str) -> None:
        """A file of the store begins."""

    def write(self, data: bytes) -> None:
        """These are the next bytes of it."""


class Contents(NamedTuple):
    """What a backup is of, and the files in it."""

    head: Head
    members: tuple[Member, ...]


class _Nobody:
    def begin(self, name: str) -> None:
        pass

    def write(self, data: bytes) -> None:
        pass


def read(
    stream: Stream, sink: Sink | None = None, on_head: Callable[[Head], None] = lambda _: None
) -> Contents:
    """Read a backup to its end, and return what it is once it has proved to be whole.

    Args:
        stream: blocking; what it raises is let through.
        sink: given the files.
        on_head: told what the backup says that it is, before anything else.

    Raises:
        BackupDamaged: it was cut short, or is not as it was written.
        OtherBackupFormat: another version wrote it.
    """
    return _Reader(stream, sink or _Nobody()).read(on_head)


class _Reader:
    def __init__(self, stream: Stream, sink: Sink) -> None:
        self._stream = stream
        self._sink = sink
        self._at = 0
        self._time_s = 0

    def read(self, on_head: Callable[[Head], None]) -> Contents:
        name, size, block = self._next()
        if name != HEAD_NAME:
            raise BackupDamaged(f"it does not begin with {HEAD_NAME}: it is no backup of ownerd")
        self._time_s = _mtime(block)
        data = self._small(name, size, block)
        head = Head.decoded(data)
        on_head(head)
        found = [(name, size, hashlib.sha256(data).hexdigest())]
        name, size, block = self._next()
        while name != MANIFEST_NAME:
            if not _follows(name, found[-1][0]):
                raise BackupDamaged(f"{name!r} in it follows {found[-1][0]}")
            self._check_header(name, size, block)
            found.append((name, size, self._file(name, size)))
            name, size, block = self._next()
        members = _listed(found, manifest := self._small(name, size, block))
        self._check_seal(manifest)
        self._check_end(head)
        return Contents(head, members)

    # ---- members

    def _next(self) -> tuple[str, int, bytes]:
        """Return name and size of the next member, and its header, which is yet to be checked."""
        block = self._exactly(BLOCK_BYTES)
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError):
            place = f"{self._at - BLOCK_BYTES:,}"
            raise BackupDamaged(
                f"it is not as it was written: no file begins at byte {place}, where one should"
            ) from None
        if info.size < 0:
            raise BackupDamaged(f"it is not as it was written: {info.name!r} has a negative size")
        return info.name, info.size, block

    def _check_header(self, name: str, size: int, block: bytes) -> None:
        if block != header(name, size, self._time_s):
            raise BackupDamaged(f"it is not as it was written: the header of {name} was changed")

    def _small(self, name: str, size: int, block: bytes) -> bytes:
        """Return the content of a member that is kept in memory."""
        self._check_header(name, size, block)
        if size > MOST_JSON_BYTES:
            raise BackupDamaged(f"{name} in it has {size:,} bytes, which it never has")
        data = self._exactly(size)
        self._check_padding(name, size)
        return data

    def _file(self, name: str, size: int) -> str:
        """Give a file of the store to the sink; return its SHA-256."""
        hashed = hashlib.sha256()
        left = size
        self._sink.begin(name)
        while left:
            data = self._exactly(min(left, _PIECE_BYTES))
            hashed.update(data)
            self._sink.write(data)
            left -= len(data)
        self._check_padding(name, size)
        return hashed.hexdigest()

    def _check_padding(self, name: str, size: int) -> None:
        if self._exactly(len(padding(size))) != padding(size):
            raise BackupDamaged(f"it is not as it was written: what follows {name} was changed")

    # ---- its end

    def _check_seal(self, manifest: bytes) -> None:
        name, size, block = self._next()
        sealed = seal_bytes(hashlib.sha256(manifest).hexdigest())
        if name != SEAL_NAME or self._small(name, size, block) != sealed:
            raise BackupDamaged(
                f"it is not as it was written: {MANIFEST_NAME} is not what {SEAL_NAME} says"
            )

    def _check_end(self, head: Head) -> None:
        if self._exactly(len(END)) != END or self._stream.read(1):
            raise BackupDamaged("it is not as it was written: something follows its end")
        if self._at != head.total_bytes:
            raise BackupDamaged(f"it has {self._at:,} bytes, {HEAD_NAME} says {head.total_bytes:,}")

    def _exactly(self, size: int) -> bytes:
        """Return the next bytes, all of them."""
        parts: list[bytes] = []
        left = size
        while left:
            part = self._stream.read(left)
            if not part:
                raise BackupDamaged(f"it is cut short, after {self._at:,} bytes")
            parts.append(part)
            left -= len(part)
            self._at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _mtime(block: bytes) -> int:
    return int(tarfile.TarInfo.frombuf(block, "utf-8", "strict").mtime)


def _follows(name: str, before: str) -> bool:
    """Tell whether a file of the store may come after another member."""
    segment, last = SEGMENT_NAME.fullmatch(name), SEGMENT_NAME.fullmatch(before)
    if segment is None:
        return name == TREE_NAME and last is not None
    return before == HEAD_NAME or (last is not None and int(segment[1]) == int(last[1]) + 1)


def _listed(found: list[tuple[str, int, str]], manifest: bytes) -> tuple[Member, ...]:
    """Return the members as the manifest has them, once it agrees with what was read."""
    if found[-1][0] != TREE_NAME:
        raise BackupDamaged(f"it has no {TREE_NAME}")
    try:
        members = [Member(**each) for each in json_object(manifest, MANIFEST_NAME)["files"]]
    except (KeyError, TypeError):
        raise BackupDamaged(f"{MANIFEST_NAME} in it lists no files") from None
    if manifest != manifest_bytes(members):
        raise BackupDamaged(f"it is not as it was written: {MANIFEST_NAME} was changed")
    for member, (name, size, digest) in zip_longest(members, found, fillvalue=("", 0, "")):
        if (member[0], member[1]) != (name, size):
            raise BackupDamaged(f"{MANIFEST_NAME} in it lists other files than are there")
        if member[-1] != digest:
            raise BackupDamaged(f"it is not as it was written: {name} has another SHA-256")
    return tuple(members)
