"""The single writer: groups of decisions, one commit for each, then the answers.

One thread at a time is the writer: its own, or, where nobody is and nothing waits, one that read a
few calls. It takes all that waits in the queue, decides the dials in order against current state,
commits once and answers them: greedy group commit, no timer. A group in which nothing changed is
not committed. Commands of the control plane, snapshots and plans of maintenance run between groups,
each by itself, in the order they came. Before a group is decided the active memtable has capacity
for it; when maintenance has not kept up, the writer waits for it, and the queue fills.

Invariants:
- An answer that changed state is given after its commit returned (R18); a commit that failed, other
  than for want of capacity, stops the store for good: everything is answered UNAVAILABLE from then
  on and `failure_fd` becomes readable. A sync is never tried again.
- Only the writer touches the catalog, the memtables and the log.
- `revision` grows by one with each commit that changed something.

It knows no Python objects, no sockets and no messages: what was decided is in the call, and whoever
sends the answer encodes it on a thread of its own.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.api.dial_call cimport DialCall, call_is_claim, call_is_report
from ownerd.api.reasons cimport (
    ATTEMPT_AHEAD, DEADLINE_PASSED, OUTCOME_UNKNOWN, STORAGE_FAILED, refuse,
)
from ownerd.api.task cimport (
    OK, RESOURCE_EXHAUSTED, TASK_BACKUP, TASK_COMMAND, TASK_COUNT, TASK_DIAL, TASK_FOLLOW,
    TASK_LEAD, TASK_SNAPSHOT, TASK_STEP, Task,
)
from ownerd.base.assertions cimport assert_that
from ownerd.base.atomics cimport count_add, flag_set
from ownerd.base.clock cimport clock_elapsed, clock_now, clock_offset
from ownerd.base.failpoints cimport FAIL_AFTER_ANSWER, FAIL_BEFORE_ANSWER, fail_at
from ownerd.base.histogram cimport histogram_add
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.base.threads cimport (
    pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock, thread_start,
)
from ownerd.engine.activity cimport ANSWERS, activity_count
from ownerd.engine.called_twice cimport called_twice_add
from ownerd.engine.backup cimport BackupRequest, backup_fix
from ownerd.engine.commands cimport UPSERT_CODE, Command, command_run, refuse_full
from ownerd.engine.core cimport (
    GROUP_BYTES_PER_RECORD, GROUP_SIZE_CLASSES, engine_end, engine_fail, engine_failed,
    engine_ring, engine_stands_by, engine_wake_maintenance,
)
from ownerd.engine.decide cimport DecidedAt, decide_call, multiget_group
from ownerd.engine.maintenance_plan cimport (
    URGENT_STEP_NS, PlanTask, maintenance_plan, maintenance_step,
)
from ownerd.engine.queue cimport (
    is_leaders, queue_passes, queue_refuse_standby, queue_submit_all, queue_take_all, queue_wait,
)
from ownerd.engine.release_count cimport ReleaseCount, release_count_step
from ownerd.engine.snapshot cimport SnapshotRequest, snapshot_take
from ownerd.engine.slow_calls cimport CallTimes, slow_calls_note
from ownerd.engine.standby cimport FollowTask, LeadTask, standby_follow, standby_lead
from ownerd.engine.unknown_codes cimport unknown_count, unknown_forget
from ownerd.storage.capacity cimport (
    CAPACITY_FOR_CHANGES, CAPACITY_FOR_GRANTS, CAPACITY_FOR_NOTHING, Capacity, is_full,
)
from ownerd.storage.file_log cimport file_log_next_ready
from ownerd.storage.flush cimport flush_immutable, flush_progress
from ownerd.storage.memtables cimport has_immutable, memtables_fill, memtables_fit
from ownerd.storage.record_tree cimport STOP_STEPPING, is_out_of_space, set_out_of_space
from ownerd.storage.replay cimport store_refresh
from ownerd.storage.store cimport (
    COMMIT_FENCED, Store, left_undone, store_abort, store_begin, store_capacity, store_commit,
    store_confirm, store_drop_flushed, store_now, store_reserve_log, store_revision, store_rotate,
    store_time,
)
from ownerd.storage.transaction cimport transaction_error

cdef extern from "<pthread.h>" nogil:
    int pthread_mutex_trylock(pthread_mutex_t *)

cdef enum:
    HELPING_STEP_NS = 5_000_000
    FEW_RECORDS = 16                  # that the thread which read them decides itself
    MULTIGET_RECORDS = 16             # smaller groups are decided record by record
    # As good as the same: then most attempts are reported at the instant at which the ownership
    # that they make begins, and their records are stored shorter.
    CLOCKS_AGREE_NS = 1_000_000_000


# --- the writer -----------------------------------------------------------------------------------

cdef void finish(Task *task) noexcept nogil:
    fail_at(FAIL_BEFORE_ANSWER)
    task.on_done(task)
    fail_at(FAIL_AFTER_ANSWER)


cdef void count_ahead(EngineCore *engine, const DialCall *call) noexcept nogil:
    """Count the attempts whose time is too far ahead: a dialer's clock is wrong (R24)."""
    cdef uint32_t i
    if call.task.code != OK and call.task.reason != ATTEMPT_AHEAD:
        return
    if call.task.code == OK and call.invalid_count == 0:
        return
    for i in range(call.item_count):
        if call.task.code != OK or call.items[i].invalid == ATTEMPT_AHEAD:
            count_add(&engine.counters.attempts_ahead, 1)
            flag_set(&engine.counters.ahead_ms, call.items[i].invalid_value)
            flag_set(&engine.counters.ahead_elapsed_ns, clock_elapsed())


cdef void answer(EngineCore *engine, DialCall *call) noexcept nogil:
    """Count a decided call and give it back; whoever sends its answer encodes it."""
    cdef uint32_t i
    count_add(&engine.counters.calls, 1)
    if call.unknown_code_count != 0:
        count_add(&engine.counters.unknown_codes, call.unknown_code_count)
        unknown_count(&engine.unknown_codes, call, clock_now(engine.clock))
    if call_is_report(call):
        count_ahead(engine, call)
    if call.task.code != OK:
        count_add(&engine.counters.refused_full, call.task.code == RESOURCE_EXHAUSTED)
        finish(&call.task)
        return
    count_add(&engine.counters.records, call.item_count)
    if call_is_report(call):
        for i in range(call.item_count):
            if call.items[i].called_twice:
                count_add(&engine.counters.twice, 1)
                called_twice_add(
                    &engine.called_twice, call.list_id, call.campaign_id,
                    call.named[call.items[i].named - 1].id,
                )
    call.revision = store_revision(engine.store)
    finish(&call.task)


cdef void count_activity(EngineCore *engine, int64_t now_ns) noexcept nogil:
    """Count the group's claims and reports; under one lock, before the first is answered."""
    cdef uint64_t answers[ANSWERS]
    cdef DialCall *call
    cdef size_t i
    cdef int j
    engine.activity.guard.lock()
    for i in range(engine.group.size()):
        call = engine.group[i]
        if call.task.code != OK or not (call_is_claim(call) or call_is_report(call)):
            continue
        count_add(
            &engine.counters.lapsed, activity_count(&engine.activity, call, now_ns, answers)
        )
        for j in range(ANSWERS):
            if call_is_claim(call):
                count_add(&engine.counters.decisions[j], answers[j])
            else:
                count_add(&engine.counters.outcomes[j], answers[j])
    engine.activity.guard.unlock()


cdef void refuse_failed(EngineCore *engine, Task *task, bint undone) noexcept nogil:
    """Refuse a task after a commit failed; `undone`: surely nothing of it changed anything."""
    if engine_failed(engine):
        refuse(task, STORAGE_FAILED)
    elif undone:
        queue_refuse_standby(&engine.queue, task)
    else:
        refuse(task, OUTCOME_UNKNOWN)


cdef void note_length(EngineCore *engine, DialCall *call, int64_t now_ns) noexcept nogil:
    """Count how long a call took, and keep it where that was long."""
    cdef CallTimes times
    times.ended_ns, times.total_ns = now_ns, now_ns - call.task.queued_ns
    times.queue_ns = engine.group_begun_ns - call.task.queued_ns
    times.commit_ns = engine.group_commit_ns
    histogram_add(&engine.counters.call_lengths[call.call_kind], times.total_ns)
    slow_calls_note(&engine.slow_calls, call, &times)


cdef void answer_group(EngineCore *engine, bint failed, bint undone) noexcept nogil:
    cdef size_t i
    cdef int64_t now_ns = clock_elapsed()
    if not failed:
        count_activity(engine, now_ns)
    for i in range(engine.group.size()):
        if failed:
            refuse_failed(engine, &engine.group[i].task, undone)
        note_length(engine, engine.group[i], now_ns)
        if failed:
            finish(&engine.group[i].task)
        else:
            answer(engine, engine.group[i])


cdef int commit_group(EngineCore *engine, int64_t now_ns) noexcept nogil:
    """Commit the open transaction as one revision; count it and the time it took."""
    cdef int64_t begun_ns = clock_elapsed()
    cdef uint64_t revision = store_revision(engine.store)
    cdef int code = store_commit(engine.store, now_ns)
    cdef int64_t took_ns = clock_elapsed() - begun_ns
    engine.group_commit_ns = took_ns
    count_add(&engine.counters.commit_ns, took_ns)
    histogram_add(&engine.counters.commit_lengths, took_ns)
    count_add(&engine.counters.changed_groups, code == MDB_SUCCESS)
    assert_that(
        code != MDB_SUCCESS or store_revision(engine.store) == revision + 1,
        "the revision grows by one with each commit",
    )
    return code


# --- capacity -------------------------------------------------------------------------------------

cdef int64_t next_flush_step(void *context) noexcept nogil:
    """Flush on unless the tree has no capacity, or the store has failed."""
    cdef EngineCore *engine = <EngineCore *> context
    if is_out_of_space(engine.store.tree) or engine_failed(engine):
        return STOP_STEPPING
    return URGENT_STEP_NS


cdef bint await_flush(EngineCore *engine) noexcept nogil:
    """Have the immutable memtable flushed; False if the tree has no capacity, or has failed.

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
    count_add(&engine.counters.waited_ns, clock_elapsed() - begun_ns)
    return not has_immutable(&store.memtables)


cdef int64_t next_helping_step(void *context) noexcept nogil:
    """Let one short step be made."""
    cdef bint *helped = <bint *> context
    if helped[0]:
        return STOP_STEPPING
    helped[0] = True
    return HELPING_STEP_NS


cdef bint flush_is_behind(EngineCore *engine) noexcept nogil:
    """Tell whether the second half of the active memtable fills faster than the other is flushed.
    """
    cdef Store *store = engine.store
    return has_immutable(&store.memtables) and not is_out_of_space(store.tree) \
        and 2 * memtables_fill(&store.memtables) > 1000 + flush_progress(&engine.maintenance.flush)


cdef void help_flush(EngineCore *engine) noexcept nogil:
    """Make a step of a flush that is behind.

    So a load that the flush cannot keep up with is slowed down group by group, and does not wait
    for a whole memtable at once.
    """
    cdef Store *store = engine.store
    cdef int64_t begun_ns = clock_elapsed()
    cdef bint helped = False
    cdef int code
    code = flush_immutable(&engine.maintenance.flush, store, next_helping_step, &helped)
    if code != MDB_SUCCESS:
        engine_fail(engine, code)
    count_add(&engine.counters.waited_ns, clock_elapsed() - begun_ns)


cdef bint reserve_memtable(EngineCore *engine, uint64_t records) noexcept nogil:
    """Have the active memtable take so many records; False if it cannot."""
    cdef Store *store = engine.store
    store_drop_flushed(store)
    if not memtables_fit(&store.memtables, records):
        if has_immutable(&store.memtables) and not await_flush(engine):
            return False
        store_rotate(store)
        engine_wake_maintenance(engine)
    elif flush_is_behind(engine):
        help_flush(engine)
    engine.flush_waits.store(has_immutable(&store.memtables))
    engine.fill_permille.store(memtables_fill(&store.memtables))
    return True


cdef void reserve_log(EngineCore *engine, uint64_t records) noexcept nogil:
    """Have a segment of the log ready for a group of so many records, if maintenance is behind."""
    cdef Store *store = engine.store
    if file_log_next_ready(store.log):
        return
    store_reserve_log(store, records * GROUP_BYTES_PER_RECORD)
    engine_wake_maintenance(engine)


cdef Capacity flushed_capacity(EngineCore *engine, int64_t now_ns) noexcept nogil:
    """Tell what may still be written; flush the memtables before grants are refused for them.

    What the memtables promise to need is an upper bound, and a flush finds out what it is.
    """
    cdef Store *store = engine.store
    cdef Capacity capacity = store_capacity(store, now_ns)
    if capacity >= CAPACITY_FOR_GRANTS or capacity == CAPACITY_FOR_NOTHING:
        return capacity
    if await_flush(engine) and store_rotate(store):
        await_flush(engine)
    return store_capacity(store, now_ns)


# --- groups of dials ------------------------------------------------------------------------------

cdef void count_group(EngineCore *engine, uint64_t records) noexcept nogil:
    """Count a committed group by the power of two of its size."""
    cdef int size_class = 0
    cdef uint64_t rest = records
    while rest > 1 and size_class < GROUP_SIZE_CLASSES - 1:
        rest //= 2
        size_class += 1
    count_add(&engine.counters.group_sizes[size_class], 1)
    count_add(&engine.counters.committed_records, records)


cdef int decide_group(EngineCore *engine, size_t start, size_t end) noexcept nogil:
    """Decide group[start:end], each record at an instant of its own; an LMDB error code, or 0."""
    cdef Store *store = engine.store
    cdef DecidedAt when
    cdef Capacity capacity
    cdef bint changed = False
    cdef uint64_t records = 0
    cdef size_t i
    cdef int code
    for i in range(start, end):
        records += engine.group[i].item_count
    reserve_log(engine, records)
    capacity = flushed_capacity(engine, clock_now(engine.clock))
    if not reserve_memtable(engine, records):
        capacity = CAPACITY_FOR_CHANGES
    when.clock_ns = clock_now(engine.clock)  # not before the wait
    when.offset_ns = clock_offset(engine.clock, when.clock_ns)
    if -CLOCKS_AGREE_NS < when.offset_ns < CLOCKS_AGREE_NS:
        when.offset_ns = 0
    store_begin(store)
    if records >= MULTIGET_RECORDS:
        multiget_group(store, &engine.group[start], end - start)
    for i in range(start, end):
        changed |= decide_call(store, engine.group[i], &when, capacity)
    if not changed and transaction_error(&store.txn) == MDB_SUCCESS:
        store_abort(store)
        return store_confirm(store)
    code = commit_group(engine, store_now(store, when.clock_ns))
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
    cdef bint whole = True
    count_add(&engine.counters.groups, 1)
    if is_full(code):
        whole = False
        for i in range(engine.group.size()):
            code = decide_group(engine, i, i + 1)
            if is_full(code):
                refuse_full(engine.store, &engine.group[i].task)
            elif code != MDB_SUCCESS:
                break
    if code != MDB_SUCCESS and not is_full(code):
        engine_end(engine, code)
    answer_group(
        engine, engine_failed(engine) or left_undone(code), whole and code == COMMIT_FENCED
    )
    engine_ring(engine)


cdef Task *gather_group(EngineCore *engine, Task *task) noexcept nogil:
    """Move the dials at the head of the list into the group; return what comes after them.

    Those whose deadline has passed are refused instead: nobody waits for them any more.
    """
    cdef uint64_t records = 0
    cdef Task *after
    cdef int64_t elapsed_ns = clock_elapsed()
    engine.group.clear()
    engine.group_begun_ns, engine.group_commit_ns = elapsed_ns, 0
    while task != NULL and task.kind == TASK_DIAL and records < engine.group_records:
        after = task.next
        histogram_add(&engine.counters.wait_lengths, elapsed_ns - task.queued_ns)
        if task.deadline_ns != 0 and task.deadline_ns <= elapsed_ns:
            refuse(task, DEADLINE_PASSED)
            note_length(engine, <DialCall *> task, elapsed_ns)
            finish(task)
        else:
            records += task.record_count
            engine.group.push_back(<DialCall *> task)
        task = after
    return task


cdef int run_command(EngineCore *engine, Command *command) noexcept nogil:
    """Run a command of the control plane; it may change records, one for each row or id in it."""
    cdef int code
    cdef uint64_t revision, records = command.rows.size() + command.record_ids.size()
    reserve_log(engine, records)
    if store_capacity(engine.store, clock_now(engine.clock)) == CAPACITY_FOR_NOTHING \
            or not reserve_memtable(engine, records):
        refuse_full(engine.store, &command.task)
        return MDB_SUCCESS
    revision = store_revision(engine.store)
    code = command_run(engine.store, command, clock_now(engine.clock))
    if code == MDB_SUCCESS and store_revision(engine.store) == revision:
        code = store_confirm(engine.store)
    if command.kind == UPSERT_CODE:
        unknown_forget(&engine.unknown_codes, &engine.store.catalog)
    engine_wake_maintenance(engine)
    return code


cdef int plan_upkeep(EngineCore *engine, PlanTask *plan, int64_t now_ns) noexcept nogil:
    """Plan maintenance's next work; an error code, or 0.

    In a cluster nothing is taken for over before the log says that it is so late: another node may
    go on from there, and prolong what was not over then. Only a catalog that has what the log has
    knows what records need.
    """
    cdef int code = MDB_SUCCESS
    if engine.store.shared != NULL:
        store_capacity(engine.store, now_ns)   # looks, by the clock, whether there is room again
        now_ns = store_time(engine.store)
        if engine_stands_by(engine) and (
            plan.vacuum_all or engine.maintenance.requests_due or engine.maintenance.vacuum.active
        ):
            code = store_refresh(engine.store)
    if code == MDB_SUCCESS:
        maintenance_plan(engine.store, &engine.maintenance, plan, now_ns)
    return code


cdef void run_task(EngineCore *engine, Task *task) noexcept nogil:
    """Run what is not a dial, between two groups."""
    cdef int64_t now_ns = store_now(engine.store, clock_now(engine.clock))
    cdef int code = MDB_SUCCESS
    if task.kind == TASK_COMMAND:
        code = run_command(engine, <Command *> task.body)
    elif task.kind == TASK_COUNT:
        code = release_count_step(engine.store, <ReleaseCount *> task.body, now_ns)
    elif task.kind == TASK_SNAPSHOT:
        code = store_refresh(engine.store) if engine_stands_by(engine) \
            else store_confirm(engine.store)
        if code == MDB_SUCCESS:
            code = snapshot_take(engine.store, <SnapshotRequest *> task.body, now_ns)
    elif task.kind == TASK_BACKUP:
        backup_fix(engine.store, <BackupRequest *> task.body)
    elif task.kind == TASK_FOLLOW:
        code = follow_entry(engine, <FollowTask *> task.body)
    elif task.kind == TASK_LEAD:
        code = standby_lead(engine, <LeadTask *> task.body)
    elif task.kind == TASK_STEP:
        if engine_stands_by(engine):
            code = store_refresh(engine.store)
        if code == MDB_SUCCESS:
            code = maintenance_step(
                engine.store, &engine.maintenance, <PlanTask *> task.body, now_ns
            )
    else:
        code = plan_upkeep(engine, <PlanTask *> task.body, now_ns)
    if code != MDB_SUCCESS:
        engine_end(engine, code)
        refuse_failed(engine, task, code == COMMIT_FENCED)
    finish(task)
    engine_ring(engine)


cdef void run_tasks(EngineCore *engine, Task *task) noexcept nogil:
    cdef Task *after
    while task != NULL:
        after = task.next
        if engine_failed(engine):
            refuse(task, STORAGE_FAILED)
            finish(task)
        elif engine_stands_by(engine) and is_leaders(task):
            queue_refuse_standby(&engine.queue, task)
            finish(task)
        elif task.kind == TASK_DIAL:
            after = gather_group(engine, task)
            if not engine.group.empty():
                run_group(engine)
        else:
            run_task(engine, task)
        task = after


cdef int follow_entry(EngineCore *engine, FollowTask *task) noexcept nogil:
    """Put an entry of another node's into memory, once there is room for it."""
    reserve_log(engine, task.row_count)
    store_capacity(engine.store, clock_now(engine.clock))   # reserves disk for the flush
    if not reserve_memtable(engine, task.row_count):
        refuse_full(engine.store, &task.task)
        return MDB_SUCCESS
    return standby_follow(engine, task)


cdef void *writer_main(void *argument) noexcept nogil:
    cdef EngineCore *engine = <EngineCore *> argument
    cdef bint more = True
    while more:
        more = queue_wait(&engine.queue)
        pthread_mutex_lock(&engine.writer)   # at the end too: nobody is the writer after it
        run_tasks(engine, queue_take_all(&engine.queue))
        pthread_mutex_unlock(&engine.writer)
    return NULL


# --- on a thread that has read calls --------------------------------------------------------------

cdef bint decides_at_once(EngineCore *engine, Task *first) noexcept nogil:
    """Tell whether calls may be decided without waiting for maintenance or for another machine,
    and nothing is before them; by the writer."""
    cdef uint64_t records = 0
    cdef Task *task = first
    while task != NULL:
        records += task.record_count
        task = task.next
    return records <= FEW_RECORDS and engine.store.shared == NULL \
        and not flush_is_behind(engine) \
        and memtables_fit(&engine.store.memtables, records) \
        and file_log_next_ready(engine.store.log) \
        and queue_passes(&engine.queue, first, records)


cdef Task *submit_dials(EngineCore *engine, Task *first, bint *decided) noexcept nogil:
    """Decide a few calls at once, if nobody is the writer and nothing waits; else queue them."""
    decided[0] = False
    if pthread_mutex_trylock(&engine.writer) != 0:
        return queue_submit_all(&engine.queue, first)
    decided[0] = decides_at_once(engine, first)
    if decided[0]:
        run_tasks(engine, first)
        first = NULL
    pthread_mutex_unlock(&engine.writer)
    return first if first == NULL else queue_submit_all(&engine.queue, first)


# --- its thread -----------------------------------------------------------------------------------

cdef start_writer(EngineCore *core, pthread_t *thread):
    thread_start(thread, writer_main, core, "ownerd-writer")
