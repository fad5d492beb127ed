"""C interface of lookahead: a group's records, looked up in the tree before they are decided."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string, vector
from ownerd.rules.ownership cimport Hold
from ownerd.storage.memtable cimport Memtable
from ownerd.storage.record_tree cimport Tree

cdef enum Sight:
    SIGHT_NONE                        # not looked up: a memtable has it, or it comes up twice
    SIGHT_ABSENT                      # neither memtables nor tree have it
    SIGHT_FOUND                       # the tree has it, no memtable does

# One record of the group, in the order of decisions.
cdef struct Seen:
    Hold hold                         # SIGHT_FOUND: as the tree has it
    uint32_t hash
    uint32_t key_at
    uint8_t key_size
    uint8_t sight

# A record to be looked up: the first 16 bytes of its key, as numbers that sort like them.
cdef struct Probe:
    uint64_t high
    uint64_t low
    uint32_t number

cdef cppclass Lookahead:
    vector[Seen] records
    string keys
    vector[Probe] probes
    size_t next                       # the record that is decided next

cdef void lookahead_clear(Lookahead *ahead) noexcept nogil
cdef void lookahead_add(Lookahead *ahead, uint32_t list_number, Slice record_id) noexcept nogil
cdef void lookahead_skip(Lookahead *ahead, uint32_t count) noexcept nogil
cdef int lookahead_read(
    Lookahead *ahead, Tree *tree, Memtable *active, Memtable *immutable
) noexcept nogil
