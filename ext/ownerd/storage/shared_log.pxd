"""C interface of shared_log: the log of a cluster, as a store appends to it."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.storage.file_log cimport LogStatus
from ownerd.storage.log_entry cimport LogEntry
from ownerd.storage.tables cimport ClusterRow

# Filled by whoever has such a log; outlives the store. Any thread.
cdef struct SharedLog:
    void *context
    # LOG_OK: a majority of etcd's members has the entry on disk, and `position` is where it is.
    # LOG_FULL, LOG_FENCED: nothing changed. LOG_UNKNOWN: nobody knows, and this node leads no more.
    LogStatus (*append)(
        void *context, LogEntry *entry, uint64_t revision, int64_t time_ns, ClusterRow *position
    ) noexcept nogil
    # LOG_OK: what was read before this call was still true after it began. Else as above.
    LogStatus (*confirm)(void *context) noexcept nogil

cdef class SharedLogDoor:
    cdef SharedLog shared
