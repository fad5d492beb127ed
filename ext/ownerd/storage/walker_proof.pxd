"""C interface of walker_proof: whether the walker sees what LMDB sees."""

# On an environment of its own, in memory; False, too, where there can be none.
cdef bint walker_agrees() except -1
# The same, as it was found when it was asked first.
cdef bint walker_trusted() except -1
