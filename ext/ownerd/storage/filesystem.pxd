"""C interface of filesystem: what a file is known by, whatever its name."""

from libc.stdint cimport int64_t, uint64_t

# Of one file, also after a restart; of a copy, or of a file put in its place, another one.
# 0: not known here.
cdef struct FileMark:
    uint64_t inode
    int64_t born_ns

cdef FileMark file_mark(path) except *
# What is not known of either is taken for the same.
cdef bint same_mark(const FileMark *mark, const FileMark *other) noexcept nogil
