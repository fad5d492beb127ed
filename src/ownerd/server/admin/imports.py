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
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import structlog

from ownerd.native import CLOCK_ALARM_NS, Engine, Outcome, Refused
from ownerd.server.admin import convert
from ownerd.server.admin.audited_change import Change
from ownerd.server.admin.context import AdminContext, Caller
from ownerd.server.admin.import_forecast import (
    SKIPPED,
    Forecast,
    Naming,
    conflict_of,
    foresee,
    judged,
)
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
_DETAIL_NAMES = 100  # that the audit shows
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
        ImportTwoOwners: rows contradict each other; nothing changed.
        SpoolFailed: there is no room to compare them; nothing changed.
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
        dry_run = stream.options.dry_run
        if not dry_run and (answer := change.first_answer()) is not None:
            return answer
        _merge_repeats(context.engine, stream)
        foreseen = foresee(context.engine, caller, stream)
        if dry_run:
            return _dry_run_answer(context.engine, foreseen)
        return _Writing(context.engine, caller, stream, change, foreseen.names).run()


def _merge_repeats(engine: Engine, stream: ImportStream) -> None:
    info = engine.get_list(stream.header.list_id)
    if info is None:
        raise ListNotFound(stream.header.list_id)
    time_ns, duration_ns = engine.time_ns, info.policy.duration_ns
    stream.merge_repeats(time_ns, None if duration_ns is None else time_ns + duration_ns)


def _dry_run_answer(engine: Engine, foreseen: Forecast) -> admin_pb2.ImportOwnershipResponse:
    answer = admin_pb2.ImportOwnershipResponse(
        revision=foreseen.revision, renamed_campaign_count=len(foreseen.names)
    )
    _add_tally(answer, foreseen.tally)
    _tell_clock_offset(engine, answer)
    return answer


class _Writing:
    """The rows of one import on their way into the store, chunk by chunk."""

    def __init__(
        self,
        engine: Engine,
        caller: Caller,
        stream: ImportStream,
        change: Change[admin_pb2.ImportOwnershipResponse],
        names: Mapping[str, Naming],
    ) -> None:
        self._engine = engine
        self._caller = caller
        self._stream = stream
        self._change = change
        self._names = names
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
        note = self._change.note(self._detail(), header.list_id)
        answer = admin_pb2.ImportOwnershipResponse(renamed_campaign_count=len(self._names))
        entry_id = 0
        chunks = _chunks(self._stream.rows())
        self._chunk = next(chunks, [])
        for following in chunks:
            outcome = self._engine.import_rows(
                header.list_id, self._chunk, header.strategy, entry_id, note=note, **self._told
            )
            _add_tally(answer, outcome.tally)
            entry_id = outcome.entry_id
            self._done_count += len(self._chunk)
            self._chunk = following
        return self._change.make(
            self._engine.import_rows,
            header.list_id,
            self._chunk,
            header.strategy,
            entry_id,
            answer=answer,
            detail=self._detail(),
            list_id=header.list_id,
            **self._told,
        )

    @property
    def _told(self) -> dict[str, Any]:
        return self._stream.options.told

    def _detail(self) -> dict[str, Any]:
        """Return what the audit says; the names are those that the rows were about to change."""
        header = self._stream.header
        detail = {"strategy": header.strategy_name, "row_count": self._stream.row_count}
        if self._names:
            shown = islice(self._names.items(), _DETAIL_NAMES)
            detail["renamed_campaign_count"] = len(self._names)
            detail["campaign_names"] = {each: names._asdict() for each, names in shown}
        return detail | self._told

    def _explained(self, error: Exception) -> Exception:
        """Return what to tell the caller about an error."""
        conflict = self._conflict() if _is_conflict(error) else None
        if not self._done_count:
            return conflict or error
        cause = status_of(conflict or error, "ImportOwnership")
        if conflict is not None:
            cause = cause._replace(message=f"{conflict.words} since the import was checked")
        number = self._stream.row_number
        unknown = cause.reason in _UNKNOWN_AFTER
        return ImportCutShort(
            number(self._done_count + 1),
            self._stream.row_count,
            cause,
            number(self._done_count + len(self._chunk)) if unknown else 0,
        )

    def _conflict(self) -> ImportConflict | None:
        """Find the row of a conflict that came up between the check and the write of its chunk."""
        engine, first = self._engine, self._done_count + 1
        try:
            for place, row, outcome in judged(engine, self._stream, self._chunk, first):
                if outcome == SKIPPED:
                    return conflict_of(engine, self._caller, self._stream, place, row)
        except Refused:  # the list is gone, or nothing can be read now
            return None
        return None


def _is_conflict(error: Exception) -> bool:
    return isinstance(error, Refused) and error.reason == ImportConflict.reason


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, _CHUNK_COUNT)):
        yield chunk


def _fill(engine: Engine, answer: admin_pb2.ImportOwnershipResponse, outcome: Outcome) -> None:
    _add_tally(answer, outcome.tally)
    _tell_clock_offset(engine, answer)


def _tell_clock_offset(engine: Engine, answer: admin_pb2.ImportOwnershipResponse) -> None:
    offset_ns = engine.clock_offset_ns
    if abs(offset_ns) >= CLOCK_ALARM_NS:
        answer.clock_offset.CopyFrom(convert.duration_of(offset_ns))
        log.warning(
            "import_judged_by_a_wrong_time",
            offset_s=offset_ns // convert.SECOND_NS,
            expired_count=answer.expired_count,
        )


def _add_tally(answer: admin_pb2.ImportOwnershipResponse, tally: Sequence[int]) -> None:
    imported, skipped, overwritten, expired = tally
    answer.imported_count += imported
    answer.skipped_count += skipped
    answer.overwritten_count += overwritten
    answer.expired_count += expired
