"""C interface of core: what the threads of one engine share."""

from libc.stdint cimport int64_t, uint64_t
from libcpp.atomic cimport atomic

from ownerd.api.dial_call cimport CALL_KIND_COUNT, DialCall
from ownerd.base.clock cimport ClockState
from ownerd.base.containers cimport vector
from ownerd.base.histogram cimport Histogram
from ownerd.base.live cimport LiveEngine
from ownerd.base.threads cimport pthread_mutex_t
from ownerd.engine.activity cimport Activity
from ownerd.engine.called_twice cimport CalledTwice
from ownerd.engine.maintenance_plan cimport MaintenanceState
from ownerd.engine.queue cimport Queue
from ownerd.engine.slow_calls cimport SlowCalls
from ownerd.engine.unknown_codes cimport UnknownCodes
from ownerd.storage.catalog cimport Campaign
from ownerd.storage.store cimport Store

cdef enum:
    GROUP_SIZE_CLASSES = 20           # group sizes are counted by power of two
    GROUP_BYTES_PER_RECORD = 256      # what one record takes in the log, at most

cdef enum:
    STORE_LOST = -1                   # a failure code beside LMDB's: see `store_place`

# Written by the writer thread only; others read them as they stand.
cdef struct Counters:
    uint64_t groups
    uint64_t changed_groups
    uint64_t calls
    uint64_t records
    uint64_t decisions[8]             # by ClaimDecision
    uint64_t outcomes[8]              # by AttemptOutcome
    uint64_t lapsed                   # reservations seen that ended without a report
    uint64_t twice                    # rejected attempts: two campaigns called one person (R31)
    uint64_t attempts_ahead           # refused: their time was too far ahead (R24)
    uint64_t unknown_codes            # reports whose code nobody knew, taken or refused (R26)
    int64_t ahead_elapsed_ns          # of clock_elapsed, when the last one was; 0: none yet
    int64_t ahead_ms                  # how far that one was
    uint64_t refused_full
    uint64_t commit_ns
    Histogram call_lengths[CALL_KIND_COUNT]  # by kind, from the queue to the answer
    Histogram wait_lengths                   # of dials in the queue
    Histogram commit_lengths
    uint64_t committed_records        # in committed groups
    uint64_t waited_ns                # for a flush to give memory back
    uint64_t group_sizes[GROUP_SIZE_CLASSES]  # committed groups of 2^i to 2^(i+1) - 1 records

# What an engine is opened with, beside its store.
cdef struct EngineOptions:
    uint64_t queue_limit              # records that may wait
    int64_t vacuum_interval_ms
    int64_t step_ns                   # how long a step of maintenance may take
    int64_t flush_age_ns              # how long what is not in the tree may be left

cdef cppclass EngineCore:
    Store *store                      # NULL once it is closed
    ClockState *clock
    Queue queue
    atomic[int] failure_code          # the error that ended the store
    int failure_fd                    # eventfd, readable once it has
    vector[Campaign *] shown          # of a closed store: calls that are not encoded may name them
    pthread_mutex_t writer            # held by the thread that is the writer, for some tasks
    # the writer's
    uint64_t group_records            # most records that are decided together
    vector[DialCall *] group
    Counters counters
    Activity activity
    UnknownCodes unknown_codes
    CalledTwice called_twice
    SlowCalls slow_calls
    int64_t group_begun_ns            # of clock_elapsed, when the group was gathered
    int64_t group_commit_ns           # how long its commit took
    # maintenance's
    atomic[int] lock_missed           # looks in a row that found LOCK alone gone
    int maintenance_fd                # eventfd that wakes its thread
    int64_t vacuum_interval_ms
    MaintenanceState maintenance
    atomic[bint] flush_waits          # a memtable is immutable and not in the tree yet
    atomic[uint64_t] fill_permille    # how full the active memtable is
    # the feed's
    atomic[int] feed_waits            # somebody waits for a revision: the writer is to wake them
    int feed_fd                       # eventfd, readable when there may be one
    LiveEngine live


cdef EngineCore *engine_new(
    Store *store, ClockState *clock, const EngineOptions *options
) except NULL
cdef void engine_free(EngineCore *engine) noexcept nogil
cdef void engine_close_store(EngineCore *engine) noexcept
cdef void engine_stop(EngineCore *engine) noexcept nogil
cdef void engine_fail(EngineCore *engine, int code) noexcept nogil
cdef bint engine_failed(EngineCore *engine) noexcept nogil
cdef bint engine_stands_by(const EngineCore *engine) noexcept nogil
# After a commit, or a proof, that ended with an error: the end of all, or of leading.
cdef void engine_end(EngineCore *engine, int code) noexcept nogil
# Fails the engine if the store's files are not those that were opened; one thread at a time.
cdef bint engine_look(EngineCore *engine) noexcept nogil
cdef void engine_wake_maintenance(EngineCore *engine) noexcept nogil
# On the writer thread, once what it committed is answered: wakes who waits for it.
cdef void engine_ring(EngineCore *engine) noexcept nogil
# Has the writer wake `feed_fd` after the next commit; False: there is a later revision already.
cdef bint engine_await(EngineCore *engine, uint64_t revision) noexcept nogil
