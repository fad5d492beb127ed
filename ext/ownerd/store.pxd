"""C interface of store: the data directory, its catalog in memory, and one write transaction."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.calls cimport Slice
from ownerd.containers cimport string, unordered_map, vector
from ownerd.lmdb_api cimport MDB_cursor, MDB_dbi, MDB_env, MDB_txn, MDB_val
from ownerd.rules cimport Code, Event, Hold, Policy

cdef enum Table:
    META
    LISTS
    GRAVES
    EVENTS
    CAMPAIGNS
    CODES
    RECORDS
    AUDIT
    REQUESTS
    TABLE_COUNT

cdef enum:
    COUNT_PENDING = -1                # an audit entry whose records are still being counted
    NOT_RELEASED = -1
    REQUEST_MEMORY_NS = 86_400_000_000_000   # R20: repeats are recognised for 24 h

cdef const char *TABLE_NAMES[TABLE_COUNT]   # in the order of Table

# --- rows: the fixed part of each value; strings follow it --------------------------------------

cdef struct StateRow:                 # META "state", written by every commit
    uint64_t revision
    int64_t time_ns                   # R19: the highest time ever stored
    uint64_t next_entry
    uint32_t next_list
    uint32_t format

cdef struct ListRow:                  # LISTS, by list id
    int64_t duration_ns
    int64_t renewal_window_ns
    int64_t reservation_ttl_ns
    int64_t create_ns
    int64_t update_ns
    uint64_t update_revision
    uint32_t number
    uint32_t head_seq
    uint32_t enabled
    uint32_t unused

cdef struct EventRow:                 # EVENTS, by list number and seq
    Event event
    uint64_t entry_id                 # the audit entry that reports the count
    int64_t released_count            # records written since whose ownership it ended
    uint64_t counted                  # the audit entry has its final count

cdef struct AuditRow:                 # AUDIT, by entry id; the note follows
    int64_t time_ns
    uint64_t revision
    int64_t count

cdef struct RequestRow:               # REQUESTS, by request id; the memo follows
    int64_t time_ns
    uint64_t revision
    uint64_t entry_id                 # whose count is the answer's
    int64_t tally[4]

# --- the catalog in memory ------------------------------------------------------------------------

cdef cppclass Campaign:
    string id
    string name

cdef cppclass List:
    string id
    uint32_t number
    uint32_t head_seq
    Policy policy
    int64_t create_ns
    int64_t update_ns
    uint64_t update_revision
    uint64_t acquire_revision         # no ownership was acquired at a later revision
    vector[EventRow] events           # by seq; those that some record may not have seen yet
    uint64_t swept                    # the last sweep that visited every record

cdef struct Undo:
    List *list
    size_t index
    int64_t released_count

cdef cppclass Store:
    MDB_env *env
    MDB_dbi tables[TABLE_COUNT]
    MDB_txn *txn                      # the one write transaction, between begin and commit
    int error                         # the first LMDB error inside it; it cannot be committed then
    int lock_fd
    int data_fd
    StateRow state                    # as committed
    uint64_t next_entry               # as of the open transaction
    uint32_t next_list
    unordered_map[string, List *] lists
    unordered_map[uint32_t, List *] lists_by_number
    vector[Campaign *] campaigns      # by number
    unordered_map[string, uint32_t] campaign_numbers
    unordered_map[string, Code] codes
    vector[uint32_t] graves           # numbers of deleted lists that still have records
    size_t committed_campaigns
    vector[Undo] undo
    uint64_t map_bytes
    uint64_t reserve_bytes
    uint64_t allocated_bytes          # the data file's blocks are reserved up to here
    uint64_t page_bytes
    uint64_t free_bytes               # in LMDB's free list, as last counted
    int64_t free_counted_ns           # when that was
    uint64_t free_counted_revision
    bint can_allocate
    bint disk_full
    bint map_full

# --- one write transaction; called from the writer thread only -----------------------------------

cdef int store_begin(Store *store) noexcept nogil
cdef int store_commit(Store *store, uint64_t revision, int64_t now_ns) noexcept nogil
cdef void store_abort(Store *store) noexcept nogil

cdef bint get_row(Store *store, Table table, Slice key, Slice *value) noexcept nogil
cdef void put_row(Store *store, Table table, Slice key, Slice fixed, Slice rest) noexcept nogil
cdef void delete_row(Store *store, Table table, Slice key) noexcept nogil

cdef List *find_list(Store *store, Slice list_id) noexcept nogil
cdef uint32_t find_campaign(Store *store, Slice campaign_id) noexcept nogil
cdef uint32_t add_campaign(Store *store, Slice campaign_id) noexcept nogil
cdef bint find_code(Store *store, Slice code, Code *found) noexcept nogil

cdef int record_load(
    Store *store, List *lst, const char *key, size_t key_size, Hold *hold
) noexcept nogil
cdef void record_store(
    Store *store, List *lst, const char *key, size_t key_size, Hold *hold, int released_by,
    int64_t now_ns
) noexcept nogil
cdef void count_release(Store *store, List *lst, int released_by) noexcept nogil
cdef int fold_events(
    const vector[EventRow] *events, uint32_t head_seq, Hold *hold
) noexcept nogil

cdef void put_list(Store *store, List *lst) noexcept nogil
cdef void put_event(Store *store, uint32_t number, EventRow *row) noexcept nogil
cdef void put_campaign(Store *store, uint32_t number, Slice campaign_id, Slice name) noexcept nogil
cdef int load_list(Store *store, Slice list_id) noexcept nogil
cdef int load_codes(Store *store) noexcept nogil
cdef void forget_list(Store *store, Slice list_id) noexcept nogil

# --- reading with a transaction of one's own; any thread ------------------------------------------

cdef struct Scan:
    MDB_txn *txn
    MDB_cursor *cursor
    MDB_val key
    MDB_val value
    bint damaged                      # the scan ended at a row that fails its checksum

cdef int scan_open(Store *store, Table table, Scan *scan) noexcept nogil
cdef bint scan_step(Scan *scan, int operation) noexcept nogil
cdef bint scan_seek(Scan *scan, Slice first) noexcept nogil
cdef bint scan_next(Scan *scan) noexcept nogil
cdef int scan_close(Scan *scan) noexcept nogil
cdef void list_from_row(List *lst, const MDB_val *key, const MDB_val *value) noexcept nogil

# --- opening, from Python -------------------------------------------------------------------------

cdef refuse_truncated(MDB_env *env, str records)
cdef Store *store_open(str directory, uint64_t map_bytes, uint64_t reserve_bytes) except NULL
cdef void store_close(Store *store) noexcept
