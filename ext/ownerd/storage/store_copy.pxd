"""C interface of store_copy: the files of a store as of one revision, read while it is written."""

from libc.stdint cimport int64_t, uint64_t
from libcpp.memory cimport shared_ptr

from ownerd.base.containers cimport string, vector
from ownerd.base.live cimport LiveReadView
from ownerd.base.lmdb cimport MDB_txn
from ownerd.storage.record_tree cimport Tree
from ownerd.storage.segment cimport Segment
from ownerd.storage.store cimport Store

# A segment of the log, as far as it is part of the copy.
cdef cppclass CopiedSegment:
    shared_ptr[Segment] segment       # held: read also once it was trimmed, never used again
    uint64_t number
    uint64_t bytes                    # from its begin on; behind them the copy has zeros
    uint64_t file_bytes

cdef cppclass StoreCopy:
    Tree *tree
    MDB_txn *txn                      # NULL: not begun, or closed
    string metas                      # the data file's first two pages, as of the transaction
    uint64_t tree_bytes
    uint64_t flushed_revision         # of the data file
    vector[CopiedSegment] log         # from there to `revision`
    uint64_t revision
    uint64_t store_id
    uint64_t incarnation
    int64_t time_ns
    LiveReadView live

cdef enum CopyStatus:
    COPY_OK
    COPY_AGAIN                        # the log was trimmed meanwhile; begin anew
    COPY_NO_READER                    # LMDB has no slot for one more reader
    COPY_FAILED                       # the data file cannot be read

# Any thread; it waits for a step of maintenance, so not the writer.
cdef CopyStatus copy_begin(StoreCopy *copy, Store *store) noexcept nogil
# The writer, between two groups: says where the copy ends. COPY_OK or COPY_AGAIN.
cdef CopyStatus copy_fix(StoreCopy *copy, Store *store) noexcept nogil
# On one thread at a time. How many bytes were read, all but those behind the end; negative: an
# errno says why not.
cdef ssize_t copy_read_tree(
    const StoreCopy *copy, uint64_t offset, char *data, size_t size
) noexcept nogil
cdef ssize_t copy_read_segment(
    const StoreCopy *copy, size_t index, uint64_t offset, char *data, size_t size
) noexcept nogil
# Lets go of everything; may be called again.
cdef void copy_close(StoreCopy *copy) noexcept nogil
