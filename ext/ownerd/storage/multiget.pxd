"""C interface of multiget: a group's records, looked up in the tree before they are decided."""

from libc.stdint cimport uint8_t, uint32_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string, vector
from ownerd.rules.ownership cimport Hold
from ownerd.storage.memtables cimport Memtables
from ownerd.storage.record_tree cimport Tree
from ownerd.storage.walker cimport Sought

cdef enum Lookup:
    LOOKUP_NONE                       # not looked up: a memtable has it, or it came up before
    LOOKUP_ABSENT                     # neither memtables nor tree have it
    LOOKUP_FOUND                      # the tree has it, no memtable does

# One record of the group, in the order of decisions.
cdef struct Seen:
    Hold hold                         # LOOKUP_FOUND: as the tree has it
    uint32_t hash
    uint32_t key_at
    uint8_t key_size
    uint8_t lookup

cdef cppclass Multiget:
    vector[Seen] records
    string keys
    vector[Sought] sought
    vector[uint32_t] hashes           # of the records so far, by themselves; 0: none
    size_t next                       # the record that is decided next


cdef inline const Seen *multiget_take(Multiget *multiget, uint32_t count) noexcept nogil:
    """Return what was seen of the next `count` records, NULL if they were not looked up.

    Valid until the multiget is cleared.
    """
    cdef size_t first = multiget.next
    if count == 0 or multiget.records.size() < first + count:
        return NULL
    multiget.next += count
    return &multiget.records[first]


# On the writer thread: clear, add or skip every record of the group in order, read, then take.
cdef void multiget_clear(Multiget *multiget) noexcept nogil
cdef void multiget_add(Multiget *multiget, uint32_t list_number, Slice record_id) noexcept nogil
cdef void multiget_skip(Multiget *multiget, uint32_t count) noexcept nogil
cdef int multiget_read(
    Multiget *multiget, Tree *tree, const Memtables *memtables
) noexcept nogil
