"""C interface of release_count: counts what a release or a stop ended, as one task."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.api.task cimport Task
from ownerd.base.containers cimport string, vector
from ownerd.engine.core cimport EngineCore
from ownerd.storage.read_view cimport ReadView
from ownerd.storage.store cimport Store

cdef enum CountStep:                  # what the writer is asked for
    COUNT_FIND                        # which audit entries are still to be counted for
    COUNT_BEGIN                       # the lists in which one of them ended something
    COUNT_VIEW                        # a view of the records of one of the lists
    COUNT_END                         # to store what was found there

# What an audit entry's events came to in one list.
cdef struct Counted:
    uint64_t entry_id
    uint32_t number                   # of the list
    uint32_t seq                      # of its first event
    int64_t count

cdef cppclass ReleaseCount:
    Task task
    CountStep step
    string list_id                    # in, of COUNT_FIND: whose audit entries; empty: any list's
    uint64_t entry_id                 # in: the audit entry to count for
    vector[uint64_t] pending          # out, of COUNT_FIND: audit entries
    vector[uint32_t] lists            # between steps: numbers of the lists concerned
    uint32_t at                       # in, of COUNT_VIEW: the list
    bint found                        # out: what is asked for is there, and still to be counted
    int64_t count                     # out: if so, how many records
    ReadView view                     # from COUNT_VIEW until they are counted
    vector[Counted] counted           # what was found there and is still to be stored
    size_t stored                     # of those: how many counts are stored


cdef void release_count_init(ReleaseCount *request) noexcept nogil
cdef void find_uncounted_releases(EngineCore *engine, ReleaseCount *request) noexcept nogil
cdef int count_release(EngineCore *engine, ReleaseCount *request) noexcept nogil
cdef int release_count_step(
    Store *store, ReleaseCount *request, int64_t now_ns
) noexcept nogil
