"""C interface of recovery: a data directory becomes a Store, and is let go again."""

from libc.stdint cimport uint64_t

from ownerd.storage.store cimport Store

# `opening` is an Opening. StoreInUseError, StoreError, OSError; then nothing is left open.
cdef Store *store_open(
    str directory, uint64_t map_bytes, uint64_t reserve_bytes, uint64_t memtable_bytes,
    object opening,
) except NULL
# No thread uses it any more, no view of it is open.
cdef void store_close(Store *store) noexcept
