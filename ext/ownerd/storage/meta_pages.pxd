"""C interface of meta_pages: which of LMDB's last two commits is the newest, read without it."""

# What is wrong with the meta pages of an environment, as text; None: nothing. State rows of
# `counted_bytes` end with their commit's number.
cdef object meta_fault(str path, Py_ssize_t counted_bytes)
# What the newest meta page of an open file says (a Meta); None if one cannot be read.
cdef object newest_meta(int fd)
# The newest state row of an environment that no process has open, as bytes; None: there is none.
cdef bytes newest_state(str path)
