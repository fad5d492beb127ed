"""C interface of journal: the value that one commit leaves in the journal."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.calls cimport Slice
from ownerd.containers cimport string
from ownerd.lmdb_api cimport MDB_val
from ownerd.overlay cimport Layer

cdef cppclass Journal:                # the group being decided
    string value
    uint32_t count

cdef void journal_begin(Journal *journal) noexcept nogil
cdef void journal_add(Journal *journal, Slice key, Slice value) noexcept nogil
cdef Slice journal_seal(
    Journal *journal, const char *key, size_t key_size, int64_t time_ns
) noexcept nogil
cdef int64_t journal_count(const MDB_val *value) noexcept nogil
cdef bint journal_replay(const MDB_val *value, Layer *layer) noexcept nogil
