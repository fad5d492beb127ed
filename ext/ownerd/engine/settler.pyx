"""Maintenance: brings the memtables into the record tree, old records up to their list's events,
and drops what expired.

A step is a plan, made on the writer thread between two groups, and the work, which writes to the
tree on another thread while dials go on. In order of urgency:

- A immutable memtable is merged. Its journal is trimmed after that.
- A list with events is walked: records that have not seen its last events are written as these left
  them, those that nobody holds any more are deleted. When the walk begins the active memtable is
  immutable, and merged first, so that every record is in the tree or has seen the events. Then no
  record needs the events that were there when it began, and they are cut from the log. A release
  among them is counted before (R15): afterwards its records cannot be told from others.
- Records of deleted lists are removed the same way. A vacuum_all walks every list.

Nothing here changes what anybody is answered: a decision folds the events itself, so a
command of policy costs the same however many records there are (ext/README.md).
"""

from cython.operator cimport dereference, preincrement
from libc.string cimport memcpy

from ownerd.base.bytes cimport put_be32, slice_of, text_slice
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.lmdb cimport (
    MDB_CORRUPTED, MDB_MAP_FULL, MDB_NEXT, MDB_SUCCESS, MDB_cursor, MDB_val, lmdb,
)
from ownerd.engine.commands cimport is_full
from ownerd.rules.ownership cimport EVENT_RELEASE
from ownerd.storage.capacity cimport CAPACITY_FOR_NOTHING, environment_left
from ownerd.storage.codec cimport row_verify
from ownerd.storage.memtable cimport memtable_run
from ownerd.storage.record_tree cimport tree_flush, tree_vacuum
from ownerd.storage.store cimport (
    DROPPED_LISTS, EVENTS, REQUESTS, REQUEST_MEMORY_NS, List, RequestRow, delete_row,
    drop_flushed, note_error, open_txn, rotate, store_abort, store_begin,
    store_capacity, store_commit, trim_log,
)
from ownerd.storage.table_cursor cimport load_list

cdef enum:
    REQUESTS_PER_STEP = 1024
    TRIMMED_PER_STEP = 1024


# --- the plan: on the writer thread ---------------------------------------------------------------

cdef List *vacuumed_list(Store *store, MaintenanceState *state) noexcept nogil:
    if store.lists_by_number.count(state.walk.number) == 0:
        return NULL
    return store.lists_by_number[state.walk.number]


cdef List *list_to_vacuum(Store *store, MaintenanceState *state) noexcept nogil:
    """Return a list with events, else one that the vacuum_all has not visited, else NULL."""
    cdef List *lst
    cdef List *unvisited = NULL
    it = store.lists.begin()
    while it != store.lists.end():
        lst = dereference(it).second
        if not lst.events.empty():
            return lst
        if lst.vacuumed_round < state.vacuum_all:
            unvisited = lst
        preincrement(it)
    return unvisited


cdef bint find_uncounted(List *lst, PlanTask *plan) noexcept nogil:
    """Tell of a release of the list that is still to be counted."""
    cdef size_t i
    for i in range(lst.events.size()):
        if lst.events[i].event.kind == EVENT_RELEASE and not lst.events[i].counted:
            plan.entry_id = lst.events[i].entry_id
            plan.list_id = lst.id
            return True
    return False


cdef void begin_vacuum(MaintenanceState *state, uint32_t number, List *lst) noexcept nogil:
    cdef size_t i
    state.walk.number = number
    state.walk.purge = lst == NULL
    state.walk.last_seq = 0 if lst == NULL else lst.head_seq
    state.walk.after.clear()
    state.walk.events.clear()
    if lst != NULL:
        for i in range(lst.events.size()):
            state.walk.events.push_back(lst.events[i].event)
    state.vacuuming = True
    state.vacuum_finished = False


cdef bint choose_vacuum(Store *store, MaintenanceState *state, PlanTask *plan) noexcept nogil:
    """Begin the next walk, or have a release counted that it needs; False if none is due."""
    cdef List *lst
    plan.work = WORK_PLAN_AGAIN
    if not store.dropped_lists.empty():
        begin_vacuum(state, store.dropped_lists.back(), NULL)
    else:
        lst = list_to_vacuum(store, state)
        if lst == NULL:
            return False
        if find_uncounted(lst, plan):
            plan.work = WORK_COUNT
            return True
        begin_vacuum(state, lst.number, lst)
    rotate(store)
    return True


cdef int64_t judged_at(Store *store, MaintenanceState *state, int64_t now_ns) noexcept nogil:
    """Return the time that a walk may judge expirations at.

    An event that the walk does not fold may prolong what is alive at its instant (R12), or end and
    count it (R15): nothing that was alive then may be dropped.
    """
    cdef size_t i
    cdef List *lst = vacuumed_list(store, state)
    if lst == NULL:
        return now_ns
    for i in range(lst.events.size()):
        if lst.events[i].event.seq > state.walk.last_seq:
            return min(now_ns, lst.events[i].event.time_ns)
    return now_ns


cdef void cut_events(Store *store, MaintenanceState *state) noexcept nogil:
    """Cut the events that every record has seen, or close a dropped list that is empty."""
    cdef List *lst
    cdef size_t i
    cdef char key[8]
    put_be32(key, state.walk.number)
    if state.walk.purge:
        delete_row(store, DROPPED_LISTS, slice_of(key, 4))
        return
    lst = vacuumed_list(store, state)
    for i in range(lst.events.size()):
        if lst.events[i].event.seq <= state.walk.last_seq:
            put_be32(key + 4, lst.events[i].event.seq)
            delete_row(store, EVENTS, slice_of(key, 8))


cdef void forget_dropped(Store *store, uint32_t number) noexcept nogil:
    """Forget a deleted list; others may have been deleted while it was being emptied."""
    cdef size_t i
    for i in range(store.dropped_lists.size()):
        if store.dropped_lists[i] == number:
            store.dropped_lists[i] = store.dropped_lists.back()
            store.dropped_lists.pop_back()
            return


cdef int finish_vacuum(Store *store, MaintenanceState *state, int64_t now_ns) noexcept nogil:
    """Commit what a finished walk has made superfluous; an LMDB error code, or 0."""
    cdef List *lst = vacuumed_list(store, state)
    cdef int code
    state.vacuuming = state.vacuum_finished = False
    if lst == NULL and not state.walk.purge:
        return MDB_SUCCESS            # the list was deleted under the walk
    store_begin(store)
    cut_events(store, state)
    code = store_commit(store, store.state.revision, now_ns)
    if code != MDB_SUCCESS:           # what is not cut now is walked again
        return MDB_SUCCESS if is_full(code) else code
    if state.walk.purge:
        forget_dropped(store, state.walk.number)
        return MDB_SUCCESS
    lst.vacuumed_round = state.vacuum_all
    return load_list(store, text_slice(lst.id))


cdef int trim_step(Store *store, int64_t now_ns) noexcept nogil:
    """Commit a step of trimming the journal; an LMDB error code, or 0."""
    store_begin(store)
    trim_log(store, TRIMMED_PER_STEP)
    return store_commit(store, store.state.revision, now_ns)


cdef void delete_old_requests(
    Store *store, MDB_cursor *cursor, int64_t now_ns, int *deleted
) noexcept nogil:
    cdef MDB_val key, value
    cdef RequestRow row
    while deleted[0] < REQUESTS_PER_STEP and store.error == MDB_SUCCESS \
            and lmdb.cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS:
        if not row_verify(&key, &value):
            note_error(store, MDB_CORRUPTED)
            return
        memcpy(&row, value.mv_data, sizeof(row))
        if now_ns - row.time_ns >= REQUEST_MEMORY_NS:
            note_error(store, lmdb.cursor_del(cursor, 0))
            deleted[0] += 1


cdef int forget_requests(Store *store, MaintenanceState *state, int64_t now_ns) noexcept nogil:
    """Delete request ids that are older than they need be remembered; an error code, or 0."""
    cdef MDB_cursor *cursor
    cdef int deleted = 0
    cdef int code
    store_begin(store)
    if open_txn(store) != NULL:
        note_error(
            store, lmdb.cursor_open(store.txn, store.tables[<int> REQUESTS], &cursor)
        )
    if store.error == MDB_SUCCESS:
        delete_old_requests(store, cursor, now_ns, &deleted)
        lmdb.cursor_close(cursor)
    state.requests_due = deleted == REQUESTS_PER_STEP
    if deleted == 0 and store.error == MDB_SUCCESS:
        store_abort(store)
        return MDB_SUCCESS
    code = store_commit(store, store.state.revision, now_ns)
    return MDB_SUCCESS if is_full(code) else code


cdef int maintenance_plan(
    Store *store, MaintenanceState *state, PlanTask *plan, int64_t now_ns
) noexcept nogil:
    """Say what is to be done next, doing what is small; an error code that ends the store, or 0."""
    cdef int code = MDB_SUCCESS
    if store_capacity(store, now_ns) == CAPACITY_FOR_NOTHING:
        state.stuck.store(True)       # not even to cut or trim
        plan.work = WORK_NOTHING
        return MDB_SUCCESS
    if plan.vacuum_all:
        state.vacuum_all += 1
        state.requests_due = state.flush_due = True
    if state.vacuum_finished:
        code = finish_vacuum(store, state, now_ns)
    drop_flushed(store)
    plan.work = WORK_PLAN_AGAIN
    if code != MDB_SUCCESS:
        return code
    if store.immutable.get() != NULL:
        plan.work = WORK_FLUSH
        plan.memtable = store.immutable
    elif store.log_first <= store.tree.flushed_revision.load():
        code = trim_step(store, now_ns)
        if is_full(code):
            plan.work = WORK_NOTHING
            return MDB_SUCCESS
        return code
    elif state.vacuuming and (state.walk.purge or vacuumed_list(store, state) != NULL):
        plan.work = WORK_VACUUM
        state.walk.now_ns = judged_at(store, state, now_ns)
    elif choose_vacuum(store, state, plan):
        return MDB_SUCCESS
    elif state.flush_due:
        state.flush_due = False
        rotate(store)
    elif state.requests_due:
        return forget_requests(store, state, now_ns)
    else:
        plan.work = WORK_NOTHING
    return MDB_SUCCESS


# --- the work: on whichever thread settles --------------------------------------------------------

cdef int judged(MaintenanceState *state, Store *store, int code) noexcept nogil:
    """Tell a lack of room, which is waited out, from what ends the store."""
    state.stuck.store(is_full(code))
    return MDB_SUCCESS if is_full(code) else code


cdef uint64_t records_allowed(MaintenanceState *state, Store *store) noexcept nogil:
    """Return how many records a step may write into what is left of map and disk."""
    cdef uint64_t left = environment_left(
        store.tree.environment, store.reserve_bytes, clock_elapsed()
    )
    if left >= state.step_bytes:
        return state.step_records
    return left * state.step_records // (2 * state.step_bytes)


cdef int flush_step(
    MaintenanceState *state, Store *store, shared_ptr[Memtable] memtable, int64_t most_ns
) noexcept nogil:
    """Bring an immutable memtable's next records into the tree; an error code that ends the store.

    A memtable that the tree has by now is left alone: written again, it would undo what came after.
    """
    cdef uint64_t last_revision = memtable.get().last_revision
    cdef int code = MDB_SUCCESS
    cdef uint64_t most
    state.guard.lock()
    most = records_allowed(state, store)
    if most == 0:
        code = MDB_MAP_FULL
    elif last_revision > store.tree.flushed_revision.load():
        if state.memtable.get() != memtable.get():
            state.memtable = memtable
            state.run = memtable_run(memtable.get())
            state.position = 0
        code = tree_flush(
            store.tree, memtable.get(), state.run.get(), &state.position, most,
            clock_elapsed() + most_ns, &state.flushed_count,
        )
    if last_revision <= store.tree.flushed_revision.load():
        state.memtable.reset()
        state.run.reset()
    state.guard.unlock()
    return judged(state, store, code)


cdef int vacuum_step(MaintenanceState *state, Store *store, int64_t most_ns) noexcept nogil:
    """Visit the next records of the walk; an error code that ends the store, or 0."""
    cdef uint64_t written = state.walk.written
    cdef uint64_t most
    cdef int code = MDB_MAP_FULL
    state.guard.lock()
    most = records_allowed(state, store)
    if most > 0:
        code = tree_vacuum(
            store.tree, &state.walk, most, clock_elapsed() + most_ns, &state.vacuum_finished
        )
    state.guard.unlock()
    if code != MDB_SUCCESS:           # what the aborted step visited is to be visited again
        state.walk.after.clear()
        state.walk.written = written
    state.vacuumed_count += state.walk.written - written
    return judged(state, store, code)
