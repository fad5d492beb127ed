"""C interface of table: who may do what."""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libcpp.atomic cimport atomic
from libcpp.memory cimport shared_ptr

from ownerd.access.refusals cimport Refusals
from ownerd.api.dial_call cimport DialCall
from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport mutex, string, unordered_map, vector
from ownerd.base.live cimport LiveAccessTable

cdef enum Right:                      # the numbers of admin.proto
    RIGHT_DIAL = 1
    RIGHT_VIEW = 2
    RIGHT_CONFIGURE = 3
    RIGHT_OWNERSHIP_CONTROL = 4
    RIGHT_ADMIN = 5

cdef enum:
    DIGEST_BYTES = 32                 # a token is known by its SHA-256

cdef cppclass Grant:
    uint8_t right
    vector[string] lists              # patterns; empty: every list
    vector[string] campaigns          # patterns; empty: every campaign

# When a principal has used up what it may; shared by all tables that know it. Each is an instant
# of clock_elapsed that every use moves on and time catches up with.
cdef cppclass Budget:
    atomic[int64_t] calls_ns
    atomic[int64_t] records_ns

cdef cppclass Principal:
    string id
    bint hide_holders
    vector[Grant] grants
    int64_t call_price_ns             # 0: no limit
    int64_t record_price_ns
    shared_ptr[Budget] budget

cdef cppclass TokenEntry:
    size_t principal                  # its index in the table
    int64_t until_ns                  # server time; NEVER_NS: no end

# Never changes once it is published, so it is read without a lock.
cdef cppclass AccessTable:
    uint64_t number                   # of the publication
    bint open                         # nobody is asked: everybody is principal 0
    vector[Principal] principals
    unordered_map[string, TokenEntry] tokens
    unordered_map[string, size_t] names
    LiveAccessTable live

cdef cppclass AccessCore:
    mutex guard
    shared_ptr[AccessTable] table
    atomic[uint64_t] number           # of the table
    unordered_map[string, shared_ptr[Budget]] budgets   # of those in the table
    Refusals refusals

cdef class Access:
    cdef AccessCore *core

cdef class Identity:
    cdef shared_ptr[AccessTable] table
    cdef const Principal *principal


cdef shared_ptr[AccessTable] access_table(AccessCore *core) noexcept nogil
cdef const Principal *access_by_token(
    const AccessTable *table, const char *digest, int64_t now_ns, int64_t *until_ns
) noexcept nogil
cdef const Principal *access_by_name(const AccessTable *table, Slice name) noexcept nogil
cdef bint access_allows(
    const Principal *principal, uint8_t right, Slice list_id, Slice campaign_id
) noexcept nogil
cdef bint access_admits(const Principal *principal, DialCall *call) noexcept nogil
