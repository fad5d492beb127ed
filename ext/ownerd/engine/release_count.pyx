"""Counts what a release ended (R15), a transfer gave (R27), or a stop ended of reservations (R16).

Each is one event in the log of each list concerned: it costs the same however many records there
are, and its audit entry's count is pending until somebody scans them. `count_release` does, on the
thread that calls it: the writer says which lists are concerned and for one after the other takes a
view, whose records are read without it, and stores what they came to. A release is of one list, and
one scan counts every release there that is still to be counted, so many at once cost hardly more
than one; a stop or a transfer may be of all lists, whose counts are stored together. The count is
the same whenever it is made: records written since the event were counted as they were written, the
others have not seen it yet. Maintenance makes it at the latest, before it rewrites the records; one
that a restart cut off is made after it.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from ownerd.api.reasons cimport TOO_MANY_READS, refuse
from ownerd.api.task cimport OK, TASK_COUNT
from ownerd.base.bytes cimport empty_slice, text_slice
from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_SUCCESS
from ownerd.engine.commands cimport put_audit, read_audit, refuse_full
from ownerd.engine.queue cimport queue_run
from ownerd.storage.capacity cimport CAPACITY_FOR_NOTHING, is_full
from ownerd.storage.catalog cimport (
    Catalog, List, all_uncounted, find_list_number, lists_uncounted, note_counted, put_counted,
)
from ownerd.storage.events cimport EventLog, is_uncounted
from ownerd.storage.read_view cimport (
    RecordIterator, iterator_close, iterator_first, iterator_next, iterator_open, view_close,
    view_take,
)
from ownerd.storage.store cimport store_begin, store_capacity, store_commit
from ownerd.storage.tables cimport COUNT_PENDING, AuditRow, EventRow

cdef enum:
    COUNTS_PER_COMMIT = 256


cdef void release_count_init(ReleaseCount *request) noexcept nogil:
    """Begin with an empty request; `task_clear` ends it."""
    memset(&request.task, 0, sizeof(request.task))
    request.task.kind = TASK_COUNT
    request.task.body = request
    request.entry_id = 0
    request.found = False
    request.count = 0
    request.stored = 0
    request.view.txn = NULL


# --- the count: on any thread but the writer's ----------------------------------------------------

cdef void count_records(ReleaseCount *request, vector[int64_t] *counts) noexcept nogil:
    """Count the records of the view by the events that count them; damage is noted there.
    """
    cdef RecordIterator records
    cdef size_t i
    cdef bint more
    iterator_open(&records, &request.view)
    more = iterator_first(&records, empty_slice())
    while more:
        for i in range(records.counted.size()):
            counts[0][records.counted[i]] += 1
        more = iterator_next(&records)
    iterator_close(&records)


cdef void count_ended(ReleaseCount *request) noexcept nogil:
    """Note what each audit entry came to in the list of the view, if that was still to be counted.

    Of an entry that is about several lists, only if it is the one that is asked for: its count is
    the sum.
    """
    cdef EventLog *events = &request.view.list.events
    cdef bint only = request.lists.size() > 1
    cdef vector[int64_t] counts
    cdef const EventRow *row
    cdef Counted counted
    cdef Counted *last
    cdef size_t i, first = request.counted.size()
    counts.resize(events.rows.size(), 0)
    count_records(request, &counts)
    counted.number = request.view.list.number
    for i in range(events.rows.size()):
        row = &events.rows[i]
        if not is_uncounted(row) or (only and row.entry_id != request.entry_id):
            continue
        # The events of one audit entry stand side by side.
        if request.counted.size() == first or request.counted.back().entry_id != row.entry_id:
            counted.entry_id, counted.seq, counted.count = row.entry_id, row.event.seq, 0
            request.counted.push_back(counted)
        last = &request.counted.back()
        last.count += row.released_count + counts[i]
        if row.entry_id == request.entry_id:
            request.count += row.released_count + counts[i]


cdef void ask_writer(EngineCore *engine, ReleaseCount *request, CountStep step) noexcept nogil:
    request.step = step
    queue_run(&engine.queue, &request.task)


cdef void find_uncounted_releases(EngineCore *engine, ReleaseCount *request) noexcept nogil:
    """Fill in `pending`; a refusal is in the request's task."""
    ask_writer(engine, request, COUNT_FIND)


cdef int count_release(EngineCore *engine, ReleaseCount *request) noexcept nogil:
    """Count for an audit entry and store the count; MDB_CORRUPTED, or 0.

    `found` is False if there was nothing to count any more. A refusal is in the request's task.
    """
    cdef size_t i
    ask_writer(engine, request, COUNT_BEGIN)
    for i in range(request.lists.size()):
        request.at = request.lists[i]
        ask_writer(engine, request, COUNT_VIEW)
        if request.task.code != OK or not request.found:
            return MDB_SUCCESS
        count_ended(request)
        view_close(&request.view)
        if request.view.damaged:
            return MDB_CORRUPTED
    while request.task.code == OK and request.stored < request.counted.size():
        ask_writer(engine, request, COUNT_END)
    return MDB_SUCCESS


# --- its steps: on the writer thread --------------------------------------------------------------

cdef void begin_count(Store *store, ReleaseCount *request) noexcept nogil:
    lists_uncounted(&store.catalog, request.entry_id, &request.lists)
    request.found = not request.lists.empty()


cdef void begin_view(Store *store, ReleaseCount *request) noexcept nogil:
    """Take a view of the list, unless somebody else has counted by now."""
    cdef List *lst = find_list_number(&store.catalog, request.at)
    request.found = lst != NULL and is_still_uncounted(
        &store.catalog, request.entry_id, &request.lists
    )
    if request.found and view_take(&request.view, store, lst) != MDB_SUCCESS:
        refuse(&request.task, TOO_MANY_READS)


cdef bint is_still_uncounted(
    Catalog *catalog, uint64_t entry_id, const vector[uint32_t] *lists
) noexcept nogil:
    """Tell whether an audit entry is still to be counted for, and in exactly these lists."""
    cdef vector[uint32_t] now
    cdef size_t i
    lists_uncounted(catalog, entry_id, &now)
    if now.size() != lists.size():
        return False
    for i in range(now.size()):
        if now[i] != lists[0][i]:
            return False
    return True


cdef void put_count(Store *store, uint64_t entry_id, int64_t count) noexcept nogil:
    """Write what an audit entry came to, all in all."""
    cdef AuditRow entry
    cdef string note
    if read_audit(store, entry_id, &entry, &note) and entry.count == COUNT_PENDING:
        entry.count = count
        put_audit(store, entry_id, &entry, note)


cdef void take_counted(
    Store *store, ReleaseCount *request, vector[Counted] *found
) noexcept nogil:
    """Take the next counts, those of several lists together; without those that are made already.
    """
    cdef size_t i, end = request.counted.size()
    if request.lists.size() == 1:
        end = min(end, request.stored + COUNTS_PER_COMMIT)
    for i in range(request.stored, end):
        if is_still_uncounted(&store.catalog, request.counted[i].entry_id, &request.lists):
            found.push_back(request.counted[i])
    request.stored = end


cdef int end_count(Store *store, ReleaseCount *request, int64_t now_ns) noexcept nogil:
    """Store the next counts; an error code, or 0."""
    cdef vector[Counted] found
    cdef List *lst
    cdef size_t i
    cdef int code
    take_counted(store, request, &found)
    if found.empty():
        return MDB_SUCCESS
    if store_capacity(store, now_ns) == CAPACITY_FOR_NOTHING:
        refuse_full(store, &request.task)
        return MDB_SUCCESS
    store_begin(store)
    for i in range(found.size()):
        lst = find_list_number(&store.catalog, found[i].number)
        put_counted(&store.catalog, lst, found[i].seq, found[i].entry_id)
        if request.lists.size() == 1:
            put_count(store, found[i].entry_id, found[i].count)
    if request.lists.size() > 1:
        put_count(store, request.entry_id, request.count)
    code = store_commit(store, now_ns)
    if is_full(code):
        refuse_full(store, &request.task)
        return MDB_SUCCESS
    for i in range(found.size()):
        if code == MDB_SUCCESS:
            lst = find_list_number(&store.catalog, found[i].number)
            note_counted(&store.catalog, lst, found[i].seq, found[i].entry_id)
    return code


cdef int release_count_step(
    Store *store, ReleaseCount *request, int64_t now_ns
) noexcept nogil:
    """Do what the writer is asked for; an error code that ends the store, or 0."""
    if request.step == COUNT_FIND:
        all_uncounted(&store.catalog, text_slice(request.list_id), &request.pending)
    elif request.step == COUNT_BEGIN:
        begin_count(store, request)
    elif request.step == COUNT_VIEW:
        begin_view(store, request)
    else:
        return end_count(store, request, now_ns)
    return MDB_SUCCESS
