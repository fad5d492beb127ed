"""`ownerctl import`: load existing ownership from a CSV file.

Invariants: memory does not grow with the file; if any row is broken the call is cancelled before
its end is sent, and a server changes nothing before it has seen the end. Once it has, rows come
into force in order: whatever ends the call then, a person is told how far it came, or that this is
not known.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import grpc
from cyclopts import Parameter

from ownerd.client.errors import error_info
from ownerd.client.requests.admin import OUTCOME_UNKNOWN, ROWS_PER_MESSAGE, import_note
from ownerd.client.requests.call import fresh_request_id
from ownerd.ctl.commands.options import STREAM, InOutFile, InSession, ListId, Reason
from ownerd.ctl.connect.channel import Connection
from ownerd.ctl.terminal.csvfile import ColumnOptions, Reader
from ownerd.ctl.terminal.exits import CtlError, Exit, exit_of_status
from ownerd.ctl.terminal.output import Column, Kind
from ownerd.ctl.terminal.progress import Bar, progress_bar
from ownerd.v1 import admin_pb2 as pb

_ROWS_COUNTED = "counting the rows that have an owner"
RETRY_PAUSES_S = (0.5, 2.0)  # before the second and third try of a call that was UNAVAILABLE

STRATEGIES = {
    "fail": pb.CONFLICT_STRATEGY_FAIL,
    "skip": pb.CONFLICT_STRATEGY_SKIP,
    "overwrite": pb.CONFLICT_STRATEGY_OVERWRITE,
}
COLUMNS = (
    Column("list_id", "List"),
    Column("imported_count", "Imported", Kind.COUNT),
    Column("overwritten_count", "Overwritten", Kind.COUNT),
    Column("skipped_count", "Skipped: another campaign holds it", Kind.COUNT),
    Column("expired_count", "Left out: expired already", Kind.COUNT),
    Column("unowned_count", "Left out: no owner in the file", Kind.COUNT),
    Column("revision", "Revision", Kind.NUMBER),
)


def import_ownership(
    list_id: ListId,
    file: Annotated[InOutFile, Parameter(help="A CSV file with a header line; - is stdin.")],
    /,
    *,
    on_conflict: Annotated[
        Literal["fail", "skip", "overwrite"],
        Parameter(help="What to do where another campaign holds the record."),
    ] = "fail",
    columns: ColumnOptions = ColumnOptions(),
    assume_utc: Annotated[
        bool, Parameter(negative="", help="Read expirations without a time zone as UTC.")
    ] = False,
    reason: Reason = "",
    session: InSession,
) -> None:
    """Import ownership from a CSV file: all of its rows that have an owner, once all are checked.

    A broken row has nothing imported. What stops the import later than that, a full store or a
    server that ends, leaves the first rows in force; the message says so, and the same import may
    be made again. Expirations are RFC 3339 times; an empty cell means no expiration.
    """
    head = pb.ImportOwnershipRequest(
        list_id=list_id,
        conflict_strategy=STRATEGIES[on_conflict],
        reason=reason,
        request_id=fresh_request_id(),
    )
    name = "stdin" if file == STREAM else str(file)
    with _opened(file) as binary:
        answer, unowned_count = _import_with_retries(
            session.connection,
            head,
            binary,
            lambda: Reader(
                binary,
                name,
                columns,
                assume_utc=assume_utc,
                spreadsheet_safe=session.printer.spreadsheet_safe,
            ),
        )
    row = {column.key: getattr(answer, column.key, None) for column in COLUMNS}
    row |= {"list_id": list_id, "unowned_count": unowned_count}
    session.printer.thing(COLUMNS, row, message=f"Imported {name} into list {list_id}.")
    if answer.HasField("clock_offset"):
        print(
            f"ownerctl: the server's time is {answer.clock_offset.ToSeconds():+,} s off its wall "
            "clock, and expirations were judged by it: see the alarm CLOCK_OFF of `ownerctl "
            "status`",
            file=sys.stderr,
        )


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if file == STREAM:
        yield sys.stdin.buffer
        return
    try:
        binary = file.open("rb")
    except OSError as error:
        raise CtlError(Exit.INPUT_FILE, f"cannot read {file}: {error.strerror}") from error
    with binary:
        yield binary


def _import_with_retries(
    connection: Connection,
    head: pb.ImportOwnershipRequest,
    binary: BinaryIO,
    make_reader: Callable[[], Reader],
) -> tuple[pb.ImportOwnershipResponse, int]:
    """Send the file; again from its start where the server is UNAVAILABLE and it can be rewound.

    The channel's own retries end where its buffer does, which a file outgrows. The request_id
    stays, so an import that was done after all is not done twice (R20).
    """
    total_bytes = _size_bytes(binary)
    pauses_s = iter(RETRY_PAUSES_S if binary.seekable() else ())
    earlier = ""
    while True:
        reader = make_reader()
        with progress_bar("Sending", total_bytes, of_bytes=True) as bar:
            upload = _Upload(connection, head, reader, bar)
            try:
                return upload.run(), reader.unowned_count
            except CtlError as error:
                pause_s = next(pauses_s, None) if error.exit_code is Exit.UNAVAILABLE else None
                if pause_s is None:
                    raise _with_earlier(error, earlier, upload) from error
                if upload.left_rows:
                    earlier = str(error)
        time.sleep(pause_s)
        binary.seek(0)


def _with_earlier(error: CtlError, earlier: str, upload: "_Upload") -> CtlError:
    """Return what ended the last try, with what an earlier one may have left in force."""
    if not earlier or upload.left_rows:
        return error
    return CtlError(error.exit_code, f"{error}; the try before it may have left rows: {earlier}")


def _size_bytes(binary: BinaryIO) -> int | None:
    return os.fstat(binary.fileno()).st_size if binary.seekable() else None


class _Upload:
    """One try of the call: rows go out on grpc's thread, `run` waits on the caller's.

    `left_rows`: it failed, and rows are in force, or may be.
    """

    def __init__(
        self, connection: Connection, head: pb.ImportOwnershipRequest, reader: Reader, bar: Bar
    ) -> None:
        self._connection = connection
        self._head = head
        self._reader = reader
        self._bar = bar
        self._call: grpc.Future[pb.ImportOwnershipResponse] | None = None
        self._call_is_known = threading.Event()
        self._error: CtlError | None = None
        self._ended = False
        self.left_rows = False

    def run(self) -> pb.ImportOwnershipResponse:
        connection = self._connection
        self._call = connection.admin.ImportOwnership.future(
            self._messages(), timeout=connection.stream_timeout_s, metadata=connection.metadata()
        )
        self._call_is_known.set()
        try:
            return self._call.result()
        except grpc.FutureCancelledError as error:
            raise self._error or CtlError(Exit.INTERNAL, "the import was cancelled") from error
        except grpc.RpcError as error:
            raise self._explain(error) from error
        except KeyboardInterrupt:
            if not self._ended:
                raise
            raise CtlError(Exit.INTERRUPTED, f"interrupted; {OUTCOME_UNKNOWN}") from None
        finally:
            self._call.cancel()  # Ctrl-C: a half-sent import must not look complete

    def _explain(self, error: grpc.RpcError) -> CtlError:
        """Say what the server said; its row numbers are of what was sent, not lines of the file."""
        info = error_info(error)
        reason = "" if info is None else info.reason
        if reason == "IMPORT_CUT_SHORT":  # whether it can be reached by now is no matter
            self.left_rows = True
            return CtlError(exit_of_status(error.code()), f"{error.details()} ({_ROWS_COUNTED})")
        told = self._connection.explain(error, self._head)
        if note := import_note(error.code(), reason, ended=self._ended):
            self.left_rows = True
            return CtlError(told.exit_code, f"{told}; {note}")
        if told.exit_code not in (Exit.FAILED_PRECONDITION, Exit.INVALID_ARGUMENT):
            return told
        return CtlError(told.exit_code, f"{told} ({_ROWS_COUNTED})")

    def _messages(self) -> Iterator[pb.ImportOwnershipRequest]:
        message = pb.ImportOwnershipRequest()
        message.CopyFrom(self._head)
        try:
            for row in self._reader:
                message.rows.append(row)
                if len(message.rows) == ROWS_PER_MESSAGE:
                    yield message
                    self._bar.at(self._reader.read_bytes)
                    message = pb.ImportOwnershipRequest()
        except (CtlError, OSError) as error:
            self._give_up(error)
            return
        self._bar.finishing("Importing")
        if message.rows or message.list_id:
            yield message
        self._ended = True

    def _give_up(self, error: CtlError | OSError) -> None:
        """Cancel the call, before returning from the generator could send its end."""
        if isinstance(error, OSError):
            error = CtlError(Exit.INPUT_FILE, f"cannot read on: {error.strerror}; nothing imported")
        self._error = error
        self._call_is_known.wait()
        assert self._call is not None
        self._call.cancel()
