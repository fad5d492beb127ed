"""The call that sends an import: again where the server was not reached, and clean when it ends.

Rows go out on a thread of grpc's, which reads the spool and nothing that could keep it waiting; the
caller's thread waits for the answer. A call that is given up is cancelled before its end is sent,
and a server changes nothing before it has seen the end; after it, the outcome is the server's.
"""

import threading
import time
from collections.abc import Iterator

import grpc

from ownerd.client.errors import error_info
from ownerd.ctl.commands.import_file import Deadline
from ownerd.ctl.commands.import_spool import Spool
from ownerd.ctl.connect.channel import Connection
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import warn
from ownerd.ctl.terminal.progress import Bar, progress_bar
from ownerd.v1 import admin_pb2 as pb

RETRY_PAUSES_S = (0.5, 2.0)  # before the second and third try of a call that was UNAVAILABLE

_UNKNOWN = (Exit.UNAVAILABLE, Exit.DEADLINE, Exit.INTERNAL)
# Under which a server names rows to programs.
_ROW_KEYS = ("row", "other_row", "first_row_not_in_force")
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

    def run(self) -> pb.ImportOwnershipResponse:
        """Send the rows and return the answer."""
        pauses_s = iter(RETRY_PAUSES_S)
        try:
            while True:
                try:
                    return self._try()
                except grpc.RpcError as error:
                    told = self._explain(error)
                    pause_s = next(pauses_s, None) if told.exit_code is Exit.UNAVAILABLE else None
                    if pause_s is None:
                        raise told from error
                time.sleep(pause_s)
        except KeyboardInterrupt:
            if self._end_was_sent:
                warn("ownerctl: all rows were sent already: the server goes on and imports them")
            raise
        finally:
            self._is_over.set()

    def _try(self) -> pb.ImportOwnershipResponse:
        connection = self._connection
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
        bar.finishing("Importing")

    def _explain(self, error: grpc.RpcError) -> CtlError:
        """Say what the server said, with the lines of the rows that it names by their numbers."""
        told = self._connection.explain(error, self._head)
        if told.exit_code in _UNKNOWN:
            timed_out = told.exit_code is Exit.DEADLINE
            what = "the import did not end within --timeout" if timed_out else str(told)
            return CtlError(told.exit_code, f"{what}; {self._effect()}")
        if told.exit_code in _OF_ROWS:
            return CtlError(told.exit_code, f"{told} ({self._lines(error)})")
        return told

    def _effect(self) -> str:
        """Say what has come of an import whose answer is not known."""
        if not self._end_was_sent:
            return "nothing was imported"
        return (
            "all rows were sent and the outcome is unknown: some or all of them may be in force;"
            " import the same file again, rows already there are simply set again"
        )

    def _lines(self, error: grpc.RpcError) -> str:
        metadata = error_info(error).metadata
        named = [metadata[key] for key in _ROW_KEYS if key in metadata]
        found = [
            f"row {number} is line {line} of {self._file_name}"
            for number in named
            if number.isdecimal() and (line := self._spool.line_of(int(number))) is not None
        ]
        return ", ".join(found) or "counting the rows that have an owner"
