"""C interface of threads: the one way to start a native thread, and what threads wait on."""

from ownerd.base.clock cimport clockid_t, timespec

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_join(pthread_t, void **)
    int pthread_getcpuclockid(pthread_t, clockid_t *)
    int pthread_mutex_init(pthread_mutex_t *, void *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)
    int pthread_mutex_destroy(pthread_mutex_t *)
    int pthread_cond_init(pthread_cond_t *, void *)
    int pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *)
    int pthread_cond_signal(pthread_cond_t *)
    int pthread_cond_destroy(pthread_cond_t *)

cdef extern from "<semaphore.h>" nogil:
    ctypedef struct sem_t:
        pass
    int sem_init(sem_t *, int, unsigned int)
    int sem_wait(sem_t *)
    int sem_clockwait(sem_t *, clockid_t, const timespec *)
    int sem_post(sem_t *)
    int sem_destroy(sem_t *)

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int)

ctypedef void *(*ThreadMain)(void *argument) noexcept nogil

# `name` is what the system's tools show; it is cut after 15 bytes.
cdef int thread_start(
    pthread_t *thread, ThreadMain main, void *argument, const char *name
) except -1


cdef inline void thread_wait(pthread_t thread) noexcept nogil:
    """Wait until a thread is over; once for each that was started."""
    pthread_join(thread, NULL)
