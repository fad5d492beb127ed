"""C interface of decide: one DialService call decided against the store."""

from libc.stdint cimport int64_t

from ownerd.api.dial_call cimport DialCall
from ownerd.storage.capacity cimport Capacity
from ownerd.storage.store cimport Store

# The clock when a group is decided.
cdef struct DecidedAt:
    int64_t clock_ns                  # the server's time; each decision's instant is later (R22)
    int64_t offset_ns                 # that, less the wall clock: reported times are by that (R24)

cdef void multiget_group(Store *store, DialCall *const *calls, size_t count) noexcept nogil
cdef bint decide_call(
    Store *store, DialCall *call, const DecidedAt *when, Capacity capacity
) noexcept nogil
