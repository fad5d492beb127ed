"""C interface of snapshot: one list at one revision, read without the writer."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.calls cimport Task
from ownerd.containers cimport string
from ownerd.lmdb_api cimport MDB_txn
from ownerd.store cimport List, Store

# Asked of the engine, filled in by its writer between two groups.
cdef cppclass SnapshotRequest:
    Task task
    string list_id
    MDB_txn *txn                      # a read transaction; whoever asked ends it
    List list                         # a copy: policy and events as of the revision
    uint64_t revision
    int64_t time_ns
    size_t campaign_count
    bint damaged                      # a row that was read fails its checksum


cdef int snapshot_take(Store *store, SnapshotRequest *request, int64_t now_ns) noexcept nogil


cdef class Snapshot:
    cdef Store *store                 # NULL until it is open and once it is closed
    cdef SnapshotRequest *request
    cdef object engine                # whose files it keeps open

    cdef SnapshotRequest *ask(self, engine)
    cdef open(self, Store *store)
