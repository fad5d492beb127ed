"""What the threads of one engine share: made, configured, ended and freed here.

The store, the queue before the writer, the writer's counters, maintenance's state, and how the
engine came to fail. Which thread may touch what is said at each field; the threads themselves are
`group_commit`'s and `maintenance`'s.

Invariant: a Campaign that a decided call names stays in place, unchanged, as long as the core. A
rename keeps the former one (rename_campaign); one is freed only with the transaction that made it,
which is undone before any call that names it is answered; and when the store is closed, all of them
stay here. So whoever sends an answer encodes it on a thread of its own, whenever it likes.
"""

from ownerd.base.clock cimport clock_elapsed, clock_start_from
from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_SUCCESS
from ownerd.base.sockets cimport EFD_CLOEXEC, EFD_NONBLOCK, close, eventfd, eventfd_write
from ownerd.base.threads cimport pthread_mutex_destroy, pthread_mutex_init
from ownerd.engine.queue cimport (
    FAILED, STANDBY, STOPPED, queue_change_state, queue_destroy, queue_init, queue_stand_by,
)
from ownerd.storage.catalog cimport take_campaigns
from ownerd.storage.directory cimport FILES_LOST, IN_PLACE, LOCK_FILE_LOST, Place
from ownerd.storage.recovery cimport store_close
from ownerd.storage.store cimport (
    left_undone, store_note_failure, store_place, store_revision, store_time,
)
from ownerd.storage.walker cimport WALK_DIFFERS

cdef enum:
    LOCK_MISSES = 10                  # some five seconds, as maintenance looks
    GROUP_RECORDS = 16_384            # more would only wait longer


cdef void configure(EngineCore *engine, const EngineOptions *options) noexcept nogil:
    """Size groups, too: the log's reserve takes one."""
    engine.group_records = max(<uint64_t> 1, min(
        <uint64_t> GROUP_RECORDS, engine.store.reserve_bytes // GROUP_BYTES_PER_RECORD
    ))
    engine.vacuum_interval_ms = options.vacuum_interval_ms
    engine.maintenance.step_ns = options.step_ns
    engine.maintenance.flush_age_ns = options.flush_age_ns
    engine.maintenance.clean_ns = clock_elapsed()
    engine.maintenance.clean_bytes = 0
    engine.maintenance.flush_aged = False


cdef EngineCore *engine_new(
    Store *store, ClockState *clock, const EngineOptions *options
) except NULL:
    """Return an engine over an open store, its threads not yet started."""
    cdef EngineCore *engine = new EngineCore()
    engine.store = store
    engine.clock = clock
    engine.failure_code.store(MDB_SUCCESS)
    engine.failure_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    engine.maintenance_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)
    engine.flush_waits.store(False)
    engine.fill_permille.store(0)
    engine.lock_missed.store(0)
    engine.feed_waits.store(False)
    engine.feed_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    engine.called_twice.others = 0
    engine.slow_calls.least_ns.store(0)
    engine.slow_calls.takes_traced.store(False)
    engine.slow_calls.missed = 0
    pthread_mutex_init(&engine.writer, NULL)
    queue_init(&engine.queue, options.queue_limit)
    configure(engine, options)
    if store.shared != NULL:
        queue_stand_by(&engine.queue)
    clock_start_from(clock, store_time(store))
    return engine


cdef void engine_close_store(EngineCore *engine) noexcept:
    """Close the store, once the threads are over and nobody reads; its campaigns stay."""
    cdef Store *store = engine.store
    take_campaigns(&store.catalog, &engine.shown)
    engine.store = NULL
    store_close(store)


cdef void engine_free(EngineCore *engine) noexcept nogil:
    """Free a core whose threads are over, its store closed or left to the process's end.

    No answer of it is encoded any more.
    """
    cdef size_t i
    for i in range(engine.shown.size()):
        del engine.shown[i]
    queue_destroy(&engine.queue)
    pthread_mutex_destroy(&engine.writer)
    close(engine.failure_fd)
    close(engine.maintenance_fd)
    close(engine.feed_fd)
    del engine


# --- the end: any thread --------------------------------------------------------------------------

cdef void engine_stop(EngineCore *engine) noexcept nogil:
    """Take no more tasks; both threads end once what is queued is done."""
    queue_change_state(&engine.queue, STOPPED)
    engine_wake_maintenance(engine)


cdef void engine_fail(EngineCore *engine, int code) noexcept nogil:
    """Stop granting for good after a failed commit, a damaged row or a wrong look-up (R18)."""
    engine.failure_code.store(code)
    if code != STORE_LOST and code != MDB_CORRUPTED and code != WALK_DIFFERS:
        store_note_failure(engine.store)
    queue_change_state(&engine.queue, FAILED)
    eventfd_write(engine.failure_fd, 1)


cdef bint engine_failed(EngineCore *engine) noexcept nogil:
    return engine.failure_code.load() != MDB_SUCCESS


cdef bint engine_stands_by(const EngineCore *engine) noexcept nogil:
    return engine.queue.state.load() == STANDBY


cdef void engine_end(EngineCore *engine, int code) noexcept nogil:
    if left_undone(code):
        queue_stand_by(&engine.queue)
    else:
        engine_fail(engine, code)


cdef bint engine_look(EngineCore *engine) noexcept nogil:
    """Look whether the store's files are where they were; if not, nothing is granted any more.

    The loss of LOCK alone is told of first, and ends the engine some looks later: the other locks
    keep a second server out, which is not to find the store free by trying at once.
    """
    cdef Place place = store_place(engine.store)
    engine.lock_missed.store(engine.lock_missed.load() + 1 if place == LOCK_FILE_LOST else 0)
    if place == FILES_LOST or engine.lock_missed.load() > LOCK_MISSES:
        if not engine_failed(engine):
            engine_fail(engine, STORE_LOST)
    return place == IN_PLACE


cdef void engine_wake_maintenance(EngineCore *engine) noexcept nogil:
    eventfd_write(engine.maintenance_fd, 1)


# --- those who wait for a commit ------------------------------------------------------------------

cdef void engine_ring(EngineCore *engine) noexcept nogil:
    # Both sides exchange: whichever is later sees what the other did before, so a commit is either
    # seen by who waits or rings for it.
    if engine.feed_waits.exchange(False):
        eventfd_write(engine.feed_fd, 1)


cdef bint engine_await(EngineCore *engine, uint64_t revision) noexcept nogil:
    engine.feed_waits.exchange(True)
    return store_revision(engine.store) <= revision
