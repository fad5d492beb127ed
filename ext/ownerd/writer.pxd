"""C interface of writer: submit tasks from any thread, be called back when they are done."""

from libc.stdint cimport uint64_t

from ownerd.calls cimport DialCall, Task
from ownerd.clock cimport ClockState
from ownerd.containers cimport vector
from ownerd.settler cimport SettleState
from ownerd.store cimport Store

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass

cdef enum EngineState:
    RUNNING
    DRAINING                          # new calls are refused, queued ones are answered
    STOPPED                           # the writer ends once the queue is empty
    FAILED                            # storage failed: nothing is granted any more

# Written by the writer thread only; others read them as they stand.
cdef struct Counters:
    uint64_t groups
    uint64_t changed_groups
    uint64_t calls
    uint64_t records
    uint64_t decisions[4]             # by ClaimDecision
    uint64_t outcomes[7]              # by AttemptOutcome
    uint64_t refused_full
    uint64_t commit_ns
    uint64_t settled

cdef cppclass EngineCore:
    Store *store
    ClockState *clock
    pthread_mutex_t guard             # the queue and the state
    pthread_cond_t arrived
    Task *first
    Task *last
    uint64_t queued_records
    uint64_t queue_limit
    uint64_t queue_refusals
    int state
    int failure_code                  # the error that ended the store
    int failure_fd                    # eventfd, readable once it has
    int settle_fd                     # eventfd that wakes the settler's thread
    int settle_interval_ms
    Counters counters
    SettleState settle
    vector[DialCall *] group


cdef EngineCore *core_open(Store *store, ClockState *clock) except NULL
cdef start_writer(EngineCore *core, pthread_t *thread)
cdef start_settler(EngineCore *core, pthread_t *thread)
cdef void change_state(EngineCore *engine, int state) noexcept nogil
cdef void stop(EngineCore *engine) noexcept nogil
cdef void wait_thread(pthread_t thread) noexcept nogil
cdef bint engine_submit(EngineCore *engine, Task *task) noexcept nogil
cdef Task *engine_submit_all(EngineCore *engine, Task *first) noexcept nogil
cdef void run_and_wait(EngineCore *engine, Task *task) noexcept nogil
cdef bint run_settle_step(EngineCore *engine, bint sweep) noexcept nogil
