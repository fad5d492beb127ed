"""C interface of capacity: what the store still has room for."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.storage.environment cimport Environment

cdef enum Capacity:                   # each includes those before it
    CAPACITY_FOR_NOTHING              # a commit could fail
    CAPACITY_FOR_CHANGES              # releases and other changes of the control plane, settling
    CAPACITY_FOR_REPORTS              # attempts: less than the reserve is left
    CAPACITY_FOR_GRANTS               # claims and imports

cdef uint64_t environment_left(
    Environment *environment, uint64_t reserve_bytes, int64_t now_ns
) noexcept nogil
cdef Capacity environment_capacity(
    Environment *environment, uint64_t reserve_bytes, uint64_t promised_bytes, int64_t now_ns
) noexcept nogil
