"""Flushing: brings an immutable memtable into the record tree, sorted, in steps of one commit each.

A step writes the next rows of the small tables, and when it has all the next records, in key order;
the last one also writes the state of the memtable's last revision, which the tree is flushed up to
from then on, and where that is in the log of a cluster. What a step has written is written again if
the process ends before that: states, not decisions.

Invariant: a memtable that the tree has is left alone. Written again, it would undo what came after.

Flushing changes nothing that anybody is answered.
"""

from cython.operator cimport dereference, preincrement
from libc.string cimport memcpy

from ownerd.base.assertions cimport assert_that
from ownerd.base.atomics cimport count_add
from ownerd.base.bytes cimport slice_of, val_of
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.containers cimport map, string
from ownerd.base.failpoints cimport FAIL_AFTER_FLUSH_COMMIT, FAIL_BEFORE_FLUSH_COMMIT, fail_at
from ownerd.base.lmdb cimport (
    MDB_MAP_FULL, MDB_NOTFOUND, MDB_SET, MDB_SUCCESS, MDB_cursor, MDB_txn, MDB_val, lmdb,
)
from ownerd.storage.codec cimport CHECKSUM_BYTES, VALUE_BYTES, row_add_checksum
from ownerd.storage.memtable cimport Entry, entry_key, entry_value, memtable_run, prefetch
from ownerd.storage.memtables cimport has_immutable
from ownerd.storage.record_tree cimport (
    STOP_STEPPING, step_over, tree_commit, tree_flushed, tree_put_row, tree_rows, tree_step_begin,
    tree_step_end,
)
from ownerd.storage.rows cimport Versions, place_row, placed_key
from ownerd.storage.store cimport store_drop_flushed
from ownerd.storage.tables cimport META, RECORDS, StateRow, Table

cdef enum:
    PREFETCHED = 12                   # entries lie in the order in which they were written


cdef bint is_flushed(const Tree *tree, const Memtable *memtable) noexcept nogil:
    """Tell whether the tree has everything of an immutable memtable."""
    return tree_flushed(tree) >= memtable.state.revision


cdef int write_entry(MDB_cursor *cursor, const Entry *entry) noexcept nogil:
    """Write one record of a memtable, or remove it if nothing is left of it."""
    cdef char row[VALUE_BYTES + CHECKSUM_BYTES]
    cdef MDB_val value, key = val_of(slice_of(entry_key(entry), entry.key_size))
    cdef int code
    if entry.value_size == 0:
        code = lmdb.cursor_get(cursor, &key, &value, MDB_SET)
        if code == MDB_NOTFOUND:
            return MDB_SUCCESS
        return lmdb.cursor_del(cursor, 0) if code == MDB_SUCCESS else code
    memcpy(row, entry_value(entry), entry.value_size)
    row_add_checksum(slice_of(entry_key(entry), entry.key_size), row, entry.value_size)
    value = val_of(slice_of(row, entry.value_size + CHECKSUM_BYTES))
    return lmdb.cursor_put(cursor, &key, &value, 0)


cdef int write_entries(
    const Run *run, size_t *position, MDB_cursor *cursor, uint64_t most, int64_t end_ns
) noexcept nogil:
    """Write the next records of a run, from `position` on, which moves; an LMDB error code, or 0.
    """
    cdef size_t first = position[0], at = position[0]
    cdef int code = MDB_SUCCESS
    while code == MDB_SUCCESS and at < run.entries.size() \
            and not step_over(at - first, most, end_ns):
        if at + PREFETCHED < run.entries.size():
            prefetch(run.entries[at + PREFETCHED])
        code = write_entry(cursor, run.entries[at])
        at += 1
    position[0] = at
    return code


cdef int write_rows(
    const Flush *flush, Tree *tree, MDB_txn *txn, size_t *position, uint64_t most, int64_t end_ns
) noexcept nogil:
    """Write the next rows of the small tables, likewise."""
    cdef const FlushedRow *row
    cdef size_t first = position[0]
    cdef int code = MDB_SUCCESS
    while code == MDB_SUCCESS and position[0] < flush.rows.size() \
            and not step_over(position[0] - first, most, end_ns):
        row = &flush.rows[position[0]]
        code = tree_put_row(
            tree, txn, <Table> <int> row.place.data()[0], placed_key(row.place), row.row
        )
        position[0] += 1
    return code


cdef int write_step(Flush *flush, Tree *tree, uint64_t most, int64_t end_ns) noexcept nogil:
    """Commit the next records; an LMDB error code, and then nothing was written, or 0."""
    cdef MDB_txn *txn
    cdef MDB_cursor *cursor
    cdef size_t at = flush.position, row_at = flush.row_position
    cdef StateRow state = tree.state
    cdef int64_t count = 0
    cdef int code = lmdb.txn_begin(tree.environment.env, NULL, 0, &txn)
    if code != MDB_SUCCESS:
        return code
    code = lmdb.cursor_open(txn, tree.tables[<int> RECORDS], &cursor)
    if code == MDB_SUCCESS:
        count = tree_rows(tree, txn)
        code = write_rows(flush, tree, txn, &row_at, most, end_ns)
        most -= min(most, <uint64_t> (row_at - flush.row_position))
        if code == MDB_SUCCESS and row_at == flush.rows.size():
            code = write_entries(flush.run.get(), &at, cursor, most, end_ns)
        count = tree_rows(tree, txn) - count
        lmdb.cursor_close(cursor)
    if code == MDB_SUCCESS and row_at == flush.rows.size() \
            and at == flush.run.get().entries.size():
        state = flush.memtable.get().state
        if flush.closing != NULL:
            code = tree_put_row(tree, txn, META, slice_of(b"cluster", 7), flush.closing)
    if code != MDB_SUCCESS:
        lmdb.txn_abort(txn)
        return code
    assert_that(state.revision >= tree_flushed(tree), "what is flushed stays flushed")
    fail_at(FAIL_BEFORE_FLUSH_COMMIT)
    code = tree_commit(tree, txn, &state)
    fail_at(FAIL_AFTER_FLUSH_COMMIT)
    if code == MDB_SUCCESS:
        assert_that(
            flush.position <= at <= flush.run.get().entries.size(), "a flush goes on in its run"
        )
        count_add(&flush.flushed_count, at - flush.position)
        flush.position, flush.row_position = at, row_at
        tree.flushing_delta.fetch_add(count)
        tree.flushed_revision.store(state.revision)
    return code


cdef void choose_rows(Flush *flush, Memtable *memtable) noexcept nogil:
    """Take every row as it was last; nothing changes in a memtable that is immutable."""
    cdef map[string, Versions].iterator at = memtable.rows.all.begin()
    cdef FlushedRow row
    cdef string closing
    place_row(&closing, META, slice_of(b"cluster", 7))
    flush.rows.clear()
    flush.closing = NULL
    while at != memtable.rows.all.end():
        row.place = &dereference(at).first
        row.row = &dereference(at).second.back()
        if row.place[0] == closing:
            flush.closing = row.row
        else:
            flush.rows.push_back(row)
        preincrement(at)


cdef void choose_memtable(Flush *flush, shared_ptr[Memtable] memtable) noexcept nogil:
    """Begin with a memtable, unless it is the one that is being flushed."""
    if flush.memtable.get() != memtable.get():
        flush.memtable = memtable
        flush.run = memtable_run(memtable.get())
        flush.position = flush.row_position = 0
        choose_rows(flush, memtable.get())


cdef void publish_progress(Flush *flush) noexcept nogil:
    cdef size_t size = 0
    if flush.run.get() != NULL:
        size = flush.run.get().entries.size()
    flush.permille.store(flush.position * 1000 // size if size != 0 else 0)


cdef int flush_step(
    Flush *flush, Tree *tree, shared_ptr[Memtable] memtable, int64_t step_ns
) noexcept nogil:
    """Bring a memtable's next records into the tree; an error code that ends the store, or 0."""
    cdef uint64_t most = tree_step_begin(tree)
    cdef int code = MDB_SUCCESS
    if most == 0:
        code = MDB_MAP_FULL
    elif not is_flushed(tree, memtable.get()):
        choose_memtable(flush, memtable)
        code = write_step(flush, tree, most, clock_elapsed() + step_ns)
    if is_flushed(tree, memtable.get()):
        flush.memtable.reset()
        flush.run.reset()
        flush.rows.clear()
    publish_progress(flush)
    return tree_step_end(tree, code)


cdef int flush_memtable(
    Flush *flush, Tree *tree, shared_ptr[Memtable] memtable, NextStep next_step, void *context
) noexcept nogil:
    """Flush step by step until the tree has the memtable, or `next_step` says stop."""
    cdef int64_t step_ns
    cdef int code = MDB_SUCCESS
    while code == MDB_SUCCESS and not is_flushed(tree, memtable.get()):
        step_ns = next_step(context)
        if step_ns == STOP_STEPPING:
            break
        code = flush_step(flush, tree, memtable, step_ns)
    return code


cdef int flush_immutable(
    Flush *flush, Store *store, NextStep next_step, void *context
) noexcept nogil:
    cdef int code = MDB_SUCCESS
    if has_immutable(&store.memtables):
        code = flush_memtable(
            flush, store.tree, store.memtables.immutable, next_step, context
        )
        store_drop_flushed(store)
    return code
