"""Flushing: brings an immutable memtable into the record tree, sorted, in steps of one commit each.

A step writes the next records in key order; the last one also writes the memtable's last revision,
which the tree is flushed up to from then on. What a step has written is written again if the
process ends before that: states, not decisions.

Invariant: a memtable that the tree has is left alone. Written again, it would undo what came after.

Flushing changes nothing that anybody is answered.
"""

from libc.string cimport memcpy

from ownerd.base.assertions cimport assert_that
from ownerd.base.atomics cimport count_add
from ownerd.base.bytes cimport slice_of, val_of
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.failpoints cimport FAIL_AFTER_FLUSH_COMMIT, FAIL_BEFORE_FLUSH_COMMIT, fail_at
from ownerd.base.lmdb cimport (
    MDB_MAP_FULL, MDB_NOTFOUND, MDB_SET, MDB_SUCCESS, MDB_cursor, MDB_txn, MDB_val, lmdb,
)
from ownerd.storage.codec cimport CHECKSUM_BYTES, VALUE_BYTES, row_add_checksum
from ownerd.storage.memtable cimport Entry, entry_key, entry_value, memtable_run, prefetch
from ownerd.storage.memtables cimport has_immutable
from ownerd.storage.record_tree cimport (
    STOP_STEPPING, TREE_RECORDS, step_over, tree_commit, tree_flushed, tree_put_state,
    tree_rows, tree_step_begin, tree_step_end,
)
from ownerd.storage.store cimport store_drop_flushed

cdef enum:
    PREFETCHED = 12                   # entries lie in the order in which they were written


cdef bint is_flushed(const Tree *tree, const Memtable *memtable) noexcept nogil:
    """Tell whether the tree has everything of an immutable memtable."""
    return tree_flushed(tree) >= memtable.last_revision


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


cdef int write_step(Flush *flush, Tree *tree, uint64_t most, int64_t end_ns) noexcept nogil:
    """Commit the next records; an LMDB error code, and then nothing was written, or 0."""
    cdef MDB_txn *txn
    cdef MDB_cursor *cursor
    cdef size_t at = flush.position
    cdef uint64_t revision = tree_flushed(tree)
    cdef int64_t count = 0
    cdef int code = lmdb.txn_begin(tree.environment.env, NULL, 0, &txn)
    if code != MDB_SUCCESS:
        return code
    code = lmdb.cursor_open(txn, tree.tables[<int> TREE_RECORDS], &cursor)
    if code == MDB_SUCCESS:
        count = tree_rows(tree, txn)
        code = write_entries(flush.run.get(), &at, cursor, most, end_ns)
        count = tree_rows(tree, txn) - count
        lmdb.cursor_close(cursor)
    if at == flush.run.get().entries.size():
        revision = max(revision, flush.memtable.get().last_revision)
    if code == MDB_SUCCESS:
        code = tree_put_state(tree, txn, revision)
    if code != MDB_SUCCESS:
        lmdb.txn_abort(txn)
        return code
    fail_at(FAIL_BEFORE_FLUSH_COMMIT)
    code = tree_commit(tree, txn)
    fail_at(FAIL_AFTER_FLUSH_COMMIT)
    if code == MDB_SUCCESS:
        assert_that(revision >= tree_flushed(tree), "what is flushed stays flushed")
        assert_that(
            flush.position <= at <= flush.run.get().entries.size(), "a flush goes on in its run"
        )
        count_add(&flush.flushed_count, at - flush.position)
        flush.position = at
        tree.flushing_delta.fetch_add(count)
        tree.flushed_revision.store(revision)
    return code


cdef void choose_memtable(Flush *flush, shared_ptr[Memtable] memtable) noexcept nogil:
    """Begin with a memtable, unless it is the one that is being flushed."""
    if flush.memtable.get() != memtable.get():
        flush.memtable = memtable
        flush.run = memtable_run(memtable.get())
        flush.position = 0


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


cdef uint64_t flush_progress(Flush *flush, Tree *tree) noexcept nogil:
    """Return how far the memtable being flushed is in the tree; 0 if none is."""
    cdef uint64_t size = 0, done
    tree.writing.lock()               # the writer may be flushing, too
    if flush.run.get() != NULL:
        size = flush.run.get().entries.size()
    done = flush.position
    tree.writing.unlock()
    return done * 1000 // size if size != 0 else 0
