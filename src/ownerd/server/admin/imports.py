"""Import of ownership: rows are received and checked whole, then written in chunks.

One bad row has the import refused with nothing changed. Writing begins when the client has said
that the stream is complete, and then runs to its end even if the client goes.

The request id is stored with the last chunk: an import that broke off is not taken for done, and
sending it again sets the first rows once more, which changes nothing.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice

from ownerd.native import Engine, Outcome, Refused
from ownerd.server.admin.audited_change import Change
from ownerd.server.admin.context import AdminContext, Caller
from ownerd.server.admin.import_stream import ImportStream, Row
from ownerd.server.errors import ImportConflict, ImportCutShort, ListNotFound
from ownerd.server.workers import Workers
from ownerd.v1 import admin_pb2

_CHUNK_COUNT = 5_000
_LOOKUP_COUNT = 1_000
# Messages are handed to a worker thread in parcels of about this size.
_PARCEL_BYTES = 256 << 10


async def receive(stream: ImportStream, workers: Workers, bodies: AsyncIterator[bytes]) -> None:
    """Give every message of a call to `stream`; one parcel is in memory at a time.

    Raises:
        OwnerdError: as ImportStream.add does, at the first bad message.
    """
    parcel: list[bytes] = []
    size_bytes = 0
    async for body in bodies:
        parcel.append(body)
        size_bytes += len(body)
        if size_bytes >= _PARCEL_BYTES:
            await workers.run(stream.add, parcel)
            parcel, size_bytes = [], 0
    await workers.run(stream.add, parcel)


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
        ImportCutShort: the same, met when the rows before it were in force.
        Refused: by the engine.
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
        with context.engine.snapshot(header.list_id) as snapshot:
            time_ns = snapshot.time_ns
        stream.merge_repeats(time_ns)
        if header.strategy == admin_pb2.CONFLICT_STRATEGY_FAIL:
            _refuse_conflicts(context.engine, caller, stream, stream.rows())
        return _write(context.engine, caller, stream, change)


def _write(
    engine: Engine,
    caller: Caller,
    stream: ImportStream,
    change: Change[admin_pb2.ImportOwnershipResponse],
) -> admin_pb2.ImportOwnershipResponse:
    """Write chunk by chunk; the last one carries the request id and makes the answer."""
    header = stream.header
    detail = {"strategy": header.strategy_name, "row_count": stream.row_count}
    note = change.note(detail, header.list_id)
    answer = admin_pb2.ImportOwnershipResponse()
    entry_id = done_count = 0
    chunks = _chunks(stream.rows())
    chunk = next(chunks, [])
    for following in chunks:
        with _conflict_explained(engine, caller, stream, chunk, done_count):
            outcome = engine.import_rows(
                header.list_id, chunk, header.strategy, entry_id, note=note
            )
        _add_tally(answer, outcome)
        entry_id, done_count, chunk = outcome.entry_id, done_count + len(chunk), following
    with _conflict_explained(engine, caller, stream, chunk, done_count):
        return change.make(
            engine.import_rows,
            header.list_id,
            chunk,
            header.strategy,
            entry_id,
            answer=answer,
            detail=detail,
            list_id=header.list_id,
        )


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, _CHUNK_COUNT)):
        yield chunk


def _fill(_: Engine, answer: admin_pb2.ImportOwnershipResponse, outcome: Outcome) -> None:
    _add_tally(answer, outcome)


def _add_tally(answer: admin_pb2.ImportOwnershipResponse, outcome: Outcome) -> None:
    imported, skipped, overwritten, expired = outcome.tally
    answer.imported_count += imported
    answer.skipped_count += skipped
    answer.overwritten_count += overwritten
    answer.expired_count += expired


def _refuse_conflicts(
    engine: Engine, caller: Caller, stream: ImportStream, rows: Iterable[Row], first: int = 1
) -> None:
    """Raise ImportConflict for the first row whose record another campaign holds.

    The campaign is named to whoever may see it. `first` is the place of the first
    of them in `stream.rows`.
    """
    list_id = stream.header.list_id
    rows = iter(rows)
    while batch := list(islice(rows, _LOOKUP_COUNT)):
        with engine.snapshot(list_id) as snapshot:
            holders = snapshot.holders([row[0] for row in batch])
            time_ns = snapshot.time_ns
        for place, (row, holder) in enumerate(zip(batch, holders, strict=True), first):
            # A row that has expired already is dropped, so it conflicts with nobody.
            alive = row[3] is None or row[3] > time_ns
            if alive and holder is not None and holder[1] != row[1]:
                seen = caller.may_see(list_id, holder[1])
                number = stream.row_number(place)
                raise ImportConflict(number, row[0], holder[1] if seen else None)
        first += len(batch)


@contextmanager
def _conflict_explained(
    engine: Engine, caller: Caller, stream: ImportStream, chunk: list[Row], done_count: int
) -> Iterator[None]:
    """Name the row of a conflict that came up between the check and the write of its chunk."""
    try:
        yield
    except Refused as error:
        if error.reason != ImportConflict.reason:
            raise
        conflict = None
        try:
            _refuse_conflicts(engine, caller, stream, chunk, done_count + 1)
        except ImportConflict as found:
            conflict = found
        if done_count:
            raise ImportCutShort(stream.row_number(done_count + 1), conflict) from None
        raise (conflict or error) from None
