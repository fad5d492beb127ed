"""C interface of directory."""

cdef int take_lock(str directory) except -1
