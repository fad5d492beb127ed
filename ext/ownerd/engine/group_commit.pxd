"""C interface of group_commit: the writer, a role: of its thread, or of one who submits."""

from ownerd.api.task cimport Task
from ownerd.base.threads cimport pthread_t
from ownerd.engine.core cimport EngineCore


cdef start_writer(EngineCore *core, pthread_t *thread)
# Dials; returns those that are refused at once, as `queue_submit_all` does. `decided`: the others
# are done already, on this thread.
cdef Task *submit_dials(EngineCore *engine, Task *first, bint *decided) noexcept nogil
