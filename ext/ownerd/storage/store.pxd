"""C interface of store: everything that one data directory holds, and its transactions."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.atomics cimport flag_read, flag_set
from ownerd.base.containers cimport mutex, vector
from ownerd.base.live cimport LiveStore
from ownerd.storage.capacity cimport Capacity
from ownerd.storage.catalog cimport Catalog
from ownerd.storage.dialers cimport Dialers
from ownerd.storage.directory cimport DirectoryLock, Place
from ownerd.storage.file_log cimport FileLog, LogStatus
from ownerd.storage.memtables cimport Memtables
from ownerd.storage.multiget cimport Multiget
from ownerd.storage.record_tree cimport Tree
from ownerd.storage.table_cursor cimport Tables
from ownerd.storage.shared_log cimport SharedLog
from ownerd.storage.tables cimport ClusterRow, StateRow
from ownerd.storage.transaction cimport Transaction

# Made by `recovery`. The parts belong to the modules that they are named after.
cdef cppclass Store:
    Tables tables
    Transaction txn
    Catalog catalog
    Dialers dialers
    FileLog *log
    mutex upkeep                      # held by whoever makes or removes a segment of the log
    Memtables memtables
    Multiget multiget                 # what the open transaction is about to decide
    vector[uint32_t] counted          # rows of events that the record loaded last did not see
    Tree *tree                        # all rows, as flushed
    StateRow state                    # as committed
    SharedLog *shared                 # the log of a cluster; NULL: the store's own is all there is
    ClusterRow place                  # in that log, of what is committed; no log_id: not in it yet
    bint stale                        # rows were applied that catalog and dialers have not seen
    int64_t instant_ns                # of the last decision; no two have the same one (R22)
    uint64_t next_entry               # as of the open transaction, like the next one
    uint32_t next_list
    bint log_full                     # the last segment that was wanted found no disk space
    uint64_t reserve_bytes            # capacity that is kept for releases and maintenance
    DirectoryLock lock
    LiveStore live

# Codes of a commit in a cluster, beside LMDB's, errnos, STORE_LOST (-1) and WALK_DIFFERS (-2): all
# of them come by one way.
cdef enum:
    COMMIT_FENCED = -3                # another node leads: nothing changed
    COMMIT_UNKNOWN = -4               # it may be in the cluster's log

# What is shown of a store; the counts may be of instants that differ a little.
cdef struct StoreFigures:
    uint64_t revision
    uint64_t flushed_revision
    int64_t record_count
    int64_t unflushed_count
    uint64_t log_bytes
    uint64_t tree_bytes
    uint64_t map_bytes
    int data_fd                       # a file on the store's filesystem
    bint disk_full
    bint map_full


cdef inline uint64_t store_revision(const Store *store) noexcept nogil:
    """Return the revision of the last commit that changed something."""
    return flag_read(&store.state.revision)


cdef inline int64_t store_time(const Store *store) noexcept nogil:
    """Return the highest time that is stored (R19)."""
    return store.state.time_ns


cdef inline int64_t store_now(const Store *store, int64_t clock_ns) noexcept nogil:
    """Return the time that what is looked at now is judged by: not before what was decided."""
    return max(clock_ns, flag_read(&store.instant_ns))


cdef inline int64_t store_instant(Store *store, int64_t clock_ns) noexcept nogil:
    """Return the next decision's own instant."""
    cdef int64_t instant_ns = max(clock_ns, store.instant_ns + 1)
    flag_set(&store.instant_ns, instant_ns)
    return instant_ns


cdef inline bint left_undone(int code) noexcept nogil:
    """Tell whether a code ends this node's leading, but not the store."""
    return code == COMMIT_FENCED or code == COMMIT_UNKNOWN


# --- one transaction; on the writer thread only ---------------------------------------------------

cdef void store_begin(Store *store) noexcept nogil
# As the next revision. 0: everything is on disk (R18). MAP_FULL: nothing changed. Any other error:
# what is on disk is not known, and the caller must stop the engine.
cdef int store_commit(Store *store, int64_t now_ns) noexcept nogil
cdef void store_abort(Store *store) noexcept nogil
# Whether what was read since a call came may be told: 0, or as `store_commit`.
cdef int store_confirm(const Store *store) noexcept nogil
# The same before anybody is answered: as the first revision of a new incarnation, unless that is 0;
# and with this time, also if it goes back, unless that is 0.
cdef int store_commit_opening(
    Store *store, uint64_t incarnation, uint64_t first_revision, int64_t time_ns
) noexcept nogil
# Never used again if the transaction commits.
cdef uint64_t next_entry_id(const Store *store) noexcept nogil
cdef uint64_t take_entry_id(Store *store) noexcept nogil
cdef uint32_t take_list_number(Store *store) noexcept nogil

# --- between two transactions, on the writer thread -----------------------------------------------

cdef bint store_rotate(Store *store) noexcept nogil
cdef void store_drop_flushed(Store *store) noexcept nogil
# Makes a next segment of the log at once, unless the log takes so many bytes without it and keeps
# what it has to for what makes room.
cdef void store_reserve_log(Store *store, uint64_t bytes) noexcept nogil
cdef Capacity store_capacity(Store *store, int64_t now_ns) noexcept nogil

# --- on any thread --------------------------------------------------------------------------------

# A step towards a next segment of the log, for one who is not in a hurry, or all that is left of
# it. LOG_OK: one is ready; LOG_MORE; LOG_FULL: the disk is; LOG_FAILED.
cdef LogStatus store_prepare_log(Store *store, bint at_once) noexcept nogil
# Removes a segment that nobody needs; LOG_MORE if it did. Without `keep`, readers need none.
cdef LogStatus store_trim_log(Store *store, int64_t now_ns, bint keep) noexcept nogil

cdef bint store_disk_full(const Store *store) noexcept nogil
cdef void store_figures(Store *store, StoreFigures *figures) noexcept nogil
cdef void store_note_failure(const Store *store) noexcept nogil
# One thread at a time.
cdef Place store_place(Store *store) noexcept nogil
