"""The rows of an import as messages in a temporary file, with the line that each stands in.

Rows are refused after they were put down as well; those are passed over when it is read.
"""

import os
import struct
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ownerd.client.requests.admin import ROWS_PER_MESSAGE
from ownerd.contactfile.faults import NoRoom
from ownerd.contactfile.reader import Owned
from ownerd.ctl.terminal import times
from ownerd.v1 import admin_pb2 as pb

_SIZES = struct.Struct("<II")  # of a message, and of its lines

IsLeftOut = Callable[[int, str], bool]


class Spool:
    """Takes rows, then gives them back as messages any number of times."""

    def __init__(self, file: BinaryIO) -> None:
        self.row_count = 0
        self.is_left_out: IsLeftOut | None = None  # of a row's line and record; None: none is
        self._file = file
        self._begun = pb.ImportOwnershipRequest()
        self._lines = array("Q")

    def add(self, row: Owned) -> None:
        """Take a row.

        Raises:
            NoRoom: The temporary file cannot be written.
        """
        message = self._begun.rows.add(
            record_id=row.record_id, campaign_id=row.campaign_id, campaign_name=row.campaign_name
        )
        if row.expire_ns is not None:
            message.expire_time.CopyFrom(times.to_message(row.expire_ns))
        if row.acquire_ns is not None:
            message.acquire_time.CopyFrom(times.to_message(row.acquire_ns))
        self._lines.append(row.line)
        self.row_count += 1
        if len(self._lines) == ROWS_PER_MESSAGE:
            self._put()

    def finish(self) -> None:
        """Put down what is left, after the last row.

        Raises:
            NoRoom: The temporary file cannot be written.
        """
        if self._lines:
            self._put()
        with _written():
            self._file.flush()

    def messages(self) -> Iterator[pb.ImportOwnershipRequest]:
        """Yield the rows that are not left out, from the first on, as messages of many."""
        for message, _ in self._kept():
            yield message

    def line_of(self, row_number: int) -> int | None:
        """Return the line of a row by its number in the messages, from 1; None: there is none."""
        for _, lines in self._kept():
            if row_number <= len(lines):
                return lines[row_number - 1]
            row_number -= len(lines)
        return None

    def _put(self) -> None:
        body, lines = self._begun.SerializeToString(), self._lines.tobytes()
        with _written():
            self._file.write(_SIZES.pack(len(body), len(lines)))
            self._file.write(body)
            self._file.write(lines)
        self._begun = pb.ImportOwnershipRequest()
        self._lines = array("Q")

    def _kept(self) -> Iterator[tuple[pb.ImportOwnershipRequest, "array[int]"]]:
        # With a descriptor and a position of its own: several threads may read, and one that is
        # late finds the file open.
        descriptor = os.dup(self._file.fileno())
        try:
            position = 0
            while sizes := os.pread(descriptor, _SIZES.size, position):
                body_bytes, lines_bytes = _SIZES.unpack(sizes)
                position += _SIZES.size
                body = os.pread(descriptor, body_bytes, position)
                position += body_bytes
                lines = array("Q", os.pread(descriptor, lines_bytes, position))
                position += lines_bytes
                yield self._without_left_out(pb.ImportOwnershipRequest.FromString(body), lines)
        finally:
            os.close(descriptor)

    def _without_left_out(
        self, message: pb.ImportOwnershipRequest, lines: "array[int]"
    ) -> tuple[pb.ImportOwnershipRequest, "array[int]"]:
        is_left_out = self.is_left_out
        if is_left_out is None:
            return message, lines
        kept = [
            (row, line)
            for row, line in zip(message.rows, lines, strict=True)
            if not is_left_out(line, row.record_id)
        ]
        return (
            pb.ImportOwnershipRequest(rows=[row for row, _ in kept]),
            array("Q", [line for _, line in kept]),
        )


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NoRoom(error.strerror) from error
