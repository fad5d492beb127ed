"""C interface of table_cursor: the journal's tables, read with a transaction of one's own."""

from libc.stdint cimport uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.lmdb cimport MDB_cursor, MDB_txn, MDB_val
from ownerd.storage.tables cimport Table, Tables

cdef struct TableCursor:
    MDB_txn *txn
    MDB_cursor *cursor
    MDB_val key                       # of the current row, until the next step
    MDB_val value                     # without its checksum
    bint damaged                      # the scan ended at a row that fails its checksum

# An LMDB error code, or 0; then `cursor_close` must follow, on whichever thread.
cdef int cursor_open(const Tables *tables, Table table, TableCursor *scan) noexcept nogil
# False at the end and at a damaged row: `cursor_close` tells which. The same goes for the next two.
cdef bint cursor_step(TableCursor *scan, int operation) noexcept nogil
# To the first row whose key is not before `first`.
cdef bint cursor_seek(TableCursor *scan, Slice first) noexcept nogil
cdef bint cursor_next(TableCursor *scan) noexcept nogil
# MDB_CORRUPTED if a damaged row ended the scan, else 0.
cdef int cursor_close(TableCursor *scan) noexcept nogil
# The rows of any table, as of the scan's transaction.
cdef uint64_t cursor_count(
    const TableCursor *scan, const Tables *tables, Table table
) noexcept nogil
