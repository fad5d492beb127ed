"""The single writer: a bounded queue, groups of decisions, one commit for each, then the answers.

Any thread submits tasks without the GIL. One writer thread takes all that is waiting, decides the
dials in order against current state, commits once and answers them: greedy group commit, no timer.
A group in which nothing changed is not committed. Changes of the control plane, snapshots and plans
of maintenance run between groups, each by itself, in the order they came. Before a group is decided
the active memtable has room for it; when maintenance has not kept up, the writer waits for it, and
the queue fills.

Invariants:
- An answer that changed state is given after its commit returned (R18); a commit that failed, other
  than for want of room, stops the store for good: everything is answered UNAVAILABLE from then on
  and `failure_fd` becomes readable. A sync is never tried again.
- Only the writer thread touches the catalog, the memtables and the journal.
- `revision` grows by one with each commit that changed something.

It knows no Python objects, no sockets and no gRPC: a waiter is a C callback. `engine` wraps it for
Python, `aio_bridge` for asyncio.
"""

import os

from libc.stdint cimport int64_t, uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memset

from ownerd.api.dial_call cimport CALL_CLAIM, CALL_CLAIM_BATCH, CALL_GET_HOLDER
from ownerd.api.dial_codec cimport dial_encode
from ownerd.api.task cimport (
    DEADLINE_EXCEEDED, MESSAGE_BYTES, OK, RESOURCE_EXHAUSTED, TASK_COMMAND, TASK_DIAL,
    TASK_SNAPSHOT, TASK_STEP, UNAVAILABLE, task_refuse,
)
from ownerd.base.clock cimport clock_elapsed, clock_now, clock_start_from
from ownerd.base.failpoints cimport FAIL_AFTER_ANSWER, FAIL_BEFORE_ANSWER, fail_at
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.engine.commands cimport Command, command_run, refuse_full
from ownerd.engine.decide cimport decide_call, multiget_group
from ownerd.engine.maintenance_plan cimport (
    URGENT_STEP_NS, PlanTask, maintenance_plan, maintenance_step,
)
from ownerd.engine.snapshot cimport SnapshotRequest, snapshot_take
from ownerd.storage.capacity cimport (
    CAPACITY_FOR_CHANGES, CAPACITY_FOR_GRANTS, CAPACITY_FOR_NOTHING, Capacity, is_full,
)
from ownerd.storage.flush cimport flush_immutable
from ownerd.storage.memtables cimport has_immutable, memtables_fill, memtables_fit
from ownerd.storage.record_tree cimport STOP_STEPPING, is_out_of_space, set_out_of_space
from ownerd.storage.store cimport (
    store_abort, store_begin, store_capacity, store_commit, store_drop_flushed, store_revision,
    store_rotate, store_time, store_trim, store_trim_due,
)
from ownerd.storage.transaction cimport transaction_error

cdef extern from "<pthread.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int pthread_create(pthread_t *, void *, void *(*)(void *) noexcept nogil, void *)
    int pthread_join(pthread_t, void **)
    int pthread_mutex_init(pthread_mutex_t *, void *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)
    int pthread_cond_init(pthread_cond_t *, void *)
    int pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *)
    int pthread_cond_signal(pthread_cond_t *)

cdef extern from "<signal.h>" nogil:
    int sigfillset(sigset_t *)
    int pthread_sigmask(int, const sigset_t *, sigset_t *)
    int SIG_SETMASK

cdef extern from "<semaphore.h>" nogil:
    ctypedef struct sem_t:
        pass
    int sem_init(sem_t *, int, unsigned int)
    int sem_wait(sem_t *)
    int sem_post(sem_t *)
    int sem_destroy(sem_t *)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int, int)
    int EFD_NONBLOCK
    int EFD_CLOEXEC
    int eventfd_write(int, uint64_t)

cdef enum:
    MULTIGET_RECORDS = 16             # smaller groups are decided record by record


# --- the queue ------------------------------------------------------------------------------------

cdef bint admit(EngineCore *engine, Task *task) noexcept nogil:
    """Tell whether the queue takes the task now; else refuse it. Called with the guard held."""
    if engine.state == RUNNING or (engine.state == DRAINING and task.kind != TASK_DIAL):
        if task.record_count == 0 or (
            engine.queued_records + task.record_count <= engine.queue_limit
        ):
            return True
        engine.queue_refusals += 1
        snprintf(
            task_refuse(task, RESOURCE_EXHAUSTED), MESSAGE_BYTES,
            "the queue is full (%llu records waiting, %llu allowed); try again in a moment",
            <unsigned long long> engine.queued_records, <unsigned long long> engine.queue_limit,
        )
    elif engine.state == FAILED:
        refuse_failed(task)
    else:
        snprintf(
            task_refuse(task, UNAVAILABLE), MESSAGE_BYTES,
            "the server is stopping and takes no more calls; try another one",
        )
    return False


cdef void enqueue(EngineCore *engine, Task *task) noexcept nogil:
    """Append an admitted task. Called with the guard held."""
    task.next = NULL
    engine.queued_records += task.record_count
    if engine.last == NULL:
        engine.first = task
        pthread_cond_signal(&engine.arrived)
    else:
        engine.last.next = task
    engine.last = task


cdef bint engine_submit(EngineCore *engine, Task *task) noexcept nogil:
    """Queue a task; its `on_done` runs on the writer thread once it is done.

    False if it is refused at once: then code and message are set and `on_done` is not called.
    """
    task.next = NULL
    return engine_submit_all(engine, task) == NULL


cdef Task *engine_submit_all(EngineCore *engine, Task *first) noexcept nogil:
    """Queue a chain of tasks in order, so that the writer finds all of them at once.

    Returns the chain of those that are refused at once, as by `engine_submit`; NULL if none is.
    """
    cdef Task *task = first
    cdef Task *after
    cdef Task *refused = NULL
    pthread_mutex_lock(&engine.guard)
    while task != NULL:
        after = task.next
        if admit(engine, task):
            enqueue(engine, task)
        else:
            task.next = refused
            refused = task
        task = after
    pthread_mutex_unlock(&engine.guard)
    return refused


cdef Task *take_all(EngineCore *engine) noexcept nogil:
    """Wait for work and take all of it, in order; NULL once stopped and drained."""
    cdef Task *first
    pthread_mutex_lock(&engine.guard)
    while engine.first == NULL and engine.state != STOPPED:
        pthread_cond_wait(&engine.arrived, &engine.guard)
    first = engine.first
    engine.first = engine.last = NULL
    engine.queued_records = 0
    pthread_mutex_unlock(&engine.guard)
    return first


cdef void change_state(EngineCore *engine, int state) noexcept nogil:
    """Move on to a later state; a failed engine stays failed until it is stopped."""
    pthread_mutex_lock(&engine.guard)
    if engine.state != FAILED or state == STOPPED:
        engine.state = state
    pthread_cond_signal(&engine.arrived)
    pthread_mutex_unlock(&engine.guard)


# --- the writer -----------------------------------------------------------------------------------

cdef void refuse_failed(Task *task) noexcept nogil:
    snprintf(
        task_refuse(task, UNAVAILABLE), MESSAGE_BYTES,
        "storage failed, the outcome of this call is unknown; the server is stopping: ask again "
        "when it is back",
    )


cdef void engine_fail(EngineCore *engine, int code) noexcept nogil:
    """Stop granting for good after a failed commit or a damaged row (R18); any thread."""
    engine.failure_code.store(code)
    change_state(engine, FAILED)
    eventfd_write(engine.failure_fd, 1)


cdef void finish(Task *task) noexcept nogil:
    fail_at(FAIL_BEFORE_ANSWER)
    task.on_done(task)
    fail_at(FAIL_AFTER_ANSWER)


cdef void answer(EngineCore *engine, DialCall *call) noexcept nogil:
    """Encode a decided call's answer and count it."""
    cdef uint32_t i
    engine.counters.calls += 1
    if call.task.code != OK:
        engine.counters.refused_full += call.task.code == RESOURCE_EXHAUSTED
        finish(&call.task)
        return
    engine.counters.records += call.item_count
    if call.call_kind == CALL_CLAIM or call.call_kind == CALL_CLAIM_BATCH:
        for i in range(call.item_count):
            engine.counters.decisions[call.items[i].answer] += 1
    elif call.call_kind != CALL_GET_HOLDER:
        for i in range(call.item_count):
            engine.counters.outcomes[call.items[i].answer] += 1
    call.revision = store_revision(engine.store)
    dial_encode(call)
    finish(&call.task)


cdef void answer_group(EngineCore *engine, bint failed) noexcept nogil:
    cdef size_t i
    for i in range(engine.group.size()):
        if failed:
            refuse_failed(&engine.group[i].task)
            finish(&engine.group[i].task)
        else:
            answer(engine, engine.group[i])


cdef int commit_group(EngineCore *engine, int64_t now_ns) noexcept nogil:
    """Commit the open transaction as one revision; count it and the time it took."""
    cdef int64_t begun_ns = clock_elapsed()
    cdef int code = store_commit(engine.store, store_revision(engine.store) + 1, now_ns)
    engine.counters.commit_ns += <uint64_t> (clock_elapsed() - begun_ns)
    engine.counters.changed_groups += code == MDB_SUCCESS
    return code


# --- room in memory -------------------------------------------------------------------------------

cdef int64_t next_flush_step(void *context) noexcept nogil:
    """Flush on unless there is no room, or no store."""
    cdef EngineCore *engine = <EngineCore *> context
    if is_out_of_space(engine.store.tree) or engine.failure_code.load() != MDB_SUCCESS:
        return STOP_STEPPING
    return URGENT_STEP_NS


cdef bint await_flush(EngineCore *engine) noexcept nogil:
    """Have the immutable memtable flushed; False if there is no room for it, or no store.

    Maintenance may be waiting for the writer's plan, so the writer does not wait for it: they take
    turns at the steps.
    """
    cdef Store *store = engine.store
    cdef int64_t begun_ns = clock_elapsed()
    cdef int code
    set_out_of_space(store.tree, False)
    code = flush_immutable(&engine.maintenance.flush, store, next_flush_step, engine)
    if code != MDB_SUCCESS:
        engine_fail(engine, code)
    engine.counters.waited_ns += <uint64_t> (clock_elapsed() - begun_ns)
    return not has_immutable(&store.memtables)


cdef bint reserve_memtable(EngineCore *engine, uint64_t records) noexcept nogil:
    """Have the active memtable take so many records; False if it cannot."""
    cdef Store *store = engine.store
    store_drop_flushed(store)
    if not memtables_fit(&store.memtables, records):
        if has_immutable(&store.memtables) and not await_flush(engine):
            return False
        store_rotate(store)
        eventfd_write(engine.maintenance_fd, 1)
    engine.flush_waits.store(has_immutable(&store.memtables))
    engine.fill_permille.store(memtables_fill(&store.memtables))
    return True


cdef Capacity flushed_capacity(EngineCore *engine, int64_t now_ns) noexcept nogil:
    """Tell what may still be written; flush the memtables before grants are refused for them.

    What the memtables promise to need is an upper bound, and settling finds out what it is.
    """
    cdef Store *store = engine.store
    cdef Capacity room = store_capacity(store, now_ns)
    cdef int code = MDB_SUCCESS
    if room >= CAPACITY_FOR_GRANTS or room == CAPACITY_FOR_NOTHING:
        return room
    if await_flush(engine) and store_rotate(store):
        await_flush(engine)
    while code == MDB_SUCCESS and store_trim_due(store):
        code = store_trim(store, now_ns)
    if code != MDB_SUCCESS and not is_full(code):
        engine_fail(engine, code)
    return store_capacity(store, now_ns)


# --- groups of dials ------------------------------------------------------------------------------

cdef void count_group(EngineCore *engine, uint64_t records) noexcept nogil:
    """Count a committed group by the power of two of its size."""
    cdef int size_class = 0
    while records > 1 and size_class < GROUP_SIZE_CLASSES - 1:
        records //= 2
        size_class += 1
    engine.counters.group_sizes[size_class] += 1


cdef int decide_group(EngineCore *engine, size_t start, size_t end) noexcept nogil:
    """Decide group[start:end] at one instant and commit; an LMDB error code, or 0."""
    cdef Store *store = engine.store
    cdef int64_t now_ns
    cdef Capacity room
    cdef bint changed = False
    cdef uint64_t records = 0
    cdef size_t i
    cdef int code
    for i in range(start, end):
        records += engine.group[i].item_count
    room = flushed_capacity(engine, clock_now(engine.clock))
    if not reserve_memtable(engine, records):
        room = CAPACITY_FOR_CHANGES
    now_ns = clock_now(engine.clock)  # not before the wait
    store_begin(store)
    if records >= MULTIGET_RECORDS:
        multiget_group(store, &engine.group[start], end - start)
    for i in range(start, end):
        changed |= decide_call(store, engine.group[i], now_ns, room)
    if not changed and transaction_error(&store.txn) == MDB_SUCCESS:
        store_abort(store)
        return MDB_SUCCESS
    code = commit_group(engine, now_ns)
    if code == MDB_SUCCESS:
        count_group(engine, records)
    return code


cdef void run_group(EngineCore *engine) noexcept nogil:
    """Decide, commit and answer the gathered calls.

    A group that does not fit into what is left of the map is undone and its calls are tried one by
    one, so that those that fit, or write nothing, are answered.
    """
    cdef size_t i
    cdef int code = decide_group(engine, 0, engine.group.size())
    engine.counters.groups += 1
    if is_full(code):
        for i in range(engine.group.size()):
            code = decide_group(engine, i, i + 1)
            if is_full(code):
                refuse_full(engine.store, &engine.group[i].task)
            elif code != MDB_SUCCESS:
                break
    if code != MDB_SUCCESS and not is_full(code):
        engine_fail(engine, code)
    answer_group(engine, engine.failure_code.load() != MDB_SUCCESS)


cdef void refuse_late(Task *task) noexcept nogil:
    snprintf(
        task_refuse(task, DEADLINE_EXCEEDED), MESSAGE_BYTES,
        "the deadline passed before the call was decided; nothing changed",
    )


cdef Task *gather_group(EngineCore *engine, Task *task) noexcept nogil:
    """Move the dials at the head of the list into the group; return what comes after them.

    Those whose deadline has passed are refused instead: nobody waits for them any more.
    """
    cdef uint64_t records = 0
    cdef Task *after
    cdef int64_t elapsed_ns = clock_elapsed()
    engine.group.clear()
    while task != NULL and task.kind == TASK_DIAL and records < engine.group_records:
        after = task.next
        if task.deadline_ns != 0 and task.deadline_ns <= elapsed_ns:
            refuse_late(task)
            finish(task)
        else:
            records += task.record_count
            engine.group.push_back(<DialCall *> task)
        task = after
    return task


cdef int run_command(EngineCore *engine, Command *command) noexcept nogil:
    """Run a command of the control plane; it may command records, one for each row or id in it."""
    cdef int code
    if store_capacity(engine.store, clock_now(engine.clock)) == CAPACITY_FOR_NOTHING \
            or not reserve_memtable(engine, command.rows.size() + command.record_ids.size()):
        refuse_full(engine.store, &command.task)
        return MDB_SUCCESS
    code = command_run(engine.store, command, clock_now(engine.clock))
    eventfd_write(engine.maintenance_fd, 1)
    return code


cdef void run_task(EngineCore *engine, Task *task) noexcept nogil:
    """Run what is not a dial, between two groups."""
    cdef int64_t now_ns = clock_now(engine.clock)
    cdef int code = MDB_SUCCESS
    if task.kind == TASK_COMMAND:
        code = run_command(engine, <Command *> task.body)
    elif task.kind == TASK_SNAPSHOT:
        code = snapshot_take(engine.store, <SnapshotRequest *> task.body, now_ns)
    elif task.kind == TASK_STEP:
        code = maintenance_step(engine.store, &engine.maintenance, <PlanTask *> task.body, now_ns)
    else:
        maintenance_plan(engine.store, &engine.maintenance, <PlanTask *> task.body, now_ns)
    if code != MDB_SUCCESS:
        engine_fail(engine, code)
        refuse_failed(task)
    finish(task)


cdef void *writer_main(void *argument) noexcept nogil:
    cdef EngineCore *engine = <EngineCore *> argument
    cdef Task *task = take_all(engine)
    cdef Task *after
    while task != NULL:
        while task != NULL:
            after = task.next
            if engine.failure_code.load() != MDB_SUCCESS:
                refuse_failed(task)
                finish(task)
            elif task.kind == TASK_DIAL:
                after = gather_group(engine, task)
                if not engine.group.empty():
                    run_group(engine)
            else:
                run_task(engine, task)
            task = after
        task = take_all(engine)
    return NULL


# --- waiting for one task -------------------------------------------------------------------------

cdef void on_waited(Task *task) noexcept nogil:
    sem_post(<sem_t *> task.context)


cdef void run_and_wait(EngineCore *engine, Task *task) noexcept nogil:
    """Submit a task and block until it is done or refused."""
    cdef sem_t done
    sem_init(&done, 0, 0)
    task.context = &done
    task.on_done = on_waited
    if engine_submit(engine, task):
        while sem_wait(&done) != 0:   # interrupted by a signal handler
            pass
    sem_destroy(&done)


# --- threads --------------------------------------------------------------------------------------

cdef EngineCore *core_open(Store *store, ClockState *clock) except NULL:
    """Return the writer's state over an open store, its threads not yet started."""
    cdef EngineCore *core = new EngineCore()
    core.store = store
    core.clock = clock
    core.failure_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    core.maintenance_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)
    core.failure_code.store(MDB_SUCCESS)
    core.flush_waits.store(False)
    core.fill_permille.store(0)
    pthread_mutex_init(&core.guard, NULL)
    pthread_cond_init(&core.arrived, NULL)
    clock_start_from(clock, store_time(store))
    return core


cdef start_thread(pthread_t *thread, void *(*main)(void *) noexcept nogil, EngineCore *core):
    """Start a native thread that leaves signals to Python's main thread."""
    cdef sigset_t every, before
    sigfillset(&every)
    pthread_sigmask(SIG_SETMASK, &every, &before)
    code = pthread_create(thread, NULL, main, core)
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    if code != 0:
        raise OSError(code, f"cannot start a thread: {os.strerror(code)}")


cdef start_writer(EngineCore *core, pthread_t *thread):
    start_thread(thread, writer_main, core)


cdef void stop(EngineCore *engine) noexcept nogil:
    """Take no more tasks; both threads end once what is queued is done."""
    change_state(engine, STOPPED)
    eventfd_write(engine.maintenance_fd, 1)


cdef void wait_thread(pthread_t thread) noexcept nogil:
    pthread_join(thread, NULL)
