"""C interface of maintenance: has maintenance's work done, by a thread or by hand."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.base.containers cimport string
from ownerd.engine.group_commit cimport EngineCore, pthread_t

cdef start_maintenance(EngineCore *core, pthread_t *thread)
cdef bint run_maintenance_step(EngineCore *engine, bint vacuum_all) noexcept nogil
cdef int flush_all(EngineCore *engine, int64_t now_ns) noexcept nogil
cdef int count_and_store(
    EngineCore *engine, const string &list_id, uint64_t entry_id
) noexcept nogil
