"""C interface of group_commit: the writer thread."""

from ownerd.base.threads cimport pthread_t
from ownerd.engine.core cimport EngineCore


cdef start_writer(EngineCore *core, pthread_t *thread)
