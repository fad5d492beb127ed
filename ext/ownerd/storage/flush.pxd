"""C interface of flush: the immutable memtable becomes part of the record tree."""

from libc.stdint cimport int64_t, uint64_t
from libcpp.atomic cimport atomic
from libcpp.memory cimport shared_ptr

from ownerd.base.containers cimport string, vector
from ownerd.storage.memtable cimport Memtable, Run
from ownerd.storage.record_tree cimport NextStep, Tree
from ownerd.storage.rows cimport RowVersion
from ownerd.storage.store cimport Store

# One row of a memtable, which owns both.
cdef struct FlushedRow:
    const string *place
    const RowVersion *row

# How far a memtable is in the tree. Read and written by whoever has the tree's turn at writing.
cdef cppclass Flush:
    shared_ptr[Memtable] memtable     # being flushed; or none
    vector[FlushedRow] rows           # of the small tables; they come first
    size_t row_position
    const RowVersion *closing         # where in a cluster's log that is: with the state; NULL: none
    shared_ptr[Run] run
    size_t position
    uint64_t flushed_count            # records brought into the tree since the store was opened
    atomic[uint64_t] permille         # of the memtable that is being flushed; 0: none is


cdef inline uint64_t flush_progress(const Flush *flush) noexcept nogil:
    """Return how far a flush is, in thousandths of the memtable; any thread."""
    return flush.permille.load()


# Any thread, and several at once: they take turns at the steps. 0: done, or `next_step` said stop,
# which it should once the tree is out of space; else an LMDB error code that ends the store.
cdef int flush_memtable(
    Flush *flush, Tree *tree, shared_ptr[Memtable] memtable, NextStep next_step, void *context
) noexcept nogil
# The writer thread: the same for the store's immutable memtable, if any, which then is dropped.
cdef int flush_immutable(
    Flush *flush, Store *store, NextStep next_step, void *context
) noexcept nogil
cdef bint is_flushed(const Tree *tree, const Memtable *memtable) noexcept nogil
