"""C interface of record_tree: the record tree on disk, as flushed up to some revision."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.atomic cimport atomic

from ownerd.base.containers cimport string, vector
from ownerd.base.lmdb cimport MDB_cursor, MDB_dbi, MDB_txn, MDB_val
from ownerd.rules.ownership cimport Event, Hold
from ownerd.storage.environment cimport Environment
from ownerd.storage.memtable cimport Memtable, Run

cdef enum TreeTable:
    TREE_META
    TREE_RECORDS
    TREE_TABLE_COUNT

cdef const char *TREE_TABLE_NAMES[TREE_TABLE_COUNT]

cdef struct TreeState:                # TREE_META "state"
    uint64_t flushed_revision         # every change up to here is in the tree
    uint64_t store_id                 # the journal's, so that strangers are not taken for a pair
    uint32_t format
    uint32_t unused

cdef cppclass Tree:
    Environment *environment
    MDB_dbi tables[TREE_TABLE_COUNT]
    atomic[uint64_t] flushed_revision  # as committed; written by maintenance
    uint64_t store_id
    atomic[int64_t] flushing_delta    # records added, less removed, by the merge in progress
    atomic[int64_t] view_count        # views that are open: their pages are not used again
    MDB_txn *reader                   # the writer thread's, reset between its groups
    bint reading

# What a walk over one list's records does in the tree, and how far it is.
cdef cppclass Vacuum:
    uint32_t number                   # of the list
    bint purge                        # remove every record
    uint32_t last_seq                 # events up to here are folded into the records
    vector[Event] events
    int64_t now_ns                    # spans that had ended by then are dropped
    string after                      # the last key visited
    uint64_t visited
    uint64_t written

cdef Tree *tree_open(str path, uint64_t map_bytes) except NULL
cdef tree_create(str path, uint64_t store_id)
cdef void tree_close(Tree *tree) noexcept
cdef int tree_read(Tree *tree) noexcept nogil
cdef int tree_find(
    Tree *tree, const char *key, size_t key_size, MDB_val *value
) noexcept nogil
cdef void tree_rest(Tree *tree) noexcept nogil
cdef uint64_t tree_count(Tree *tree) noexcept nogil
cdef int tree_flush(
    Tree *tree, Memtable *memtable, const Run *run, size_t *position, uint64_t most, int64_t end_ns,
    uint64_t *written
) noexcept nogil
cdef int tree_vacuum(
    Tree *tree, Vacuum *walk, uint64_t most, int64_t end_ns, bint *finished
) noexcept nogil
