"""Counts the records whose ownership a release ended (R15), after it is in force.

A release is one event in its list's log: it costs the same however many records there are, and its
audit entry's count is pending until somebody scans them. `count_release` does, on the thread that
calls it: the writer finds the release among the events that the catalog holds and takes a view, the
records are read without it, and the writer stores what they came to. The count is the same whenever
it is made: records written since the release were counted as they were written, the others have not
seen it yet. Maintenance makes it at the latest, before it rewrites the records; one that a restart
cut off is made after it.

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
    NOT_RELEASED, List, all_lists, find_list, find_list_number, is_uncounted, note_counted,
    put_counted,
)
from ownerd.storage.read_view cimport (
    RecordIterator, iterator_close, iterator_first, iterator_next, iterator_open, view_close,
    view_take,
)
from ownerd.storage.store cimport store_begin, store_capacity, store_commit, store_revision
from ownerd.storage.tables cimport COUNT_PENDING, AuditRow, EventRow


cdef void release_count_init(ReleaseCount *request) noexcept nogil:
    """Begin with an empty request; `task_clear` ends it."""
    memset(&request.task, 0, sizeof(request.task))
    request.task.kind = TASK_COUNT
    request.task.body = request
    request.entry_id = 0
    request.found = False
    request.count = 0
    request.view.txn = NULL


# --- the count: on any thread but the writer's ----------------------------------------------------

cdef int64_t count_ended(ReleaseCount *request) noexcept nogil:
    """Count the records of the view that the release ended; damage to a row is noted there."""
    cdef List *lst = &request.view.list
    cdef RecordIterator records
    cdef int64_t total = 0
    cdef size_t i
    cdef bint more
    for i in range(lst.events.size()):
        if lst.events[i].entry_id == request.entry_id:
            total += lst.events[i].released_count
    iterator_open(&records, &request.view)
    more = iterator_first(&records, empty_slice())
    while more:
        if records.released_by != NOT_RELEASED \
                and lst.events[records.released_by].entry_id == request.entry_id:
            total += 1
        more = iterator_next(&records)
    iterator_close(&records)
    return total


cdef void ask_writer(EngineCore *engine, ReleaseCount *request, CountStep step) noexcept nogil:
    request.step = step
    queue_run(&engine.queue, &request.task)


cdef void find_uncounted_releases(EngineCore *engine, ReleaseCount *request) noexcept nogil:
    """Fill in `pending`; a refusal is in the request's task."""
    ask_writer(engine, request, COUNT_FIND)


cdef int count_release(EngineCore *engine, ReleaseCount *request) noexcept nogil:
    """Count a release and store the count; MDB_CORRUPTED, or 0.

    `found` is False if there was nothing to count any more. A refusal is in the request's task.
    """
    ask_writer(engine, request, COUNT_BEGIN)
    if request.task.code != OK or not request.found:
        return MDB_SUCCESS
    request.count = count_ended(request)
    view_close(&request.view)
    if request.view.damaged:
        return MDB_CORRUPTED
    ask_writer(engine, request, COUNT_END)
    return MDB_SUCCESS


# --- its steps: on the writer thread --------------------------------------------------------------

cdef bint find_in_list(ReleaseCount *request, List *lst) noexcept nogil:
    """Tell whether the release is the list's and still to be counted; list all that are."""
    cdef EventRow *row
    cdef size_t i
    for i in range(lst.events.size()):
        row = &lst.events[i]
        if not is_uncounted(row):
            continue
        if row.entry_id == request.entry_id:
            return True
        # The events of one release stand side by side.
        if request.step == COUNT_FIND \
                and (request.pending.empty() or request.pending.back() != row.entry_id):
            request.pending.push_back(row.entry_id)
    return False


cdef List *find_release(Store *store, ReleaseCount *request) noexcept nogil:
    """Return the list of the release, if it is still to be counted; else NULL."""
    cdef List *lst
    cdef vector[List *] lists
    cdef size_t i
    if not request.list_id.empty():
        lst = find_list(&store.catalog, text_slice(request.list_id))
        return lst if lst != NULL and find_in_list(request, lst) else NULL
    all_lists(&store.catalog, &lists)
    for i in range(lists.size()):
        if find_in_list(request, lists[i]):
            return lists[i]
    return NULL


cdef void begin_count(Store *store, ReleaseCount *request) noexcept nogil:
    cdef List *lst = find_release(store, request)
    request.found = lst != NULL
    if lst != NULL and view_take(&request.view, store, lst) != MDB_SUCCESS:
        refuse(&request.task, TOO_MANY_READS)


cdef void set_count(Store *store, ReleaseCount *request) noexcept nogil:
    """Give the audit entry its final count."""
    cdef AuditRow entry
    cdef string note
    if read_audit(store, request.entry_id, &entry, &note) and entry.count == COUNT_PENDING:
        entry.count = request.count
        put_audit(store, request.entry_id, &entry, note)


cdef int end_count(Store *store, ReleaseCount *request, int64_t now_ns) noexcept nogil:
    """Store the count, unless somebody else has in the meantime; an LMDB error code, or 0."""
    cdef List *lst = find_list_number(&store.catalog, request.view.list.number)
    cdef int code
    if lst == NULL or not find_in_list(request, lst):
        return MDB_SUCCESS
    if store_capacity(store, now_ns) == CAPACITY_FOR_NOTHING:
        refuse_full(store, &request.task)
        return MDB_SUCCESS
    store_begin(store)
    set_count(store, request)
    put_counted(&store.catalog, lst, request.entry_id)
    code = store_commit(store, store_revision(store), now_ns)
    if is_full(code):
        refuse_full(store, &request.task)
        return MDB_SUCCESS
    if code == MDB_SUCCESS:
        note_counted(lst, request.entry_id)
    return code


cdef int release_count_step(
    Store *store, ReleaseCount *request, int64_t now_ns
) noexcept nogil:
    """Do what the writer is asked for; an error code that ends the store, or 0."""
    if request.step == COUNT_FIND:
        find_release(store, request)
    elif request.step == COUNT_BEGIN:
        begin_count(store, request)
    else:
        return end_count(store, request, now_ns)
    return MDB_SUCCESS
