"""C interface of directory: the lock on the data directory."""

# A descriptor, whose closing unlocks it. StoreInUseError: another process has it; OSError.
cdef int take_lock(str directory) except -1
