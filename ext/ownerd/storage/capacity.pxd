"""C interface of capacity: how much may still be written."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.base.lmdb cimport MDB_MAP_FULL, MDB_TXN_FULL
from ownerd.storage.environment cimport Environment
from ownerd.storage.file_log cimport FileLog

cdef enum Capacity:                   # each includes those before it
    CAPACITY_FOR_NOTHING              # a commit could fail
    CAPACITY_FOR_CHANGES              # releases and other changes of the control plane, maintenance
    CAPACITY_FOR_REPORTS              # attempts: less than the reserve is left
    CAPACITY_FOR_GRANTS               # claims and imports


cdef inline bint is_full(int code) noexcept nogil:
    """Tell whether an LMDB error means that nothing was written for want of space."""
    return code == MDB_MAP_FULL or code == MDB_TXN_FULL


# Any thread may ask. `reserve_bytes` of disk are reserved beyond what is used, where that can be.
cdef uint64_t environment_left(
    Environment *environment, uint64_t reserve_bytes, int64_t now_ns
) noexcept nogil
# `promised_bytes`: what is committed elsewhere and will have to be written here.
cdef Capacity environment_capacity(
    Environment *environment, uint64_t reserve_bytes, uint64_t promised_bytes, int64_t now_ns
) noexcept nogil
# What the log takes before it needs a segment that is not ready, and bytes of it that are not for
# grants.
cdef uint64_t log_reserve(const FileLog *log, uint64_t reserve_bytes) noexcept nogil
cdef Capacity log_capacity(const FileLog *log, uint64_t reserve_bytes) noexcept nogil
