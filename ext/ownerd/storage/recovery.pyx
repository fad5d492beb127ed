"""Opens a data directory: lock, both environments, catalog, the journal since the last flush.

    DIR/LOCK       locked by the one process that has the store, like DIR and both data files
    DIR/SESSION    tells the store from a copy of it (`session`)
    DIR/journal/   LMDB: journal, catalog, audit, requests
    DIR/records/   LMDB: the record tree
    DIR/FAILED     there after a commit failed, until the next opening (`meta_pages`)
    DIR/CREATING/  there while a new store is being made (`creation`)

What the journal holds after the tree's flushed revision is replayed into the active memtable, so
the store is as its last commit left it, however the process ended. A gap in the journal, a value
that fails its checksum, or two environments that do not belong together are refused: the store
would grant what somebody holds.
"""

import os

from libc.stdint cimport int64_t, uint64_t

from ownerd.base.bytes cimport Slice, put_be64, slice_of
from ownerd.base.lmdb cimport MDB_MAP_FULL
from ownerd.storage.catalog cimport catalog_free, catalog_init, load_catalog
from ownerd.storage.creation cimport create_store, find_store
from ownerd.storage.dialers cimport dialers_init, load_dialers
from ownerd.storage.directory cimport DirectoryLock, lock_directory, lock_init, unlock_directory
from ownerd.storage.environment cimport check, environment_close, environment_open, open_tables
from ownerd.storage.flush cimport Flush, flush_immutable
from ownerd.storage.log cimport (
    LogPosition, log_count, log_follows, log_follows_revision, log_init, log_replay,
)
from ownerd.storage.memtables cimport (
    has_immutable, memtables_close, memtables_fit, memtables_init, publish_counts, rotate,
)
from ownerd.storage.record_tree cimport (
    STOP_STEPPING, is_out_of_space, tree_close, tree_flushed, tree_limit_steps, tree_open,
)
from ownerd.storage.session cimport begin_session
from ownerd.storage.store cimport store_capacity
from ownerd.storage.table_cursor cimport (
    TableCursor, cursor_close, cursor_next, cursor_open, cursor_seek,
)
from ownerd.storage.tables cimport (
    LOG, META, OLD_STATE_FORMAT, STATE_FORMAT, TABLE_COUNT, TABLE_NAMES, StateRow, state_known,
    state_read,
)
from ownerd.storage.time_back cimport set_time_back
from ownerd.storage.transaction cimport (
    get_row, transaction_abort, transaction_begin, transaction_error, transaction_init,
)

from ownerd.storage.directory import StoreError, prepare_directory
from ownerd.storage.filesystem import check_filesystems

cdef enum:
    MEMTABLES = 2                     # one active, one immutable
    MAP_BYTES_PER_MEMTABLE_BYTE = 8   # a small store has small memtables
    LEAST_RESERVE_BYTES = 0x80000     # 512 KiB: less would not let releases through


cdef int64_t FLUSH_STEP_NS = 3_600_000_000_000   # nobody waits for the store yet


class Opening:
    """How a store is to be opened; afterwards, what was found.

    Args:
        create: whether a store is made where there is none.
        store_id: that it must have; None for any.
        allowed_filesystems: names of shared filesystems (`filesystem`) that it may be on.
        time_ns: what the stored time is set back to (R19); 0: nothing. Also one that is later
            than that changes nothing.
    """

    def __init__(self, *, create=True, store_id=None, allowed_filesystems=(), time_ns=0):
        self.create = create
        self.store_id = store_id
        self.allowed_filesystems = allowed_filesystems
        self.time_ns = time_ns
        # The time that was stored.
        self.stored_ns = 0
        # What to warn of: names of events, and what each means.
        self.found = []

    def tell(self, event, text):
        """Note something to warn of, once."""
        if (event, text) not in self.found:
            self.found.append((event, text))


cdef Store *store_open(
    str directory, uint64_t map_bytes, uint64_t reserve_bytes, uint64_t memtable_bytes,
    object opening,
) except NULL:
    """Lock, open or create the store in `directory`, load its catalog, replay its journal.

    Raises:
        StoreInUseError: another process has it.
        StoreError: it cannot be created, read or understood, or is not the one that is wanted.
        OSError: a file of it cannot be written.
    """
    cdef Store *store = new Store()
    lock_init(&store.lock)
    store.tables.environment = NULL
    store.tree = NULL
    transaction_init(&store.txn, &store.tables)
    catalog_init(&store.catalog, &store.txn)
    dialers_init(&store.dialers, &store.txn)
    try:
        _find_or_make(&store.lock, directory, opening)
        least = max(reserve_bytes, <uint64_t> LEAST_RESERVE_BYTES)
        store.reserve_bytes = min(least, map_bytes // 4)
        memtables_init(&store.memtables, min(
            memtable_bytes // MEMTABLES, map_bytes // MAP_BYTES_PER_MEMTABLE_BYTE
        ))
        store.tree = tree_open(os.path.join(directory, "records"), map_bytes)
        store.tables.environment = environment_open(
            os.path.join(directory, "journal"), map_bytes, sizeof(StateRow)
        )
        _load(store, directory)
        _refuse_stranger(store, directory, opening)
        _replay(store, directory)
        tree_limit_steps(store.tree, store.reserve_bytes)
        store_capacity(store, 0)      # reserves disk blocks before they are needed
        begin_session(store, directory, opening)
        opening.stored_ns = store.state.time_ns
        if opening.time_ns != 0:
            set_time_back(store, opening.time_ns, directory)
        store.instant_ns = store.state.time_ns
    except BaseException:
        store_close(store)
        raise
    return store


# --- the directory --------------------------------------------------------------------------------

cdef _find_or_make(DirectoryLock *lock, str directory, object opening):
    """Lock the directory; make a store in it if there is none and one may be made."""
    parts = [os.path.join(directory, name) for name in ("journal", "records", "CREATING")]
    if not opening.create and not any(map(os.path.lexists, parts)):
        refuse_none(directory)
    prepare_directory(directory)
    _check_filesystems([directory], opening)
    lock_directory(lock, directory)
    if not find_store(directory):
        if not opening.create:
            refuse_none(directory)
        create_store(directory)
        opening.tell(
            "store_created",
            f"there was no store in {directory}, so a new one was made, which knows no list and "
            "no owner. If there should have been one, stop the server: the directory is another "
            "one, or its volume is not mounted",
        )
    _check_filesystems(parts[:2], opening)
    lock_directory(lock, directory)


cdef refuse_none(str directory):
    raise StoreError(
        f"there is no store in {directory}, and none is to be made: see that the directory is the "
        f"right one and its volume is mounted; 'ownerd init --data {directory}' makes a new store"
    )


def _check_filesystems(paths, opening):
    for name, text in check_filesystems(paths, opening.allowed_filesystems):
        opening.tell("filesystem_not_safe", f"{name}: {text}")


cdef _refuse_stranger(Store *store, str directory, object opening):
    if opening.store_id is not None and opening.store_id != store.state.store_id:
        raise StoreError(
            f"the store in {directory} has the id {store.state.store_id:016x}, and store_id says "
            f"that it must be {opening.store_id:016x}: it is another store. Mount or restore the "
            "right one, or change store_id"
        )


# --- the catalog ----------------------------------------------------------------------------------

cdef _load(Store *store, str directory):
    open_tables(store.tables.environment, TABLE_NAMES, store.tables.handles, TABLE_COUNT)
    _load_state(store, directory)
    check(load_catalog(&store.catalog), f"cannot read the catalog in {directory}")
    check(load_dialers(&store.dialers), f"cannot read the dialers in {directory}")


cdef _load_state(Store *store, str directory):
    cdef Slice value
    cdef bint found
    transaction_begin(&store.txn)
    found = get_row(&store.txn, META, slice_of(b"state", 5), &value)
    if found:
        state_read(&store.state, value)
    code = transaction_error(&store.txn)
    transaction_abort(&store.txn)
    check(code, f"cannot read the store in {directory}")
    if not found:
        raise StoreError(f"{directory}/journal is no store of this program: its state is missing")
    if not state_known(&store.state, value.size):
        raise StoreError(
            f"the store in {directory} has format {store.state.format}, this program reads "
            f"{OLD_STATE_FORMAT} to {STATE_FORMAT}; open it with the version that wrote it"
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
        log_init(&store.log, (
            log_follows_revision(&scan.key, &scan.value) if more else store.state.revision
        ) + 1)
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
    unlock_directory(&store.lock)
    catalog_free(&store.catalog)
    del store
