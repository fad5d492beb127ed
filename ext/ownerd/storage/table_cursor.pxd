"""C interface of table_cursor: tables of the catalog, read with a transaction of one's own."""

from ownerd.base.bytes cimport Slice
from ownerd.base.lmdb cimport MDB_cursor, MDB_txn, MDB_val
from ownerd.storage.store cimport List, Store, Table

cdef struct TableCursor:
    MDB_txn *txn
    MDB_cursor *cursor
    MDB_val key
    MDB_val value
    bint damaged                      # the scan ended at a row that fails its checksum

cdef int cursor_open(Store *store, Table table, TableCursor *scan) noexcept nogil
cdef bint cursor_step(TableCursor *scan, int operation) noexcept nogil
cdef bint cursor_seek(TableCursor *scan, Slice first) noexcept nogil
cdef bint cursor_next(TableCursor *scan) noexcept nogil
cdef int cursor_close(TableCursor *scan) noexcept nogil
cdef void list_from_row(List *lst, const MDB_val *key, const MDB_val *value) noexcept nogil

# --- into the catalog: from the writer thread, or before it starts --------------------------------

cdef int load_list(Store *store, Slice list_id) noexcept nogil
cdef int load_codes(Store *store) noexcept nogil
cdef int load_lists(Store *store) noexcept nogil
cdef int load_campaigns(Store *store) noexcept nogil
cdef int load_dropped_lists(Store *store) noexcept nogil
