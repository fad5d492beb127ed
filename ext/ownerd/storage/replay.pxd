"""C interface of replay: entries of the log, put into memory again or for the first time."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.storage.log_entry cimport RowCursor
from ownerd.storage.store cimport Store
from ownerd.storage.tables cimport ClusterRow, StateRow

# Into the active memtable, which has capacity, and the state; False if it cannot be right.
cdef bint replay_rows(
    Store *store, RowCursor *rows, uint64_t revision, StateRow *state
) noexcept nogil
# The next entry of the cluster's log, on the writer thread, between two transactions. 0; or
# MDB_CORRUPTED or another error that ends the store.
cdef int store_follow(
    Store *store, const ClusterRow *place, int64_t time_ns, Slice rows, uint32_t row_count
) noexcept nogil
# Has catalog and dialers see what was followed, if they have not; likewise.
cdef int store_refresh(Store *store) noexcept nogil
