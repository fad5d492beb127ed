"""C interface of log: the journal, its rows, and which revisions it holds."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string, vector
from ownerd.base.lmdb cimport MDB_val
from ownerd.storage.memtable cimport Memtable
from ownerd.storage.transaction cimport Transaction

cdef cppclass LogPart:
    string value
    uint32_t count

# The journal, as the writer thread keeps it.
cdef cppclass Log:
    vector[LogPart] parts             # of the group being decided; the first `used` are in use
    size_t used                       # the others keep their memory
    uint64_t first_revision           # the first that the table holds; the last one's next: none
    uint64_t next_first_revision      # that, once the open transaction is committed

# Where a reader of the journal's rows is.
cdef struct LogPosition:
    uint64_t revision                 # of the last row
    uint32_t part
    bint more                         # its revision goes on in another part


cdef inline bint trim_due(const Log *log, uint64_t flushed_revision) noexcept nogil:
    """Tell whether the journal holds a revision that the tree has flushed."""
    return log.first_revision <= flushed_revision


# Before the first transaction.
cdef void log_init(Log *log, uint64_t first_revision) noexcept nogil

# --- the open transaction's group: begin, add, put; then committed or rolled back -----------------

cdef void log_begin(Log *log) noexcept nogil
# A record as the group left it: the newest of several rows counts.
cdef void log_add(Log *log, Slice key, Slice value) noexcept nogil
# Once a transaction, with a revision higher than any before it.
cdef void log_put(Log *log, Transaction *txn, uint64_t revision, int64_t time_ns) noexcept nogil
# In the place of a group: the revision goes on to `revision`, which follows the last one's.
cdef void log_put_jump(
    Transaction *txn, uint64_t revision, uint64_t last_revision, int64_t time_ns
) noexcept nogil
# From the oldest on, whole revisions only.
cdef void log_trim(
    Log *log, Transaction *txn, uint64_t flushed_revision, int most
) noexcept nogil
cdef void log_committed(Log *log) noexcept nogil
cdef void log_rollback(Log *log) noexcept nogil

# --- rows that are committed, without their checksum ----------------------------------------------

# 0: the key cannot be right.
cdef uint64_t log_revision(const MDB_val *key) noexcept nogil
# The revision that a row follows; 0 also if the row cannot be right.
cdef uint64_t log_follows_revision(const MDB_val *key, const MDB_val *value) noexcept nogil
# False: a row is missing before this one, or this one is none of ours.
cdef bint log_follows(
    LogPosition *place, const MDB_val *key, const MDB_val *value
) noexcept nogil
# -1: the row is none of ours.
cdef int64_t log_count(const MDB_val *value) noexcept nogil
# False: the row cannot be right. A NULL memtable: only look.
cdef bint log_replay(const MDB_val *value, Memtable *memtable) noexcept nogil
