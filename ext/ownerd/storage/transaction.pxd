"""C interface of transaction: the open write transaction, its rows and its entry of the log."""

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport map, string
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.storage.log_entry cimport LogEntry
from ownerd.storage.notes cimport NoteKind, entry_note
from ownerd.storage.rows cimport RowVersion
from ownerd.storage.table_cursor cimport Tables
from ownerd.storage.tables cimport Table

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


cdef inline void note_change(
    Transaction *txn, NoteKind kind, Slice about, Slice value
) noexcept nogil:
    """Tell those who follow the log what no row says."""
    entry_note(&txn.entry, kind, about, value)


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
