"""C interface of record_tree: the record tree on disk, as flushed up to some revision."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.atomic cimport atomic

from ownerd.base.clock cimport clock_elapsed
from ownerd.base.containers cimport mutex
from ownerd.base.lmdb cimport MDB_dbi, MDB_txn, MDB_val
from ownerd.storage.environment cimport Environment

cdef enum TreeTable:
    TREE_META
    TREE_RECORDS
    TREE_TABLE_COUNT

cdef enum:
    RECORDS_PER_LOOK = 32             # records handled between two looks at the clock

cdef const char *TREE_TABLE_NAMES[TREE_TABLE_COUNT]

cdef struct TreeState:                # TREE_META "state"
    uint64_t flushed_revision         # every change up to here is in the tree
    uint64_t store_id                 # the journal's, so that strangers are not taken for a pair
    uint32_t format
    uint32_t unused

cdef cppclass Tree:
    Environment *environment
    MDB_dbi tables[TREE_TABLE_COUNT]
    atomic[uint64_t] flushed_revision  # as committed
    uint64_t store_id
    atomic[int64_t] flushing_delta    # records added, less removed, by the flush in progress
    atomic[int64_t] view_count        # views that are open: their pages are not used again
    MDB_txn *reader                   # the writer thread's, reset between its groups
    bint reading
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


cdef inline bint views_open(const Tree *tree) noexcept nogil:
    """Tell whether anybody reads a view; any thread."""
    return tree.view_count.load() > 0


cdef inline bint step_over(uint64_t handled, uint64_t most, int64_t end_ns) noexcept nogil:
    """Tell whether a step has done enough."""
    return handled >= most or (
        handled > 0 and handled % RECORDS_PER_LOOK == 0 and clock_elapsed() > end_ns
    )


# StoreError: it cannot be opened, or is no tree of this format.
cdef Tree *tree_open(str path, uint64_t map_bytes) except NULL
cdef tree_create(str path, uint64_t store_id)
cdef void tree_close(Tree *tree) noexcept

# --- look-ups of the writer thread; what they found is valid until `tree_rest` --------------------

cdef int tree_read(Tree *tree) noexcept nogil
# MDB_NOTFOUND, MDB_CORRUPTED or another LMDB error; 0: found.
cdef int tree_find(
    Tree *tree, const char *key, size_t key_size, MDB_val *value
) noexcept nogil
cdef void tree_rest(Tree *tree) noexcept nogil

# --- any thread -----------------------------------------------------------------------------------

cdef uint64_t tree_count(Tree *tree) noexcept nogil
# A step writes between begin and end, which wait for each other's: one write transaction, in which
# the state is put too if the revision changes.
cdef uint64_t tree_step_begin(Tree *tree) noexcept nogil
cdef int tree_step_end(Tree *tree, int code) noexcept nogil
cdef int64_t tree_rows(Tree *tree, MDB_txn *txn) noexcept nogil
cdef int tree_put_state(Tree *tree, MDB_txn *txn, uint64_t flushed_revision) noexcept nogil
# Before the first step that others may wait for; until then a step takes what capacity there is.
cdef void tree_limit_steps(Tree *tree, uint64_t reserve_bytes) noexcept nogil
