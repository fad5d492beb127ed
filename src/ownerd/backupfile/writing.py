"""Writes a backup, as pieces of bytes that one after the other are the archive."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from ownerd.backupfile.layout import (
    END,
    HEAD_NAME,
    MANIFEST_NAME,
    SEAL_NAME,
    SHA256_DIGITS,
    Head,
    Member,
    header,
    manifest_bytes,
    padding,
    seal_bytes,
    stored_bytes,
)


class Source(Protocol):
    """The files of a store as of one revision, as the native core reads them."""

    @property
    def files(self) -> tuple[tuple[str, int, int], ...]:
        """Name, bytes, and bytes with the zeros that follow them, of each."""

    def read(self, index: int, offset: int, size: int, /) -> bytes:
        """Return bytes of one of them; b"" at its end."""


class _Sized(NamedTuple):
    head: Head
    head_data: bytes
    members: list[Member]


def sized(head: Head, source: Source) -> Head:
    """Return a head that says how many bytes the archive has."""
    return _sized(head, source).head


def _sized(head: Head, source: Source) -> _Sized:
    members = [Member(*file) for file in source.files]
    seal = seal_bytes("0" * SHA256_DIGITS)
    while True:  # until its number of digits is settled
        data = head.encoded()
        listed = [Member(HEAD_NAME, len(data), len(data)), *members]
        sizes = [member.bytes for member in listed]
        sizes += [len(manifest_bytes(listed)), len(seal)]
        total = sum(map(stored_bytes, sizes)) + len(END)
        if total == head.total_bytes:
            return _Sized(head, data, members)
        head = head._replace(total_bytes=total)


def pieces(head: Head, source: Source, time_s: int, piece_bytes: int) -> Iterator[bytes]:
    """Yield the archive, in pieces that are not empty. Blocking: each step reads one of a file.

    Args:
        head: what it is of; its size is filled in.
        source: the store's files.
        time_s: when it began, for the members' headers.
        piece_bytes: most bytes of a piece.
    """
    _, head_data, members = _sized(head, source)
    yield header(HEAD_NAME, len(head_data), time_s) + head_data + padding(len(head_data))
    digest = hashlib.sha256(head_data).hexdigest()
    listed = [Member(HEAD_NAME, len(head_data), len(head_data), digest)]
    for index, member in enumerate(members):
        yield header(member.name, member.bytes, time_s)
        hashed = hashlib.sha256()
        for offset in range(0, member.bytes, piece_bytes):
            size = min(piece_bytes, member.bytes - offset)
            piece = source.read(index, offset, size)
            if len(piece) != size:
                raise EOFError(f"{member.name} ends before its end")
            hashed.update(piece)
            yield piece
        if filling := padding(member.bytes):
            yield filling
        listed.append(member._replace(sha256=hashed.hexdigest()))
    yield ending(listed, time_s)


def ending(listed: list[Member], time_s: int) -> bytes:
    """Return what follows the files: their manifest, and the end."""
    manifest = manifest_bytes(listed)
    seal = seal_bytes(hashlib.sha256(manifest).hexdigest())
    return b"".join(
        (
            header(MANIFEST_NAME, len(manifest), time_s),
            manifest,
            padding(len(manifest)),
            header(SEAL_NAME, len(seal), time_s),
            seal,
            padding(len(seal)),
            END,
        )
    )
