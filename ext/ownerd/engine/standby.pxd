"""C interface of standby: a node of a cluster that follows, and begins to lead."""

from libc.stdint cimport int64_t, uint32_t

from ownerd.api.task cimport Task
from ownerd.base.containers cimport string
from ownerd.engine.core cimport EngineCore
from ownerd.storage.tables cimport ClusterRow

# TASK_FOLLOW: the next entry of the cluster's log.
cdef cppclass FollowTask:
    Task task
    ClusterRow place
    int64_t time_ns
    uint32_t row_count
    string rows

# TASK_LEAD.
cdef cppclass LeadTask:
    Task task
    int64_t time_ns                   # the leader's time, as it is now; 0: none was heard of

# On the writer thread, between two groups: 0, or an error code that ends the store. The active
# memtable has capacity for the entry.
cdef int standby_follow(EngineCore *engine, FollowTask *task) noexcept nogil
cdef int standby_lead(EngineCore *engine, LeadTask *task) noexcept nogil
