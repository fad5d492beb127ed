"""C interface of room: whether the store still takes grants."""

from libc.stdint cimport int64_t

from ownerd.store cimport Store

cdef bint store_has_room(Store *store, int64_t now_ns) noexcept nogil
