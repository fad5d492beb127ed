"""Has maintenance's work done: plan by plan, with pauses, on a thread of its own.

Work is planned on the writer thread; what writes to the record tree is done here, in short steps.
The pauses between them are three times as long, so that maintenance takes a quarter of a core and
of the disk. A flush that would not be done by the time the active memtable is half full makes no
pauses. While somebody reads a snapshot, whose pages cannot be used again, a step that is not urgent
waits for a while.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from ownerd.api.task cimport OK, TASK_PLAN, TASK_STEP, TaskKind, task_clear
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.base.sockets cimport eventfd_read
from ownerd.base.threads cimport thread_start, usleep
from ownerd.engine.core cimport engine_fail, engine_wake_maintenance
from ownerd.engine.maintenance_plan cimport (
    URGENT_STEP_NS, WORK_COUNT, WORK_FLUSH, WORK_NOTHING, WORK_VACUUM, PlanTask, is_writers,
)
from ownerd.engine.queue cimport queue_run, queue_takes_tasks
from ownerd.engine.release_count cimport ReleaseCount, count_release, release_count_init
from ownerd.storage.flush cimport flush_immutable, flush_memtable, flush_progress
from ownerd.storage.memtables cimport has_immutable
from ownerd.storage.record_tree cimport (
    STOP_STEPPING, NextStep, is_out_of_space, set_out_of_space, views_open,
)
from ownerd.storage.store cimport (
    Store, store_drop_flushed, store_rotate, store_trim, store_trim_due,
)
from ownerd.storage.vacuum cimport vacuum_records

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
    if plan.work == WORK_VACUUM:
        return vacuum_records(
            &engine.maintenance.vacuum, engine.store.tree, plan.horizon_ns, next_step, context
        )
    if plan.work == WORK_COUNT and next_step(context) != STOP_STEPPING:
        return count_planned(engine, plan)
    if is_writers(plan.work):
        ask_writer(engine, plan, TASK_STEP)
    return MDB_SUCCESS


cdef bint plan_and_work(
    EngineCore *engine, bint vacuum_all, PlanTask *plan, NextStep next_step, void *context
) noexcept nogil:
    """Make a plan and follow it; True if there may be more to do."""
    cdef int code
    plan.vacuum_all = vacuum_all
    plan.work = WORK_NOTHING
    ask_writer(engine, plan, TASK_PLAN)
    code = do_work(engine, plan, next_step, context)
    if code != MDB_SUCCESS:
        engine_fail(engine, code)
    return code == MDB_SUCCESS and plan.work != WORK_NOTHING


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
    count.list_id = plan.target.list_id
    count.entry_id = plan.target.uncounted_entry
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


cdef bint is_urgent(EngineCore *engine) noexcept nogil:
    """Tell whether the flush is behind: less far than twice what the active memtable is filled."""
    cdef uint64_t fill = engine.fill_permille.load()
    if not engine.flush_waits.load() or fill < UNHURRIED_PERMILLE:
        return False
    return flush_progress(&engine.maintenance.flush, engine.store.tree) < 2 * fill


cdef void spare_readers(EngineCore *engine) noexcept nogil:
    """Wait while somebody reads a snapshot, unless a flush is urgent or it takes too long."""
    cdef int64_t end_ns = clock_elapsed() + READER_PATIENCE_NS
    while queue_takes_tasks(&engine.queue) and not is_urgent(engine) and clock_elapsed() < end_ns \
            and views_open(engine.store.tree):
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
    if not queue_takes_tasks(&engine.queue) or pace.steps == STEPS_PER_PLAN or (
        not first and pace.plan.work == WORK_VACUUM and engine.flush_waits.load()
    ):
        return STOP_STEPPING
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


cdef void *maintenance_main(void *argument) noexcept nogil:
    """Work while there is something to do, and vacuum everything every interval."""
    cdef EngineCore *engine = <EngineCore *> argument
    cdef int64_t interval_ns = engine.vacuum_interval_ms * 1_000_000
    cdef int64_t vacuum_ns = clock_elapsed() + interval_ns
    cdef pollfd wake
    cdef uint64_t ignored
    cdef bint due, more
    wake.fd = engine.maintenance_fd
    wake.events = <short> POLLIN
    while queue_takes_tasks(&engine.queue):
        poll(&wake, 1, <int> max(<int64_t> 0, (vacuum_ns - clock_elapsed()) // 1_000_000 + 1))
        eventfd_read(engine.maintenance_fd, &ignored)
        due = clock_elapsed() >= vacuum_ns
        if due:
            vacuum_ns = clock_elapsed() + interval_ns
        more = True
        while more and queue_takes_tasks(&engine.queue):
            more = maintain(engine, due)
            due = False
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
    """Bring everything into the tree and trim the log, with no thread running any more.

    Commits the time too, so that a restart on an earlier wall clock does not go back (R19). An LMDB
    error code, or 0; what is not flushed then stays in the log.
    """
    cdef Store *store = engine.store
    cdef int code
    set_out_of_space(store.tree, False)
    store_drop_flushed(store)
    code = flush_immutable(&engine.maintenance.flush, store, next_last_step, store)
    if code == MDB_SUCCESS and store_rotate(store):
        code = flush_immutable(&engine.maintenance.flush, store, next_last_step, store)
    if code == MDB_SUCCESS:
        code = store_trim(store, now_ns)
    while code == MDB_SUCCESS and store_trim_due(store):
        code = store_trim(store, now_ns)
    return code
