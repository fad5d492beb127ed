"""The bytes of a contact file: unpacked where they are gzip, refused where they are no text."""

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ownerd.contactfile.faults import FileFault

BLOCK_BYTES = 1 << 18

_GZIP = b"\x1f\x8b"
# What a file begins with that is no text, and what somebody has who has such a file.
_OTHERS = (
    (b"PK\x03\x04", "an Excel workbook or a zip file; save it as CSV, or unpack it"),
    (b"PK\x05\x06", "an empty zip file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save it as CSV"),
    (b"%PDF", "a PDF file"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd; unpack it, or pack it with gzip"),
    (b"\xfd7zXZ", "packed with xz; unpack it, or pack it with gzip"),
    (b"BZh", "packed with bzip2; unpack it, or pack it with gzip"),
    (b"7z\xbc\xaf", "packed with 7-Zip; unpack it, or pack it with gzip"),
    (b"Rar!", "packed with RAR; unpack it, or pack it with gzip"),
    (b"SQLite format 3", "an SQLite database; export the table as CSV"),
    (b"PAR1", "a Parquet file; export the table as CSV"),
)


def blocks(binary: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a file from where it stands, in parts of some size.

    Args:
        binary: The file; it can be rewound.

    Raises:
        FileFault: It is packed and damaged, or known to be no text.
        OSError: It cannot be read.
    """
    start = binary.tell()
    head = binary.read(16)
    binary.seek(start)
    if head.startswith(_GZIP):
        return _unpacked(binary)
    for magic, what in _OTHERS:
        if head.startswith(magic):
            raise FileFault(f"it is {what}")
    return _read(binary)


def _read(binary: BinaryIO) -> Iterator[bytes]:
    while block := binary.read(BLOCK_BYTES):
        yield block


def _unpacked(binary: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=binary) as unpacked:
        while True:
            try:
                block = unpacked.read(BLOCK_BYTES)
            except EOFError:
                raise FileFault("the gzip file ends early: it was cut off") from None
            except (gzip.BadGzipFile, zlib.error):
                raise FileFault("the gzip file is damaged") from None
            if not block:
                return
            yield block
