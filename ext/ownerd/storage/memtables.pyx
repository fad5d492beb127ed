"""The memtables as a pair: one active, which the writer puts into, and at most one immutable.

Rotation makes the active one immutable and begins another. An immutable memtable is flushed into
the record tree and dropped then; only after that may the next rotation come.

Invariants:
- What the active memtable has of a record is newer than what the immutable one has, and that is
  newer than what the tree has.
- Only the writer thread changes the pair. Other threads hold a memtable by a pointer of their own,
  and read the published counts.
"""

from ownerd.base.assertions cimport assert_that
from ownerd.base.failpoints cimport FAIL_AFTER_ROTATE, FAIL_BEFORE_ROTATE, fail_at
from ownerd.storage.memtable cimport memtable_fill, memtable_mark, memtable_new, memtable_rollback


cdef void memtables_init(Memtables *memtables, uint64_t memtable_bytes) noexcept nogil:
    memtables.memtable_bytes = memtable_bytes
    memtables.active = shared_ptr[Memtable](memtable_new(memtable_bytes))
    memtables.record_count.store(0)
    memtables.record_delta.store(0)


cdef void memtables_close(Memtables *memtables) noexcept nogil:
    """Let go of both; they go once nobody else holds them."""
    memtables.active.reset()
    memtables.immutable.reset()


cdef void memtables_mark(Memtables *memtables) noexcept nogil:
    memtable_mark(memtables.active.get())


cdef void memtables_rollback(Memtables *memtables) noexcept nogil:
    memtable_rollback(memtables.active.get())


cdef bint rotate(
    Memtables *memtables, uint64_t flushed_revision, uint64_t last_revision
) noexcept nogil:
    """Rotate the active memtable and begin another; True if it did.

    Not while another memtable is immutable, nor when there is nothing that the tree does not have.
    """
    if memtables.immutable.get() != NULL or flushed_revision >= last_revision:
        return False
    fail_at(FAIL_BEFORE_ROTATE)
    assert_that(
        last_revision > memtables.active.get().last_revision, "a memtable is rotated once"
    )
    memtables.active.get().last_revision = last_revision
    memtables.immutable = memtables.active
    memtables.active = shared_ptr[Memtable](memtable_new(memtables.memtable_bytes))
    fail_at(FAIL_AFTER_ROTATE)
    return True


cdef bint drop_flushed(Memtables *memtables, uint64_t flushed_revision) noexcept nogil:
    """Let go of the immutable memtable once the tree has it; True if it did."""
    if memtables.immutable.get() == NULL \
            or flushed_revision < memtables.immutable.get().last_revision:
        return False
    assert_that(memtables.active.get() != NULL, "there is always an active memtable")
    memtables.immutable.reset()
    return True


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
    cdef uint64_t growth = memtables.active.get().growth_bytes
    if memtables.immutable.get() != NULL:
        growth += memtables.immutable.get().growth_bytes
    return growth


cdef void memtables_view(const Memtables *memtables, MemtablesView *view) noexcept nogil:
    """Keep what both hold now, for reading on another thread."""
    view.active = memtables.active
    view.immutable = memtables.immutable
    view.chunks = memtables.active.get().chunks
    view.end = memtables.active.get().end
