"""The memtables as a pair: one active, which the writer puts into, and at most one immutable.

Rotation makes the active one immutable and begins another. An immutable memtable is flushed into
the record tree and dropped then; only after that may the next rotation come.

Invariants:
- What the active memtable has of a record is newer than what the immutable one has, and that is
  newer than what the tree has.
- Only the writer thread changes the pair. Other threads hold a memtable by a pointer of their own,
  and read the published counts; rows of the small tables they read under the guard.
- To clear the index of a new memtable, and to give back the memory of one, takes tens of
  milliseconds. Maintenance does both beside the writer, which does it itself only where maintenance
  is behind.
"""

from cython.operator cimport dereference, preincrement

from ownerd.base.assertions cimport assert_that
from ownerd.base.failpoints cimport FAIL_AFTER_ROTATE, FAIL_BEFORE_ROTATE, fail_at
from ownerd.storage.memtable cimport memtable_fill, memtable_mark, memtable_new, memtable_rollback
from ownerd.storage.rows cimport rows_find, rows_forget, rows_put

cdef enum:
    SPARE_FROM_PERMILLE = 500         # a server that has little to do takes no memory for it

cdef uint64_t NEWEST = 0xFFFF_FFFF_FFFF_FFFF


cdef void memtables_init(Memtables *memtables, uint64_t memtable_bytes) noexcept nogil:
    memtables.memtable_bytes = memtable_bytes
    memtables.active = shared_ptr[Memtable](memtable_new(memtable_bytes))
    memtables.row_views = 0
    memtables.rows_revision = 0
    memtables.record_count.store(0)
    memtables.record_delta.store(0)


cdef void memtables_close(Memtables *memtables) noexcept nogil:
    """Let go of all; they go once nobody else holds them."""
    memtables.active.reset()
    memtables.immutable.reset()
    memtables.spare.reset()
    memtables.dropped.reset()


cdef void memtables_mark(Memtables *memtables) noexcept nogil:
    memtable_mark(memtables.active.get())


cdef void memtables_rollback(Memtables *memtables) noexcept nogil:
    memtable_rollback(memtables.active.get())


cdef void memtables_put_rows(
    Memtables *memtables, map[string, RowVersion] *rows, uint64_t revision
) noexcept nogil:
    """Put the rows of a commit; whoever reads goes on with what was before it."""
    cdef map[string, RowVersion].iterator at = rows.begin()
    if rows.empty():
        return
    memtables.guard.lock()
    while at != rows.end():
        dereference(at).second.revision = revision
        rows_put(
            &memtables.active.get().rows, dereference(at).first, &dereference(at).second,
            memtables.row_views > 0,
        )
        preincrement(at)
    memtables.rows_revision = revision
    memtables.guard.unlock()


cdef void memtables_forget_row(Memtables *memtables, const string &place) noexcept nogil:
    assert_that(memtables.immutable.get() == NULL, "what is immutable does not change")
    memtables.guard.lock()
    rows_forget(&memtables.active.get().rows, place)
    memtables.guard.unlock()


cdef const RowVersion *memtables_row(
    const Memtables *memtables, const string &place
) noexcept nogil:
    cdef const RowVersion *row = rows_find(&memtables.active.get().rows, place, NEWEST)
    if row == NULL and memtables.immutable.get() != NULL:
        row = rows_find(&memtables.immutable.get().rows, place, NEWEST)
    return row


cdef bint rotate(
    Memtables *memtables, uint64_t flushed_revision, const StateRow *state
) noexcept nogil:
    """Rotate the active memtable and begin another; True if it did.

    Not while another memtable is immutable, nor when there is nothing that the tree does not have.
    """
    cdef shared_ptr[Memtable] fresh, dropped
    if memtables.immutable.get() != NULL or flushed_revision >= state.revision:
        return False
    fail_at(FAIL_BEFORE_ROTATE)
    assert_that(
        state.revision > memtables.active.get().state.revision, "a memtable is rotated once"
    )
    memtables.active.get().state = state[0]
    memtables.guard.lock()
    fresh.swap(memtables.spare)
    dropped.swap(memtables.dropped)
    memtables.guard.unlock()
    dropped.reset()                   # three are never kept
    if fresh.get() == NULL:
        fresh = shared_ptr[Memtable](memtable_new(memtables.memtable_bytes))
    memtables.guard.lock()
    memtables.immutable = memtables.active
    memtables.active = fresh
    memtables.guard.unlock()
    fail_at(FAIL_AFTER_ROTATE)
    return True


cdef bint drop_flushed(Memtables *memtables, uint64_t flushed_revision) noexcept nogil:
    """Let go of the immutable memtable once the tree has it; True if it did."""
    cdef shared_ptr[Memtable] before
    if memtables.immutable.get() == NULL \
            or flushed_revision < memtables.immutable.get().state.revision:
        return False
    assert_that(memtables.active.get() != NULL, "there is always an active memtable")
    memtables.guard.lock()
    before.swap(memtables.dropped)      # its memory goes behind the guard
    memtables.dropped.swap(memtables.immutable)
    memtables.guard.unlock()
    return True


cdef void tend_memtables(Memtables *memtables, uint64_t fill_permille) noexcept nogil:
    """Give back what was dropped; make the next memtable once the active one is half full."""
    cdef shared_ptr[Memtable] dropped, spare
    cdef bint wanted
    memtables.guard.lock()
    dropped.swap(memtables.dropped)
    wanted = fill_permille >= SPARE_FROM_PERMILLE and memtables.spare.get() == NULL \
        and memtables.immutable.get() == NULL
    memtables.guard.unlock()
    dropped.reset()
    if not wanted:
        return
    spare = shared_ptr[Memtable](memtable_new(memtables.memtable_bytes))
    memtables.guard.lock()
    memtables.spare.swap(spare)
    memtables.guard.unlock()


cdef void publish_counts(Memtables *memtables) noexcept nogil:
    """Let other threads see how much is not flushed."""
    cdef Memtable *active = memtables.active.get()
    cdef Memtable *immutable = memtables.immutable.get()
    memtables.record_count.store(
        active.record_count + (immutable.record_count if immutable != NULL else 0)
    )
    memtables.record_delta.store(
        active.record_delta + (immutable.record_delta if immutable != NULL else 0)
    )


cdef uint64_t memtables_fill(const Memtables *memtables) noexcept nogil:
    """Return how full the active memtable is, in thousandths."""
    return memtable_fill(memtables.active.get())


cdef uint64_t memtables_growth(const Memtables *memtables) noexcept nogil:
    cdef uint64_t growth = memtable_growth(memtables.active.get())
    if memtables.immutable.get() != NULL:
        growth += memtable_growth(memtables.immutable.get())
    return growth


cdef uint64_t memtable_growth(const Memtable *memtable) noexcept nogil:
    return memtable.growth_bytes + memtable.rows.growth_bytes


cdef void memtables_view(const Memtables *memtables, MemtablesView *view) noexcept nogil:
    """Keep what both hold now, for reading on another thread."""
    view.active = memtables.active
    view.immutable = memtables.immutable
    view.chunks = memtables.active.get().chunks
    view.end = memtables.active.get().end
