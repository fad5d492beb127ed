"""C interface of pages: whether each page of an environment is in use once, or free, or neither."""

# What `verify` reports of the pages of the environment in the directory `path`, which no process
# writes: (how many are free, how many faults there are, the first as text or None).
cdef tuple page_faults(str path)
