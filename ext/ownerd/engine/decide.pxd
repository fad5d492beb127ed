"""C interface of decide: one DialService call decided against the store."""

from libc.stdint cimport int64_t

from ownerd.api.dial_call cimport DialCall
from ownerd.storage.capacity cimport Capacity
from ownerd.storage.store cimport Store

cdef void multiget_group(Store *store, DialCall *const *calls, size_t count) noexcept nogil
cdef bint decide_call(
    Store *store, DialCall *call, int64_t now_ns, Capacity capacity
) noexcept nogil
