"""C interface of load_thread: the threads of a load, from start to end."""

from libc.stdint cimport int64_t, uint32_t

from ownerd.load_tally cimport Tally
from ownerd.writer cimport pthread_t

ctypedef void (*LoadMain)(Worker *worker) noexcept nogil

# The head of what a load's thread works with.
cdef struct Worker:
    LoadMain main
    pthread_t thread
    uint32_t index                    # from 0, of all of them
    int stopping                      # 1: end soon; read and set through the two functions below
    int done                          # 1: nothing more will come
    Tally tally


cdef run_workers(Worker **workers, uint32_t count)
cdef bint worker_stopping(Worker *worker) noexcept nogil
cdef void worker_stop(Worker *worker) noexcept nogil
