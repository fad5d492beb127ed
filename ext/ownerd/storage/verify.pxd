"""C interface of verify: how a table is read to its end, and what is looked at in its rows."""

from libc.stdint cimport uint32_t, uint64_t

from ownerd.base.containers cimport string, unordered_map, vector
from ownerd.base.lmdb cimport MDB_dbi, MDB_txn, MDB_val
from ownerd.storage.tables cimport SessionRow, StateRow

cdef cppclass Finding:
    uint64_t rows
    uint64_t damaged
    vector[string] keys               # of the first damaged rows
    int error                         # what ended the scan, or MDB_NOTFOUND at its proper end


# What the catalog says, for the tables that refer to it; that of the log too.
cdef cppclass Known:
    unordered_map[uint32_t, char] lists  # numbers, those of deleted lists too
    uint64_t campaign_count
    StateRow state                    # of the tree
    SessionRow session
    bint opened                       # it has a session
    bint in_cluster                   # whose log has what follows the tree, and not the store's own


# A row comes without its checksum.
ctypedef bint (*RowCheck)(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil

# Of a table, by Table; the tables that others refer to are to be read first.
cdef RowCheck check_of(uint32_t table) noexcept nogil
cdef void scan_table(
    MDB_txn *txn, MDB_dbi table, RowCheck row_right, Known *known, Finding *finding
) noexcept nogil
# The keys of the first damaged rows, and what ended the scan early, or None.
cdef tuple details(Finding *finding)
