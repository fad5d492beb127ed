"""C interface of snapshot: one list at one revision, read without the writer."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.api.task cimport Task
from ownerd.base.containers cimport string, vector
from ownerd.base.live cimport LiveSnapshot
from ownerd.engine.activity cimport Activity
from ownerd.storage.catalog cimport Campaign
from ownerd.storage.read_view cimport ReadView
from ownerd.storage.store cimport Store

# Asked of the engine, filled in by its writer between two groups.
cdef cppclass SnapshotRequest:
    Task task
    string list_id
    ReadView view                     # whoever asked closes it
    uint64_t revision
    int64_t time_ns
    int64_t next_ns                   # the earliest instant of a decision after it
    vector[Campaign *] campaigns      # by number, as they were; they live as long as the store
    LiveSnapshot live


cdef SnapshotRequest *request_new() noexcept nogil
cdef void request_free(SnapshotRequest *request) noexcept nogil
cdef int64_t since_of(list acquired) except? -1
cdef int snapshot_take(Store *store, SnapshotRequest *request, int64_t now_ns) noexcept nogil


cdef class Snapshot:
    cdef bint is_open
    cdef SnapshotRequest *request
    cdef object engine                # whose files it keeps open
    cdef Activity *counted            # the engine's

    cdef SnapshotRequest *ask(self, engine)
    cdef open(self)
