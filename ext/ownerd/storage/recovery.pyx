"""Opens a data directory: lock, both environments, catalog, the journal since the last flush.

    DIR/LOCK       locked by the one process that has the store
    DIR/journal/   LMDB: journal, catalog, audit, requests
    DIR/records/   LMDB: the record tree
    DIR/CREATING   there while a new store is being made; what it holds then is made anew

What the journal holds after the tree's flushed revision is replayed into the active memtable, so
the store is as its last commit left it, however the process ended. A gap in the journal, a value
that fails its checksum, or two environments that do not belong together are refused: the store
would grant what somebody holds.
"""

import os
import shutil

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

from ownerd.base.bytes cimport Slice, empty_slice, put_be64, slice_of
from ownerd.base.lmdb cimport MDB_MAP_FULL, lmdb
from ownerd.rules.ownership cimport Code
from ownerd.storage.catalog cimport Catalog, catalog_free, catalog_init, load_catalog, put_code
from ownerd.storage.directory cimport take_lock
from ownerd.storage.environment cimport check, environment_close, environment_open, open_tables
from ownerd.storage.flush cimport Flush, flush_immutable
from ownerd.storage.log cimport (
    LogPosition, log_count, log_follows, log_init, log_replay, log_revision,
)
from ownerd.storage.memtables cimport (
    has_immutable, memtables_close, memtables_fit, memtables_init, publish_counts, rotate,
)
from ownerd.storage.record_tree cimport (
    STOP_STEPPING, is_out_of_space, tree_close, tree_create, tree_flushed, tree_limit_steps,
    tree_open,
)
from ownerd.storage.store cimport store_capacity
from ownerd.storage.table_cursor cimport (
    TableCursor, cursor_close, cursor_next, cursor_open, cursor_seek,
)
from ownerd.storage.tables cimport LOG, META, TABLE_COUNT, TABLE_NAMES, StateRow, Tables
from ownerd.storage.transaction cimport (
    Transaction, get_row, put_row, transaction_abort, transaction_begin, transaction_error,
    transaction_init,
)

from ownerd.storage.catalog import DEFAULT_CODES
from ownerd.storage.directory import StoreError, prepare_directory, sync_directory

cdef enum:
    FORMAT = 2
    NEW_MAP_BYTES = 1 << 20           # more than a new store needs
    MEMTABLES = 2                     # one active, one immutable
    MAP_BYTES_PER_MEMTABLE_BYTE = 8   # a small store has small memtables


cdef int64_t FLUSH_STEP_NS = 3_600_000_000_000   # nobody waits for the store yet


cdef Store *store_open(
    str directory, uint64_t map_bytes, uint64_t reserve_bytes, uint64_t memtable_bytes
) except NULL:
    """Lock, open or create the store in `directory`, load its catalog, replay its journal.

    Raises:
        StoreInUseError: another process has it.
        StoreError: it cannot be created, read or understood.
    """
    prepare_directory(directory)
    cdef int lock_fd = take_lock(directory)
    cdef Store *store = new Store()
    store.lock_fd = lock_fd
    store.tables.environment = NULL
    store.tree = NULL
    transaction_init(&store.txn, &store.tables)
    catalog_init(&store.catalog, &store.txn)
    try:
        _make_if_new(directory)
        store.reserve_bytes = min(reserve_bytes, map_bytes // 4)
        memtables_init(&store.memtables, min(
            memtable_bytes // MEMTABLES, map_bytes // MAP_BYTES_PER_MEMTABLE_BYTE
        ))
        store.tree = tree_open(os.path.join(directory, "records"), map_bytes)
        store.tables.environment = environment_open(os.path.join(directory, "journal"), map_bytes)
        _load(store, directory)
        _replay(store, directory)
        tree_limit_steps(store.tree, store.reserve_bytes)
        store_capacity(store, 0)      # reserves disk blocks before they are needed
    except BaseException:
        store_close(store)
        raise
    return store


# --- a new store ----------------------------------------------------------------------------------

def _make_if_new(directory):
    """Make what a store consists of, unless it is there; a power cut meanwhile leaves no half."""
    marker, journal, records = (
        os.path.join(directory, name) for name in ("CREATING", "journal", "records")
    )
    if not os.path.exists(marker):
        if os.path.exists(journal) and os.path.exists(records):
            return
        if os.path.exists(journal) or os.path.exists(records):
            raise StoreError(
                f"{directory} is half a store: {journal} and {records} belong together. Restore "
                "both from one copy; a store of format 1 has to be exported with its own version"
            )
        open(marker, "wb").close()
        sync_directory(directory)
    for path in (journal, records):
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path, 0o700)
    store_id = int.from_bytes(os.urandom(8), "little")
    tree_create(records, store_id)
    _create_log(journal, store_id)
    for path in (journal, records, directory):
        sync_directory(path)
    os.unlink(marker)
    sync_directory(directory)


cdef _create_log(str path, uint64_t store_id):
    """Make the journal's environment with its first commit: the format and the wrap-up codes."""
    cdef Tables tables
    cdef Transaction txn
    tables.environment = environment_open(path, NEW_MAP_BYTES)
    try:
        open_tables(tables.environment, TABLE_NAMES, tables.handles, TABLE_COUNT)
        transaction_init(&txn, &tables)
        transaction_begin(&txn)
        _put_codes(&txn)
        _put_first_state(&txn, store_id)
        check(transaction_error(&txn), "cannot write the new store")
        check(lmdb.txn_commit(txn.txn), "cannot write the new store")
    finally:
        environment_close(tables.environment)


cdef _put_codes(Transaction *txn):
    cdef Catalog catalog
    cdef Code flags
    cdef Slice code
    catalog_init(&catalog, txn)
    for name, counts, success in DEFAULT_CODES:
        encoded = name.encode()
        code = slice_of(<const char *> encoded, len(encoded))
        flags.counts_as_attempt, flags.success = counts, success
        put_code(&catalog, code, &flags, code)


cdef _put_first_state(Transaction *txn, uint64_t store_id):
    cdef StateRow state
    memset(&state, 0, sizeof(state))
    state.store_id = store_id
    state.format = FORMAT
    state.next_entry = state.next_list = 1
    put_row(txn, META, slice_of(b"state", 5), slice_of(&state, sizeof(state)), empty_slice())


# --- the catalog ----------------------------------------------------------------------------------

cdef _load(Store *store, str directory):
    open_tables(store.tables.environment, TABLE_NAMES, store.tables.handles, TABLE_COUNT)
    _load_state(store, directory)
    check(load_catalog(&store.catalog), f"cannot read the catalog in {directory}")


cdef _load_state(Store *store, str directory):
    cdef Slice value
    cdef bint found
    transaction_begin(&store.txn)
    found = get_row(&store.txn, META, slice_of(b"state", 5), &value)
    if found:
        memcpy(&store.state, value.data, min(value.size, sizeof(StateRow)))
    code = transaction_error(&store.txn)
    transaction_abort(&store.txn)
    check(code, f"cannot read the store in {directory}")
    if not found:
        raise StoreError(f"{directory}/journal is no store of this program: its state is missing")
    if value.size != sizeof(StateRow) or store.state.format != FORMAT:
        raise StoreError(
            f"the store in {directory} has format {store.state.format}, this program reads "
            f"{FORMAT}; open it with the version that wrote it"
        )
    if store.state.store_id != store.tree.store_id:
        raise StoreError(
            f"{directory}/journal and {directory}/records are of two stores; restore both from "
            "one copy"
        )


# --- the journal ----------------------------------------------------------------------------------

cdef refuse_log(str directory, str what):
    raise StoreError(
        f"the journal in {directory} {what}: changes that were answered would be missing. "
        "'ownerd verify' says what is damaged; a copy must be restored"
    )


cdef _replay(Store *store, str directory):
    """Put every change that the tree does not have into the active memtable."""
    cdef TableCursor scan
    cdef LogPosition place
    cdef char key[8]
    cdef bint more
    place.revision = tree_flushed(store.tree)
    place.more = False
    if place.revision > store.state.revision:
        refuse_log(
            directory,
            f"ends at revision {store.state.revision}, the records are at {place.revision}",
        )
    check(cursor_open(&store.tables, LOG, &scan), f"cannot read the journal in {directory}")
    try:
        more = cursor_next(&scan)
        log_init(&store.log, log_revision(&scan.key) if more else store.state.revision + 1)
        put_be64(key, place.revision + 1)
        more = more and cursor_seek(&scan, slice_of(key, 8))
        while more and log_follows(&place, &scan.key, &scan.value):
            if not _replay_row(store, &scan, place.revision):
                refuse_log(directory, f"cannot be read at revision {place.revision}")
            more = cursor_next(&scan)
        if more or place.more or place.revision != store.state.revision or scan.damaged:
            refuse_log(directory, f"is damaged or incomplete at revision {place.revision}")
    finally:
        cursor_close(&scan)
    publish_counts(&store.memtables)


cdef bint _replay_row(Store *store, TableCursor *scan, uint64_t revision) except *:
    """Replay one row; a full memtable, which holds what came before, is rotated first.

    The journal of a server with as much memory fits into both memtables; then flushing is left to
    maintenance, and the store opens so much sooner.
    """
    if not memtables_fit(&store.memtables, <uint64_t> log_count(&scan.value)):
        _flush(store)
        rotate(&store.memtables, tree_flushed(store.tree), revision - 1)
    return log_replay(&scan.value, store.memtables.active.get())


cdef int64_t next_step(void *store) noexcept nogil:
    """Flush in few steps, until there is no space."""
    return STOP_STEPPING if is_out_of_space((<Store *> store).tree) else FLUSH_STEP_NS


cdef _flush(Store *store):
    """Bring the immutable memtable, if there is one, into the tree."""
    cdef Flush flush
    flush.flushed_count = 0
    check(
        flush_immutable(&flush, store, next_step, store), "cannot flush what the journal holds"
    )
    if has_immutable(&store.memtables):
        check(MDB_MAP_FULL, "cannot flush what the journal holds")


# --- closing --------------------------------------------------------------------------------------

cdef void store_close(Store *store) noexcept:
    """Close both environments, free the catalog and let go of the lock."""
    memtables_close(&store.memtables)
    if store.tables.environment != NULL:
        environment_close(store.tables.environment)
    if store.tree != NULL:
        tree_close(store.tree)
    if store.lock_fd >= 0:
        os.close(store.lock_fd)
    catalog_free(&store.catalog)
    del store
