"""C interface of table_cursor: the small tables as committed, read in key order."""

from libc.stdint cimport uint64_t
from libcpp.memory cimport shared_ptr

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string
from ownerd.base.lmdb cimport MDB_cursor, MDB_txn, MDB_val
from ownerd.storage.memtable cimport Memtable
from ownerd.storage.memtables cimport Memtables
from ownerd.storage.record_tree cimport Tree
from ownerd.storage.rows cimport RowVersion
from ownerd.storage.tables cimport Table

# Where rows of a store are. Constant once it is open.
cdef struct Tables:
    Tree *tree
    Memtables *memtables

cdef cppclass TableCursor:
    MDB_val key                       # of the current row, until the next step
    MDB_val value                     # without its checksum
    bint damaged                      # the scan ended at a row that fails its checksum
    # what it reads, as of one revision
    const Tables *tables
    Table table
    MDB_txn *txn
    MDB_cursor *cursor
    shared_ptr[Memtable] active
    shared_ptr[Memtable] immutable
    uint64_t revision
    # where it is
    string place                      # of the current row
    RowVersion row                    # it, if the tree does not have it as it is
    bint tree_placed                  # the tree's cursor is at the first row that is not passed
    bint tree_ended
    MDB_val tree_key
    MDB_val tree_value

# An LMDB error code, or 0; then `cursor_close` must follow, on whichever thread.
cdef int cursor_open(const Tables *tables, Table table, TableCursor *scan) noexcept nogil
# Each moves; False at the end, and at a damaged row: `cursor_close` tells which.
cdef bint cursor_next(TableCursor *scan) noexcept nogil
cdef bint cursor_previous(TableCursor *scan) noexcept nogil
cdef bint cursor_last(TableCursor *scan) noexcept nogil
# To the first row whose key is not before `first`.
cdef bint cursor_seek(TableCursor *scan, Slice first) noexcept nogil
# MDB_CORRUPTED if a damaged row ended the scan, else 0.
cdef int cursor_close(TableCursor *scan) noexcept nogil
# The rows of any table, as of the same revision.
cdef uint64_t cursor_count(const TableCursor *scan, Table table) noexcept nogil
