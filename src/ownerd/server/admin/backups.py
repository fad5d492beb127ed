"""BackupStore: a backup of the store, sent as it is read, by as many callers at once as may be.

What a backup costs the store while it lasts is in the native core's `store_copy`; so each one ends
after a time, whoever reads it. `Backups` belongs to the event loop's thread; the steps of a
`Running` one run on worker threads.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

import ownerd
from ownerd.backupfile import writing
from ownerd.backupfile.layout import Head
from ownerd.native import Backup
from ownerd.server.admin import convert, validate
from ownerd.server.admin.audited_change import audit_note
from ownerd.server.admin.context import AdminContext, Caller
from ownerd.server.errors import TooManyBackups
from ownerd.v1 import admin_pb2

# Of each answer; a few are on their way at once.
PIECE_BYTES = 512 << 10
# How long one answer may wait until it is taken.
STALL_LIMIT_S = 60.0
# A second one is for a standby that begins while the regular one is under way.
_MOST_AT_ONCE = 2
_SECOND_NS = 10**9

log = structlog.get_logger("ownerd.server")


class Backups:
    """How many backups are under way."""

    def __init__(self) -> None:
        self._count = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Count one for as long as the block lasts.

        Raises:
            TooManyBackups: enough are under way.
        """
        if self._count >= _MOST_AT_ONCE:
            raise TooManyBackups(_MOST_AT_ONCE)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


class Running:
    """One backup under way; its steps are blocking. `close` may be called during any of them."""

    def __init__(
        self, context: AdminContext, request: admin_pb2.BackupStoreRequest, caller: Caller
    ) -> None:
        self._context = context
        self._request = request
        self._caller = caller
        self._lock = threading.Lock()
        self._files: Backup | None = None
        self._head: Head | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._began_s = time.monotonic()
        self._sent_bytes = 0

    def begin(self) -> None:
        """Note it in the audit, whose entry is in it then, and begin it."""
        engine = self._context.engine
        validate.change_fields(self._request.reason, "")
        note = audit_note(self._caller, "BackupStore", reason=self._request.reason)
        with self._lock:  # against one who gives up now
            engine.note_event(note=note)
            files = self._files = engine.backup()
        self._head = writing.sized(_head(files), files)
        self._pieces = writing.pieces(self._head, files, files.time_ns // _SECOND_NS, PIECE_BYTES)

    def next_message(self) -> bytes:
        """Return the next message, serialized; b"" after the last."""
        message = admin_pb2.BackupStoreResponse(data=next(self._pieces, b""))
        if not message.data:
            return b""
        if not self._sent_bytes and self._head is not None:
            message.total_bytes, message.revision = self._head.total_bytes, self._head.revision
        self._sent_bytes += len(message.data)
        return message.SerializeToString()

    def close(self) -> None:
        """Let go of the store's files."""
        with self._lock:
            if self._files is not None:
                self._files.close()

    def note_end(self) -> None:
        """Log how it ended, if it began."""
        if self._head is None:
            return
        whole = self._sent_bytes == self._head.total_bytes
        (log.info if whole else log.warning)(
            "backup_sent" if whole else "backup_cut_short",
            revision=self._head.revision,
            sent_bytes=self._sent_bytes,
            total_bytes=self._head.total_bytes,
            seconds=round(time.monotonic() - self._began_s, 3),
            principal=self._caller.principal,
        )


def _head(files: Backup) -> Head:
    return Head(
        revision=files.revision,
        time=convert.time_of(files.time_ns).ToJsonString(),
        store_id=f"{files.store_id:016x}",
        incarnation=f"{files.incarnation:016x}",
        store_format=files.store_format,
        version=ownerd.__version__,
    )
