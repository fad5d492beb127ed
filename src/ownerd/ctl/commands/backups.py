"""`ownerctl backup`: a backup of the whole store, from the running server to a file or a pipe.

Invariant: the named file is either what it was before or a backup that was found whole, on the
disk.
"""

import sys
from collections.abc import Iterator
from typing import Annotated, BinaryIO

from cyclopts import Parameter

from ownerd.backupfile import reading
from ownerd.backupfile.layout import BackupError, Head
from ownerd.ctl.commands.options import STREAM, InOutFile, InSession, Reason, Session
from ownerd.ctl.terminal import outfiles
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind
from ownerd.ctl.terminal.progress import Bar, progress_bar
from ownerd.v1 import admin_pb2 as pb

COLUMNS = (
    Column("file", "File"),
    Column("bytes", "Bytes", Kind.BYTES),
    Column("revision", "Revision", Kind.NUMBER),
    Column("time", "As of"),
    Column("store_id", "Store"),
    Column("incarnation", "Incarnation"),
)


def backup(
    file: Annotated[InOutFile, Parameter(help="The file to make; - is stdout.")],
    /,
    *,
    overwrite: Annotated[
        bool, Parameter(negative="", help="Put it in the place of a file that is there.")
    ] = False,
    reason: Reason = "",
    session: InSession,
) -> None:
    """Write a backup of the whole store to a file.

    The server goes on. It is exact as of one revision, and every byte of it is checked as it comes;
    the file bears its name once it is whole and on the disk. `ownerd restore` makes a store of it.
    """
    request = pb.BackupStoreRequest(reason=reason)
    if file == STREAM:
        if sys.stdout.isatty():
            raise CtlError(
                Exit.USAGE, "- writes the backup to stdout, which is a terminal; name a file"
            )
        _receive(request, sys.stdout.buffer, session)
        return
    with outfiles.placed(file, overwrite=overwrite) as out:
        head = _receive(request, out, session)
    row = {
        "file": str(file),
        "bytes": head.total_bytes,
        "revision": head.revision,
        "time": head.time,
        "store_id": head.store_id,
        "incarnation": head.incarnation,
    }
    message = f"Backed up revision {head.revision} to {file}, {head.total_bytes:,} bytes."
    session.printer.done(message, COLUMNS, row)


def _receive(request: pb.BackupStoreRequest, out: BinaryIO, session: Session) -> Head:
    """Write the archive as it comes, and return what it is once it was found whole."""
    connection = session.connection
    with connection.stream(connection.admin.BackupStore, request) as answers:
        first = next(answers, pb.BackupStoreResponse())
        total = first.total_bytes or None
        with progress_bar("Backing up", total, of_bytes=True) as bar:
            try:
                found = reading.read(_Arriving(first, answers, out, bar))
            except BackupError as error:
                raise CtlError(
                    Exit.INTERNAL, f"what came from the server is no backup: {error}"
                ) from error
        out.flush()
    return found.head


class _Arriving:
    """The archive as it comes, written out on the way."""

    def __init__(
        self,
        first: pb.BackupStoreResponse,
        answers: Iterator[pb.BackupStoreResponse],
        out: BinaryIO,
        bar: Bar,
    ) -> None:
        self._answers = answers
        self._out = out
        self._bar = bar
        self._done = 0
        self._left = memoryview(b"")
        self._take(first)

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes."""
        while not self._left:
            answer = next(self._answers, None)
            if answer is None:
                return b""
            self._take(answer)
        taken, self._left = self._left[:size], self._left[size:]
        return bytes(taken)

    def _take(self, answer: pb.BackupStoreResponse) -> None:
        self._left = memoryview(answer.data)
        self._out.write(answer.data)
        self._done += len(answer.data)
        self._bar.at(self._done)
