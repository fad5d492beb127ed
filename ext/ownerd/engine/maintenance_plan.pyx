"""What maintenance does next, in order of urgency, and the small steps of it that the writer does.

- A finished vacuum is closed: what it has made superfluous is deleted.
- An immutable memtable is flushed. The journal is trimmed after that.
- A vacuum goes on, or the next one begins; releases that nobody counts are counted in between.
- After a round the active memtable is flushed, and old request ids and dialers are forgotten.

A plan is made between two groups and says one thing only. Whatever commits to the journal is a step
of its own, which the writer runs as a task; whatever writes to the record tree is done by the
thread that asked (`maintenance`). Between the plan and its work anything may have happened: a step
looks again.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy

from ownerd.base.bytes cimport text_slice, val_of
from ownerd.base.containers cimport string, vector
from ownerd.base.lmdb cimport (
    MDB_CORRUPTED, MDB_NEXT, MDB_SET_RANGE, MDB_SUCCESS, MDB_cursor, MDB_val, lmdb,
)
from ownerd.storage.capacity cimport CAPACITY_FOR_NOTHING, is_full
from ownerd.storage.catalog cimport List, next_to_count
from ownerd.storage.codec cimport row_verify
from ownerd.storage.dialers cimport dialers_over, forget_dialers
from ownerd.storage.memtables cimport has_immutable
from ownerd.storage.record_tree cimport set_out_of_space
from ownerd.storage.store cimport (
    store_abort, store_begin, store_capacity, store_commit, store_drop_flushed, store_revision,
    store_rotate, store_trim, store_trim_due,
)
from ownerd.storage.tables cimport REQUESTS, REQUEST_MEMORY_NS, RequestRow
from ownerd.storage.transaction cimport Transaction, note_error, open_cursor, transaction_error
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
    if state.vacuum.active:
        vacuum_look(&state.vacuum, &store.catalog, now_ns)
        return WORK_VACUUM
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
    return WORK_FORGET_DIALERS if state.dialers_due else WORK_NOTHING


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
    store_drop_flushed(store)
    plan.work = next_work(store, state, plan, now_ns)


# --- the writer's steps ---------------------------------------------------------------------------

cdef int trim(Store *store, PlanTask *plan, int64_t now_ns) noexcept nogil:
    cdef int code = store_trim(store, now_ns)
    if is_full(code):
        plan.work = WORK_NOTHING
        return MDB_SUCCESS
    return code


cdef bint next_request(
    MaintenanceState *state, MDB_cursor *cursor, MDB_val *key, MDB_val *value
) noexcept nogil:
    """Move to the first request after the last one that was looked at; False if there is none."""
    cdef const string *last = &state.requests_after
    cdef int code
    if last.empty():
        return lmdb.cursor_get(cursor, key, value, MDB_NEXT) == MDB_SUCCESS
    key[0] = val_of(text_slice(last[0]))
    code = lmdb.cursor_get(cursor, key, value, MDB_SET_RANGE)
    if code == MDB_SUCCESS and key.mv_size == last.size() \
            and memcmp(key.mv_data, last.data(), last.size()) == 0:
        code = lmdb.cursor_get(cursor, key, value, MDB_NEXT)
    return code == MDB_SUCCESS


cdef bint delete_old_requests(
    Transaction *txn, MaintenanceState *state, MDB_cursor *cursor, int64_t now_ns
) noexcept nogil:
    """Look at the next requests, one step's; True if any was deleted."""
    cdef MDB_val key, value
    cdef RequestRow row
    cdef bint deleted = False
    cdef int _seen
    for _seen in range(REQUESTS_PER_STEP):
        state.requests_due = next_request(state, cursor, &key, &value)
        if not state.requests_due or transaction_error(txn) != MDB_SUCCESS:
            return deleted
        state.requests_after.assign(<const char *> key.mv_data, key.mv_size)
        if not row_verify(&key, &value):
            note_error(txn, MDB_CORRUPTED)
            return deleted
        memcpy(&row, value.mv_data, sizeof(row))
        if now_ns - row.time_ns >= REQUEST_MEMORY_NS:
            note_error(txn, lmdb.cursor_del(cursor, 0))
            deleted = True
    return deleted


cdef int forget_requests(Store *store, MaintenanceState *state, int64_t now_ns) noexcept nogil:
    """Delete request ids that are older than they need be remembered; an error code, or 0."""
    cdef MDB_cursor *cursor
    cdef bint deleted = False
    cdef int code
    store_begin(store)
    if open_cursor(&store.txn, REQUESTS, &cursor):
        deleted = delete_old_requests(&store.txn, state, cursor, now_ns)
        lmdb.cursor_close(cursor)
    if not deleted and transaction_error(&store.txn) == MDB_SUCCESS:
        store_abort(store)
        return MDB_SUCCESS
    code = store_commit(store, store_revision(store), now_ns)
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
    code = store_commit(store, store_revision(store), now_ns)
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
    if plan.work == WORK_TRIM:
        return trim(store, plan, now_ns)
    if plan.work == WORK_FINISH_VACUUM:
        return vacuum_finish(&state.vacuum, store, state.round_ns, now_ns)
    if plan.work == WORK_FORGET_REQUESTS:
        return forget_requests(store, state, now_ns)
    if plan.work == WORK_FORGET_DIALERS:
        return forget_some_dialers(store, state, now_ns)
    if plan.work == WORK_BEGIN_VACUUM:
        vacuum_begin(&state.vacuum, store, state.round_ns)
    elif plan.work == WORK_ROTATE:
        state.flush_due = False
        store_rotate(store)
    return MDB_SUCCESS
