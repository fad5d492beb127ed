"""C interface of unknown_codes: which wrap-up codes were reported that nobody knows, how often."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.api.dial_call cimport DialCall
from ownerd.base.containers cimport mutex, string, unordered_map
from ownerd.storage.catalog cimport Catalog

cdef struct UnknownCount:
    uint64_t count
    int64_t last_ns

ctypedef unordered_map[string, UnknownCount] UnknownTable

cdef cppclass UnknownCodes:
    mutex guard                       # the writer counts, others look
    UnknownTable recent
    UnknownTable former               # those that were not reported since `recent` was last full


cdef void unknown_count(
    UnknownCodes *codes, const DialCall *call, int64_t now_ns
) noexcept nogil
# Those that are known by now are no longer unknown.
cdef void unknown_forget(UnknownCodes *codes, Catalog *catalog) noexcept nogil
# How many names are unknown still.
cdef uint64_t unknown_name_count(UnknownCodes *codes) noexcept nogil
cdef list unknown_rows(UnknownCodes *codes)
