"""C interface of loop: the threads of the native listener."""

from libc.stdint cimport int64_t

from ownerd.access.table cimport AccessCore
from ownerd.base.threads cimport pthread_t
from ownerd.base.tls cimport TlsMaterial
from ownerd.engine.core cimport EngineCore
from ownerd.net.state cimport HandledMethods, Limits, Loop

cdef Loop *loop_new(
    EngineCore *engine, AccessCore *access, const Limits *limits, TlsMaterial *tls,
    HandledMethods *handled,
) except NULL
cdef void loop_free(Loop *loop) noexcept nogil
cdef int loop_start(Loop *loop, pthread_t *thread, size_t number) except -1
cdef void loop_order(Loop *loop, int order, int64_t deadline_ns) noexcept nogil
cdef void loop_tell_health(Loop *loop) noexcept nogil
# From its next wake-up on; what a connection has agreed on with its peer stays.
cdef void loop_limit(Loop *loop, const Limits *limits) noexcept nogil
