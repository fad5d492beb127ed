"""What maintenance does next, in order of urgency, and the small steps of it that the writer does.

- The next segment of the log is made, last where the disk had no space for it.
- An immutable memtable is flushed, and the active one when it is old. The log is trimmed after
  that.
- A finished vacuum is closed: what it has made superfluous is deleted.
- A vacuum goes on, or the next one begins; releases that nobody counts are counted in between.
- After a round the active memtable is flushed, and old request ids and dialers are forgotten.

A plan is made between two groups and says one thing only. Whatever commits is a step
of its own, which the writer runs as a task; whatever writes to the record tree is done by the
thread that asked (`maintenance`). Between the plan and its work anything may have happened: a step
looks again.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy

from ownerd.base.atomics cimport flag_read
from ownerd.base.bytes cimport Slice, slice_of, text_slice
from ownerd.base.containers cimport string, vector
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.storage.capacity cimport CAPACITY_FOR_NOTHING, is_full
from ownerd.storage.catalog cimport List, next_to_count
from ownerd.storage.dialers cimport dialers_over, forget_dialers
from ownerd.storage.file_log cimport file_log_next_ready
from ownerd.storage.memtables cimport has_immutable
from ownerd.storage.record_tree cimport set_out_of_space
from ownerd.storage.store cimport (
    store_abort, store_begin, store_capacity, store_commit, store_drop_flushed, store_rotate,
)
from ownerd.storage.table_cursor cimport (
    TableCursor, cursor_close, cursor_next, cursor_open, cursor_seek,
)
from ownerd.storage.tables cimport REQUESTS, REQUEST_MEMORY_NS, RequestRow
from ownerd.storage.transaction cimport delete_row, transaction_error
from ownerd.storage.vacuum cimport vacuum_begin, vacuum_finish, vacuum_is_due, vacuum_look

cdef enum:
    REQUESTS_PER_STEP = 1024


# --- the plan -------------------------------------------------------------------------------------

cdef bint find_to_count(Store *store, MaintenanceState *state, PlanTask *plan) noexcept nogil:
    """Name the first release of the next list that cannot be vacuumed before it is counted."""
    cdef List *lst = next_to_count(&store.catalog, state.counted_number)
    if lst == NULL:
        return False
    state.counted_number = lst.number
    plan.uncounted_entry = lst.events.rows[0].entry_id
    return True


cdef Work next_of_standby(Store *store, MaintenanceState *state, PlanTask *plan) noexcept nogil:
    """Choose what a node that does not lead begins: nothing that commits, and no count."""
    # Only a catalog that is not stale is what the log says. Requests are the leader's to forget:
    # that they are due says here that the round has not begun.
    if state.requests_due and not store.stale:
        state.requests_due = False
        if vacuum_is_due(&store.catalog, state.round_ns):
            return WORK_BEGIN_VACUUM
    return WORK_ROTATE if state.flush_due else WORK_NOTHING


cdef Work next_work(
    Store *store, MaintenanceState *state, PlanTask *plan, int64_t now_ns
) noexcept nogil:
    """Choose what is most urgent, and fill in what it is done with."""
    if not file_log_next_ready(store.log) and not flag_read(&store.log_full):
        return WORK_PREPARE
    if has_immutable(&store.memtables):
        plan.memtable = store.memtables.immutable
        return WORK_FLUSH
    if not state.vacuum.over.empty():
        return WORK_CUT
    if state.vacuum.finished:
        return WORK_FINISH_VACUUM
    if state.flush_aged:
        return WORK_ROTATE
    if state.vacuum.active:
        vacuum_look(&state.vacuum, &store.catalog, now_ns)
        return WORK_VACUUM
    if plan.standby:
        return next_of_standby(store, state, plan)
    if vacuum_is_due(&store.catalog, state.round_ns) and not (
        state.count_waits and find_to_count(store, state, plan)
    ):
        state.count_waits = True
        return WORK_BEGIN_VACUUM
    if find_to_count(store, state, plan):
        state.count_waits = False
        return WORK_COUNT
    if state.flush_due:
        return WORK_ROTATE
    if state.requests_due:
        return WORK_FORGET_REQUESTS
    if state.dialers_due:
        return WORK_FORGET_DIALERS
    return WORK_NOTHING if file_log_next_ready(store.log) else WORK_PREPARE


cdef void maintenance_plan(
    Store *store, MaintenanceState *state, PlanTask *plan, int64_t now_ns
) noexcept nogil:
    """Say what is to be done next, having let go of a memtable that is flushed."""
    plan.work = WORK_NOTHING
    if store_capacity(store, now_ns) == CAPACITY_FOR_NOTHING:
        set_out_of_space(store.tree, True)   # not even to delete or trim
        return
    if plan.vacuum_all:
        state.round_ns = now_ns
        state.requests_due = state.dialers_due = state.flush_due = True
        state.requests_after.clear()
    state.flush_aged |= plan.flush_all
    store_drop_flushed(store)
    plan.work = next_work(store, state, plan, now_ns)


# --- the writer's steps ---------------------------------------------------------------------------

cdef bint delete_old_requests(
    Store *store, MaintenanceState *state, TableCursor *scan, int64_t now_ns
) noexcept nogil:
    """Look at the next requests, one step's; True if any was deleted."""
    cdef RequestRow row
    cdef Slice key
    cdef bint deleted = False, more = cursor_seek(scan, text_slice(state.requests_after))
    cdef int _seen
    if more and same_key(scan, &state.requests_after):
        more = cursor_next(scan)
    for _seen in range(REQUESTS_PER_STEP):
        if not more:
            break
        key = slice_of(scan.key.mv_data, scan.key.mv_size)
        state.requests_after.assign(key.data, key.size)
        memcpy(&row, scan.value.mv_data, sizeof(row))
        if now_ns - row.time_ns >= REQUEST_MEMORY_NS:
            delete_row(&store.txn, REQUESTS, key)
            deleted = True
        more = cursor_next(scan)
    state.requests_due = more
    return deleted


cdef bint same_key(const TableCursor *scan, const string *key) noexcept nogil:
    return scan.key.mv_size == (<string *> key).size() \
        and memcmp(scan.key.mv_data, (<string *> key).data(), scan.key.mv_size) == 0


cdef int forget_requests(Store *store, MaintenanceState *state, int64_t now_ns) noexcept nogil:
    """Delete request ids that are older than they need be remembered; an error code, or 0."""
    cdef TableCursor scan
    cdef bint deleted
    cdef int code = cursor_open(&store.tables, REQUESTS, &scan)
    if code != MDB_SUCCESS:
        return code
    store_begin(store)
    deleted = delete_old_requests(store, state, &scan, now_ns)
    code = cursor_close(&scan)
    if code != MDB_SUCCESS or not deleted:
        store_abort(store)
        return code
    code = store_commit(store, now_ns)
    if is_full(code):
        state.requests_due = False    # in the next round
        return MDB_SUCCESS
    return code


cdef int forget_some_dialers(
    Store *store, MaintenanceState *state, int64_t now_ns
) noexcept nogil:
    """Forget dialers of which no reservation is left; an error code, or 0."""
    cdef vector[uint32_t] numbers
    cdef int code
    store_begin(store)
    state.dialers_due = dialers_over(&store.dialers, now_ns, &numbers)
    if numbers.empty() and transaction_error(&store.txn) == MDB_SUCCESS:
        store_abort(store)
        return MDB_SUCCESS
    code = store_commit(store, now_ns)
    if code == MDB_SUCCESS:
        forget_dialers(&store.dialers, &numbers)
    elif is_full(code):
        state.dialers_due = False     # in the next round
        return MDB_SUCCESS
    return code


cdef int maintenance_step(
    Store *store, MaintenanceState *state, PlanTask *plan, int64_t now_ns
) noexcept nogil:
    """Do what was planned for the writer."""
    if plan.work == WORK_FORGET_REQUESTS:
        return forget_requests(store, state, now_ns)
    if plan.work == WORK_FORGET_DIALERS:
        return forget_some_dialers(store, state, now_ns)
    if plan.work == WORK_FINISH_VACUUM:
        if not has_immutable(&store.memtables):
            vacuum_finish(&state.vacuum, store, state.round_ns)
    elif plan.work == WORK_BEGIN_VACUUM:
        vacuum_begin(&state.vacuum, store, state.round_ns)
    elif plan.work == WORK_ROTATE:
        # What a round has flushed at its end is no older than that.
        state.flush_due &= state.vacuum.active
        state.flush_aged = False
        store_rotate(store)
    return MDB_SUCCESS
