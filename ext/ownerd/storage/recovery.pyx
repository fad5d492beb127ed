"""Opens a data directory: lock, record tree, the log since the last flush, catalog.

    DIR/LOCK       locked by the one process that has the store, like DIR, the data file and the log
    DIR/SESSION    tells the store from a copy of it (`session`)
    DIR/log/       the log, as files (`file_log`)
    DIR/records/   LMDB: the record tree, with the small tables
    DIR/FAILED     there after a commit failed, until the next opening (`meta_pages`)
    DIR/CREATING/  there while a new store is being made (`creation`)

What the log holds after the tree's flushed revision is replayed into the active memtable, so the
store is as its last commit left it, however the process ended. A gap in the log, an entry that is
damaged, or a log and a tree that do not belong together are refused: the store would grant what
somebody holds.
"""

import os

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

from ownerd.base.lmdb cimport MDB_MAP_FULL, MDB_NOTFOUND, MDB_SUCCESS, MDB_val
from ownerd.storage.catalog cimport catalog_free, catalog_init, load_catalog
from ownerd.storage.creation cimport create_store, find_store, refuse_none, refuse_other
from ownerd.storage.dialers cimport dialers_init, load_dialers
from ownerd.storage.directory cimport DirectoryLock, lock_directory, lock_init, unlock_directory
from ownerd.storage.environment cimport check
from ownerd.storage.file_log cimport (
    DEFAULT_KEEP_BYTES, DEFAULT_KEEP_NS, DEFAULT_SEGMENT_BYTES, FileLog, LogOptions,
    default_log_options, file_log_revision,
)
from ownerd.storage.flush cimport Flush, flush_immutable
from ownerd.storage.log_opening cimport (
    file_log_acquire, file_log_create, file_log_inspect, file_log_release,
)
from ownerd.storage.log_reader cimport (
    READ_ENTRY, READ_FAILED, READ_TAIL, LogReader, ReadEntry, ReadStatus, file_log_read,
    log_reader_next,
)
from ownerd.storage.log_recovery cimport refuse_log
from ownerd.storage.memtables cimport (
    has_immutable, memtables_close, memtables_fit, memtables_init, publish_counts, rotate,
)
from ownerd.storage.record_tree cimport (
    STOP_STEPPING, is_out_of_space, tree_close, tree_flushed, tree_get, tree_limit_steps,
    tree_open, tree_rest,
)
from ownerd.storage.replay cimport replay_rows
from ownerd.storage.session cimport begin_session
from ownerd.storage.store cimport store_capacity
from ownerd.storage.shared_log cimport SharedLogDoor
from ownerd.storage.tables cimport META, ClusterRow
from ownerd.storage.time_back cimport set_time_back
from ownerd.storage.transaction cimport transaction_init

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
        cluster: the log of the cluster that the store is a node's of, a SharedLogDoor, which must
            outlive it; None: the store is alone, and refused if it is not.
        log_keep_bytes: how many bytes of the log are kept for those who follow it.
        log_keep_ns: how long they are; whichever of the two is reached first.
        log_segment_bytes: how large a file of the log becomes; whole blocks.
        restored: whether it was restored from a backup, and begins a new incarnation.
        leave: whether a node's store leaves its cluster, and is alone from now on.
    """

    def __init__(
        self, *, create=True, store_id=None, allowed_filesystems=(), time_ns=0, cluster=None,
        log_keep_bytes=DEFAULT_KEEP_BYTES, log_keep_ns=DEFAULT_KEEP_NS,
        log_segment_bytes=DEFAULT_SEGMENT_BYTES, restored=False, leave=False,
    ):
        self.create = create
        self.store_id = store_id
        self.allowed_filesystems = allowed_filesystems
        self.time_ns = time_ns
        self.cluster = cluster
        self.log_keep_bytes = log_keep_bytes
        self.log_keep_ns = log_keep_ns
        self.log_segment_bytes = log_segment_bytes
        self.restored = restored
        self.leave = leave
        # The time and the revision that were stored.
        self.stored_ns = 0
        self.stored_revision = 0
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
    """Lock, open or create the store in `directory`, replay its log, load its catalog.

    Raises:
        StoreInUseError: another process has it.
        StoreError: it cannot be created, read or understood, or is not the one that is wanted.
        OSError: a file of it cannot be written.
    """
    cdef Store *store = new Store()
    lock_init(&store.lock)
    store.log = NULL
    store.tree = NULL
    store.log_full = store.stale = False
    store.shared = NULL
    memset(&store.place, 0, sizeof(ClusterRow))
    store.tables.tree = NULL
    store.tables.memtables = &store.memtables
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
        store.tree = store.tables.tree = tree_open(os.path.join(directory, "records"), map_bytes)
        store.state = store.tree.state
        refuse_other(directory, store.state.store_id, opening.store_id)
        _read_place(store, directory)
        if opening.cluster is not None:
            store.shared = &(<SharedLogDoor> opening.cluster).shared
            _renew_log(store, directory, opening)
        elif store.place.log_id != 0 and not (opening.leave or opening.restored):
            raise StoreError(_OF_A_CLUSTER.format(directory=directory))
        else:
            if opening.leave and not _log_readable(store, directory):
                _begin_log_anew(store, directory, opening)
                opening.tell("log_given_up", _LOG_GIVEN_UP)
            _replay(store, directory, opening)
        check(load_catalog(&store.catalog), f"cannot read the catalog in {directory}")
        check(load_dialers(&store.dialers), f"cannot read the dialers in {directory}")
        tree_limit_steps(store.tree, store.reserve_bytes)
        store_capacity(store, 0)      # reserves disk blocks before they are needed
        opening.stored_revision = store.state.revision
        if store.shared == NULL:
            begin_session(store, directory, opening)
        opening.stored_ns = store.state.time_ns
        if opening.time_ns != 0 and store.shared == NULL:
            set_time_back(store, opening.time_ns, directory)
        store.instant_ns = store.state.time_ns
    except BaseException:
        store_close(store)
        raise
    return store


# --- the directory --------------------------------------------------------------------------------

cdef _find_or_make(DirectoryLock *lock, str directory, object opening):
    """Lock the directory; make a store in it if there is none and one may be made."""
    names = ("log", "records", "CREATING", "RESTORING", "RESTORED")
    parts = [os.path.join(directory, name) for name in names]
    if not opening.create and not any(os.path.lexists(part) for part in parts):
        refuse_none(directory)
    prepare_directory(directory)
    _check_filesystems([directory], opening)
    lock_directory(lock, directory)
    if not find_store(directory):
        if not opening.create:
            refuse_none(directory)
        create_store(directory, opening.log_segment_bytes)
        opening.tell(
            "store_created",
            f"there was no store in {directory}, so a new one was made, which knows no list and "
            "no owner. If there should have been one, stop the server: the directory is another "
            "one, or its volume is not mounted",
        )
    _check_filesystems(parts[:2], opening)
    lock_directory(lock, directory)


def _check_filesystems(paths, opening):
    for name, text in check_filesystems(paths, opening.allowed_filesystems):
        opening.tell("filesystem_not_safe", f"{name}: {text}")


# --- in a cluster ---------------------------------------------------------------------------------

_OF_A_CLUSTER = (
    "the store in {directory} is a node's of a cluster, whose log may have more than it: serve it "
    "with --cluster; or make it one of its own by 'ownerd cluster leave'"
)


# A node's own log is not synced: the cluster's has it all.
_LOG_GIVEN_UP = (
    "the store's own log is damaged, as a power cut leaves it: the store has what was flushed of it"
)


cdef int _read_place(Store *store, str directory) except -1:
    """Read where in the log of a cluster the store is, if it is in one."""
    cdef MDB_val value
    cdef int code = tree_get(store.tree, META, b"cluster", 7, &value)
    if code == MDB_SUCCESS:
        memcpy(&store.place, value.mv_data, min(value.mv_size, sizeof(ClusterRow)))
    tree_rest(store.tree)
    if code != MDB_NOTFOUND:
        check(code, f"cannot read the store in {directory}")
    return 0


cdef _renew_log(Store *store, str directory, object opening):
    """Begin the store's own log behind what is flushed: the cluster's has all that follows.

    Raises:
        StoreError: the store is in no cluster yet, and its log has what is not flushed.
    """
    cdef LogOptions options = _log_options(opening)
    cdef uint64_t flushed = tree_flushed(store.tree)
    cdef FileLog *former
    place = os.path.join(directory, "log")
    if store.place.log_id == 0:
        former = file_log_inspect(place, store.tree.state.store_id, flushed)
        found = file_log_revision(former)
        file_log_release(former)
        if found != flushed:
            raise StoreError(
                f"the store in {directory} was not stopped cleanly: serve it once without "
                "--cluster, and stop it"
            )
    _begin_log_anew(store, directory, opening)
    store.log = file_log_acquire(place, store.tree.state.store_id, flushed, &options)
    store.log.unsynced = True


cdef _begin_log_anew(Store *store, str directory, object opening):
    """Have the store's own log begin behind what is flushed."""
    cdef LogOptions options = _log_options(opening)
    place = os.path.join(directory, "log")
    for name in os.listdir(place):
        os.unlink(os.path.join(place, name))
    file_log_create(place, store.tree.state.store_id, tree_flushed(store.tree), &options)


cdef bint _log_readable(Store *store, str directory) except -1:
    """Tell whether the store's own log can be read from what is flushed to its end."""
    cdef FileLog *log
    cdef LogReader reader
    cdef ReadEntry entry
    cdef ReadStatus status
    place = os.path.join(directory, "log")
    try:
        log = file_log_inspect(place, store.tree.state.store_id, tree_flushed(store.tree))
    except StoreError:
        return False
    entry.revision = tree_flushed(store.tree)
    status = file_log_read(log, tree_flushed(store.tree), &reader)
    if status == READ_TAIL:
        status = log_reader_next(&reader, &entry)
    while status == READ_ENTRY:
        status = log_reader_next(&reader, &entry)
    status = status if entry.revision == file_log_revision(log) else READ_FAILED
    file_log_release(log)
    return status == READ_TAIL


# --- the log --------------------------------------------------------------------------------------

cdef LogOptions _log_options(object opening) except *:
    cdef LogOptions options = default_log_options()
    options.keep_bytes, options.keep_ns = opening.log_keep_bytes, opening.log_keep_ns
    options.segment_bytes = opening.log_segment_bytes
    options.first_bytes = min(options.first_bytes, options.segment_bytes)
    return options


cdef _replay(Store *store, str directory, object opening):
    """Put every change that the tree does not have into the active memtable."""
    cdef LogOptions options = _log_options(opening)
    cdef LogReader reader
    cdef ReadEntry entry
    cdef ReadStatus status
    place = os.path.join(directory, "log")
    store.log = file_log_acquire(
        place, store.tree.state.store_id, tree_flushed(store.tree), &options
    )
    status = file_log_read(store.log, tree_flushed(store.tree), &reader)
    if status == READ_TAIL:
        status = log_reader_next(&reader, &entry)
    while status == READ_ENTRY:
        if not _replay_entry(store, &entry):
            refuse_log(directory, f"cannot be read at revision {entry.revision}")
        status = log_reader_next(&reader, &entry)
    if status == READ_FAILED:
        raise OSError(reader.window.error, f"cannot read {place}: "
                      f"{os.strerror(reader.window.error)}")
    if status != READ_TAIL or store.state.revision != file_log_revision(store.log):
        refuse_log(directory, f"is damaged or incomplete behind revision {store.state.revision}")
    publish_counts(&store.memtables)


cdef bint _replay_entry(Store *store, ReadEntry *entry) except *:
    """Replay one entry; a full memtable, which holds what came before, is rotated first.

    The log of a server with as much memory fits into both memtables; then flushing is left to
    maintenance, and the store opens so much sooner.
    """
    if not memtables_fit(&store.memtables, entry.row_count):
        _flush(store)
        rotate(&store.memtables, tree_flushed(store.tree), &store.state)
    return replay_rows(store, &entry.rows, entry.revision, &store.state)


cdef int64_t next_step(void *store) noexcept nogil:
    """Flush in few steps, until there is no space."""
    return STOP_STEPPING if is_out_of_space((<Store *> store).tree) else FLUSH_STEP_NS


cdef _flush(Store *store):
    """Bring the immutable memtable, if there is one, into the tree."""
    cdef Flush flush
    flush.flushed_count = 0
    check(
        flush_immutable(&flush, store, next_step, store), "cannot flush what the log holds"
    )
    if has_immutable(&store.memtables):
        check(MDB_MAP_FULL, "cannot flush what the log holds")


# --- closing --------------------------------------------------------------------------------------

cdef void store_close(Store *store) noexcept:
    """Close log and tree, free the catalog and let go of the lock."""
    memtables_close(&store.memtables)
    if store.log != NULL:
        file_log_release(store.log)
    if store.tree != NULL:
        tree_close(store.tree)
    unlock_directory(&store.lock)
    catalog_free(&store.catalog)
    del store
