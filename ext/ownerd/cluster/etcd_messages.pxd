"""C interface of etcd_messages: the messages of etcd's public API (v3) that are used here."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string, vector

# --- what is asked: each appends to a message that is being put together --------------------------

cdef void add_number(string *message, uint32_t number, uint64_t value) noexcept nogil
cdef void add_bytes(string *message, uint32_t number, Slice value) noexcept nogil

cdef enum Target:                     # of a compare
    COMPARE_CREATE = 1
    COMPARE_MOD = 2

cdef enum Branch:                     # of a transaction
    ON_SUCCESS = 2
    ON_FAILURE = 3

# The key's revision of that kind is this one; 0: the key is not there.
cdef void txn_compare(
    string *txn, Target target, Slice key, int64_t revision
) noexcept nogil
cdef void txn_put(
    string *txn, Branch branch, Slice key, Slice value, int64_t lease
) noexcept nogil
# Keys from `key` up to `end`, without it; an empty `end`: that key alone.
cdef void txn_range(string *txn, Branch branch, Slice key, Slice end) noexcept nogil
cdef void txn_delete(string *txn, Branch branch, Slice key, Slice end) noexcept nogil
cdef void range_request(
    string *request, Slice key, Slice end, int64_t limit, bint serializable
) noexcept nogil
cdef void watch_create_request(
    string *request, Slice key, Slice end, int64_t start_revision
) noexcept nogil
# What comes right after all keys that begin with these bytes.
cdef void prefix_end(string *end, Slice prefix) noexcept nogil

# --- what is answered: slices are of the message --------------------------------------------------

cdef struct KeyValue:
    Slice key
    Slice value
    int64_t create_revision
    int64_t mod_revision
    int64_t lease

cdef struct Header:
    uint64_t cluster_id
    int64_t revision

cdef cppclass RangeAnswer:
    Header header
    vector[KeyValue] found
    bint more

cdef cppclass TxnAnswer:
    Header header
    bint succeeded
    vector[RangeAnswer] ranges        # what its ranges found, in order

cdef struct WatchEvent:
    bint is_delete
    KeyValue row

cdef cppclass WatchAnswer:
    Header header
    bint created
    bint canceled
    int64_t compact_revision          # canceled: that watches may begin at; 0: another reason
    bint fragment                     # the rest of this revision's events follows
    vector[WatchEvent] events

cdef struct LeaseAnswer:
    Header header
    int64_t id
    int64_t ttl_s                     # that etcd granted, or what is left; 0: there is none

cdef struct StatusAnswer:             # of one member
    uint64_t file_bytes               # of its database: what the quota is of
    uint64_t used_bytes               # of them
    uint64_t quota_bytes              # 0: it does not say

# False: it is not such a message.
cdef bint status_read(Slice message, StatusAnswer *answer) noexcept nogil
# Whether a member has raised NOSPACE.
cdef bint alarms_read(Slice message, bint *full) noexcept nogil
cdef bint range_read(Slice message, RangeAnswer *answer) noexcept nogil
cdef bint txn_read(Slice message, TxnAnswer *answer) noexcept nogil
cdef bint watch_read(Slice message, WatchAnswer *answer) noexcept nogil
cdef bint lease_read(Slice message, LeaseAnswer *answer) noexcept nogil
cdef bint token_read(Slice message, string *token) noexcept nogil
