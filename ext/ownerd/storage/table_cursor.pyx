"""Reads the journal's tables as committed, row by row.

A scan is a read transaction of its own, so any thread may make one; while it is open LMDB cannot
reuse freed pages, so it is short.
"""

from ownerd.base.bytes cimport val_of
from ownerd.base.lmdb cimport (
    MDB_CORRUPTED, MDB_NEXT, MDB_RDONLY, MDB_SET_RANGE, MDB_SUCCESS, MDB_stat, lmdb,
)
from ownerd.storage.codec cimport row_verify


cdef int cursor_open(const Tables *tables, Table table, TableCursor *scan) noexcept nogil:
    cdef int code
    scan.damaged = False
    code = lmdb.txn_begin(tables.environment.env, NULL, MDB_RDONLY, &scan.txn)
    if code != MDB_SUCCESS:
        return code
    code = lmdb.cursor_open(scan.txn, tables.handles[<int> table], &scan.cursor)
    if code != MDB_SUCCESS:
        lmdb.txn_abort(scan.txn)
    return code


cdef int cursor_close(TableCursor *scan) noexcept nogil:
    """End the scan; MDB_CORRUPTED if it was ended by a damaged row, else 0."""
    lmdb.cursor_close(scan.cursor)
    lmdb.txn_abort(scan.txn)
    return MDB_CORRUPTED if scan.damaged else MDB_SUCCESS


cdef bint cursor_step(TableCursor *scan, int operation) noexcept nogil:
    """Move the cursor; False at the end, and at a damaged row."""
    if lmdb.cursor_get(scan.cursor, &scan.key, &scan.value, operation) != MDB_SUCCESS:
        return False
    scan.damaged = not row_verify(&scan.key, &scan.value)
    return not scan.damaged


cdef bint cursor_seek(TableCursor *scan, Slice first) noexcept nogil:
    scan.key = val_of(first)
    return cursor_step(scan, MDB_SET_RANGE)


cdef bint cursor_next(TableCursor *scan) noexcept nogil:
    return cursor_step(scan, MDB_NEXT)


cdef uint64_t cursor_count(
    const TableCursor *scan, const Tables *tables, Table table
) noexcept nogil:
    cdef MDB_stat stat
    if lmdb.stat(scan.txn, tables.handles[<int> table], &stat) != MDB_SUCCESS:
        return 0
    return stat.ms_entries
