"""C interface of creation: whether there is a store in a directory, and making one."""

# StoreError: there is something between a store and none.
cdef bint find_store(str directory) except -1
# Where there is none.
cdef create_store(str directory)
