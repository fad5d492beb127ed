"""C interface of record_tree: the tree on disk, as flushed up to some revision."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.atomic cimport atomic

from ownerd.base.bytes cimport Slice
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.containers cimport map, mutex, string
from ownerd.base.lmdb cimport MDB_dbi, MDB_txn, MDB_val
from ownerd.storage.environment cimport Environment
from ownerd.storage.rows cimport RowVersion
from ownerd.storage.tables cimport TABLE_COUNT, ClusterRow, SessionRow, StateRow, Table
from ownerd.storage.walker cimport Walker

cdef enum:
    RECORDS_PER_LOOK = 32             # records handled between two looks at the clock

cdef cppclass Tree:
    Environment *environment
    MDB_dbi tables[TABLE_COUNT]
    atomic[uint64_t] flushed_revision  # as committed
    StateRow state                    # as committed, of that revision; written under `writing`
    atomic[int64_t] flushing_delta    # records added, less removed, by the flush in progress
    # Views that are open, whose pages are not used again, by the epoch in which they were taken;
    # two of them at most have any.
    atomic[int64_t] view_counts[2]
    atomic[uint32_t] view_epoch
    MDB_txn *reader                   # the writer thread's, reset between its groups
    bint reading
    Walker walker                     # its
    mutex writing                     # held over a whole step, by whoever does it
    uint64_t step_records             # how many records a step may write
    uint64_t step_bytes               # what that takes at most; 0: whatever there is capacity for
    uint64_t reserve_bytes
    atomic[bint] out_of_space         # the last step found no space

# Asked before each of several steps: how long it may take, beside its commit; or to stop here.
cdef enum:
    STOP_STEPPING = -1

ctypedef int64_t (*NextStep)(void *context) noexcept nogil


cdef inline uint64_t tree_flushed(const Tree *tree) noexcept nogil:
    """Return the revision that the tree is flushed up to; any thread."""
    return tree.flushed_revision.load()


cdef inline bint is_out_of_space(const Tree *tree) noexcept nogil:
    """Tell whether the last step found no space, or somebody said so; any thread."""
    return tree.out_of_space.load()


cdef inline void set_out_of_space(Tree *tree, bint out_of_space) noexcept nogil:
    tree.out_of_space.store(out_of_space)


cdef inline uint32_t tree_view_begins(Tree *tree) noexcept nogil:
    """Count a view that is taken, on the writer thread; it ends with the epoch returned."""
    cdef uint32_t epoch = tree.view_epoch.load()
    tree.view_counts[epoch % 2].fetch_add(1)
    return epoch


cdef inline void tree_view_ends(Tree *tree, uint32_t epoch) noexcept nogil:
    """Any thread."""
    tree.view_counts[epoch % 2].fetch_sub(1)


cdef inline bint former_views_open(const Tree *tree) noexcept nogil:
    """Tell whether anybody reads a view that was taken before this epoch; any thread."""
    return tree.view_counts[(tree.view_epoch.load() + 1) % 2].load() > 0


cdef inline void begin_view_epoch(Tree *tree) noexcept nogil:
    """Tell the views that are taken from now on from those that are open, unless older ones are.

    A view that is being taken meanwhile may count for either. By one thread at a time.
    """
    if not former_views_open(tree):
        tree.view_epoch.fetch_add(1)


cdef inline bint step_over(uint64_t handled, uint64_t most, int64_t end_ns) noexcept nogil:
    """Tell whether a step has done enough."""
    return handled >= most or (
        handled > 0 and handled % RECORDS_PER_LOOK == 0 and clock_elapsed() > end_ns
    )


# StoreError: it cannot be opened, or is no tree of this format.
cdef Tree *tree_open(str path, uint64_t map_bytes) except NULL
# With rows, of a store that is new.
cdef tree_create(str path, const StateRow *state, map[string, RowVersion] *rows)
cdef void tree_close(Tree *tree) noexcept

# --- look-ups of the writer thread; what they found is valid until `tree_rest` --------------------

cdef int tree_read(Tree *tree) noexcept nogil
# After that: whether the walker may look records up; else LMDB must.
cdef bint tree_walk(Tree *tree) noexcept nogil
# MDB_NOTFOUND, MDB_CORRUPTED or another LMDB error; 0: found.
cdef int tree_get(
    Tree *tree, Table table, const char *key, size_t key_size, MDB_val *value
) noexcept nogil
cdef void tree_rest(Tree *tree) noexcept nogil

# --- any thread -----------------------------------------------------------------------------------

cdef uint64_t tree_count(Tree *tree) noexcept nogil
# A step writes between begin and end, which wait for each other's: one write transaction, in which
# the state is put too.
cdef uint64_t tree_step_begin(Tree *tree) noexcept nogil
cdef int tree_step_end(Tree *tree, int code) noexcept nogil
cdef int64_t tree_rows(Tree *tree, MDB_txn *txn) noexcept nogil
# A row, which gets its checksum here.
cdef int put_checked(MDB_txn *txn, MDB_dbi table, Slice key, Slice row) noexcept nogil
# A row of a small table, or that it is gone, without its checksum.
cdef int tree_put_row(
    Tree *tree, MDB_txn *txn, Table table, Slice key, const RowVersion *row
) noexcept nogil
# Commits with what the tree has been flushed up to, which the caller publishes if it changed; of an
# error's transaction nothing is left.
cdef int tree_commit(Tree *tree, MDB_txn *txn, const StateRow *state) noexcept nogil
# Between two steps, or before the first: a commit of its own. `row` may be NULL.
cdef int tree_put_state(
    Tree *tree, const StateRow *state, const SessionRow *row
) noexcept nogil
# Likewise: where in the log of a cluster the store is.
cdef int tree_put_place(Tree *tree, const ClusterRow *place) noexcept nogil
cdef int tree_drop_place(Tree *tree) noexcept nogil   # it is in none
# Before the first step that others may wait for; until then a step takes what capacity there is.
cdef void tree_limit_steps(Tree *tree, uint64_t reserve_bytes) noexcept nogil
