"""Opens a data directory: lock, both environments, catalog, the journal since the last settling.

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

from cython.operator cimport dereference, preincrement
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset
from libcpp.memory cimport shared_ptr

from ownerd.base.bytes cimport Slice, empty_slice, put_be64, slice_of
from ownerd.base.containers cimport string, unordered_map
from ownerd.base.lmdb cimport MDB_SUCCESS, lmdb
from ownerd.rules.ownership cimport NEVER_NS
from ownerd.storage.directory cimport take_lock
from ownerd.storage.environment cimport check, environment_close, environment_open, open_tables
from ownerd.storage.log cimport LogPosition, log_count, log_follows, log_replay, log_revision
from ownerd.storage.memtable cimport Memtable, memtable_fits, memtable_new, memtable_run
from ownerd.storage.record_tree cimport tree_close, tree_create, tree_flush, tree_open
from ownerd.storage.store cimport (
    CODES, LOG, META, TABLE_COUNT, TABLE_NAMES, List, StateRow, get_row, publish_counts,
    put_row, store_abort, store_begin, store_capacity,
)
from ownerd.storage.table_cursor cimport (
    TableCursor, cursor_close, cursor_next, cursor_open, cursor_seek, load_campaigns,
    load_codes, load_dropped_lists, load_lists,
)

from ownerd.storage.directory import StoreError, prepare_directory, sync_directory
from ownerd.storage.store import DEFAULT_CODES

cdef enum:
    FORMAT = 2
    NEW_MAP_BYTES = 1 << 20           # more than a new store needs
    MEMTABLES = 2                     # one active, one immutable
    MAP_BYTES_PER_MEMTABLE_BYTE = 8   # a small store has small memtables
    FLUSH_RECORDS = 4096              # in one step, while nobody else uses the store


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
    store.environment = NULL
    store.tree = NULL
    store.txn = NULL
    store.unflushed_count.store(0)
    store.unflushed_delta.store(0)
    try:
        _make_if_new(directory)
        store.reserve_bytes = min(reserve_bytes, map_bytes // 4)
        store.memtable_bytes = min(
            memtable_bytes // MEMTABLES, map_bytes // MAP_BYTES_PER_MEMTABLE_BYTE
        )
        store.active = shared_ptr[Memtable](memtable_new(store.memtable_bytes))
        store.tree = tree_open(os.path.join(directory, "records"), map_bytes)
        store.environment = environment_open(os.path.join(directory, "journal"), map_bytes)
        _load(store, directory)
        _replay(store, directory)
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
    cdef Store store
    cdef char flags[2]
    store.environment = environment_open(path, NEW_MAP_BYTES)
    store.txn = NULL
    store.error = MDB_SUCCESS
    try:
        open_tables(store.environment, TABLE_NAMES, store.tables, TABLE_COUNT)
        for code, counts, success in DEFAULT_CODES:
            encoded = code.encode()
            flags[0], flags[1] = counts, success
            put_row(
                &store, CODES, slice_of(<const char *> encoded, len(encoded)), slice_of(flags, 2),
                slice_of(<const char *> encoded, len(encoded)),
            )
        _put_first_state(&store, store_id)
        check(store.error, "cannot write the new store")
        check(lmdb.txn_commit(store.txn), "cannot write the new store")
    finally:
        environment_close(store.environment)


cdef _put_first_state(Store *store, uint64_t store_id):
    cdef StateRow state
    memset(&state, 0, sizeof(state))
    state.store_id = store_id
    state.format = FORMAT
    state.next_entry = state.next_list = 1
    put_row(
        store, META, slice_of(b"state", 5), slice_of(&state, sizeof(state)), empty_slice()
    )


# --- the catalog ----------------------------------------------------------------------------------

cdef _load(Store *store, str directory):
    cdef int code
    open_tables(store.environment, TABLE_NAMES, store.tables, TABLE_COUNT)
    _load_state(store, directory)
    for code in (
        load_lists(store), load_campaigns(store), load_codes(store), load_dropped_lists(store)
    ):
        check(code, f"cannot read the catalog in {directory}")


cdef _load_state(Store *store, str directory):
    cdef Slice value
    cdef bint found
    store_begin(store)
    found = get_row(store, META, slice_of(b"state", 5), &value)
    if found:
        memcpy(&store.state, value.data, min(value.size, sizeof(StateRow)))
    code = store.error
    store_abort(store)
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
    place.revision = store.tree.flushed_revision.load()
    place.more = False
    if place.revision > store.state.revision:
        refuse_log(
            directory,
            f"ends at revision {store.state.revision}, the records are at {place.revision}",
        )
    check(cursor_open(store, LOG, &scan), f"cannot read the journal in {directory}")
    try:
        more = cursor_next(&scan)
        store.log_first = log_revision(&scan.key) if more else store.state.revision + 1
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
    store.log_next = store.log_first
    publish_counts(store)


cdef bint _replay_row(Store *store, TableCursor *scan, uint64_t revision) except *:
    """Replay one row; when the memtable is full, which holds what came before, it is immutable."""
    cdef int64_t count = log_count(&scan.value)
    if not memtable_fits(store.active.get(), count):
        flush_immutable(store)
        store.active.get().last_revision = revision - 1
        store.immutable = store.active
        store.active = shared_ptr[Memtable](memtable_new(store.memtable_bytes))
    return log_replay(&scan.value, store.active.get())


cdef flush_immutable(Store *store):
    """Bring the immutable memtable, if there is one, into the tree.

    The journal of a server with as much memory fits into both memtables; then this is left to the
    settler, and the store opens so much sooner.
    """
    cdef Memtable *memtable = store.immutable.get()
    cdef size_t position = 0
    cdef uint64_t written = 0
    cdef int code
    if memtable == NULL:
        return
    run = memtable_run(memtable)
    while store.tree.flushed_revision.load() < memtable.last_revision:
        code = tree_flush(
            store.tree, memtable, run.get(), &position, FLUSH_RECORDS, NEVER_NS, &written
        )
        check(code, "cannot settle what the journal holds")
    store.immutable.reset()
    store.tree.flushing_delta.store(0)


# --- closing --------------------------------------------------------------------------------------

cdef void store_close(Store *store) noexcept:
    """Close both environments, free the catalog and let go of the lock."""
    cdef unordered_map[string, List *].iterator lst
    cdef size_t i
    store.active.reset()
    store.immutable.reset()
    if store.environment != NULL:
        environment_close(store.environment)
    if store.tree != NULL:
        tree_close(store.tree)
    if store.lock_fd >= 0:
        os.close(store.lock_fd)
    lst = store.lists.begin()
    while lst != store.lists.end():
        del dereference(lst).second
        preincrement(lst)
    for i in range(store.campaigns.size()):
        del store.campaigns[i]
    for i in range(store.former.size()):
        del store.former[i]
    del store
