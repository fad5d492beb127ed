"""One store: catalog, log, memtables and record tree, and the transaction that spans them.

A transaction decides against the catalog in memory and against each record as it was last. What it
writes becomes rows of the active memtable and of one entry of the log. Its commit is the append of
that entry: records, catalog, audit and time go to disk as one, with one sync.

Invariants:
- `store_abort`, and a commit that fails, put back what the transaction changed in memory.
- Every commit takes a revision; it and the time (R19) of the state never go back.
- What is in the log is in a memtable or in the tree.

It decides nothing and knows no gRPC. `recovery` opens it, `records` reads and writes its records.
"""

from libc.errno cimport ENOSPC

from ownerd.base.assertions cimport assert_that
from ownerd.base.atomics cimport flag_read, flag_set
from ownerd.base.bytes cimport slice_of
from ownerd.base.containers cimport map, string
from ownerd.base.failpoints cimport (
    FAIL_AFTER_COMMIT, FAIL_AFTER_PREPARE, FAIL_AFTER_TRIM, FAIL_BEFORE_COMMIT,
    FAIL_BEFORE_PREPARE, FAIL_BEFORE_TRIM, fail_at,
)
from ownerd.base.lmdb cimport MDB_MAP_FULL, MDB_SUCCESS
from ownerd.storage.capacity cimport (
    CAPACITY_FOR_CHANGES, environment_capacity, log_capacity, log_reserve,
)
from ownerd.storage.catalog cimport catalog_mark, catalog_rollback, put_released_counts
from ownerd.storage.dialers cimport dialers_mark, dialers_rollback
from ownerd.storage.directory cimport FILES_LOST, lock_place, note_failure
from ownerd.storage.environment cimport environment_in_place, used_bytes
from ownerd.storage.file_log cimport (
    LOG_FENCED, LOG_FULL, LOG_MORE, LOG_OK, file_log_bytes, file_log_error, file_log_next_ready,
)
from ownerd.storage.log_entry cimport entry_put
from ownerd.storage.log_upkeep cimport file_log_in_place, file_log_prepare, file_log_trim
from ownerd.storage.log_writer cimport file_log_append, file_log_room
from ownerd.storage.memtables cimport (
    drop_flushed, has_immutable, memtables_growth, memtables_mark, memtables_put_rows,
    memtables_rollback, publish_counts, rotate,
)
from ownerd.storage.multiget cimport multiget_clear
from ownerd.storage.record_tree cimport tree_count, tree_flushed, tree_rest
from ownerd.storage.rows cimport RowVersion, place_row
from ownerd.storage.tables cimport META
from ownerd.storage.transaction cimport (
    transaction_begin, transaction_error, transaction_fill_entry,
)

cdef enum:
    SPLIT_PAGES = 2                   # a page that is split is half full
    LARGE_SEGMENT_BYTES = 0x800000    # 8 MiB


# --- one write transaction ------------------------------------------------------------------------

cdef void store_begin(Store *store) noexcept nogil:
    transaction_begin(&store.txn)
    store.next_entry = store.state.next_entry
    store.next_list = store.state.next_list
    catalog_mark(&store.catalog)
    dialers_mark(&store.dialers)
    multiget_clear(&store.multiget)
    memtables_mark(&store.memtables)


cdef uint64_t next_entry_id(const Store *store) noexcept nogil:
    return store.next_entry


cdef uint64_t take_entry_id(Store *store) noexcept nogil:
    """Return the id of the next audit entry, and go on to the one after it."""
    store.next_entry += 1
    return store.next_entry - 1


cdef uint32_t take_list_number(Store *store) noexcept nogil:
    """Return the number of the next list, and go on to the one after it."""
    store.next_list += 1
    return store.next_list - 1


cdef StateRow next_state(Store *store, uint64_t revision, int64_t now_ns) noexcept nogil:
    cdef StateRow state = store.state
    state.revision = revision
    state.time_ns = max(now_ns, state.time_ns)
    state.next_entry = store.next_entry
    state.next_list = store.next_list
    state.commit_count = 0
    return state


cdef int store_commit(Store *store, int64_t now_ns) noexcept nogil:
    """Commit as the next revision; 0 means that everything is on disk (R18).

    On an error the transaction is gone, catalog and memtable are as before. An error of the append
    itself (not a lack of space) leaves the outcome unknown: the caller must stop the engine.
    """
    cdef StateRow state = next_state(store, store.state.revision + 1, now_ns)
    assert_that(state.time_ns >= store.state.time_ns, "the time never goes back (R19)")
    put_released_counts(&store.catalog)
    return commit_state(store, &state)


cdef int store_commit_opening(
    Store *store, uint64_t incarnation, uint64_t first_revision, int64_t time_ns
) noexcept nogil:
    cdef StateRow state = next_state(store, store.state.revision + 1, 0)
    cdef int code
    if time_ns != 0:
        state.time_ns = time_ns
    if incarnation != 0:
        assert_that(first_revision >= state.revision, "the revision never goes back")
        state.incarnation = incarnation
        state.revision = state.first_revision = first_revision
    code = commit_state(store, &state)
    if code == MDB_SUCCESS:           # later other threads read it
        store.state.incarnation = state.incarnation
        store.state.first_revision = state.first_revision
    return code


cdef int code_of(LogStatus status) noexcept nogil:
    """Return the code of a commit that the cluster's log has, or has not, taken."""
    if status == LOG_OK:
        return MDB_SUCCESS
    if status == LOG_FULL:
        return MDB_MAP_FULL
    return COMMIT_FENCED if status == LOG_FENCED else COMMIT_UNKNOWN


cdef int share(Store *store, const StateRow *state) noexcept nogil:
    """Append the entry to the log of the cluster, then to the store's own, which only serves
    readers: that it has no room is no reason not to have changed anything any more.
    """
    cdef int code = code_of(store.shared.append(
        store.shared.context, &store.txn.entry, state.revision, state.time_ns, &store.place
    ))
    if code == MDB_SUCCESS and file_log_append(
        store.log, &store.txn.entry, state.revision, state.time_ns
    ) != LOG_OK:
        code = file_log_error(store.log) or ENOSPC
    return code


cdef int append(Store *store, const StateRow *state) noexcept nogil:
    """Append the transaction's entry to the log; 0, MDB_MAP_FULL, or an error that ends the store.
    """
    cdef LogStatus status
    transaction_fill_entry(&store.txn)
    entry_put(
        &store.txn.entry, META, slice_of(b"state", 5), slice_of(state, sizeof(StateRow))
    )
    fail_at(FAIL_BEFORE_COMMIT)
    if store.shared != NULL:
        return share(store, state)
    status = file_log_append(store.log, &store.txn.entry, state.revision, state.time_ns)
    fail_at(FAIL_AFTER_COMMIT)
    if status == LOG_OK:
        return MDB_SUCCESS
    return MDB_MAP_FULL if status == LOG_FULL else file_log_error(store.log)


cdef int commit_state(Store *store, const StateRow *state) noexcept nogil:
    """Commit the open transaction with the state that it leaves."""
    cdef int code = transaction_error(&store.txn)
    tree_rest(store.tree)
    if code == MDB_SUCCESS:
        code = append(store, state)
    if code != MDB_SUCCESS:
        roll_back(store)
        return code
    store.state.time_ns = state.time_ns
    store.state.next_entry = state.next_entry
    store.state.next_list = state.next_list
    memtables_put_rows(&store.memtables, &store.txn.rows, state.revision)
    flag_set(&store.state.revision, state.revision)
    publish_counts(&store.memtables)
    return MDB_SUCCESS


cdef void roll_back(Store *store) noexcept nogil:
    """Put back what the transaction changed in memory."""
    memtables_rollback(&store.memtables)
    catalog_rollback(&store.catalog)
    dialers_rollback(&store.dialers)


cdef void store_abort(Store *store) noexcept nogil:
    tree_rest(store.tree)
    roll_back(store)


# --- between two transactions ---------------------------------------------------------------------

cdef int store_confirm(const Store *store) noexcept nogil:
    """Have it proved that this node still led, where there is a cluster."""
    if store.shared == NULL:
        return MDB_SUCCESS
    return code_of(store.shared.confirm(store.shared.context))


cdef void put_place(Store *store) noexcept nogil:
    """Have the flush take along where in the cluster's log the store is."""
    cdef map[string, RowVersion] rows
    cdef string place
    place_row(&place, META, slice_of(b"cluster", 7))
    rows[place].is_gone = False
    rows[place].value.assign(<const char *> &store.place, sizeof(ClusterRow))
    memtables_put_rows(&store.memtables, &rows, store.state.revision)


cdef bint store_rotate(Store *store) noexcept nogil:
    """Make what is committed and not flushed immutable, if nothing else is; True if it did."""
    if store.shared != NULL and not has_immutable(&store.memtables):
        put_place(store)
    return rotate(&store.memtables, tree_flushed(store.tree), &store.state)


cdef void store_drop_flushed(Store *store) noexcept nogil:
    """Let go of the immutable memtable once the tree has it."""
    if drop_flushed(&store.memtables, tree_flushed(store.tree)):
        store.tree.flushing_delta.store(0)
        publish_counts(&store.memtables)


cdef void store_reserve_log(Store *store, uint64_t bytes) noexcept nogil:
    cdef uint64_t reserve = log_reserve(store.log, store.reserve_bytes)
    if store.log.active.get().header.file_bytes < LARGE_SEGMENT_BYTES:
        reserve = store.reserve_bytes   # the next one is small, too, and made in no time
    if not file_log_next_ready(store.log) and file_log_room(store.log) < reserve + bytes:
        store_prepare_log(store, True)


cdef Capacity store_capacity(Store *store, int64_t now_ns) noexcept nogil:
    """Tell what may still be written; asked before each group.

    What the memtables hold is promised capacity in the tree. A change is appended to the log only:
    a tree that has no space now, for want of pages that nobody reads, is no reason to refuse it.
    """
    cdef uint64_t promised = memtables_growth(&store.memtables) * SPLIT_PAGES
    return min(log_capacity(store.log, store.reserve_bytes), max(
        CAPACITY_FOR_CHANGES,
        environment_capacity(store.tree.environment, store.reserve_bytes, promised, now_ns),
    ))


# --- the log's files ------------------------------------------------------------------------------

cdef LogStatus store_prepare_log(Store *store, bint at_once) noexcept nogil:
    cdef LogStatus status = LOG_OK
    fail_at(FAIL_BEFORE_PREPARE)
    store.upkeep.lock()
    if not file_log_next_ready(store.log):
        status = file_log_prepare(store.log)
        while at_once and status == LOG_MORE:
            status = file_log_prepare(store.log)
    store.upkeep.unlock()
    fail_at(FAIL_AFTER_PREPARE)
    flag_set(&store.log_full, status == LOG_FULL)
    return status


cdef LogStatus store_trim_log(Store *store, int64_t now_ns, bint keep) noexcept nogil:
    cdef LogStatus status
    fail_at(FAIL_BEFORE_TRIM)
    store.upkeep.lock()
    status = file_log_trim(store.log, tree_flushed(store.tree), now_ns, keep)
    store.upkeep.unlock()
    fail_at(FAIL_AFTER_TRIM)
    return status


# --- for whoever asks -----------------------------------------------------------------------------

cdef bint store_disk_full(const Store *store) noexcept nogil:
    return flag_read(&store.log_full) or flag_read(&store.tree.environment.disk_full)


cdef void store_figures(Store *store, StoreFigures *figures) noexcept nogil:
    figures.revision = store_revision(store)
    figures.flushed_revision = tree_flushed(store.tree)
    figures.record_count = max(<int64_t> 0, (
        <int64_t> tree_count(store.tree) + store.memtables.record_delta.load()
        - store.tree.flushing_delta.load()
    ))
    figures.unflushed_count = store.memtables.record_count.load()
    figures.log_bytes = file_log_bytes(store.log)
    figures.tree_bytes = used_bytes(store.tree.environment)
    figures.map_bytes = store.tree.environment.map_bytes
    figures.data_fd = store.tree.environment.data_fd
    figures.disk_full = store_disk_full(store)
    figures.map_full = flag_read(&store.tree.environment.map_full)


cdef void store_note_failure(const Store *store) noexcept nogil:
    """Note in the data directory, if that is possible, that a commit has failed."""
    note_failure(&store.lock)


cdef Place store_place(Store *store) noexcept nogil:
    """Tell whether the paths of the store still lead to what is open, and nobody put it back."""
    cdef bint log_in_place
    store.upkeep.lock()
    log_in_place = file_log_in_place(store.log)
    store.upkeep.unlock()
    if not log_in_place or not environment_in_place(store.tree.environment):
        return FILES_LOST
    return lock_place(&store.lock)
