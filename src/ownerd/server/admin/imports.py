"""Import of ownership: rows are received and checked whole, then written in chunks.

One bad row has the import refused with nothing changed. Writing begins when the client has said
that the stream is complete, and then runs to its end even if the client goes. Rows count against
the caller's rate limit: whoever is over it begins no import, and one that is under way goes on at
the rate that is allowed.

Whatever stops an import once its first rows are in force, the caller is told how far it came. The
request id is stored with the last chunk: an import that broke off is not taken for done, and
sending it again sets the first rows once more, which changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice

import structlog

from ownerd.native import CLOCK_ALARM_NS, Engine, Outcome, Refused
from ownerd.server.admin import convert
from ownerd.server.admin.audited_change import Change
from ownerd.server.admin.context import AdminContext, Caller
from ownerd.server.admin.import_stream import ImportStream, Row
from ownerd.server.errors import (
    ImportConflict,
    ImportCutShort,
    ListNotFound,
    RateLimited,
    status_of,
)
from ownerd.server.workers import Workers
from ownerd.v1 import admin_pb2

log = structlog.get_logger("ownerd.server")

_CHUNK_COUNT = 5_000
_LOOKUP_COUNT = 1_000
# Messages are handed to a worker thread in parcels of about this size.
_PARCEL_BYTES = 256 << 10
# How often one that waits for its rate limit looks whether the server is stopping.
_LOOK_S = 0.25
# Of a commit that failed, or of a fault of ours, it is not known whether it took place.
_UNKNOWN_AFTER = ("STORAGE_FAILED", "INTERNAL")


async def receive(
    stream: ImportStream,
    workers: Workers,
    bodies: AsyncIterator[bytes],
    seconds_left: Callable[[], float | None],
) -> None:
    """Give every message of a call to `stream`; one parcel is in memory at a time.

    Args:
        stream: what keeps the rows.
        workers: run the work.
        bodies: the messages.
        seconds_left: until the call's deadline; None: it has none.

    Raises:
        OwnerdError: as ImportStream.add does, at the first bad message.
        RateLimited: the caller was over its limit before, or will be until the deadline.
        Draining: the server is stopping, and rows still have to wait.
    """
    parcel: list[bytes] = []
    size_bytes = 0
    async for body in bodies:
        parcel.append(body)
        size_bytes += len(body)
        if size_bytes >= _PARCEL_BYTES:
            await _take(stream, workers, parcel, seconds_left)
            parcel, size_bytes = [], 0
    await _take(stream, workers, parcel, seconds_left)


async def _take(
    stream: ImportStream,
    workers: Workers,
    parcel: list[bytes],
    seconds_left: Callable[[], float | None],
) -> None:
    """Keep a parcel's rows, and pay for them; all but the first wait until that is allowed."""
    is_first = stream.row_count == 0
    row_count = await workers.run(stream.add, parcel)
    while row_count and (wait_ms := stream.caller.identity.pay_rows(row_count)):
        left_s = seconds_left()
        if is_first or (left_s is not None and wait_ms / 1_000 > left_s):
            raise RateLimited(stream.caller.principal, wait_ms)
        workers.refuse_if_draining()
        await asyncio.sleep(min(wait_ms / 1_000, _LOOK_S))


def apply(
    context: AdminContext, stream: ImportStream, caller: Caller
) -> admin_pb2.ImportOwnershipResponse:
    """Write the rows of a stream, close it, and return the answer. Blocking.

    Raises:
        InvalidField: no message came.
        ListNotFound, RequestIdReused: nothing changed.
        ImportConflict: another campaign holds a record (CONFLICT_STRATEGY_FAIL).
        ImportCutShort: rows are in force, and others are not.
        Refused: by the engine, before any row was in force.
    """
    with closing(stream):
        header = stream.header
        response_type = admin_pb2.ImportOwnershipResponse
        change = Change(
            context.engine, caller, "ImportOwnership", header, response_type, _fill, stream.digest
        )
        if (answer := change.first_answer()) is not None:
            return answer
        if context.engine.get_list(header.list_id) is None:
            raise ListNotFound(header.list_id)
        if header.strategy == admin_pb2.CONFLICT_STRATEGY_FAIL:
            _refuse_conflicts(context.engine, caller, header.list_id, stream.rows())
        return _Writing(context.engine, caller, stream, change).run()


class _Writing:
    """The rows of one import on their way into the store, chunk by chunk."""

    def __init__(
        self,
        engine: Engine,
        caller: Caller,
        stream: ImportStream,
        change: Change[admin_pb2.ImportOwnershipResponse],
    ) -> None:
        self._engine = engine
        self._caller = caller
        self._stream = stream
        self._change = change
        self._chunk: list[Row] = []
        self._done_count = 0

    def run(self) -> admin_pb2.ImportOwnershipResponse:
        """Write all, and return the answer; what stops that says how far it came."""
        try:
            return self._write()
        except Exception as error:
            raise self._explained(error) from None

    def _write(self) -> admin_pb2.ImportOwnershipResponse:
        """Write chunk by chunk; the last one carries the request id and makes the answer."""
        header = self._stream.header
        detail = {
            "strategy": header.strategy_name,
            "exact": header.exact,
            "row_count": self._stream.row_count,
        }
        note = self._change.note(detail, header.list_id)
        answer = admin_pb2.ImportOwnershipResponse()
        entry_id = 0
        chunks = _chunks(self._stream.rows())
        self._chunk = next(chunks, [])
        for following in chunks:
            outcome = self._engine.import_rows(
                header.list_id,
                self._chunk,
                header.strategy,
                entry_id,
                exact=header.exact,
                note=note,
            )
            _add_tally(answer, outcome)
            entry_id = outcome.entry_id
            self._done_count += len(self._chunk)
            self._chunk = following
        return self._change.make(
            self._engine.import_rows,
            header.list_id,
            self._chunk,
            header.strategy,
            entry_id,
            exact=header.exact,
            answer=answer,
            detail=detail,
            list_id=header.list_id,
        )

    def _explained(self, error: Exception) -> Exception:
        """Return what to tell the caller about an error."""
        conflict = self._conflict() if _is_conflict(error) else None
        if not self._done_count:
            return conflict or error
        cause = status_of(conflict or error, "ImportOwnership")
        if conflict is not None:
            cause = cause._replace(
                message=f"{conflict.words} since the import was checked, unless it names it twice"
            )
        unknown = cause.reason in _UNKNOWN_AFTER
        return ImportCutShort(
            self._done_count + 1,
            self._stream.row_count,
            cause,
            self._done_count + len(self._chunk) if unknown else 0,
        )

    def _conflict(self) -> ImportConflict | None:
        """Find the row of a conflict that came up between the check and the write of its chunk."""
        list_id = self._stream.header.list_id
        try:
            _refuse_conflicts(
                self._engine, self._caller, list_id, self._chunk, self._done_count + 1
            )
        except ImportConflict as found:
            return found
        except Refused:  # the list is gone, or nothing can be read now
            return None
        return None


def _is_conflict(error: Exception) -> bool:
    return isinstance(error, Refused) and error.reason == ImportConflict.reason


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, _CHUNK_COUNT)):
        yield chunk


def _fill(engine: Engine, answer: admin_pb2.ImportOwnershipResponse, outcome: Outcome) -> None:
    _add_tally(answer, outcome)
    offset_ns = engine.clock_offset_ns
    if abs(offset_ns) >= CLOCK_ALARM_NS:
        answer.clock_offset.CopyFrom(convert.duration_of(offset_ns))
        log.warning(
            "import_judged_by_a_wrong_time",
            offset_s=offset_ns // convert.SECOND_NS,
            expired_count=answer.expired_count,
        )


def _add_tally(answer: admin_pb2.ImportOwnershipResponse, outcome: Outcome) -> None:
    imported, skipped, overwritten, expired = outcome.tally
    answer.imported_count += imported
    answer.skipped_count += skipped
    answer.overwritten_count += overwritten
    answer.expired_count += expired


def _refuse_conflicts(
    engine: Engine, caller: Caller, list_id: str, rows: Iterable[Row], first_number: int = 1
) -> None:
    """Raise ImportConflict for the first row whose record another campaign holds.

    The campaign is named to whoever may see it.
    """
    rows = iter(rows)
    while batch := list(islice(rows, _LOOKUP_COUNT)):
        with engine.snapshot(list_id) as snapshot:
            holders = snapshot.holders([row[0] for row in batch])
            time_ns = snapshot.time_ns
        for number, (row, holder) in enumerate(zip(batch, holders, strict=True), first_number):
            # A row that has expired already is dropped, so it conflicts with nobody.
            alive = row[3] is None or row[3] > time_ns
            if alive and holder is not None and holder[1] != row[1]:
                seen = caller.may_see(list_id, holder[1])
                raise ImportConflict(number, row[0], holder[1] if seen else None)
        first_number += len(batch)
