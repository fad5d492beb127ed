"""C interface of transaction: the open write transaction, its rows and its entry of the log."""

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport map, string
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.storage.log_entry cimport LogEntry, entry_delete, entry_put
from ownerd.storage.rows cimport RowVersion
from ownerd.storage.table_cursor cimport Tables
from ownerd.storage.tables cimport RECORDS, Table

# On the writer thread only, like every function below.
cdef cppclass Transaction:
    const Tables *tables
    LogEntry entry                    # what it changes
    map[string, RowVersion] rows      # of the small tables, as it leaves them; by place
    int error                         # the first error inside it; it cannot be committed then


cdef inline void note_error(Transaction *txn, int code) noexcept nogil:
    """Keep the first error, which the commit then returns; MDB_SUCCESS is none."""
    if code != MDB_SUCCESS and txn.error == MDB_SUCCESS:
        txn.error = code


cdef inline int transaction_error(const Transaction *txn) noexcept nogil:
    return txn.error


cdef inline void note_record(Transaction *txn, Slice key, Slice value) noexcept nogil:
    """Note what a record becomes, which is put into the memtable; no value: nothing is left."""
    if value.size != 0:
        entry_put(&txn.entry, RECORDS, key, value)
    else:
        entry_delete(&txn.entry, RECORDS, key)


cdef void transaction_init(Transaction *txn, const Tables *tables) noexcept nogil
# None is open: the rows of the last one are committed or forgotten.
cdef void transaction_begin(Transaction *txn) noexcept nogil
# Once, with nothing written after it.
cdef void transaction_fill_entry(Transaction *txn) noexcept nogil

# False: there is no such row, or an error was noted. The value is valid until the next write, and
# no longer than the tree is read (`tree_rest`).
cdef bint get_row(Transaction *txn, Table table, Slice key, Slice *value) noexcept nogil
# After an error was noted this and the next do nothing.
cdef void put_row(Transaction *txn, Table table, Slice key, Slice fixed, Slice rest) noexcept nogil
# A row that is not there is no error.
cdef void delete_row(Transaction *txn, Table table, Slice key) noexcept nogil
