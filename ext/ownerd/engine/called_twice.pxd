"""C interface of called_twice: which two campaigns called one person, and how often."""

from libc.stdint cimport uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport mutex, string, unordered_map

cdef enum:
    MOST_PAIRS = 4_096                # of campaigns on a list, that are counted apart

cdef cppclass CalledTwice:
    mutex guard                       # over all that follows
    unordered_map[string, uint64_t] counts   # by list, who called second, and who holds the record
    uint64_t others                   # of pairs beyond MOST_PAIRS


cdef void called_twice_add(
    CalledTwice *called, Slice list_id, Slice campaign_id, Slice holder_id
) noexcept nogil
cdef list called_twice_rows(CalledTwice *called)
