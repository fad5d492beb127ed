"""C interface of queue: tasks from any thread, in order, to the one that runs them."""

from libc.stdint cimport uint64_t
from libcpp.atomic cimport atomic

from ownerd.api.task cimport Task
from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string
from ownerd.base.threads cimport pthread_cond_t, pthread_mutex_t

# In the order in which an engine goes through them; it never goes back but to STANDBY.
cdef enum EngineState:
    STANDBY = -1                      # another node leads: nothing is decided or changed
    RUNNING = 0
    DRAINING = 1                      # new dials are refused, queued ones are answered
    FAILED = 2                        # storage failed: nothing is granted any more
    STOPPED = 3                       # the writer ends once the queue is empty

cdef cppclass Queue:
    pthread_mutex_t guard             # over all that follows
    pthread_cond_t arrived
    Task *first
    Task *last
    uint64_t record_count             # that wait
    uint64_t record_limit
    uint64_t refusal_count            # beyond the limit
    atomic[int] state                 # EngineState; others read it as it stands
    string leader                     # what a caller is told while it is STANDBY

cdef struct QueueLoad:
    uint64_t record_count
    uint64_t record_limit
    uint64_t refusal_count


cdef void queue_init(Queue *queue, uint64_t record_limit) noexcept nogil
cdef void queue_destroy(Queue *queue) noexcept nogil
cdef void queue_set_limit(Queue *queue, uint64_t record_limit) noexcept nogil
cdef QueueLoad queue_load(Queue *queue) noexcept nogil
cdef bint queue_takes_dials(const Queue *queue) noexcept nogil
# Whether another node leads, or none does.
cdef bint queue_stands_by(const Queue *queue) noexcept nogil
cdef bint queue_takes_tasks(const Queue *queue) noexcept nogil
cdef void queue_change_state(Queue *queue, EngineState state) noexcept nogil
# Refuses what would decide or change anything from now on, unless it has failed or stopped.
cdef void queue_stand_by(Queue *queue) noexcept nogil
cdef void queue_name_leader(Queue *queue, Slice leader) noexcept nogil
cdef void queue_refuse_standby(Queue *queue, Task *task) noexcept nogil
# Whether a task decides or changes something.
cdef bint is_leaders(const Task *task) noexcept nogil
cdef bint queue_submit(Queue *queue, Task *task) noexcept nogil
cdef Task *queue_submit_all(Queue *queue, Task *first) noexcept nogil
cdef void queue_run(Queue *queue, Task *task) noexcept nogil
# The writer's. Only one who is the writer takes, or passes.
cdef bint queue_wait(Queue *queue) noexcept nogil
cdef Task *queue_take_all(Queue *queue) noexcept nogil
cdef bint queue_passes(Queue *queue, Task *first, uint64_t records) noexcept nogil
