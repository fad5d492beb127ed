"""C interface of creation: whether there is a store in a directory, and making one."""

from libc.stdint cimport uint64_t

# StoreError: there is something between a store and none.
cdef bint find_store(str directory) except -1
# Where there is none.
cdef create_store(str directory, uint64_t segment_bytes)
# StoreError: there is no store, and none is to be made.
cdef refuse_none(str directory)
# StoreError, unless the store has the id that is wanted; None: any.
cdef refuse_other(str directory, uint64_t store_id, object wanted)
