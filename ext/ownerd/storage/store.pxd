"""C interface of store: the catalog in memory, the records, and one write transaction."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.atomic cimport atomic
from libcpp.memory cimport shared_ptr

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string, unordered_map, vector
from ownerd.base.lmdb cimport MDB_dbi, MDB_txn, MDB_val
from ownerd.rules.ownership cimport Code, Event, Hold, Policy
from ownerd.storage.capacity cimport Capacity
from ownerd.storage.codec cimport KEY_BYTES
from ownerd.storage.environment cimport Environment
from ownerd.storage.log cimport LogGroup
from ownerd.storage.memtable cimport Memtable
from ownerd.storage.multiget cimport Multiget, Seen
from ownerd.storage.record_tree cimport Tree

cdef enum Table:
    META
    LISTS
    DROPPED_LISTS
    EVENTS
    CAMPAIGNS
    CODES
    AUDIT
    REQUESTS
    LOG
    PRINCIPALS
    TABLE_COUNT

cdef enum:
    COUNT_PENDING = -1                # an audit entry whose records are still being counted
    NOT_RELEASED = -1
    REQUEST_MEMORY_NS = 86_400_000_000_000   # R20: repeats are recognised for 24 h

cdef const char *TABLE_NAMES[TABLE_COUNT]   # in the order of Table

# --- rows: the fixed part of each value; strings follow it ----------------------------------------

cdef struct StateRow:                 # META "state", written by every commit
    uint64_t revision
    uint64_t store_id                 # the same in the record tree
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
    uint64_t vacuumed_round           # the last vacuum_all that visited every record

cdef struct Undo:
    List *list
    size_t index
    int64_t released_count

# One record as a decision sees it, and as it is written afterwards.
cdef struct Record:
    size_t key_size
    uint32_t hash
    bint existed                      # something of it was stored
    int released_by                   # index of the event that released it, or NOT_RELEASED
    Hold hold
    char key[KEY_BYTES]

cdef cppclass Store:
    Environment *environment          # the journal and the catalog
    MDB_dbi tables[TABLE_COUNT]
    Tree *tree                        # the records, as flushed
    shared_ptr[Memtable] active       # what was committed since
    shared_ptr[Memtable] immutable    # what is being flushed; or none
    uint64_t memtable_bytes
    atomic[int64_t] unflushed_count   # records that the memtables hold; for whoever asks
    atomic[int64_t] unflushed_delta   # by how many they raise the number of records
    Multiget multiget                 # what the open transaction is about to decide
    LogGroup journal                  # of the open transaction
    uint64_t log_first                # the first revision that the journal table holds
    uint64_t log_next                 # that, as of the open transaction
    MDB_txn *txn                      # begun by the first row that is written or read
    int error                         # the first error inside it; it cannot be committed then
    int lock_fd
    StateRow state                    # as committed
    uint64_t next_entry               # as of the open transaction
    uint32_t next_list
    unordered_map[string, List *] lists
    unordered_map[uint32_t, List *] lists_by_number
    vector[Campaign *] campaigns      # by number
    vector[Campaign *] former         # as before a rename; snapshots and answers show them
    unordered_map[string, uint32_t] campaign_numbers
    unordered_map[string, Code] codes
    vector[uint32_t] dropped_lists    # numbers of deleted lists that still have records
    size_t committed_campaigns
    vector[Undo] undo
    uint64_t reserve_bytes

# --- one transaction; called from the writer thread only ------------------------------------------

cdef void store_begin(Store *store) noexcept nogil
cdef int store_commit(Store *store, uint64_t revision, int64_t now_ns) noexcept nogil
cdef void store_abort(Store *store) noexcept nogil

cdef bint get_row(Store *store, Table table, Slice key, Slice *value) noexcept nogil
cdef void put_row(Store *store, Table table, Slice key, Slice fixed, Slice rest) noexcept nogil
cdef void delete_row(Store *store, Table table, Slice key) noexcept nogil
cdef MDB_txn *open_txn(Store *store) noexcept nogil
cdef void note_error(Store *store, int code) noexcept nogil

cdef List *find_list(Store *store, Slice list_id) noexcept nogil
cdef uint32_t find_campaign(Store *store, Slice campaign_id) noexcept nogil
cdef uint32_t add_campaign(Store *store, Slice campaign_id) noexcept nogil
cdef void rename_campaign(Store *store, uint32_t number, const string &name) noexcept nogil
cdef bint find_code(Store *store, Slice code, Code *found) noexcept nogil
cdef void put_list(Store *store, List *lst) noexcept nogil
cdef void put_event(Store *store, uint32_t number, EventRow *row) noexcept nogil
cdef void put_campaign(Store *store, uint32_t number, Slice campaign_id, Slice name) noexcept nogil
cdef void forget_list(Store *store, Slice list_id) noexcept nogil

cdef void record_load(
    Store *store, List *lst, Slice record_id, const Seen *seen, Record *record
) noexcept nogil
cdef void record_store(Store *store, List *lst, Record *record, int64_t now_ns) noexcept nogil
cdef int fold_events(
    const vector[EventRow] *events, uint32_t head_seq, Hold *hold
) noexcept nogil

# --- memtables; called from the writer thread only ------------------------------------------------

cdef bint rotate(Store *store) noexcept nogil
cdef void drop_flushed(Store *store) noexcept nogil
cdef void publish_counts(Store *store) noexcept nogil
cdef bint is_flushed(Store *store) noexcept nogil
cdef void trim_log(Store *store, int most) noexcept nogil
cdef Capacity store_capacity(Store *store, int64_t now_ns) noexcept nogil
