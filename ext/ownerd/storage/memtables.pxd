"""C interface of memtables: the active and the immutable memtable, and what both hold."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.atomic cimport atomic
from libcpp.memory cimport shared_ptr

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport map, mutex, string, vector
from ownerd.storage.memtable cimport (
    Entry, Memtable, memtable_find, memtable_fits, memtable_prefetch, memtable_put,
)
from ownerd.storage.rows cimport RowVersion
from ownerd.storage.tables cimport StateRow

cdef cppclass Memtables:
    shared_ptr[Memtable] active       # what was committed since the last rotation; never none
    shared_ptr[Memtable] immutable    # what is being flushed; or none
    shared_ptr[Memtable] spare        # the next one, or none yet; under the guard
    shared_ptr[Memtable] dropped      # what the tree has, until its memory is given back; likewise
    uint64_t memtable_bytes           # about what one takes when it is full
    # Held to read rows on any thread, to change them, and to change which memtables there are.
    mutex guard
    int row_views                     # how many read rows as of some revision
    uint64_t rows_revision            # of the last commit that changed rows
    atomic[int64_t] record_count      # records that both hold, as published; any thread reads it
    atomic[int64_t] record_delta      # by how many they raise the number of records, likewise

# What both held at one instant, kept for whoever reads it later.
cdef cppclass MemtablesView:
    shared_ptr[Memtable] active
    shared_ptr[Memtable] immutable
    vector[char *] chunks             # the active memtable's, and where it ended
    uint64_t end


cdef inline bint has_immutable(const Memtables *memtables) noexcept nogil:
    return memtables.immutable.get() != NULL


cdef inline const Entry *memtables_find(
    const Memtables *memtables, uint32_t hash, const char *key, size_t key_size
) noexcept nogil:
    """Return a record's newest entry, valid until the next put; NULL if none has one."""
    cdef const Entry *entry = memtable_find(memtables.active.get(), hash, key, key_size)
    if entry == NULL and memtables.immutable.get() != NULL:
        entry = memtable_find(memtables.immutable.get(), hash, key, key_size)
    return entry


cdef inline void memtables_prefetch(const Memtables *memtables, uint32_t hash) noexcept nogil:
    """Have the processor fetch the slots of a record that is looked up soon."""
    memtable_prefetch(memtables.active.get(), hash)
    if memtables.immutable.get() != NULL:
        memtable_prefetch(memtables.immutable.get(), hash)


cdef inline void memtables_prefetch_put(const Memtables *memtables, uint32_t hash) noexcept nogil:
    """Have the processor fetch the slot of a record that is put soon."""
    memtable_prefetch(memtables.active.get(), hash)


cdef inline void memtables_put(
    const Memtables *memtables, uint32_t hash, Slice key, Slice value, bint existed
) noexcept nogil:
    """Put a record's new state, an empty one if it is gone; `existed`: something was stored."""
    cdef Memtable *memtable = memtables.active.get()
    memtable_put(memtable, hash, key, value)
    memtable.record_delta += (value.size != 0) - <int> existed


cdef inline bint memtables_fit(const Memtables *memtables, uint64_t record_count) noexcept nogil:
    """Tell whether a group of so many records may be put without a rotation before it."""
    return memtable_fits(memtables.active.get(), record_count)


# All of them on the writer thread, or where it does not run.
cdef void memtables_init(Memtables *memtables, uint64_t memtable_bytes) noexcept nogil
cdef void memtables_close(Memtables *memtables) noexcept nogil
# Rolling back undoes what was put since the mark.
cdef void memtables_mark(Memtables *memtables) noexcept nogil
cdef void memtables_rollback(Memtables *memtables) noexcept nogil
# Rows as a commit leaves them, by place.
cdef void memtables_put_rows(
    Memtables *memtables, map[string, RowVersion] *rows, uint64_t revision
) noexcept nogil
# What nobody is answered any more, as if it had not been put; the tree is to lose it, too. Without
# an immutable memtable.
cdef void memtables_forget_row(Memtables *memtables, const string &place) noexcept nogil
# On the writer thread; NULL: neither has the row. Valid until the next put.
cdef const RowVersion *memtables_row(
    const Memtables *memtables, const string &place
) noexcept nogil
# Between two transactions. `state`: the store's, of whose revision the active one's last change is.
cdef bint rotate(
    Memtables *memtables, uint64_t flushed_revision, const StateRow *state
) noexcept nogil
cdef bint drop_flushed(Memtables *memtables, uint64_t flushed_revision) noexcept nogil
# On one thread beside the writer, now and then. `fill_permille`: the active memtable's, of late.
cdef void tend_memtables(Memtables *memtables, uint64_t fill_permille) noexcept nogil
cdef void publish_counts(Memtables *memtables) noexcept nogil
cdef uint64_t memtables_fill(const Memtables *memtables) noexcept nogil
# An upper bound on what the record tree needs more for what both hold.
cdef uint64_t memtables_growth(const Memtables *memtables) noexcept nogil
cdef void memtables_view(const Memtables *memtables, MemtablesView *view) noexcept nogil
