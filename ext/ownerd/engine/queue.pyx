"""The bounded queue before the writer: what it takes in which state, and waiting for one task.

Any thread submits tasks without the GIL; the writer takes all that wait at once. Whoever is the
writer for a moment may pass an empty queue by. Dials count
against the bound by their records, everything else counts nothing and is always taken while the
engine runs or drains.

It knows no store and runs no task (group_commit); a waiter is a C callback.
"""

from libc.stdint cimport int64_t, uint64_t

from ownerd.api.reasons cimport (
    NOT_LEADING, QUEUE_FULL, SERVER_STOPPING, STORAGE_FAILED, Value, numeral, refuse, refuse_with,
    words,
)
from ownerd.api.task cimport TASK_COMMAND, TASK_COUNT, TASK_DIAL
from ownerd.base.assertions cimport assert_that
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.threads cimport (
    pthread_cond_destroy, pthread_cond_init, pthread_cond_signal, pthread_cond_wait,
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
    sem_destroy, sem_init, sem_post, sem_t, sem_wait,
)


cdef void queue_init(Queue *queue, uint64_t record_limit) noexcept nogil:
    pthread_mutex_init(&queue.guard, NULL)
    pthread_cond_init(&queue.arrived, NULL)
    queue.first = queue.last = NULL
    queue.record_count = queue.refusal_count = 0
    queue.record_limit = record_limit
    queue.state.store(RUNNING)
    queue.leader.assign(b"nobody does yet", 15)


cdef void queue_destroy(Queue *queue) noexcept nogil:
    """Free what an empty queue holds, once nobody takes from it or submits."""
    assert_that(queue.first == NULL, "every task is done before its queue is freed")
    pthread_cond_destroy(&queue.arrived)
    pthread_mutex_destroy(&queue.guard)


cdef void queue_set_limit(Queue *queue, uint64_t record_limit) noexcept nogil:
    """Have another limit from now on; what waits already stays, whatever it is."""
    pthread_mutex_lock(&queue.guard)
    queue.record_limit = record_limit
    pthread_mutex_unlock(&queue.guard)


cdef QueueLoad queue_load(Queue *queue) noexcept nogil:
    """Return how many records wait, and how often there was no place for more."""
    cdef QueueLoad load
    pthread_mutex_lock(&queue.guard)
    load.record_count = queue.record_count
    load.record_limit = queue.record_limit
    load.refusal_count = queue.refusal_count
    pthread_mutex_unlock(&queue.guard)
    return load


# --- states ---------------------------------------------------------------------------------------

cdef bint queue_takes_dials(const Queue *queue) noexcept nogil:
    return queue.state.load() == RUNNING


cdef bint queue_stands_by(const Queue *queue) noexcept nogil:
    return queue.state.load() == STANDBY


cdef bint queue_takes_tasks(const Queue *queue) noexcept nogil:
    """Tell whether what is no dial is still taken: nothing has failed, nobody has stopped it."""
    cdef int state = queue.state.load()
    return state == RUNNING or state == DRAINING or state == STANDBY


cdef void queue_change_state(Queue *queue, EngineState state) noexcept nogil:
    """Move on to a later state; a state that is past already stays past."""
    pthread_mutex_lock(&queue.guard)
    if queue.state.load() < state:
        queue.state.store(state)
    assert_that(queue.state.load() >= state, "an engine never goes back to an earlier state")
    pthread_cond_signal(&queue.arrived)
    pthread_mutex_unlock(&queue.guard)


cdef void queue_stand_by(Queue *queue) noexcept nogil:
    pthread_mutex_lock(&queue.guard)
    if queue_takes_tasks(queue):
        queue.state.store(STANDBY)
    pthread_mutex_unlock(&queue.guard)


cdef void queue_name_leader(Queue *queue, Slice leader) noexcept nogil:
    """Have callers be told who leads."""
    pthread_mutex_lock(&queue.guard)
    queue.leader.assign(leader.data, leader.size)
    pthread_mutex_unlock(&queue.guard)


cdef void refuse_here(Queue *queue, Task *task) noexcept nogil:
    """Refuse a task and say who leads. Called with the guard held."""
    cdef Value leader = words(queue.leader.data())
    refuse_with(task, NOT_LEADING, &leader)


cdef void queue_refuse_standby(Queue *queue, Task *task) noexcept nogil:
    pthread_mutex_lock(&queue.guard)
    refuse_here(queue, task)
    pthread_mutex_unlock(&queue.guard)


cdef bint is_leaders(const Task *task) noexcept nogil:
    return task.kind == TASK_DIAL or task.kind == TASK_COMMAND or task.kind == TASK_COUNT


# --- submitting: any thread -----------------------------------------------------------------------

cdef bint accept(Queue *queue, Task *task) noexcept nogil:
    """Tell whether the queue takes the task now; else refuse it. Called with the guard held."""
    cdef Value values[2]
    if queue.state.load() == STANDBY and is_leaders(task):
        refuse_here(queue, task)
        return False
    if queue_takes_dials(queue) if task.kind == TASK_DIAL else queue_takes_tasks(queue):
        if task.record_count == 0 or (
            queue.record_count + task.record_count <= queue.record_limit
        ):
            return True
        queue.refusal_count += 1
        values[0], values[1] = numeral(queue.record_count), numeral(queue.record_limit)
        refuse_with(task, QUEUE_FULL, values)
    elif queue.state.load() == FAILED:
        refuse(task, STORAGE_FAILED)
    else:
        refuse(task, SERVER_STOPPING)
    return False


cdef void append(Queue *queue, Task *task) noexcept nogil:
    """Append an accepted task. Called with the guard held."""
    task.next = NULL
    queue.record_count += task.record_count
    assert_that((queue.first == NULL) == (queue.last == NULL), "a queue has both ends or none")
    if queue.last == NULL:
        queue.first = task
        pthread_cond_signal(&queue.arrived)
    else:
        queue.last.next = task
    queue.last = task


cdef bint queue_submit(Queue *queue, Task *task) noexcept nogil:
    """Queue a task; its `on_done` runs on the writer's thread once it is done.

    False if it is refused at once: then code and message are set and `on_done` is not called.
    """
    task.next = NULL
    return queue_submit_all(queue, task) == NULL


cdef Task *queue_submit_all(Queue *queue, Task *first) noexcept nogil:
    """Queue a chain of tasks in order, so that the writer finds all of them at once.

    Returns the chain of those that are refused at once, as by `queue_submit`; NULL if none is.
    """
    cdef Task *task = first
    cdef Task *after
    cdef Task *refused = NULL
    cdef int64_t now_ns = clock_elapsed()
    pthread_mutex_lock(&queue.guard)
    while task != NULL:
        after = task.next
        task.queued_ns = now_ns
        if accept(queue, task):
            append(queue, task)
        else:
            task.next = refused
            refused = task
        task = after
    pthread_mutex_unlock(&queue.guard)
    return refused


cdef void on_waited(Task *task) noexcept nogil:
    sem_post(<sem_t *> task.context)


cdef void queue_run(Queue *queue, Task *task) noexcept nogil:
    """Submit a task and block until it is done or refused; never on the writer thread."""
    cdef sem_t done
    sem_init(&done, 0, 0)
    task.context = &done
    task.on_done = on_waited
    if queue_submit(queue, task):
        while sem_wait(&done) != 0:   # interrupted by a signal handler
            pass
    sem_destroy(&done)


# --- taking: the writer ---------------------------------------------------------------------------

cdef bint queue_wait(Queue *queue) noexcept nogil:
    """Wait for work; False once stopped and drained."""
    cdef bint more
    pthread_mutex_lock(&queue.guard)
    while queue.first == NULL and queue.state.load() != STOPPED:
        pthread_cond_wait(&queue.arrived, &queue.guard)
    more = queue.first != NULL
    pthread_mutex_unlock(&queue.guard)
    return more


cdef Task *queue_take_all(Queue *queue) noexcept nogil:
    """Take all that waits, in order."""
    cdef Task *first
    pthread_mutex_lock(&queue.guard)
    first = queue.first
    assert_that(first == NULL or queue.last.next == NULL, "the last task is the last")
    queue.first = queue.last = NULL
    queue.record_count = 0
    pthread_mutex_unlock(&queue.guard)
    return first


cdef bint queue_passes(Queue *queue, Task *first, uint64_t records) noexcept nogil:
    """Tell whether a chain of dials would be taken, and nothing is before it; by the writer."""
    cdef int64_t now_ns = clock_elapsed()
    cdef bint passes
    pthread_mutex_lock(&queue.guard)
    passes = queue.first == NULL and queue_takes_dials(queue) and records <= queue.record_limit
    pthread_mutex_unlock(&queue.guard)
    while passes and first != NULL:
        first.queued_ns = now_ns
        first = first.next
    return passes
