"""C interface of time_back: the stored time goes back, at an opening, because it was wrong."""

from libc.stdint cimport int64_t

from ownerd.storage.store cimport Store

# Before any thread of the engine runs. StoreError: it cannot be written.
cdef set_time_back(Store *store, int64_t time_ns, str directory)
