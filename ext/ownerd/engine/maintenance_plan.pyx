"""What maintenance does next, in order of urgency, and the small steps of it that the writer does.

- A finished vacuum is closed: what it has made superfluous is deleted.
- An immutable memtable is flushed. The journal is trimmed after that.
- A vacuum goes on, or the next one begins; a release is counted before it.
- After a vacuum of everything the active memtable is flushed, and old request ids are forgotten.

A plan is made between two groups and says one thing only. Whatever commits to the journal is a step
of its own, which the writer runs as a task; whatever writes to the record tree is done by the
thread that asked (`maintenance`). Between the plan and its work anything may have happened: a step
looks again.
"""

from libc.string cimport memcpy

from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_NEXT, MDB_SUCCESS, MDB_cursor, MDB_val, lmdb
from ownerd.storage.capacity cimport CAPACITY_FOR_NOTHING, is_full
from ownerd.storage.codec cimport row_verify
from ownerd.storage.memtables cimport has_immutable
from ownerd.storage.record_tree cimport set_out_of_space
from ownerd.storage.store cimport (
    store_abort, store_begin, store_capacity, store_commit, store_drop_flushed, store_revision,
    store_rotate, store_trim, store_trim_due,
)
from ownerd.storage.tables cimport REQUESTS, REQUEST_MEMORY_NS, RequestRow
from ownerd.storage.transaction cimport Transaction, note_error, open_cursor, transaction_error
from ownerd.storage.vacuum cimport (
    vacuum_begin, vacuum_choose, vacuum_finish, vacuum_goes_on, vacuum_horizon,
)

cdef enum:
    REQUESTS_PER_STEP = 1024


# --- the plan -------------------------------------------------------------------------------------

cdef Work next_work(
    Store *store, MaintenanceState *state, PlanTask *plan, int64_t now_ns
) noexcept nogil:
    """Choose what is most urgent, and fill in what it is done with."""
    if state.vacuum.finished:
        return WORK_FINISH_VACUUM
    if has_immutable(&store.memtables):
        plan.memtable = store.memtables.immutable
        return WORK_FLUSH
    if store_trim_due(store):
        return WORK_TRIM
    if vacuum_goes_on(&state.vacuum, &store.catalog):
        plan.horizon_ns = vacuum_horizon(&state.vacuum, &store.catalog, now_ns)
        return WORK_VACUUM
    if vacuum_choose(&store.catalog, state.vacuum_round, &plan.target):
        return WORK_COUNT if plan.target.uncounted_entry != 0 else WORK_BEGIN_VACUUM
    if state.flush_due:
        return WORK_ROTATE
    return WORK_FORGET_REQUESTS if state.requests_due else WORK_NOTHING


cdef void maintenance_plan(
    Store *store, MaintenanceState *state, PlanTask *plan, int64_t now_ns
) noexcept nogil:
    """Say what is to be done next, having let go of a memtable that is flushed."""
    plan.work = WORK_NOTHING
    if store_capacity(store, now_ns) == CAPACITY_FOR_NOTHING:
        set_out_of_space(store.tree, True)   # not even to delete or trim
        return
    if plan.vacuum_all:
        state.vacuum_round += 1
        state.requests_due = state.flush_due = True
    store_drop_flushed(store)
    plan.work = next_work(store, state, plan, now_ns)


# --- the writer's steps ---------------------------------------------------------------------------

cdef int trim(Store *store, PlanTask *plan, int64_t now_ns) noexcept nogil:
    cdef int code = store_trim(store, now_ns)
    if is_full(code):
        plan.work = WORK_NOTHING
        return MDB_SUCCESS
    return code


cdef void delete_old_requests(
    Transaction *txn, MDB_cursor *cursor, int64_t now_ns, int *deleted
) noexcept nogil:
    cdef MDB_val key, value
    cdef RequestRow row
    while deleted[0] < REQUESTS_PER_STEP and transaction_error(txn) == MDB_SUCCESS \
            and lmdb.cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS:
        if not row_verify(&key, &value):
            note_error(txn, MDB_CORRUPTED)
            return
        memcpy(&row, value.mv_data, sizeof(row))
        if now_ns - row.time_ns >= REQUEST_MEMORY_NS:
            note_error(txn, lmdb.cursor_del(cursor, 0))
            deleted[0] += 1


cdef int forget_requests(Store *store, MaintenanceState *state, int64_t now_ns) noexcept nogil:
    """Delete request ids that are older than they need be remembered; an error code, or 0."""
    cdef MDB_cursor *cursor
    cdef int deleted = 0
    cdef int code
    store_begin(store)
    if open_cursor(&store.txn, REQUESTS, &cursor):
        delete_old_requests(&store.txn, cursor, now_ns, &deleted)
        lmdb.cursor_close(cursor)
    state.requests_due = deleted == REQUESTS_PER_STEP
    if deleted == 0 and transaction_error(&store.txn) == MDB_SUCCESS:
        store_abort(store)
        return MDB_SUCCESS
    code = store_commit(store, store_revision(store), now_ns)
    return MDB_SUCCESS if is_full(code) else code


cdef int maintenance_step(
    Store *store, MaintenanceState *state, PlanTask *plan, int64_t now_ns
) noexcept nogil:
    """Do what was planned for the writer."""
    if plan.work == WORK_TRIM:
        return trim(store, plan, now_ns)
    if plan.work == WORK_FINISH_VACUUM:
        return vacuum_finish(&state.vacuum, store, state.vacuum_round, now_ns)
    if plan.work == WORK_FORGET_REQUESTS:
        return forget_requests(store, state, now_ns)
    if plan.work == WORK_BEGIN_VACUUM:
        vacuum_begin(&state.vacuum, store, &plan.target)
    elif plan.work == WORK_ROTATE:
        state.flush_due = False
        store_rotate(store)
    return MDB_SUCCESS
