"""`ownerctl audit --follow`: new audit entries as they come, oldest first, each once.

A look asks for the newest entry of all; only where that is another than last time are the entries
since then fetched, from the last time on, so that a look at an idle server costs it one entry. A
server that is away, restarts or is over a rate limit is waited for. Entries of a store that begins
anew, such as a backup that took the place of the store, are shown from its present end.
"""

import sys
import time
from collections.abc import Callable, Sequence

from ownerd.ctl.connect.channel import Connection
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import warn
from ownerd.v1 import admin_pb2 as pb

LOOK_EVERY_S = 1.0
PATIENCE_S = 600.0
PASSING = (Exit.UNAVAILABLE, Exit.DEADLINE, Exit.EXHAUSTED)

Show = Callable[[Sequence[pb.AuditEntry]], None]


class Follower:
    """Where a reader of the audit is: everything up to the entry `seen` was shown."""

    def __init__(self, audit_filter: pb.AuditFilter, refused: bool, connection: Connection) -> None:
        self._filter = audit_filter
        self._refused = refused
        self._connection = connection
        self._seen = pb.AuditEntry()

    def begin(self, limit: int) -> list[pb.AuditEntry]:
        """Return the entries that are there, at most `limit` (0: all), oldest first."""
        self._seen = self._newest()
        return self._up_to_seen(0, limit)

    def look(self) -> list[pb.AuditEntry]:
        """Return the entries that were written since, oldest first."""
        before, newest = self._seen, self._newest()
        if newest.entry_id == before.entry_id:
            return []
        self._seen = newest
        if newest.entry_id < before.entry_id:
            warn("ownerctl: this is another audit than before; following it from its end")
            return []
        begin = self._filter.start_time  # as it was asked for, perhaps beyond protobuf's years
        if (before.time.seconds, before.time.nanos) > (begin.seconds, begin.nanos):
            self._filter.start_time.CopyFrom(before.time)
        try:
            return self._up_to_seen(before.entry_id, 0)
        except CtlError:
            self._seen = before  # nothing was shown
            raise

    def _newest(self) -> pb.AuditEntry:
        request = pb.ListAuditEntriesRequest(page_size=1)
        answer = self._connection.ask(self._connection.admin.ListAuditEntries, request)
        return answer.entries[0] if answer.entries else pb.AuditEntry()

    def _up_to_seen(self, after: int, limit: int) -> list[pb.AuditEntry]:
        request = pb.ListAuditEntriesRequest(filter=self._filter)
        rpc = self._connection.admin.ListAuditEntries
        pages = self._connection.pages(rpc, request, 0 if self._refused else limit)
        found = []
        for entry in (entry for page in pages for entry in page.entries):
            if entry.entry_id <= after:
                break
            if entry.entry_id <= self._seen.entry_id and (entry.refusal or not self._refused):
                found.append(entry)
            if len(found) == limit != 0:
                break
        return found[::-1]


def follow(
    audit_filter: pb.AuditFilter, refused: bool, limit: int, connection: Connection, show: Show
) -> Exit:
    """Show what is there, then what comes, until Ctrl-C.

    Raises:
        CtlError: The first answer did not come, the server said no, or was away too long.
    """
    follower = Follower(audit_filter, refused, connection)
    lost_s: float | None = None
    try:
        entries = follower.begin(limit)
        while True:
            if entries:
                show(entries)
            sys.stdout.flush()
            time.sleep(LOOK_EVERY_S)
            try:
                entries = follower.look()
            except CtlError as error:
                lost_s = _wait_on(error, lost_s)
                entries = []
            else:
                if lost_s is not None:
                    warn("ownerctl: the server answers again")
                lost_s = None
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _wait_on(error: CtlError, lost_s: float | None) -> float:
    """Return since when the server does not answer, or raise the error again."""
    now_s = time.monotonic()
    if error.exit_code not in PASSING or (lost_s is not None and now_s - lost_s > PATIENCE_S):
        raise error
    if lost_s is None:
        warn(f"ownerctl: {error}; trying again")
        return now_s
    return lost_s
