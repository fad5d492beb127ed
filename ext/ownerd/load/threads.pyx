"""Runs the threads of a load for a time: starts them, heeds signals, joins them, adds up.

`run_load` is called with the GIL and lets go of it; a signal handler that raises (Ctrl-C) stops the
threads, which end within their own bounds, before the exception goes on. What a thread does until
its tally has ended is its own: see `engine` and `http2`.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint32_t

from ownerd.base.atomics cimport flag_read, flag_set
from ownerd.base.clock cimport CLOCK_MONOTONIC, clock_read
from ownerd.base.threads cimport thread_start, thread_wait, usleep
from ownerd.load.tally cimport Tally, load_result, tally_clear, tally_init, tally_merge

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int, unsigned long)
    int PR_SET_TIMERSLACK

cdef enum:
    LOOK_US = 5_000                   # how often signals and ends are looked for
    SLACK_NS = 1_000                  # how late the kernel may wake a thread that sends at a rate


cdef bint worker_stopping(Worker *worker) noexcept nogil:
    return flag_read(&worker.stopping) != 0


cdef void worker_stop(Worker *worker) noexcept nogil:
    """Ask a worker to end soon; from any thread."""
    flag_set(&worker.stopping, 1)


cdef void *worker_main(void *argument) noexcept nogil:
    cdef Worker *worker = <Worker *> argument
    if worker.gap_ns != 0:
        prctl(PR_SET_TIMERSLACK, SLACK_NS)
    worker.main(worker)
    flag_set(&worker.done, 1)
    return NULL


cdef int start(Worker **workers, uint32_t count, uint32_t *started) except -1:
    """Start the threads, counting those that have begun; OSError if one cannot be started."""
    while started[0] < count:
        name = b"ownerd-load-%d" % started[0]
        thread_start(&workers[started[0]].thread, worker_main, workers[started[0]], name)
        started[0] += 1
    return 0


cdef bint all_done(Worker **workers, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        if flag_read(&workers[i].done) == 0:
            return False
    return True


cdef void join(Worker **workers, uint32_t count, bint stop) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        if stop:
            worker_stop(workers[i])
    for i in range(count):
        thread_wait(workers[i].thread)


cdef run_workers(Worker **workers, uint32_t count):
    """Run the threads to their end; OSError if not all of them can be started."""
    cdef uint32_t started = 0
    cdef bint finished = False
    try:
        start(workers, count, &started)
        while not all_done(workers, count):
            PyErr_CheckSignals()
            with nogil:
                usleep(LOOK_US)
        finished = True
    finally:
        with nogil:
            join(workers, started, not finished)


cdef run_load(
    Worker **workers, uint32_t count, double seconds, double warm_up_s, double rate_per_s
):
    """Run a load for `seconds` after a warm-up, at a rate unless that is 0; return its LoadResult.

    The workers are filled in but for their tallies and their share of the rate, and are run once.
    """
    cdef Tally total
    cdef int64_t now_ns = clock_read(CLOCK_MONOTONIC)
    cdef int64_t begin_ns = now_ns + <int64_t> (warm_up_s * 1e9)
    cdef int64_t end_ns = begin_ns + <int64_t> (seconds * 1e9)
    cdef uint32_t i
    for i in range(count):
        if not tally_init(&workers[i].tally, begin_ns, end_ns):
            raise MemoryError()
        if rate_per_s > 0:
            workers[i].gap_ns = 1e9 * count / rate_per_s
            workers[i].due_ns = now_ns + workers[i].gap_ns * i / count
    run_workers(workers, count)
    if not tally_init(&total, begin_ns, end_ns):
        raise MemoryError()
    for i in range(count):
        tally_merge(&total, &workers[i].tally)
    result = load_result(&total, count)
    tally_clear(&total)
    return result
