"""Has maintenance's work done: plan by plan, with pauses, on a thread of its own.

Work is planned on the writer thread; what writes to the record tree is done here, in short steps,
and so are the log's segments made and removed.
The pauses between them are three times as long, so that maintenance takes a quarter of a core and
of the disk. A flush that would not be done by the time the active memtable is half full makes no
pauses. While somebody reads a snapshot, whose pages cannot be used again, a step that is not urgent
waits for a while.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from ownerd.api.task cimport OK, TASK_PLAN, TASK_STEP, TaskKind, task_clear
from ownerd.base.atomics cimport flag_read, flag_set
from ownerd.base.clock cimport clock_elapsed, clock_now
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.base.sockets cimport eventfd_read
from ownerd.base.threads cimport thread_start, usleep
from ownerd.engine.core cimport (
    engine_fail, engine_failed, engine_look, engine_stands_by, engine_wake_maintenance,
)
from ownerd.engine.maintenance_plan cimport (
    URGENT_STEP_NS, WORK_COUNT, WORK_CUT, WORK_FLUSH, WORK_NOTHING, WORK_PREPARE, WORK_VACUUM,
    MaintenanceState, PlanTask,
    is_writers,
)
from ownerd.engine.queue cimport queue_run, queue_takes_tasks
from ownerd.engine.release_count cimport ReleaseCount, count_release, release_count_init
from ownerd.storage.capacity cimport is_full
from ownerd.storage.file_log cimport (
    LOG_FAILED, LOG_FULL, LOG_MORE, LogStatus, file_log_appended, file_log_error, file_log_fill,
    file_log_next_ready,
)
from ownerd.storage.flush cimport flush_immutable, flush_memtable, flush_progress
from ownerd.storage.log_writer cimport file_log_end
from ownerd.storage.memtables cimport has_immutable, tend_memtables
from ownerd.storage.record_tree cimport (
    STOP_STEPPING, NextStep, begin_view_epoch, former_views_open, is_out_of_space,
    set_out_of_space, tree_flushed, tree_put_state,
)
from ownerd.storage.store cimport (
    Store, store_begin, store_commit, store_disk_full, store_drop_flushed, store_prepare_log,
    store_revision, store_rotate, store_time, store_trim_log,
)
from ownerd.storage.tables cimport StateRow
from ownerd.storage.vacuum cimport vacuum_cut, vacuum_records

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int POLLIN
    int poll(pollfd *, unsigned long, int)

cdef enum:
    STEPS_PER_PLAN = 64
    UNHURRIED_PERMILLE = 20           # an active memtable that is hardly filled hurries nobody
    LONGEST_PAUSE_US = 20_000
    FULL_PAUSE_US = 100_000
    READER_PAUSE_US = 1_000
    READER_PATIENCE_NS = 5_000_000_000
    LOOK_MS = 500
    FLUSH_BYTES = 0x10000000          # 256 MiB of log that would be replayed
    URGENT_FILL_PERMILLE = 500        # of a segment, with none ready after it


# --- plan and work --------------------------------------------------------------------------------

cdef void ask_writer(EngineCore *engine, PlanTask *plan, TaskKind kind) noexcept nogil:
    """Have the writer plan, or do a step of its own; WORK_NOTHING if the engine has stopped."""
    memset(&plan.task, 0, sizeof(plan.task))
    plan.task.kind = kind
    plan.task.body = plan
    queue_run(&engine.queue, &plan.task)
    if plan.task.code != OK:
        plan.work = WORK_NOTHING
    task_clear(&plan.task)


cdef int do_work(
    EngineCore *engine, PlanTask *plan, NextStep next_step, void *context
) noexcept nogil:
    """Do what was planned, as far as `next_step` allows; a code that ends the store, or 0."""
    if plan.work == WORK_FLUSH:
        return flush_memtable(
            &engine.maintenance.flush, engine.store.tree, plan.memtable, next_step, context
        )
    if plan.work == WORK_PREPARE:
        return prepare_log(engine, plan, next_step, context)
    if plan.work == WORK_VACUUM:
        return vacuum_records(
            &engine.maintenance.vacuum, engine.store.tree, next_step, context
        )
    if plan.work == WORK_CUT and next_step(context) != STOP_STEPPING:
        return vacuum_cut(&engine.maintenance.vacuum, engine.store.tree)
    if plan.work == WORK_COUNT and next_step(context) != STOP_STEPPING:
        return count_planned(engine, plan)
    if is_writers(plan.work):
        ask_writer(engine, plan, TASK_STEP)
    return MDB_SUCCESS


cdef int prepare_log(
    EngineCore *engine, PlanTask *plan, NextStep next_step, void *context
) noexcept nogil:
    """Make the next segment of the log, as far as `next_step` allows; a full disk is waited out."""
    cdef LogStatus status = LOG_MORE
    while status == LOG_MORE and next_step(context) != STOP_STEPPING:
        status = store_prepare_log(engine.store, False)
    if status == LOG_FULL:
        plan.work = WORK_NOTHING
    return file_log_error(engine.store.log) if status == LOG_FAILED else MDB_SUCCESS


cdef int trim_log(EngineCore *engine) noexcept nogil:
    """Remove the segments that nobody needs any more; a code that ends the store, or 0.

    What is kept for readers of the log goes first where the disk is full.
    """
    cdef LogStatus status = LOG_MORE
    while status == LOG_MORE:
        status = store_trim_log(
            engine.store, clock_now(engine.clock), not store_disk_full(engine.store)
        )
    return file_log_error(engine.store.log) if status == LOG_FAILED else MDB_SUCCESS


cdef bint plan_and_work(
    EngineCore *engine, bint vacuum_all, PlanTask *plan, NextStep next_step, void *context
) noexcept nogil:
    """Make a plan and follow it; True if there may be more to do."""
    cdef int code
    plan.vacuum_all = vacuum_all
    plan.flush_all = flush_is_due(engine)
    plan.standby = engine_stands_by(engine)
    plan.work = WORK_NOTHING
    ask_writer(engine, plan, TASK_PLAN)
    code = do_work(engine, plan, next_step, context)
    if code == MDB_SUCCESS and not engine_failed(engine):
        code = trim_log(engine)
    if code != MDB_SUCCESS:
        engine_fail(engine, code)
    return code == MDB_SUCCESS and plan.work != WORK_NOTHING


cdef bint flush_is_due(EngineCore *engine) noexcept nogil:
    """Tell whether what is not flushed is old, or takes long to replay, and count from now on."""
    cdef MaintenanceState *state = &engine.maintenance
    cdef int64_t now_ns = clock_elapsed()
    cdef uint64_t appended = file_log_appended(engine.store.log)
    cdef bint clean = tree_flushed(engine.store.tree) == store_revision(engine.store)
    cdef bint due = not clean and (
        now_ns - state.clean_ns >= state.flush_age_ns or appended - state.clean_bytes >= FLUSH_BYTES
    )
    if clean or due:
        flag_set(&state.clean_ns, now_ns)
        flag_set(&state.clean_bytes, appended)
    return due


cdef void flush_soon(EngineCore *engine) noexcept nogil:
    """Have what is not flushed be old; any thread."""
    engine.maintenance.turn.lock()
    flag_set(
        &engine.maintenance.clean_ns, clock_elapsed() - engine.maintenance.flush_age_ns
    )
    engine.maintenance.turn.unlock()
    engine_wake_maintenance(engine)


cdef struct OneStep:
    int64_t step_ns
    bint done


cdef int64_t next_only_step(void *context) noexcept nogil:
    cdef OneStep *step = <OneStep *> context
    if step.done:
        return STOP_STEPPING
    step.done = True
    return step.step_ns


cdef bint run_maintenance_step(EngineCore *engine, bint vacuum_all) noexcept nogil:
    """Do one step; True if there is more to do at once."""
    cdef PlanTask plan
    cdef OneStep step
    cdef bint more
    engine.maintenance.turn.lock()
    step.step_ns = engine.maintenance.step_ns
    step.done = False
    more = plan_and_work(engine, vacuum_all, &plan, next_only_step, &step)
    engine.maintenance.turn.unlock()
    return more and not is_out_of_space(engine.store.tree)


cdef int count_planned(EngineCore *engine, PlanTask *plan) noexcept nogil:
    """Count a release that nobody has; MDB_CORRUPTED, or 0. What is refused is planned again."""
    cdef ReleaseCount count
    cdef int code
    release_count_init(&count)
    count.entry_id = plan.uncounted_entry
    code = count_release(engine, &count)
    task_clear(&count.task)
    return code


# --- the thread -----------------------------------------------------------------------------------

# The steps of one plan, as the thread makes them.
cdef struct Pace:
    EngineCore *engine
    PlanTask *plan
    int steps
    int64_t begun_ns                  # when the step before the next pause began; 0: none did


cdef bint segment_is_wanted(EngineCore *engine) noexcept nogil:
    """Tell whether the log has no next segment, and the disk had space for one when last tried."""
    return not file_log_next_ready(engine.store.log) and not flag_read(&engine.store.log_full)


cdef bint is_urgent(EngineCore *engine) noexcept nogil:
    """Tell whether a segment of the log is wanted soon, or the flush is behind: less far than twice
    what the active memtable is filled.
    """
    cdef uint64_t fill = engine.fill_permille.load()
    if not file_log_next_ready(engine.store.log) \
            and file_log_fill(engine.store.log) > URGENT_FILL_PERMILLE:
        return True
    if not engine.flush_waits.load() or fill < UNHURRIED_PERMILLE:
        return False
    return flush_progress(&engine.maintenance.flush) < 2 * fill


cdef void spare_readers(EngineCore *engine) noexcept nogil:
    """Wait until those who read a snapshot now are done, unless that is urgent or takes too long.

    Whoever begins meanwhile is not waited for: where somebody always reads, nothing would be done.
    """
    cdef int64_t end_ns = clock_elapsed() + READER_PATIENCE_NS
    begin_view_epoch(engine.store.tree)
    while queue_takes_tasks(&engine.queue) and not is_urgent(engine) and clock_elapsed() < end_ns \
            and former_views_open(engine.store.tree):
        usleep(READER_PAUSE_US)


cdef void pause(Pace *pace) noexcept nogil:
    """Leave core and disk to the dials after a step."""
    if pace.begun_ns == 0:
        return
    if is_out_of_space(pace.engine.store.tree):
        usleep(FULL_PAUSE_US)
    elif not is_urgent(pace.engine):
        usleep(<unsigned int> min(
            <int64_t> LONGEST_PAUSE_US, 100 + 3 * (clock_elapsed() - pace.begun_ns) // 1000
        ))
    pace.begun_ns = 0


cdef int64_t next_paced_step(void *context) noexcept nogil:
    """Pause after the last step, then let the next one be made, unless a plan is due."""
    cdef Pace *pace = <Pace *> context
    cdef EngineCore *engine = pace.engine
    cdef bint first = pace.steps == 0
    pause(pace)
    if not queue_takes_tasks(&engine.queue) or pace.steps == STEPS_PER_PLAN:
        return STOP_STEPPING
    if not first and (
        (pace.plan.work == WORK_VACUUM and engine.flush_waits.load())
        or (pace.plan.work != WORK_PREPARE and segment_is_wanted(engine))
    ):
        return STOP_STEPPING          # for something that is more urgent
    spare_readers(engine)
    pace.begun_ns = clock_elapsed()
    pace.steps += 1
    return URGENT_STEP_NS if is_urgent(engine) else engine.maintenance.step_ns


cdef bint maintain(EngineCore *engine, bint vacuum_all) noexcept nogil:
    """Make a plan and some steps of it, with pauses; True if there may be more to do at once."""
    cdef PlanTask plan
    cdef Pace pace
    cdef bint more
    pace.engine = engine
    pace.plan = &plan
    pace.steps = 0
    pace.begun_ns = 0
    engine.maintenance.turn.lock()
    more = plan_and_work(engine, vacuum_all, &plan, next_paced_step, &pace)
    pause(&pace)
    engine.maintenance.turn.unlock()
    return more


cdef void look(EngineCore *engine, int64_t *next_ns) noexcept nogil:
    """Have the store's files looked at, if that is due."""
    if clock_elapsed() >= next_ns[0]:
        engine_look(engine)
        next_ns[0] = clock_elapsed() + LOOK_MS * 1_000_000


cdef bint flush_may_be_due(EngineCore *engine) noexcept nogil:
    cdef int64_t dirty_ns = clock_elapsed() - flag_read(&engine.maintenance.clean_ns)
    cdef uint64_t clean_bytes = flag_read(&engine.maintenance.clean_bytes)
    return dirty_ns >= engine.maintenance.flush_age_ns // 2 \
        or file_log_appended(engine.store.log) - clean_bytes >= FLUSH_BYTES


cdef void *maintenance_main(void *argument) noexcept nogil:
    """Work while there is something to do, and vacuum everything every interval.

    Now and then, look whether the store is still where it was.
    """
    cdef EngineCore *engine = <EngineCore *> argument
    cdef int64_t interval_ns = engine.vacuum_interval_ms * 1_000_000
    cdef int64_t vacuum_ns = clock_elapsed() + interval_ns, look_ns = 0
    cdef pollfd wake
    cdef uint64_t ignored
    cdef bint due, more
    wake.fd = engine.maintenance_fd
    wake.events = <short> POLLIN
    wake.revents = 0
    while queue_takes_tasks(&engine.queue):
        poll(&wake, 1, <int> min(
            <int64_t> LOOK_MS, max(<int64_t> 0, (vacuum_ns - clock_elapsed()) // 1_000_000 + 1)
        ))
        eventfd_read(engine.maintenance_fd, &ignored)
        look(engine, &look_ns)
        tend_memtables(&engine.store.memtables, engine.fill_permille.load())
        due = clock_elapsed() >= vacuum_ns
        if due:
            vacuum_ns = clock_elapsed() + interval_ns
        more = due or wake.revents != 0 or flag_read(&engine.store.log_full) \
            or flush_may_be_due(engine)
        while more and queue_takes_tasks(&engine.queue):
            more = maintain(engine, due)
            tend_memtables(&engine.store.memtables, engine.fill_permille.load())
            due = False
            look(engine, &look_ns)
    return NULL


cdef start_maintenance(EngineCore *core, pthread_t *thread):
    """Start the thread; it begins with what a store was opened with."""
    if has_immutable(&core.store.memtables):
        engine_wake_maintenance(core)
    thread_start(thread, maintenance_main, core, "ownerd-maintain")


# --- at a clean stop ------------------------------------------------------------------------------

cdef int64_t next_last_step(void *store) noexcept nogil:
    """Flush on until there is no space."""
    return STOP_STEPPING if is_out_of_space((<Store *> store).tree) else URGENT_STEP_NS


cdef int flush_all(EngineCore *engine, int64_t now_ns) noexcept nogil:
    """Bring everything into the tree and end the log, with no thread running any more.

    Commits the time too, so that a restart on an earlier wall clock does not go back (R19). An
    error code, or 0; what is not flushed then stays in the log.
    """
    cdef Store *store = engine.store
    cdef int code
    set_out_of_space(store.tree, False)
    store_drop_flushed(store)
    code = flush_immutable(&engine.maintenance.flush, store, next_last_step, store)
    if code == MDB_SUCCESS and store_rotate(store):
        code = flush_immutable(&engine.maintenance.flush, store, next_last_step, store)
    if code == MDB_SUCCESS and store.shared == NULL:
        code = commit_time(store, now_ns)
    if code == MDB_SUCCESS:
        code = trim_log(engine)
    if code == MDB_SUCCESS and file_log_end(store.log, now_ns) == LOG_FAILED:
        code = file_log_error(store.log)
    return code


cdef int commit_time(Store *store, int64_t now_ns) noexcept nogil:
    """Commit the time: with what the tree has, or behind what it lacks; an error code, or 0."""
    cdef StateRow state = store.tree.state
    cdef int code
    if now_ns <= store_time(store):
        return MDB_SUCCESS
    if state.revision == store_revision(store):
        state.time_ns = now_ns
        code = tree_put_state(store.tree, &state, NULL)
    else:
        store_begin(store)
        code = store_commit(store, now_ns)
    return MDB_SUCCESS if is_full(code) else code
