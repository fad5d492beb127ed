"""The call that sends an import: again where the server was not reached, and clean when it ends.

Rows go out on a thread of grpc's, which reads the spool and nothing that could keep it waiting; the
caller's thread waits for the answer. A call that is given up is cancelled before its end is sent,
and a server changes nothing before it has seen the end. Once it has, rows come into force in order:
whatever ends the call then, a person is told how far it came, or that this is not known.
"""

import threading
import time
from collections.abc import Iterator

import grpc
from google.rpc import error_details_pb2

from ownerd.client.errors import error_info
from ownerd.client.requests.admin import OUTCOME_UNKNOWN, import_note
from ownerd.ctl.commands.import_file import Deadline
from ownerd.ctl.commands.import_spool import Spool
from ownerd.ctl.connect.channel import Connection
from ownerd.ctl.terminal.exits import CtlError, Exit, exit_of_status
from ownerd.ctl.terminal.progress import Bar, progress_bar
from ownerd.v1 import admin_pb2 as pb

RETRY_PAUSES_S = (0.5, 2.0)  # before the second and third try of a call that was UNAVAILABLE

_NOTHING_HEARD = (Exit.UNAVAILABLE, Exit.DEADLINE, Exit.INTERNAL)
# Under which a server names rows to programs.
_ROW_KEYS = ("row", "other_row", "first_row_not_in_force")
_NOTHING_DONE = "; nothing was imported"
_OF_ROWS = (Exit.FAILED_PRECONDITION, Exit.INVALID_ARGUMENT)


class Upload:
    """Sends one import. The request_id stays the same in all tries, so it is done once (R20)."""

    def __init__(
        self,
        connection: Connection,
        head: pb.ImportOwnershipRequest,
        spool: Spool,
        file_name: str,
        deadline: Deadline,
    ) -> None:
        self._connection = connection
        self._head = head
        self._spool = spool
        self._file_name = file_name
        self._deadline = deadline
        self._is_over = threading.Event()
        self._end_was_sent = False
        self._left_rows = False  # the last try failed, and rows are in force, or may be

    def dry_run(self) -> pb.ImportOwnershipResponse:
        """Send the rows and return what the server would do with them."""
        head = pb.ImportOwnershipRequest()
        head.CopyFrom(self._head)
        head.dry_run, head.request_id = True, ""
        parts = (self._connection, head, self._spool, self._file_name, self._deadline)
        return Upload(*parts).run()

    def run(self) -> pb.ImportOwnershipResponse:
        """Send the rows and return the answer."""
        pauses_s = iter(RETRY_PAUSES_S)
        earlier = ""
        try:
            while True:
                try:
                    return self._try()
                except grpc.RpcError as error:
                    told = self._explain(error)
                    pause_s = next(pauses_s, None) if told.exit_code is Exit.UNAVAILABLE else None
                    if pause_s is None:
                        raise self._with_earlier(told, earlier) from error
                    if self._left_rows:
                        earlier = str(told)
                time.sleep(pause_s)
        except KeyboardInterrupt:
            if not (self._may_be_done or earlier):
                raise
            told = CtlError(Exit.INTERRUPTED, f"interrupted; {OUTCOME_UNKNOWN}")
            raise told from None
        finally:
            self._is_over.set()

    def _try(self) -> pb.ImportOwnershipResponse:
        connection = self._connection
        self._end_was_sent = False
        with progress_bar("Sending", self._spool.row_count, of_bytes=False) as bar:
            call = connection.admin.ImportOwnership.future(
                self._messages(bar), timeout=self._deadline.left_s, metadata=connection.metadata()
            )
            try:
                answer: pb.ImportOwnershipResponse = call.result()
                return answer
            finally:
                call.cancel()  # Ctrl-C: a half-sent import must not look complete

    def _messages(self, bar: Bar) -> Iterator[pb.ImportOwnershipRequest]:
        """Yield the messages, the head in the first of them."""
        sent_count = 0
        head: pb.ImportOwnershipRequest | None = self._head
        for message in self._spool.messages():
            if self._is_over.is_set():
                return
            if head is not None:
                message.MergeFrom(head)
                head = None
            yield message
            sent_count += len(message.rows)
            bar.at(sent_count)
        if head is not None:
            yield head
        self._end_was_sent = True
        bar.finishing("Comparing" if self._head.dry_run else "Importing")

    @property
    def _may_be_done(self) -> bool:
        return self._end_was_sent and not self._head.dry_run

    def _explain(self, error: grpc.RpcError) -> CtlError:
        """Say what the server said, with the lines of the rows that it names by their numbers."""
        info = error_info(error) or error_details_pb2.ErrorInfo()
        self._left_rows = False
        if info.reason == "IMPORT_CUT_SHORT":  # whether it can be reached by now is no matter
            self._left_rows = True
            text = f"{error.details()} ({self._lines(info)})"
            return CtlError(exit_of_status(error.code()), text)
        told = self._connection.explain(error, self._head)
        what = str(told)
        if told.exit_code is Exit.DEADLINE:
            what = "the import did not end within --timeout"
        if note := import_note(error.code(), info.reason, ended=self._may_be_done):
            self._left_rows = True
            return CtlError(told.exit_code, f"{what}; {note}")
        if told.exit_code in _NOTHING_HEARD:
            return CtlError(told.exit_code, f"{what}{_NOTHING_DONE}")
        if told.exit_code in _OF_ROWS and what.startswith("row"):
            return CtlError(told.exit_code, f"{told} ({self._lines(info)})")
        return told

    def _with_earlier(self, error: CtlError, earlier: str) -> CtlError:
        """Return what ended the last try, with what an earlier one may have left in force."""
        if not earlier or self._left_rows:
            return error
        now = str(error).removesuffix(_NOTHING_DONE)
        if earlier.startswith(now):
            return CtlError(error.exit_code, earlier)
        text = f"{now}; the try before it may have left rows: {earlier}"
        return CtlError(error.exit_code, text)

    def _lines(self, info: error_details_pb2.ErrorInfo) -> str:
        named = [info.metadata[key] for key in _ROW_KEYS if key in info.metadata]
        found = [
            f"row {number} is line {line} of {self._file_name}"
            for number in named
            if number.isdecimal() and (line := self._spool.line_of(int(number))) is not None
        ]
        return ", ".join(found) or "counting the rows that have an owner"
