"""Has maintenance's steps done: plan by plan, with pauses, on a thread of its own.

A step is planned on the writer thread and done here. Steps are short and the pauses between them
three times as long, so that settling takes a quarter of a core and of the disk. A merge that would
not be done by the time the active memtable is half full makes no pauses. While somebody reads a
snapshot, whose pages cannot be used again, a step that is not urgent waits for a while.
"""

from libc.string cimport memset

from ownerd.api.task cimport OK, TASK_COMMAND, TASK_PLAN, task_clear
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_SUCCESS
from ownerd.engine.commands cimport FINISH_COUNT, Command
from ownerd.engine.group_commit cimport STOPPED, engine_fail, run_and_wait, start_thread
from ownerd.engine.settler cimport (
    WORK_COUNT, WORK_FLUSH, WORK_NOTHING, WORK_VACUUM, MaintenanceState, PlanTask, flush_step,
    vacuum_step,
)
from ownerd.engine.snapshot cimport SnapshotRequest, count_release, request_free, request_new
from ownerd.storage.memtables cimport has_immutable
from ownerd.storage.store cimport (
    Store, store_drop_flushed, store_rotate, store_trim, store_trim_due,
)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd_read(int, uint64_t *)
    int eventfd_write(int, uint64_t)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int POLLIN
    int poll(pollfd *, unsigned long, int)

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int)

cdef enum:
    STEPS_PER_PLAN = 64
    URGENT_STEP_NS = 20_000_000
    UNHURRIED_PERMILLE = 20           # an active memtable that is hardly filled hurries nobody
    LONGEST_PAUSE_US = 20_000
    STUCK_PAUSE_US = 100_000
    READER_PAUSE_US = 1_000
    READER_PATIENCE_NS = 5_000_000_000


# --- one step -------------------------------------------------------------------------------------

cdef int do_work(EngineCore *engine, PlanTask *plan, int64_t most_ns) noexcept nogil:
    """Do one step of what was planned; an error code that ends the store, or 0."""
    if plan.work == WORK_FLUSH:
        return flush_step(&engine.maintenance, engine.store, plan.memtable, most_ns)
    if plan.work == WORK_VACUUM:
        return vacuum_step(&engine.maintenance, engine.store, most_ns)
    if plan.work == WORK_COUNT:
        return count_and_store(engine, plan.list_id, plan.entry_id)
    return MDB_SUCCESS


cdef bint work_left(EngineCore *engine, PlanTask *plan) noexcept nogil:
    """Tell whether the plan goes on."""
    if plan.work == WORK_FLUSH:
        return plan.memtable.get().last_revision > engine.store.tree.flushed_revision.load()
    return plan.work == WORK_VACUUM and not engine.maintenance.vacuum_finished


cdef bint make_plan(EngineCore *engine, PlanTask *plan, bint vacuum_all) noexcept nogil:
    """Have the writer say what is next; False if there is nothing, or the engine has stopped."""
    memset(&plan.task, 0, sizeof(plan.task))
    plan.task.kind = TASK_PLAN
    plan.task.body = plan
    plan.vacuum_all = vacuum_all
    plan.work = WORK_NOTHING
    run_and_wait(engine, &plan.task)
    if plan.task.code != OK:
        plan.work = WORK_NOTHING
    task_clear(&plan.task)
    return plan.work != WORK_NOTHING


cdef bint run_maintenance_step(EngineCore *engine, bint vacuum_all) noexcept nogil:
    """Do one step; True if there is more to do at once."""
    cdef PlanTask plan
    cdef bint more
    cdef int code
    engine.maintenance.turn.lock()
    more = make_plan(engine, &plan, vacuum_all)
    if more:
        code = do_work(engine, &plan, engine.maintenance.step_ns)
        if code != MDB_SUCCESS:
            engine_fail(engine, code)
            more = False
    engine.maintenance.turn.unlock()
    return more and not engine.maintenance.stuck.load()


cdef int count_and_store(
    EngineCore *engine, const string &list_id, uint64_t entry_id
) noexcept nogil:
    """Count what a release ended and store the count; MDB_CORRUPTED, or 0."""
    cdef SnapshotRequest *request = request_new()
    cdef Command command
    cdef bint damaged
    request.list_id = list_id
    run_and_wait(engine, &request.task)
    if request.task.code != OK:
        request_free(request)
        return MDB_SUCCESS
    command.count = count_release(request, entry_id)
    damaged = request.view.damaged
    request_free(request)
    if damaged:
        return MDB_CORRUPTED
    memset(&command.task, 0, sizeof(command.task))
    command.task.kind = TASK_COMMAND
    command.task.body = &command
    command.kind = FINISH_COUNT
    command.list_id = list_id
    command.entry_id = entry_id
    command.expected_revision = 0
    command.list = NULL
    run_and_wait(engine, &command.task)
    task_clear(&command.task)
    return MDB_SUCCESS


# --- the thread -----------------------------------------------------------------------------------

cdef bint running(EngineCore *engine) noexcept nogil:
    return engine.state < STOPPED


cdef bint is_urgent(EngineCore *engine) noexcept nogil:
    """Tell whether the merge is behind: less far than twice what the active memtable is filled."""
    cdef MaintenanceState *state = &engine.maintenance
    cdef uint64_t fill = engine.fill_permille.load(), size, done
    if not engine.flush_waits.load() or fill < UNHURRIED_PERMILLE:
        return False
    state.guard.lock()                # the writer may be merging, too
    size = state.run.get().entries.size() if state.run.get() != NULL else 0
    done = state.position
    state.guard.unlock()
    return size == 0 or done * 1000 // size < 2 * fill


cdef void spare_readers(EngineCore *engine) noexcept nogil:
    """Wait while somebody reads a snapshot, unless a merge is urgent or it takes too long."""
    cdef int64_t end_ns = clock_elapsed() + READER_PATIENCE_NS
    while running(engine) and not is_urgent(engine) and clock_elapsed() < end_ns \
            and engine.store.tree.view_count.load() > 0:
        usleep(READER_PAUSE_US)


cdef void pause_after(EngineCore *engine, int64_t begun_ns) noexcept nogil:
    """Leave core and disk to the dials after a step."""
    if engine.maintenance.stuck.load():
        usleep(STUCK_PAUSE_US)
    elif not is_urgent(engine):
        usleep(<unsigned int> min(
            <int64_t> LONGEST_PAUSE_US, 100 + 3 * (clock_elapsed() - begun_ns) // 1000
        ))


cdef bint carry_out(EngineCore *engine, bint vacuum_all) noexcept nogil:
    """Make a plan and do some steps of it; True if there is more to do at once."""
    cdef PlanTask plan
    cdef int64_t begun_ns
    cdef int code = MDB_SUCCESS
    cdef int steps = 0
    if not make_plan(engine, &plan, vacuum_all):
        return False
    while code == MDB_SUCCESS and running(engine) and steps < STEPS_PER_PLAN:
        spare_readers(engine)
        begun_ns = clock_elapsed()
        code = do_work(
            engine, &plan, URGENT_STEP_NS if is_urgent(engine) else engine.maintenance.step_ns
        )
        steps += 1
        pause_after(engine, begun_ns)
        if not work_left(engine, &plan) or (
            plan.work == WORK_VACUUM and engine.flush_waits.load()
        ):
            break
    if code != MDB_SUCCESS:
        engine_fail(engine, code)
    return code == MDB_SUCCESS


cdef void *maintenance_main(void *argument) noexcept nogil:
    """Settle while there is something to, and vacuum_all every interval."""
    cdef EngineCore *engine = <EngineCore *> argument
    cdef int64_t interval_ns = <int64_t> engine.vacuum_interval_ms * 1_000_000
    cdef int64_t vacuum_ns = clock_elapsed() + interval_ns
    cdef pollfd wake
    cdef uint64_t ignored
    cdef bint due, more
    wake.fd = engine.maintenance_fd
    wake.events = <short> POLLIN
    while running(engine):
        poll(&wake, 1, <int> max(<int64_t> 0, (vacuum_ns - clock_elapsed()) // 1_000_000 + 1))
        eventfd_read(engine.maintenance_fd, &ignored)
        due = clock_elapsed() >= vacuum_ns
        if due:
            vacuum_ns = clock_elapsed() + interval_ns
        more = True
        while more and running(engine):
            engine.maintenance.turn.lock()
            more = carry_out(engine, due)
            engine.maintenance.turn.unlock()
            due = False
    return NULL


cdef start_maintenance(EngineCore *core, pthread_t *thread):
    """Start the thread; it begins with what a store was opened with."""
    if has_immutable(&core.store.memtables):
        eventfd_write(core.maintenance_fd, 1)
    start_thread(thread, maintenance_main, core)


# --- at a clean stop ------------------------------------------------------------------------------

cdef int flush_all(EngineCore *engine, int64_t now_ns) noexcept nogil:
    """Bring everything into the tree and trim the journal, with no thread running any more.

    Commits the time too, so that a restart on an earlier wall clock does not go back (R19). An LMDB
    error code, or 0; what is not flushed then stays in the journal.
    """
    cdef Store *store = engine.store
    cdef MaintenanceState *state = &engine.maintenance
    cdef int code = MDB_SUCCESS
    state.stuck.store(False)
    store_drop_flushed(store)
    while code == MDB_SUCCESS and not state.stuck.load() \
            and (has_immutable(&store.memtables) or store_rotate(store)):
        code = flush_step(state, store, store.memtables.immutable, URGENT_STEP_NS)
        store_drop_flushed(store)
    if code == MDB_SUCCESS:
        code = store_trim(store, now_ns)
    while code == MDB_SUCCESS and store_trim_due(store):
        code = store_trim(store, now_ns)
    return code
