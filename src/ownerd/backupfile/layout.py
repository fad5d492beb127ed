"""What a backup file looks like: its members, their headers, what is in the two that are JSON.

A header has nothing that is not determined by its member and the time of the backup, so whoever
reads one knows what it must be, byte by byte.
"""

import json
import re
import tarfile
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

FORMAT = 1
HEAD_NAME = "BACKUP.json"
MANIFEST_NAME = "MANIFEST.json"
SEAL_NAME = "MANIFEST.json.sha256"
TREE_NAME = "records/data.mdb"
SEGMENT_NAME = re.compile(r"log/(\d{20})")
BLOCK_BYTES = tarfile.BLOCKSIZE
# More is no head and no manifest.
MOST_JSON_BYTES = 16 << 20
END = bytes(2 * BLOCK_BYTES)
SHA256_DIGITS = 64


class BackupError(Exception):
    """A backup cannot be used; the message says why, without naming the file."""


class BackupDamaged(BackupError):
    """It is not as it was written: cut short, or changed."""


class OtherBackupFormat(BackupError):
    """It was written by another version, which this one does not read."""


class Head(NamedTuple):
    """Of which store a backup is, and as of when.

    Attributes:
        revision: everything up to it is in the backup, and nothing after it.
        time: the server's, when it began, as RFC 3339.
        store_id, incarnation: 16 hexadecimal digits each.
        store_format: of the files that are in it.
        version: of ownerd.
        total_bytes: of the whole archive.
        format: of the archive.
    """

    revision: int
    time: str
    store_id: str
    incarnation: str
    store_format: int
    version: str
    total_bytes: int = 0
    format: int = FORMAT

    def encoded(self) -> bytes:
        """Return the content of BACKUP.json."""
        return json_bytes(self._asdict())

    @classmethod
    def decoded(cls, data: bytes) -> Self:
        """Return what BACKUP.json says.

        Raises:
            OtherBackupFormat: only another version reads it.
            BackupDamaged: it says nothing of a backup.
        """
        found = json_object(data, HEAD_NAME)
        if found.get("format") != FORMAT:
            raise OtherBackupFormat(
                f"it has the backup format {found.get('format')!r}, this program reads {FORMAT}: "
                f"use the version that wrote it ({found.get('version', 'which is not known')})"
            )
        types = cls.__annotations__
        if found.keys() != types.keys() or any(
            type(found[name]) is not kind for name, kind in types.items()
        ):
            raise BackupDamaged(f"{HEAD_NAME} in it says nothing of a backup")
        return cls(**found)


class Member(NamedTuple):
    """A file of a store, in a backup.

    Attributes:
        name: below the data directory.
        bytes: that are in the backup.
        whole_bytes: that the file has, with the zeros behind them.
        sha256: of those that are in the backup.
    """

    name: str
    bytes: int
    whole_bytes: int
    sha256: str = "0" * SHA256_DIGITS


def json_bytes(value: Any) -> bytes:
    """Return JSON of which nothing is left to choice."""
    return json.dumps(value, indent=1).encode() + b"\n"


def json_object(data: bytes, name: str) -> Mapping[str, Any]:
    """Return the object in a member.

    Raises:
        BackupDamaged: there is none.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BackupDamaged(f"{name} in it is no JSON")
    return found


def manifest_bytes(members: list[Member]) -> bytes:
    """Return the content of MANIFEST.json."""
    return json_bytes({"files": [member._asdict() for member in members]})


def seal_bytes(digest: str) -> bytes:
    """Return the content of MANIFEST.json.sha256, as sha256sum writes it."""
    return f"{digest}  {MANIFEST_NAME}\n".encode()


def header(name: str, size: int, time_s: int) -> bytes:
    """Return the header of a member."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mtime = time_s
    info.mode = 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """Return what follows so many bytes of a member."""
    return bytes(-size % BLOCK_BYTES)


def stored_bytes(size: int) -> int:
    """Return how much of the archive a member of so many bytes takes."""
    return BLOCK_BYTES + size + len(padding(size))
