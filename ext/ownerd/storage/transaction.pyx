"""The one open write transaction: rows are read, written and deleted in it.

What it writes is kept here until it is committed: rows of the small tables in their order, and of
records what goes into its entry of the log. `store` brings both, and what else is in memory, to
commit as one.

It knows no row's meaning and no file.
"""

from cython.operator cimport dereference, preincrement

from ownerd.base.bytes cimport slice_of, text_slice
from ownerd.base.lmdb cimport MDB_NOTFOUND, MDB_val
from ownerd.storage.log_entry cimport entry_begin, entry_delete, entry_put
from ownerd.storage.memtables cimport memtables_row
from ownerd.storage.record_tree cimport tree_get
from ownerd.storage.rows cimport place_row, placed_key


cdef void transaction_init(Transaction *txn, const Tables *tables) noexcept nogil:
    txn.tables = tables
    txn.error = MDB_SUCCESS
    entry_begin(&txn.entry)


cdef void transaction_begin(Transaction *txn) noexcept nogil:
    txn.error = MDB_SUCCESS
    txn.rows.clear()
    entry_begin(&txn.entry)


cdef void transaction_fill_entry(Transaction *txn) noexcept nogil:
    """Add the rows to what the entry has of records."""
    cdef map[string, RowVersion].iterator at = txn.rows.begin()
    cdef Table table
    cdef Slice key
    while at != txn.rows.end():
        table = <Table> <int> dereference(at).first.data()[0]
        key = placed_key(&dereference(at).first)
        if dereference(at).second.is_gone:
            entry_delete(&txn.entry, table, key)
        else:
            entry_put(&txn.entry, table, key, text_slice(dereference(at).second.value))
        preincrement(at)


cdef bint get_row(Transaction *txn, Table table, Slice key, Slice *value) noexcept nogil:
    """Look up a row: as this transaction wrote it, as it is in memory, as the tree has it."""
    cdef string place
    cdef map[string, RowVersion].iterator written
    cdef const RowVersion *row
    cdef MDB_val found
    cdef int code
    if txn.error != MDB_SUCCESS:
        return False
    place_row(&place, table, key)
    written = txn.rows.find(place)
    if written != txn.rows.end():
        row = &dereference(written).second
    else:
        row = memtables_row(txn.tables.memtables, place)
    if row != NULL:
        value[0] = text_slice(row.value)
        return not row.is_gone
    code = tree_get(txn.tables.tree, table, key.data, key.size, &found)
    if code == MDB_SUCCESS:
        value[0] = slice_of(found.mv_data, found.mv_size)
    elif code != MDB_NOTFOUND:
        note_error(txn, code)
    return code == MDB_SUCCESS


cdef void put_row(Transaction *txn, Table table, Slice key, Slice fixed, Slice rest) noexcept nogil:
    """Write a row made of a fixed part and the bytes after it."""
    cdef string place
    cdef RowVersion *row
    if txn.error != MDB_SUCCESS:
        return
    place_row(&place, table, key)
    row = &txn.rows[place]
    row.is_gone = False
    row.value.assign(fixed.data, fixed.size)
    row.value.append(rest.data, rest.size)


cdef void delete_row(Transaction *txn, Table table, Slice key) noexcept nogil:
    cdef string place
    cdef RowVersion *row
    if txn.error != MDB_SUCCESS:
        return
    place_row(&place, table, key)
    row = &txn.rows[place]
    row.is_gone = True
    row.value.clear()
