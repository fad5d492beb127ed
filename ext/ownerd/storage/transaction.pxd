"""C interface of transaction: the one open write transaction of the journal's tables."""

from ownerd.base.bytes cimport Slice
from ownerd.base.lmdb cimport MDB_SUCCESS, MDB_cursor, MDB_txn
from ownerd.storage.tables cimport Table, Tables

# On the writer thread only, like every function below.
cdef struct Transaction:
    const Tables *tables
    MDB_txn *txn                      # begun by the first row that is written or read
    int error                         # the first error inside it; it cannot be committed then


cdef inline void note_error(Transaction *txn, int code) noexcept nogil:
    """Keep the first error, which the commit then returns; MDB_SUCCESS is none."""
    if code != MDB_SUCCESS and txn.error == MDB_SUCCESS:
        txn.error = code


cdef inline int transaction_error(const Transaction *txn) noexcept nogil:
    return txn.error


cdef void transaction_init(Transaction *txn, const Tables *tables) noexcept nogil
# None is open: the last one was committed or aborted.
cdef void transaction_begin(Transaction *txn) noexcept nogil
# 0: all rows are on disk (R18). Else none is, or, after an error of the sync, nobody knows.
cdef int transaction_commit(Transaction *txn) noexcept nogil
cdef void transaction_abort(Transaction *txn) noexcept nogil

# False: there is no such row, or an error was noted. The value is valid until the next write.
cdef bint get_row(Transaction *txn, Table table, Slice key, Slice *value) noexcept nogil
# After an error was noted this and the next three do nothing.
cdef void put_row(Transaction *txn, Table table, Slice key, Slice fixed, Slice rest) noexcept nogil
# `checked` ends with its checksum; the key sorts after every other one.
cdef void append_row(Transaction *txn, Table table, Slice key, Slice checked) noexcept nogil
# A row that is not there is no error.
cdef void delete_row(Transaction *txn, Table table, Slice key) noexcept nogil
# False: an error was noted. The caller closes it before the transaction ends.
cdef bint open_cursor(Transaction *txn, Table table, MDB_cursor **cursor) noexcept nogil
