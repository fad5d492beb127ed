"""Runs the threads of a load: starts them, heeds signals while they work, joins them.

`run_workers` is called with the GIL and lets go of it; a signal handler that raises (Ctrl-C) stops
the threads, which end within their own bounds, before the exception goes on.
"""

import os

from libc.stdint cimport uint32_t

from cpython.exc cimport PyErr_CheckSignals

cdef extern from "<pthread.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int pthread_create(pthread_t *, void *, void *(*)(void *) noexcept nogil, void *)
    int pthread_join(pthread_t, void **)

cdef extern from "<signal.h>" nogil:
    int sigfillset(sigset_t *)
    int pthread_sigmask(int, const sigset_t *, sigset_t *)
    int SIG_SETMASK

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int)

cdef extern from *:
    int load_flag "__atomic_load_n"(const int *, int) noexcept nogil
    void store_flag "__atomic_store_n"(int *, int, int) noexcept nogil
    int RELAXED "__ATOMIC_RELAXED"

cdef enum:
    LOOK_US = 5_000                   # how often signals and ends are looked for


cdef bint worker_stopping(Worker *worker) noexcept nogil:
    return load_flag(&worker.stopping, RELAXED) != 0


cdef void worker_stop(Worker *worker) noexcept nogil:
    """Ask a worker to end soon; from any thread."""
    store_flag(&worker.stopping, 1, RELAXED)


cdef void *worker_main(void *argument) noexcept nogil:
    cdef Worker *worker = <Worker *> argument
    worker.main(worker)
    store_flag(&worker.done, 1, RELAXED)
    return NULL


cdef int start(Worker **workers, uint32_t count, uint32_t *started) noexcept nogil:
    """Start the threads with every signal left to Python's main thread; an errno, or 0."""
    cdef sigset_t every, before
    cdef int code = 0
    sigfillset(&every)
    pthread_sigmask(SIG_SETMASK, &every, &before)
    while started[0] < count and code == 0:
        code = pthread_create(
            &workers[started[0]].thread, NULL, worker_main, workers[started[0]]
        )
        started[0] += code == 0
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    return code


cdef bint all_done(Worker **workers, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        if load_flag(&workers[i].done, RELAXED) == 0:
            return False
    return True


cdef void join(Worker **workers, uint32_t count, bint stop) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        if stop:
            worker_stop(workers[i])
    for i in range(count):
        pthread_join(workers[i].thread, NULL)


cdef run_workers(Worker **workers, uint32_t count):
    """Run the threads to their end; OSError if not all of them can be started."""
    cdef uint32_t started = 0
    cdef bint finished = False
    cdef int code = start(workers, count, &started)
    try:
        while code == 0 and not all_done(workers, count):
            PyErr_CheckSignals()
            with nogil:
                usleep(LOOK_US)
        finished = code == 0
    finally:
        with nogil:
            join(workers, started, not finished)
    if code != 0:
        raise OSError(code, f"cannot start a thread: {os.strerror(code)}")
