"""C interface of group_commit: submit tasks from any thread, be called back when they are done."""

from libc.stdint cimport int64_t, uint64_t
from libcpp.atomic cimport atomic

from ownerd.api.dial_call cimport DialCall
from ownerd.api.task cimport Task
from ownerd.base.clock cimport ClockState
from ownerd.base.containers cimport vector
from ownerd.engine.maintenance_plan cimport MaintenanceState
from ownerd.storage.store cimport Store

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass

cdef enum:
    GROUP_SIZE_CLASSES = 20           # group sizes are counted by power of two

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
    uint64_t waited_ns                # for maintenance to make room in memory
    uint64_t group_sizes[GROUP_SIZE_CLASSES]  # committed groups of 2^i to 2^(i+1) - 1 records

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
    atomic[int] failure_code          # the error that ended the store
    int failure_fd                    # eventfd, readable once it has
    int maintenance_fd                # eventfd that wakes maintenance's thread
    int vacuum_interval_ms
    Counters counters
    bint background                   # maintenance has a thread
    atomic[bint] flush_waits          # a memtable is immutable and not in the tree yet
    atomic[uint64_t] fill_permille    # how full the active memtable is
    uint64_t group_records            # most records that are decided together
    MaintenanceState maintenance
    vector[DialCall *] group


cdef EngineCore *core_open(Store *store, ClockState *clock) except NULL
cdef start_thread(pthread_t *thread, void *(*main)(void *) noexcept nogil, EngineCore *core)
cdef start_writer(EngineCore *core, pthread_t *thread)
cdef void engine_fail(EngineCore *engine, int code) noexcept nogil
cdef void change_state(EngineCore *engine, int state) noexcept nogil
cdef void stop(EngineCore *engine) noexcept nogil
cdef void wait_thread(pthread_t thread) noexcept nogil
cdef bint engine_submit(EngineCore *engine, Task *task) noexcept nogil
cdef Task *engine_submit_all(EngineCore *engine, Task *first) noexcept nogil
cdef void run_and_wait(EngineCore *engine, Task *task) noexcept nogil
