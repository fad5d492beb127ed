"""C interface of log: the rows that one commit leaves in the journal."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string, vector
from ownerd.base.lmdb cimport MDB_val
from ownerd.storage.memtable cimport Memtable

cdef enum:
    LOG_KEY_BYTES = 10                # revision, and part from the second on

cdef cppclass LogPart:
    string value
    uint32_t count

cdef cppclass LogGroup:               # the group being decided
    vector[LogPart] parts             # the first `used` are in use; the others keep their memory
    size_t used

# Where a walk over the journal's rows is.
cdef struct LogPosition:
    uint64_t revision                 # of the last row
    uint32_t part
    bint more                         # its revision goes on in another part

cdef void log_begin(LogGroup *journal) noexcept nogil
cdef void log_add(LogGroup *journal, Slice key, Slice value) noexcept nogil
cdef size_t log_key(char *key, uint64_t revision, size_t part) noexcept nogil
cdef Slice log_finish(
    LogGroup *journal, size_t part, Slice key, int64_t time_ns
) noexcept nogil
cdef uint64_t log_revision(const MDB_val *key) noexcept nogil
cdef bint log_follows(
    LogPosition *place, const MDB_val *key, const MDB_val *value
) noexcept nogil
cdef int64_t log_count(const MDB_val *value) noexcept nogil
cdef bint log_replay(const MDB_val *value, Memtable *memtable) noexcept nogil
