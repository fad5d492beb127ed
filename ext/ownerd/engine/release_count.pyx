"""Counts the records whose ownership a release ended (R15), after it is in force.

A release is one event in its list's log: it costs the same however many records there are, and its
audit entry's count is pending until somebody scans them. `count_release` does, on the thread that
calls it: the writer finds the release's list and takes a view, the records are read without it, and
the writer stores what they came to. One scan counts every release of the list that is still to be
counted, so many at once cost hardly more than one. The count is the same whenever it is made:
records written since the release were counted as they were written, the others have not seen it
yet. Maintenance makes it at the latest, before it rewrites the records; one that a restart cut off
is made after it.

Storing a count makes no revision: it says what was.
"""

from libc.string cimport memset

from ownerd.api.reasons cimport TOO_MANY_READS, refuse
from ownerd.api.task cimport OK, TASK_COUNT
from ownerd.base.bytes cimport empty_slice, text_slice
from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_SUCCESS
from ownerd.engine.commands cimport put_audit, read_audit, refuse_full
from ownerd.engine.queue cimport queue_run
from ownerd.storage.capacity cimport CAPACITY_FOR_NOTHING, is_full
from ownerd.storage.catalog cimport (
    List, all_uncounted, find_list_number, find_release, note_counted, put_counted,
)
from ownerd.storage.events cimport NOT_RELEASED, EventLog, is_uncounted
from ownerd.storage.read_view cimport (
    RecordIterator, iterator_close, iterator_first, iterator_next, iterator_open, view_close,
    view_take,
)
from ownerd.storage.store cimport store_begin, store_capacity, store_commit, store_revision
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
    """Count the records of the view by the event that released them; damage is noted there."""
    cdef RecordIterator records
    cdef bint more
    iterator_open(&records, &request.view)
    more = iterator_first(&records, empty_slice())
    while more:
        if records.released_by != NOT_RELEASED:
            counts[0][records.released_by] += 1
        more = iterator_next(&records)
    iterator_close(&records)


cdef void count_ended(ReleaseCount *request) noexcept nogil:
    """Fill in what each release came to that was still to be counted."""
    cdef EventLog *events = &request.view.list.events
    cdef vector[int64_t] counts
    cdef const EventRow *row
    cdef Counted counted
    cdef Counted *last
    cdef size_t i
    counts.resize(events.rows.size(), 0)
    count_records(request, &counts)
    for i in range(events.rows.size()):
        row = &events.rows[i]
        if not is_uncounted(row):
            continue
        # The events of one release stand side by side.
        if request.counted.empty() or request.counted.back().entry_id != row.entry_id:
            counted.entry_id, counted.seq, counted.count = row.entry_id, row.event.seq, 0
            request.counted.push_back(counted)
        last = &request.counted.back()
        last.count += row.released_count + counts[i]
        if last.entry_id == request.entry_id:
            request.count = last.count


cdef void ask_writer(EngineCore *engine, ReleaseCount *request, CountStep step) noexcept nogil:
    request.step = step
    queue_run(&engine.queue, &request.task)


cdef void find_uncounted_releases(EngineCore *engine, ReleaseCount *request) noexcept nogil:
    """Fill in `pending`; a refusal is in the request's task."""
    ask_writer(engine, request, COUNT_FIND)


cdef int count_release(EngineCore *engine, ReleaseCount *request) noexcept nogil:
    """Count a release, with the others of its list, and store the counts; MDB_CORRUPTED, or 0.

    `found` is False if there was nothing to count any more. A refusal is in the request's task.
    """
    ask_writer(engine, request, COUNT_BEGIN)
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
    cdef List *lst = find_release(&store.catalog, request.entry_id)
    request.found = lst != NULL
    if lst != NULL and view_take(&request.view, store, lst) != MDB_SUCCESS:
        refuse(&request.task, TOO_MANY_READS)


cdef void put_count(Store *store, List *lst, const Counted *counted) noexcept nogil:
    """Write that a release has its final count, and what that is."""
    cdef AuditRow entry
    cdef string note
    put_counted(&store.catalog, lst, counted.seq, counted.entry_id)
    if read_audit(store, counted.entry_id, &entry, &note) and entry.count == COUNT_PENDING:
        entry.count = counted.count
        put_audit(store, counted.entry_id, &entry, note)


cdef int end_count(Store *store, ReleaseCount *request, int64_t now_ns) noexcept nogil:
    """Store the next counts, but those that somebody else has meanwhile; an error code, or 0."""
    cdef vector[Counted] found
    cdef List *lst
    cdef size_t i
    cdef int code
    cdef size_t end = min(request.counted.size(), request.stored + COUNTS_PER_COMMIT)
    for i in range(request.stored, end):
        if find_release(&store.catalog, request.counted[i].entry_id) != NULL:
            found.push_back(request.counted[i])
    request.stored = end
    lst = find_list_number(&store.catalog, request.view.list.number)
    if lst == NULL or found.empty():
        return MDB_SUCCESS
    if store_capacity(store, now_ns) == CAPACITY_FOR_NOTHING:
        refuse_full(store, &request.task)
        return MDB_SUCCESS
    store_begin(store)
    for i in range(found.size()):
        put_count(store, lst, &found[i])
    code = store_commit(store, store_revision(store), now_ns)
    if is_full(code):
        refuse_full(store, &request.task)
        return MDB_SUCCESS
    if code == MDB_SUCCESS:
        for i in range(found.size()):
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
    else:
        return end_count(store, request, now_ns)
    return MDB_SUCCESS
