"""One store: catalog, journal, memtables and record tree, and the transaction that spans them.

A transaction decides against the catalog in memory and against each record as it was last. What it
writes becomes rows of the tables, entries of the active memtable and rows of the journal. Its
commit is one LMDB transaction: journal, catalog, audit and time go to disk as one.

Invariants:
- `store_abort`, and a commit that fails, put back what the transaction changed in memory.
- The revision and the time (R19) of the state never go back.

It decides nothing and knows no gRPC. `recovery` opens it, `records` reads and writes its records.
"""

from ownerd.base.assertions cimport assert_that
from ownerd.base.atomics cimport flag_read, flag_set
from ownerd.base.bytes cimport empty_slice, slice_of
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.storage.capacity cimport environment_capacity
from ownerd.storage.catalog cimport catalog_mark, catalog_rollback, put_released_counts
from ownerd.storage.dialers cimport dialers_mark, dialers_rollback
from ownerd.storage.directory cimport FILES_LOST, lock_place, note_failure
from ownerd.storage.environment cimport environment_in_place, used_bytes
from ownerd.storage.log cimport (
    log_begin, log_committed, log_put, log_put_jump, log_rollback, log_trim, trim_due,
)
from ownerd.storage.memtables cimport (
    drop_flushed, memtables_growth, memtables_mark, memtables_rollback, publish_counts, rotate,
)
from ownerd.storage.multiget cimport multiget_clear
from ownerd.storage.record_tree cimport tree_count, tree_flushed, tree_rest
from ownerd.storage.tables cimport META, STATE_FORMAT
from ownerd.storage.transaction cimport (
    put_row, transaction_abort, transaction_begin, transaction_commit, transaction_error,
)

cdef enum:
    TRIMMED_PER_COMMIT = 4            # so that the journal shrinks faster than it grows
    TRIMMED_PER_STEP = 1024
    SPLIT_PAGES = 2                   # a page that is split is half full


# --- one write transaction ------------------------------------------------------------------------

cdef void store_begin(Store *store) noexcept nogil:
    transaction_begin(&store.txn)
    store.next_entry = store.state.next_entry
    store.next_list = store.state.next_list
    catalog_mark(&store.catalog)
    dialers_mark(&store.dialers)
    log_begin(&store.log)
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
    state.format = STATE_FORMAT
    state.commit_count += 1
    return state


cdef int store_commit(Store *store, uint64_t revision, int64_t now_ns) noexcept nogil:
    """Commit with the state row; 0 means that everything is on disk (R18).

    On an error the transaction is gone, catalog and memtable are as before. An error of the commit
    itself (not a full map) leaves the outcome unknown: the caller must stop the engine.
    """
    cdef StateRow state = next_state(store, revision, now_ns)
    assert_that(
        revision - store.state.revision <= 1, "the revision stays, or goes on to the next one"
    )
    assert_that(state.time_ns >= store.state.time_ns, "the time never goes back (R19)")
    tree_rest(store.tree)
    put_released_counts(&store.catalog)
    if revision != store.state.revision:
        log_put(&store.log, &store.txn, revision, now_ns)
    log_trim(&store.log, &store.txn, tree_flushed(store.tree), TRIMMED_PER_COMMIT)
    return commit_state(store, &state)


cdef int store_commit_opening(
    Store *store, uint64_t incarnation, uint64_t revision, int64_t time_ns
) noexcept nogil:
    cdef StateRow state = next_state(store, revision, 0)
    assert_that(revision >= store.state.revision, "the revision never goes back")
    if time_ns != 0:
        state.time_ns = time_ns
    if revision != store.state.revision:
        state.incarnation, state.first_revision = incarnation, revision
        log_put_jump(&store.txn, revision, store.state.revision, state.time_ns)
    return commit_state(store, &state)


cdef int commit_state(Store *store, const StateRow *state) noexcept nogil:
    """Commit the open transaction with its state row."""
    cdef int code
    put_row(
        &store.txn, META, slice_of(b"state", 5), slice_of(state, sizeof(StateRow)), empty_slice()
    )
    code = transaction_error(&store.txn)
    if code != MDB_SUCCESS:
        store_abort(store)
        return code
    code = transaction_commit(&store.txn)
    if code != MDB_SUCCESS:
        roll_back(store)
        return code
    store.state.time_ns = state.time_ns
    store.state.next_entry = state.next_entry
    store.state.next_list = state.next_list
    store.state.format = state.format
    store.state.incarnation = state.incarnation
    store.state.first_revision = state.first_revision
    store.state.commit_count = state.commit_count
    flag_set(&store.state.revision, state.revision)
    log_committed(&store.log)
    publish_counts(&store.memtables)
    return MDB_SUCCESS


cdef void roll_back(Store *store) noexcept nogil:
    """Put back what the transaction changed in memory."""
    memtables_rollback(&store.memtables)
    log_rollback(&store.log)
    catalog_rollback(&store.catalog)
    dialers_rollback(&store.dialers)


cdef void store_abort(Store *store) noexcept nogil:
    tree_rest(store.tree)
    transaction_abort(&store.txn)
    roll_back(store)
    assert_that(store.txn.txn == NULL, "a transaction that is aborted is over")


# --- between two transactions ---------------------------------------------------------------------

cdef bint store_rotate(Store *store) noexcept nogil:
    """Make what is committed and not flushed immutable, if nothing else is; True if it did."""
    return rotate(&store.memtables, tree_flushed(store.tree), store.state.revision)


cdef void store_drop_flushed(Store *store) noexcept nogil:
    """Let go of the immutable memtable once the tree has it."""
    if drop_flushed(&store.memtables, tree_flushed(store.tree)):
        store.tree.flushing_delta.store(0)
        publish_counts(&store.memtables)


cdef bint store_trim_due(const Store *store) noexcept nogil:
    return trim_due(&store.log, tree_flushed(store.tree))


cdef int store_trim(Store *store, int64_t now_ns) noexcept nogil:
    """Commit the time and a step of trimming the journal; an LMDB error code, or 0."""
    store_begin(store)
    log_trim(&store.log, &store.txn, tree_flushed(store.tree), TRIMMED_PER_STEP)
    return store_commit(store, store.state.revision, now_ns)


cdef Capacity store_capacity(Store *store, int64_t now_ns) noexcept nogil:
    """Tell what may still be written; asked before each group.

    What the memtables hold is promised capacity in the tree.
    """
    cdef uint64_t promised = memtables_growth(&store.memtables) * SPLIT_PAGES
    return min(
        environment_capacity(store.tables.environment, store.reserve_bytes, 0, now_ns),
        environment_capacity(store.tree.environment, store.reserve_bytes, promised, now_ns),
    )


# --- for whoever asks -----------------------------------------------------------------------------

cdef bint store_disk_full(const Store *store) noexcept nogil:
    return flag_read(&store.tables.environment.disk_full) \
        or flag_read(&store.tree.environment.disk_full)


cdef void store_figures(Store *store, StoreFigures *figures) noexcept nogil:
    figures.revision = store_revision(store)
    figures.flushed_revision = tree_flushed(store.tree)
    figures.record_count = max(<int64_t> 0, (
        <int64_t> tree_count(store.tree) + store.memtables.record_delta.load()
        - store.tree.flushing_delta.load()
    ))
    figures.unflushed_count = store.memtables.record_count.load()
    figures.log_bytes = used_bytes(store.tables.environment)
    figures.tree_bytes = used_bytes(store.tree.environment)
    figures.map_bytes = store.tables.environment.map_bytes
    figures.data_fd = store.tables.environment.data_fd
    figures.disk_full = store_disk_full(store)
    figures.map_full = flag_read(&store.tables.environment.map_full) \
        or flag_read(&store.tree.environment.map_full)


cdef void store_note_failure(const Store *store) noexcept nogil:
    """Note in the data directory, if that is possible, that a commit has failed."""
    note_failure(&store.lock)


cdef Place store_place(Store *store) noexcept nogil:
    """Tell whether the paths of the store still lead to what is open, and nobody put it back."""
    if not environment_in_place(store.tables.environment) \
            or not environment_in_place(store.tree.environment):
        return FILES_LOST
    return lock_place(&store.lock)
