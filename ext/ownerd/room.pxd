"""C interface of room: what the store still has room for."""

from libc.stdint cimport int64_t

from ownerd.store cimport Store

cdef enum Room:                       # each includes those before it
    ROOM_FOR_CHANGES                  # releases and other changes of the control plane, settling
    ROOM_FOR_REPORTS                  # attempts: less than the reserve is left
    ROOM_FOR_GRANTS                   # claims and imports

cdef Room store_room(Store *store, int64_t now_ns) noexcept nogil
