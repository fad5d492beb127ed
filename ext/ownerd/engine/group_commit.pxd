"""C interface of group_commit: the writer thread."""

from ownerd.engine.core cimport EngineCore

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass


cdef start_thread(pthread_t *thread, void *(*main)(void *) noexcept nogil, EngineCore *core)
cdef start_writer(EngineCore *core, pthread_t *thread)
cdef void wait_thread(pthread_t thread) noexcept nogil
