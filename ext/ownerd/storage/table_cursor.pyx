"""Reads the small tables as committed, row by row, as of one revision.

A row is as the active memtable has it, else the immutable one, else the tree; a scan merges them in
key order. It holds both memtables, and reads the tree in a transaction of its own that began while
they were the store's, so that nothing is missed or seen twice while a flush goes on. Any thread may
make one; while it is open LMDB cannot reuse freed pages, so it is short.
"""

from libc.stdint cimport int64_t

from ownerd.base.bytes cimport empty_slice, slice_of, text_slice, val_of
from ownerd.base.lmdb cimport (
    MDB_CORRUPTED, MDB_FIRST, MDB_LAST, MDB_NEXT, MDB_NOTFOUND, MDB_PREV, MDB_RDONLY, MDB_SET_RANGE,
    MDB_SUCCESS, MDB_stat, lmdb,
)
from ownerd.storage.codec cimport row_verify
from ownerd.storage.memtable cimport compare_keys
from ownerd.storage.rows cimport (
    Rows, place_row, placed_key, rows_before, rows_find, rows_from,
)

# No key begins so: ids are UTF-8, numbers never get there.
cdef char BEHIND_ALL[16]
BEHIND_ALL[:] = [-1] * 16


cdef int cursor_open(const Tables *tables, Table table, TableCursor *scan) noexcept nogil:
    cdef Memtables *memtables = tables.memtables
    cdef int code
    scan.tables, scan.table = tables, table
    scan.damaged = scan.tree_placed = scan.tree_ended = False
    place_row(&scan.place, table, empty_slice())
    memtables.guard.lock()
    code = lmdb.txn_begin(tables.tree.environment.env, NULL, MDB_RDONLY, &scan.txn)
    if code == MDB_SUCCESS:
        scan.active, scan.immutable = memtables.active, memtables.immutable
        scan.revision = memtables.rows_revision
        memtables.row_views += 1
    memtables.guard.unlock()
    if code != MDB_SUCCESS:
        return code
    code = lmdb.cursor_open(scan.txn, tables.tree.tables[<int> table], &scan.cursor)
    if code != MDB_SUCCESS:
        let_go(scan)
    return code


cdef void let_go(TableCursor *scan) noexcept nogil:
    cdef Memtables *memtables = scan.tables.memtables
    lmdb.txn_abort(scan.txn)
    memtables.guard.lock()
    memtables.row_views -= 1
    memtables.guard.unlock()
    scan.active.reset()
    scan.immutable.reset()


cdef int cursor_close(TableCursor *scan) noexcept nogil:
    """End the scan; MDB_CORRUPTED if it was ended by a damaged row, else 0."""
    lmdb.cursor_close(scan.cursor)
    let_go(scan)
    return MDB_CORRUPTED if scan.damaged else MDB_SUCCESS


# --- the tree's rows ------------------------------------------------------------------------------

cdef void tree_move(TableCursor *scan, int operation) noexcept nogil:
    cdef int code = lmdb.cursor_get(scan.cursor, &scan.tree_key, &scan.tree_value, operation)
    scan.tree_placed = code == MDB_SUCCESS
    scan.tree_ended = code == MDB_NOTFOUND
    if code != MDB_SUCCESS and code != MDB_NOTFOUND:
        scan.damaged = True


cdef int tree_order(const TableCursor *scan, const string *place) noexcept nogil:
    """Compare the key that the tree's cursor is at with that of a place."""
    cdef Slice key = placed_key(place)
    return compare_keys(
        <const char *> scan.tree_key.mv_data, scan.tree_key.mv_size, key.data, key.size
    )


cdef void tree_from(TableCursor *scan) noexcept nogil:
    """Have the tree's cursor at its first row from the place on."""
    if scan.tree_ended or (scan.tree_placed and tree_order(scan, &scan.place) >= 0):
        return
    if scan.place.size() == 1:
        tree_move(scan, MDB_FIRST)
        return
    scan.tree_key = val_of(placed_key(&scan.place))
    tree_move(scan, MDB_SET_RANGE)


cdef void tree_before(TableCursor *scan) noexcept nogil:
    """Have the tree's cursor at its last row before the place."""
    scan.tree_key = val_of(placed_key(&scan.place))
    tree_move(scan, MDB_SET_RANGE)
    if not scan.damaged:
        tree_move(scan, MDB_LAST if scan.tree_ended else MDB_PREV)


# --- all of them ----------------------------------------------------------------------------------

cdef bint take_row(TableCursor *scan, const string *place) noexcept nogil:
    """Make a row that memory has the current one; False if it is gone."""
    scan.place = place[0]
    scan.key = val_of(placed_key(&scan.place))
    scan.value = val_of(text_slice(scan.row.value))
    return not scan.row.is_gone


cdef void take_tree(TableCursor *scan) noexcept nogil:
    """Make the row that the tree's cursor is at the current one."""
    scan.key, scan.value = scan.tree_key, scan.tree_value
    place_row(&scan.place, scan.table, slice_of(scan.key.mv_data, scan.key.mv_size))
    scan.damaged |= not row_verify(&scan.key, &scan.value)


cdef bint find_in_memory(
    TableCursor *scan, bint forward, string *found
) noexcept nogil:
    """Find the nearest row that memory has, also one that is gone; False: none."""
    cdef string other
    cdef const RowVersion *row
    cdef const RowVersion *older
    scan.tables.memtables.guard.lock()
    row = nearest(&scan.active.get().rows, forward, &scan.place, scan.revision, found)
    if scan.immutable.get() != NULL:
        older = nearest(&scan.immutable.get().rows, forward, &scan.place, scan.revision, &other)
        if older != NULL and (row == NULL or is_nearer(&other, found, forward)):
            row = older
            found[0] = other
    if row != NULL:
        scan.row = row[0]
    scan.tables.memtables.guard.unlock()
    return row != NULL


cdef const RowVersion *nearest(
    const Rows *rows, bint forward, const string *start, uint64_t revision, string *found
) noexcept nogil:
    if forward:
        return rows_from(rows, start[0], revision, found)
    return rows_before(rows, start[0], revision, found)


cdef bint is_nearer(const string *place, const string *other, bint forward) noexcept nogil:
    cdef int order = compare_keys(
        (<string *> place).data(), (<string *> place).size(),
        (<string *> other).data(), (<string *> other).size(),
    )
    return order < 0 if forward else order > 0


cdef bint settle(
    TableCursor *scan, bint forward, bint in_memory, const string *found
) noexcept nogil:
    """Make the nearer of both rows the current one; False if it is gone, or damaged."""
    cdef int order = 0                # of the tree's row to that of memory
    if in_memory and scan.tree_placed:
        order = tree_order(scan, found)
    if in_memory and (order >= 0 if forward else order <= 0):
        return take_row(scan, found)
    take_tree(scan)
    return not scan.damaged


cdef bint move_on(TableCursor *scan) noexcept nogil:
    """Move to the first row from the place on."""
    cdef string found
    cdef bint in_memory
    while not scan.damaged:
        tree_from(scan)
        in_memory = find_in_memory(scan, True, &found)
        if scan.damaged or not (in_memory or scan.tree_placed):
            return False
        if settle(scan, True, in_memory, &found):
            return True
        pass_current(scan)
    return False


cdef void pass_current(TableCursor *scan) noexcept nogil:
    """Go to the place right behind the current row."""
    cdef char nothing = 0
    if scan.tree_placed and tree_order(scan, &scan.place) == 0:
        tree_move(scan, MDB_NEXT)
    scan.place.append(&nothing, 1)


cdef bint cursor_next(TableCursor *scan) noexcept nogil:
    if scan.place.size() > 1:
        pass_current(scan)
    return move_on(scan)


cdef bint cursor_seek(TableCursor *scan, Slice first) noexcept nogil:
    scan.tree_placed = scan.tree_ended = False
    place_row(&scan.place, scan.table, first)
    return move_on(scan)


cdef bint cursor_previous(TableCursor *scan) noexcept nogil:
    cdef string found
    cdef bint in_memory
    while not scan.damaged:
        tree_before(scan)
        in_memory = find_in_memory(scan, False, &found)
        if scan.damaged or not (in_memory or scan.tree_placed):
            return False
        if settle(scan, False, in_memory, &found):
            scan.tree_placed = scan.tree_ended = False   # what comes next is looked up anew
            return True
    return False


cdef bint cursor_last(TableCursor *scan) noexcept nogil:
    place_row(&scan.place, scan.table, slice_of(BEHIND_ALL, sizeof(BEHIND_ALL)))
    return cursor_previous(scan)


cdef uint64_t cursor_count(const TableCursor *scan, Table table) noexcept nogil:
    """Count the tree's rows, and what memory adds to them and takes away."""
    cdef MDB_stat stat
    cdef uint64_t count
    if lmdb.stat(scan.txn, scan.tables.tree.tables[<int> table], &stat) != MDB_SUCCESS:
        return 0
    count = stat.ms_entries
    scan.tables.memtables.guard.lock()
    count += more_rows(scan, table, &scan.active.get().rows, NULL)
    if scan.immutable.get() != NULL:
        count += more_rows(scan, table, &scan.immutable.get().rows, &scan.active.get().rows)
    scan.tables.memtables.guard.unlock()
    return count


cdef int64_t more_rows(
    const TableCursor *scan, Table table, const Rows *rows, const Rows *newer
) noexcept nogil:
    """Return how many rows of a table these add to the tree's, but for those that are newer."""
    cdef string place, found
    cdef const RowVersion *row
    cdef MDB_val key, value
    cdef char nothing = 0
    cdef int64_t more = 0
    place_row(&place, table, empty_slice())
    row = rows_from(rows, place, scan.revision, &found)
    while row != NULL:
        if newer == NULL or rows_find(newer, found, scan.revision) == NULL:
            key = val_of(placed_key(&found))
            more -= lmdb.get(
                scan.txn, scan.tables.tree.tables[<int> table], &key, &value
            ) == MDB_SUCCESS
            more += not row.is_gone
        place = found
        place.append(&nothing, 1)
        row = rows_from(rows, place, scan.revision, &found)
    return more
