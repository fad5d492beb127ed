"""C interface of release_count: counts what a release ended, as one task of the engine."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.api.task cimport Task
from ownerd.base.containers cimport string, vector
from ownerd.engine.core cimport EngineCore
from ownerd.storage.read_view cimport ReadView
from ownerd.storage.store cimport Store

cdef enum CountStep:                  # what the writer is asked for
    COUNT_FIND                        # which releases are still to be counted
    COUNT_BEGIN                       # a view of the records that a list's releases may have ended
    COUNT_END                         # to store what was found there

# What a release came to.
cdef struct Counted:
    uint64_t entry_id
    uint32_t seq                      # of its first event
    int64_t count

cdef cppclass ReleaseCount:
    Task task
    CountStep step
    string list_id                    # in, of COUNT_FIND: whose releases; empty: any list's
    uint64_t entry_id                 # in: the audit entry of one of the releases
    vector[uint64_t] pending          # out, of COUNT_FIND: audit entries
    bint found                        # out: the release was still to be counted
    int64_t count                     # out: if so, how many records it ended
    ReadView view                     # from COUNT_BEGIN until they are counted
    vector[Counted] counted           # every release of the list that was still to be counted
    size_t stored                     # of those: how many counts are stored


cdef void release_count_init(ReleaseCount *request) noexcept nogil
cdef void find_uncounted_releases(EngineCore *engine, ReleaseCount *request) noexcept nogil
cdef int count_release(EngineCore *engine, ReleaseCount *request) noexcept nogil
cdef int release_count_step(
    Store *store, ReleaseCount *request, int64_t now_ns
) noexcept nogil
