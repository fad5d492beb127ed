"""C interface of threads: the threads of a load, from start to end."""

from libc.stdint cimport uint32_t

from ownerd.base.threads cimport pthread_t
from ownerd.load.tally cimport Tally

cdef enum:
    TOGETHER_NS = 100_000             # calls due within so long go out together, a little late

ctypedef void (*LoadMain)(Worker *worker) noexcept nogil

# The head of what a load's thread works with.
cdef struct Worker:
    LoadMain main
    pthread_t thread
    uint32_t index                    # from 0, of all of them
    int stopping                      # 1: end soon; read and set through the two functions below
    int done                          # 1: nothing more will come
    double gap_ns                     # between calls that are due; 0: as fast as they are answered
    double due_ns                     # when the next one is
    Tally tally


cdef run_load(
    Worker **workers, uint32_t count, double seconds, double warm_up_s, double rate_per_s
)
cdef bint worker_stopping(Worker *worker) noexcept nogil
cdef void worker_stop(Worker *worker) noexcept nogil
