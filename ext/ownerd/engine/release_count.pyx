"""Counts the records of which a release ended the ownership (R15), or a stop the reservation (R16).

Either is one event in the log of each list concerned: it costs the same however many records there
are, and its audit entry's count is pending until somebody scans them. `count_release` does, on the
thread that calls it: the writer finds the events among those that the catalog holds, and for one
list after the other takes a view, whose records are read without it; at last it stores what they
came to. The count is the same whenever it is made: records written since the event were counted as
they were written, the others have not seen it yet. Maintenance makes it at the latest, before it
rewrites the records; one that a restart cut off is made after it.

Storing a count makes no revision: it says what was.
"""

from libc.string cimport memset

from ownerd.api.reasons cimport TOO_MANY_READS, refuse
from ownerd.api.task cimport OK, TASK_COUNT
from ownerd.base.bytes cimport empty_slice, text_slice
from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_SUCCESS
from ownerd.engine.commands cimport put_audit, read_audit, refuse_full
from ownerd.engine.queue cimport queue_run
from ownerd.rules.ownership cimport EVENT_RELEASE
from ownerd.storage.capacity cimport CAPACITY_FOR_NOTHING, is_full
from ownerd.storage.catalog cimport (
    List, all_lists, ended_by, find_list, find_list_number, is_uncounted, note_counted, put_counted,
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
    """Count the records of the view that the events ended; damage to a row is noted there."""
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
        total += ended_by(&lst.events, records.ended, request.entry_id)
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
    """Count for an audit entry and store the count; MDB_CORRUPTED, or 0.

    `found` is False if there was nothing to count any more. A refusal is in the request's task.
    """
    cdef size_t i
    ask_writer(engine, request, COUNT_BEGIN)
    if request.task.code != OK or not request.found:
        return MDB_SUCCESS
    for i in range(request.lists.size()):
        request.at = request.lists[i]
        ask_writer(engine, request, COUNT_VIEW)
        if request.task.code != OK:
            return MDB_SUCCESS
        if request.found:
            request.count += count_ended(request)
            view_close(&request.view)
            if request.view.damaged:
                return MDB_CORRUPTED
    ask_writer(engine, request, COUNT_END)
    return MDB_SUCCESS


# --- its steps: on the writer thread --------------------------------------------------------------

cdef EventRow *find_in_list(ReleaseCount *request, List *lst) noexcept nogil:
    """Return an event of the list that is still to be counted for the audit entry, or NULL."""
    cdef size_t i
    for i in range(lst.events.size()):
        if is_uncounted(&lst.events[i]) and lst.events[i].entry_id == request.entry_id:
            return &lst.events[i]
    return NULL


cdef void find_pending(Store *store, ReleaseCount *request) noexcept nogil:
    """Collect the audit entries that are still to be counted for, some of them several times."""
    cdef vector[List *] lists
    cdef List *lst
    cdef size_t i, k
    if request.list_id.empty():
        all_lists(&store.catalog, &lists)
    else:
        lst = find_list(&store.catalog, text_slice(request.list_id))
        if lst != NULL:
            lists.push_back(lst)
    for i in range(lists.size()):
        for k in range(lists[i].events.size()):
            if is_uncounted(&lists[i].events[k]):
                request.pending.push_back(lists[i].events[k].entry_id)


cdef void begin_count(Store *store, ReleaseCount *request) noexcept nogil:
    """Collect the lists concerned: a release is of one list, a stop may be of all."""
    cdef vector[List *] lists
    cdef List *lst = find_list(&store.catalog, text_slice(request.list_id))
    cdef EventRow *row = NULL
    cdef size_t i
    if lst != NULL:
        row = find_in_list(request, lst)
    if row != NULL and row.event.kind == EVENT_RELEASE:
        lists.push_back(lst)
    else:
        all_lists(&store.catalog, &lists)
    for i in range(lists.size()):
        if find_in_list(request, lists[i]) != NULL:
            request.lists.push_back(lists[i].number)
    request.found = not request.lists.empty()


cdef void begin_view(Store *store, ReleaseCount *request) noexcept nogil:
    """Take a view of the list, unless it is gone or somebody else has counted by now."""
    cdef List *lst = find_list_number(&store.catalog, request.at)
    request.found = lst != NULL and find_in_list(request, lst) != NULL
    if request.found and view_take(&request.view, store, lst) != MDB_SUCCESS:
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
    cdef vector[List *] lists
    cdef List *lst
    cdef size_t i
    cdef int code
    for i in range(request.lists.size()):
        lst = find_list_number(&store.catalog, request.lists[i])
        if lst != NULL and find_in_list(request, lst) != NULL:
            lists.push_back(lst)
    request.found = not lists.empty()
    if not request.found:
        return MDB_SUCCESS
    if store_capacity(store, now_ns) == CAPACITY_FOR_NOTHING:
        refuse_full(store, &request.task)
        return MDB_SUCCESS
    store_begin(store)
    set_count(store, request)
    for i in range(lists.size()):
        put_counted(&store.catalog, lists[i], request.entry_id)
    code = store_commit(store, store_revision(store), now_ns)
    if is_full(code):
        refuse_full(store, &request.task)
        return MDB_SUCCESS
    for i in range(lists.size()):
        if code == MDB_SUCCESS:
            note_counted(lists[i], request.entry_id)
    return code


cdef int release_count_step(
    Store *store, ReleaseCount *request, int64_t now_ns
) noexcept nogil:
    """Do what the writer is asked for; an error code that ends the store, or 0."""
    if request.step == COUNT_FIND:
        find_pending(store, request)
    elif request.step == COUNT_BEGIN:
        begin_count(store, request)
    elif request.step == COUNT_VIEW:
        begin_view(store, request)
    else:
        return end_count(store, request, now_ns)
    return MDB_SUCCESS
