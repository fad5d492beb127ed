"""The one open write transaction of the journal's tables: rows are read, written and deleted in it.

LMDB's own transaction begins with the first row, since many groups write none.

Invariants:
- Once an LMDB call inside a transaction fails, `error` is set and the transaction cannot commit.
- Every row is written with its checksum, every row that is read is verified.

It knows no row's meaning, and nothing of what is in memory: `store` brings that to commit with it.
"""

from libc.string cimport memcpy

from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport slice_of, val_of
from ownerd.base.containers cimport string
from ownerd.base.failpoints cimport FAIL_AFTER_COMMIT, FAIL_BEFORE_COMMIT, fail_at
from ownerd.base.lmdb cimport MDB_APPEND, MDB_CORRUPTED, MDB_NOTFOUND, MDB_val, lmdb
from ownerd.storage.codec cimport CHECKSUM_BYTES, row_add_checksum, row_verify

cdef enum:
    SMALL_ROW_BYTES = 128             # rows up to here are put together on the stack


cdef void transaction_init(Transaction *txn, const Tables *tables) noexcept nogil:
    txn.tables = tables
    txn.txn = NULL
    txn.error = MDB_SUCCESS


cdef void transaction_begin(Transaction *txn) noexcept nogil:
    assert_that(txn.txn == NULL, "one transaction is over before the next begins")
    txn.error = MDB_SUCCESS


cdef bint is_open(Transaction *txn) noexcept nogil:
    """Begin LMDB's transaction if it has not begun; False once anything has failed."""
    if txn.error == MDB_SUCCESS and txn.txn == NULL:
        note_error(txn, lmdb.txn_begin(txn.tables.environment.env, NULL, 0, &txn.txn))
    return txn.error == MDB_SUCCESS


cdef int transaction_commit(Transaction *txn) noexcept nogil:
    """Commit the rows, of which there is at least one, and no error; an LMDB error code, or 0."""
    cdef int code
    assert_that(txn.txn != NULL and txn.error == MDB_SUCCESS, "what is committed is open and whole")
    fail_at(FAIL_BEFORE_COMMIT)
    code = lmdb.txn_commit(txn.txn)
    fail_at(FAIL_AFTER_COMMIT)
    txn.txn = NULL
    return code


cdef void transaction_abort(Transaction *txn) noexcept nogil:
    if txn.txn != NULL:
        lmdb.txn_abort(txn.txn)
        txn.txn = NULL


cdef bint get_row(Transaction *txn, Table table, Slice key, Slice *value) noexcept nogil:
    """Look up a row in the open transaction; the value is valid until its next write."""
    cdef MDB_val where = val_of(key), found
    cdef int code
    if not is_open(txn):
        return False
    code = lmdb.get(txn.txn, txn.tables.handles[<int> table], &where, &found)
    if code == MDB_SUCCESS and not row_verify(&where, &found):
        code = MDB_CORRUPTED
    if code == MDB_SUCCESS:
        value[0] = slice_of(found.mv_data, found.mv_size)
        return True
    if code != MDB_NOTFOUND:
        note_error(txn, code)
    return False


cdef void put_row(Transaction *txn, Table table, Slice key, Slice fixed, Slice rest) noexcept nogil:
    """Write a row, with its checksum, made of a fixed part and the bytes after it."""
    cdef char small[SMALL_ROW_BYTES]
    cdef char *whole = small
    cdef string large
    cdef size_t size = fixed.size + rest.size
    cdef MDB_val where = val_of(key), value
    if not is_open(txn):
        return
    if size + CHECKSUM_BYTES > SMALL_ROW_BYTES:
        large.resize(size + CHECKSUM_BYTES)
        whole = &large[0]
    if fixed.size != 0:
        memcpy(whole, fixed.data, fixed.size)
    if rest.size != 0:
        memcpy(whole + fixed.size, rest.data, rest.size)
    row_add_checksum(key, whole, size)
    value = val_of(slice_of(whole, size + CHECKSUM_BYTES))
    note_error(txn, lmdb.put(txn.txn, txn.tables.handles[<int> table], &where, &value, 0))


cdef void append_row(Transaction *txn, Table table, Slice key, Slice checked) noexcept nogil:
    cdef MDB_val where = val_of(key), value = val_of(checked)
    if is_open(txn):
        note_error(
            txn, lmdb.put(txn.txn, txn.tables.handles[<int> table], &where, &value, MDB_APPEND)
        )


cdef void delete_row(Transaction *txn, Table table, Slice key) noexcept nogil:
    cdef MDB_val where = val_of(key)
    cdef int code
    if not is_open(txn):
        return
    code = lmdb.delete(txn.txn, txn.tables.handles[<int> table], &where, NULL)
    if code != MDB_NOTFOUND:
        note_error(txn, code)


cdef bint open_cursor(Transaction *txn, Table table, MDB_cursor **cursor) noexcept nogil:
    if is_open(txn):
        note_error(txn, lmdb.cursor_open(txn.txn, txn.tables.handles[<int> table], cursor))
    return txn.error == MDB_SUCCESS
