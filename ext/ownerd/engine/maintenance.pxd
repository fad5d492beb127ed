"""C interface of maintenance: has maintenance's work done, by a thread or by hand."""

from libc.stdint cimport int64_t

from ownerd.base.threads cimport pthread_t
from ownerd.engine.core cimport EngineCore

cdef start_maintenance(EngineCore *core, pthread_t *thread)
# What is not in the tree yet is flushed next. Any thread.
cdef void flush_soon(EngineCore *engine) noexcept nogil
cdef bint run_maintenance_step(EngineCore *engine, bint vacuum_all) noexcept nogil
cdef int flush_all(EngineCore *engine, int64_t now_ns) noexcept nogil
