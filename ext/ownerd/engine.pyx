"""The single writer: a bounded queue, groups of decisions, one commit for each, then the answers.

Any thread submits tasks without the GIL. One writer thread takes all that is waiting, decides the
dials in order against current state, commits once and answers them: greedy group commit, no timer.
A group in which nothing changed is not committed. Changes of the control plane, snapshots and steps
of the settler run between groups, each by itself, in the order they came.

Invariants:
- An answer that changed state is given after its commit returned (R18); a commit that failed, other
  than for want of room, stops the store for good: everything is answered UNAVAILABLE from then on
  and `failure_fd` becomes readable. A sync is never tried again.
- Only the writer thread touches the store's write side and catalog.
- `revision` grows by one with each commit that changed something.

It knows no sockets and no gRPC; asyncio waiters use `mailbox`.
"""

import os
import time

from libc.stdint cimport uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memset

from ownerd.calls cimport (
    CALL_CLAIM, CALL_CLAIM_BATCH, CALL_GET_HOLDER, CALL_KIND_COUNT, FAILED_PRECONDITION,
    MESSAGE_BYTES, OK, RESOURCE_EXHAUSTED, TASK_CHANGE, TASK_DIAL, TASK_SETTLE, TASK_SNAPSHOT,
    UNAVAILABLE, OnDone, call_clear, call_init, task_clear, task_refuse,
)
from ownerd.catalog cimport (
    answered_request, audit_count, audit_page, campaign_page, code_page, entry_count, list_info,
    list_page, policy_from, uncounted_releases,
)
from ownerd.changes cimport (
    CREATE_LIST, DELETE_CODE, DELETE_LIST, FINISH_COUNT, IMPORT_ROWS, RELEASE, RELEASE_RECORDS,
    SIGNAL_CAMPAIGN, UPDATE_POLICY, UPSERT_CAMPAIGN, UPSERT_CODE, Change, ImportRow, change_run,
    is_full, refuse_full,
)
from ownerd.clock cimport Clock, clock_now, clock_start_from
from ownerd.containers cimport string
from ownerd.dialing cimport dial_decide
from ownerd.lmdb_api cimport MDB_SUCCESS, MDB_envinfo, lmdb
from ownerd.rules cimport NEVER_NS
from ownerd.settler cimport SettleTask, settle_step
from ownerd.snapshot cimport Snapshot, SnapshotRequest, snapshot_take
from ownerd.store cimport (
    COUNT_PENDING, List, store_abort, store_begin, store_close, store_commit, store_has_room,
    store_open, text_slice,
)
from ownerd.wire cimport BATCH_RECORDS, wire_decode, wire_encode

from ownerd.catalog import ListInfo, Outcome
from ownerd.catalog import PolicyTuple as Policy
from ownerd.store import StoreError, StoreInUseError

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
    int eventfd_read(int, uint64_t *)

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
    PAGES_PER_RECORD = 4              # a generous bound on what one random record dirties

CLAIM, CLAIM_BATCH, REPORT_ATTEMPT, REPORT_ATTEMPT_BATCH, GET_HOLDER = range(CALL_KIND_COUNT)
DIAL_METHODS = ("Claim", "ClaimBatch", "ReportAttempt", "ReportAttemptBatch", "GetHolder")
DEFAULT_MAP_BYTES = 256 << 30         # sparse: only address space until it is used
DEFAULT_RESERVE_BYTES = 64 << 20
DEFAULT_QUEUE_LIMIT = 65_536


class Refused(Exception):
    """The engine refused a call; nothing changed unless the code is UNAVAILABLE.

    Attributes: `code` (gRPC's number), `message` (says what was found, what is allowed and what to
    do; fit to be shown to the caller). UNAVAILABLE means that the outcome is unknown.
    """

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


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


cdef bint engine_submit(EngineCore *engine, Task *task) noexcept nogil:
    """Queue a task; its `on_done` runs on the writer thread once it is done.

    False if it is refused at once: then code and message are set and `on_done` is not called.
    """
    cdef bint admitted
    task.next = NULL
    pthread_mutex_lock(&engine.guard)
    admitted = admit(engine, task)
    if admitted:
        engine.queued_records += task.record_count
        if engine.last == NULL:
            engine.first = task
            pthread_cond_signal(&engine.arrived)
        else:
            engine.last.next = task
        engine.last = task
    pthread_mutex_unlock(&engine.guard)
    return admitted


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


cdef void fail(EngineCore *engine, int code) noexcept nogil:
    """Stop granting for good after a failed commit (R18)."""
    engine.failure_code = code
    change_state(engine, FAILED)
    eventfd_write(engine.failure_fd, 1)


cdef void finish(Task *task) noexcept nogil:
    task.on_done(task)


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
    call.revision = engine.store.state.revision
    wire_encode(call)
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
    cdef int64_t begun_ns = clock_now(engine.clock)
    cdef int code = store_commit(engine.store, engine.store.state.revision + 1, now_ns)
    engine.counters.commit_ns += <uint64_t> (clock_now(engine.clock) - begun_ns)
    engine.counters.changed_groups += code == MDB_SUCCESS
    return code


cdef int decide_group(EngineCore *engine, size_t start, size_t end) noexcept nogil:
    """Decide group[start:end] at one instant and commit; an LMDB error code, or 0."""
    cdef Store *store = engine.store
    cdef int64_t now_ns = clock_now(engine.clock)
    cdef bint has_room = store_has_room(store, now_ns)
    cdef bint changed = False
    cdef size_t i
    cdef int code = store_begin(store)
    if code != MDB_SUCCESS:
        return code
    for i in range(start, end):
        changed |= dial_decide(store, engine.group[i], now_ns, has_room)
    if changed or store.error != MDB_SUCCESS:
        return commit_group(engine, now_ns)
    store_abort(store)
    return MDB_SUCCESS


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
        fail(engine, code)
    answer_group(engine, engine.failure_code != MDB_SUCCESS)


cdef Task *gather_group(EngineCore *engine, Task *task) noexcept nogil:
    """Move the dials at the head of the list into the group; return what comes after them."""
    cdef uint64_t records = 0
    cdef uint64_t limit = max(
        <uint64_t> 1, engine.store.reserve_bytes // (engine.store.page_bytes * PAGES_PER_RECORD)
    )
    engine.group.clear()
    while task != NULL and task.kind == TASK_DIAL and records < limit:
        records += task.record_count
        engine.group.push_back(<DialCall *> task)
        task = task.next
    return task


cdef void run_task(EngineCore *engine, Task *task) noexcept nogil:
    """Run what is not a dial, between two groups."""
    cdef int64_t now_ns = clock_now(engine.clock)
    cdef int code
    if task.kind == TASK_CHANGE:
        code = change_run(engine.store, <Change *> task.body, now_ns)
        eventfd_write(engine.settle_fd, 1)
    elif task.kind == TASK_SNAPSHOT:
        code = snapshot_take(engine.store, <SnapshotRequest *> task.body, now_ns)
    else:
        code = settle_step(engine.store, &engine.settle, <SettleTask *> task.body, now_ns)
        engine.counters.settled += (<SettleTask *> task.body).written
    if code != MDB_SUCCESS:
        fail(engine, code)
        refuse_failed(task)
    finish(task)


cdef void *writer_main(void *argument) noexcept nogil:
    cdef EngineCore *engine = <EngineCore *> argument
    cdef Task *task = take_all(engine)
    cdef Task *after
    while task != NULL:
        while task != NULL:
            after = task.next
            if engine.failure_code != MDB_SUCCESS:
                refuse_failed(task)
                finish(task)
            elif task.kind == TASK_DIAL:
                after = gather_group(engine, task)
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


# --- the settler's thread -------------------------------------------------------------------------

cdef bint run_settle_step(EngineCore *engine, bint sweep) noexcept nogil:
    """Run one step on the writer; True if there is more to do at once."""
    cdef SettleTask step
    memset(&step, 0, sizeof(step))
    step.task.kind = TASK_SETTLE
    step.task.body = &step
    step.sweep = sweep
    run_and_wait(engine, &step.task)
    task_clear(&step.task)
    return step.more and step.task.code == OK


cdef void *settler_main(void *argument) noexcept nogil:
    """Step while there is work, at a quarter of the writer's time; sweep every interval."""
    cdef EngineCore *engine = <EngineCore *> argument
    cdef pollfd wake
    cdef uint64_t ignored
    cdef bint timed_out
    cdef int64_t begun_ns
    wake.fd = engine.settle_fd
    wake.events = <short> POLLIN
    while engine.state < STOPPED:
        timed_out = poll(&wake, 1, engine.settle_interval_ms) == 0
        eventfd_read(engine.settle_fd, &ignored)
        begun_ns = clock_now(engine.clock)
        while engine.state < STOPPED and run_settle_step(engine, timed_out):
            timed_out = False
            usleep(<unsigned int> min(
                <int64_t> 20_000, 100 + 3 * (clock_now(engine.clock) - begun_ns) // 1000
            ))
            begun_ns = clock_now(engine.clock)
    return NULL


cdef start_thread(pthread_t *thread, void *(*main)(void *) noexcept nogil, EngineCore *core):
    """Start a native thread that leaves signals to Python's main thread."""
    cdef sigset_t every, before
    sigfillset(&every)
    pthread_sigmask(SIG_SETMASK, &every, &before)
    code = pthread_create(thread, NULL, main, core)
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    if code != 0:
        raise StoreError(f"cannot start a thread: {os.strerror(code)}")


# --- for Python -----------------------------------------------------------------------------------

cdef refusal(Task *task):
    return Refused(task.code, task.message.decode(errors="replace"))


cdef assign(string *target, str text):
    encoded = text.encode()
    target.assign(<const char *> encoded, len(encoded))


cdef assign_bytes(string *target, bytes data):
    target.assign(<const char *> data, len(data))


cdef class Engine:
    """One store and its writer; every method may be called from any thread.

    Calls of the control plane block (without the GIL) until they are durable. They take `note`, the
    bytes kept in the audit entry, `request_id` with `memo`, the bytes given back when the same id
    comes again within 24 h (R20). They return an Outcome and raise Refused.

    Args:
        directory: the data directory; created if it is not there.
        clock: the server's time; None for R19's.
        map_bytes: the store's upper bound, reserved as address space.
        queue_limit: records that may wait; more are refused with RESOURCE_EXHAUSTED.
        reserve_bytes: room that is kept for releases; grants are refused first.
        settle_interval_s: how often expired records are swept up.
        background: run the settler's thread; False leaves settling to `settle()`.

    Raises:
        StoreInUseError, StoreError: see `ownerd.store`.
    """

    def __cinit__(self):
        self.core = NULL
        self.closed = True

    def __init__(
        self, str directory, Clock clock=None, *, map_bytes=DEFAULT_MAP_BYTES,
        queue_limit=DEFAULT_QUEUE_LIMIT, reserve_bytes=DEFAULT_RESERVE_BYTES,
        settle_interval_s=900.0, background=True,
    ):
        if self.core != NULL:
            raise RuntimeError("an engine is opened once")
        self.directory = directory
        self.clock = Clock() if clock is None else clock
        self.background = background
        cdef Store *store = store_open(directory, map_bytes, reserve_bytes)
        cdef EngineCore *core = new EngineCore()
        self.core = core
        core.store = store
        core.clock = (<Clock> self.clock).state
        core.queue_limit = queue_limit
        core.settle_interval_ms = <int> (settle_interval_s * 1000)
        core.failure_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        core.settle_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)
        pthread_mutex_init(&core.guard, NULL)
        pthread_cond_init(&core.arrived, NULL)
        clock_start_from(core.clock, store.state.time_ns)
        start_thread(&self.writer, writer_main, core)
        if background:
            start_thread(&self.settler, settler_main, core)
        self.closed = False
        self.opened_at = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __dealloc__(self):
        if self.core != NULL:
            os.close(self.core.failure_fd)
            os.close(self.core.settle_fd)
            del self.core

    def begin_drain(self):
        """Refuse new dials with UNAVAILABLE from now on; those queued are answered."""
        change_state(self.core, DRAINING)

    def close(self, timeout_s=10.0):
        """Answer what is queued, store the time, let go of the directory. May be called again.

        Waits up to `timeout_s` for open snapshots; if one stays open, the files stay mapped until
        the process ends, which harms nothing that is on disk.
        """
        cdef EngineCore *core = self.core
        if self.closed:
            return
        self.closed = True
        change_state(core, DRAINING)
        change_state(core, STOPPED)
        eventfd_write(core.settle_fd, 1)
        with nogil:
            if self.background:
                pthread_join(self.settler, NULL)
            pthread_join(self.writer, NULL)
        self._store_time()
        deadline = time.monotonic() + timeout_s
        while self.open_snapshots and time.monotonic() < deadline:
            time.sleep(0.01)
        if not self.open_snapshots:
            store_close(core.store)
            core.store = NULL

    def _store_time(self):
        """Commit the time, so that a restart on an earlier wall clock does not go back (R19)."""
        cdef Store *store = self.core.store
        if self.core.failure_code != MDB_SUCCESS or store_begin(store) != MDB_SUCCESS:
            return
        store_commit(store, store.state.revision, clock_now(self.core.clock))

    def _snapshot_closed(self):
        self.open_snapshots -= 1

    # --- data plane

    def dial(self, int kind, bytes body):
        """Answer one DialService request (protobuf bytes in and out), blocking.

        `kind` is CLAIM, CLAIM_BATCH, REPORT_ATTEMPT, REPORT_ATTEMPT_BATCH or GET_HOLDER.
        """
        cdef DialCall call
        if not 0 <= kind < CALL_KIND_COUNT:
            raise ValueError(f"kind is {kind}")
        call_init(&call, <uint8_t> kind)
        cdef const char *data = <const char *> body
        cdef size_t size = len(body)
        with nogil:
            if wire_decode(&call, data, size):
                run_and_wait(self.core, &call.task)
        try:
            if call.task.code != OK:
                raise refusal(&call.task)
            return call.answer[:call.answer_size]
        finally:
            call_clear(&call)

    # --- control plane

    def create_list(self, list_id, policy, *, note=b"", request_id="", memo=b""):
        """Create a contact list. Refused: ALREADY_EXISTS."""
        cdef Change *change = new_change(CREATE_LIST, list_id, note, request_id, memo)
        change.policy = policy_from(policy)
        return self._run(<size_t> change)

    def update_policy(
        self, list_id, policy, expected_revision=0, *, note=b"", request_id="", memo=b""
    ):
        """Set a list's policy (R12-R14). Refused: NOT_FOUND; ABORTED if it is at another revision.

        `expected_revision` is the ListInfo.update_revision that the caller saw, 0 for any.
        """
        cdef Change *change = new_change(UPDATE_POLICY, list_id, note, request_id, memo)
        change.policy = policy_from(policy)
        change.expected_revision = expected_revision
        return self._run(<size_t> change)

    def delete_list(
        self, list_id, *, force, expected_revision=0, note=b"", request_id="", memo=b""
    ):
        """Delete a list. Refused: NOT_FOUND, ABORTED; FAILED_PRECONDITION with live ownership.

        The count is the number of live ownerships that end; `force` deletes them too.
        """
        cdef Change *change
        owned = 0
        revision = 0
        if not (request_id and self.request(request_id)):
            with self.snapshot(list_id) as snapshot:
                owned = snapshot.count_owned()
                revision = snapshot.revision
            if owned and not force:
                raise Refused(
                    FAILED_PRECONDITION,
                    f'contact list "{list_id}" has {owned} owned records; release them first, or '
                    "delete it with force",
                )
        change = new_change(DELETE_LIST, list_id, note, request_id, memo)
        change.force = force
        change.acquire_revision = revision
        change.expected_revision = expected_revision
        change.count = owned
        return self._run(<size_t> change)

    def release(
        self, list_id, campaign_ids, include_reservations, *, note=b"", request_id="", memo=b""
    ):
        """Release the ownership of some campaigns (None: all) at one instant (R15).

        In force when this returns; `count_released` then says how many. Refused: NOT_FOUND for the
        list or a campaign.
        """
        cdef Change *change = new_change(RELEASE, list_id, note, request_id, memo)
        change.include_reservations = include_reservations
        change.all_campaigns = campaign_ids is None
        for campaign_id in dict.fromkeys(campaign_ids or ()):
            change.campaign_ids.push_back(string())
            assign(&change.campaign_ids.back(), campaign_id)
        return self._run(<size_t> change)

    def release_records(self, list_id, record_ids, *, note=b"", request_id="", memo=b""):
        """Release the ownership of single records; those that nobody owns are not counted."""
        cdef Change *change = new_change(RELEASE_RECORDS, list_id, note, request_id, memo)
        for record_id in record_ids:
            change.record_ids.push_back(string())
            assign(&change.record_ids.back(), record_id)
        return self._run(<size_t> change)

    def count_released(self, uint64_t entry_id):
        """Count what the release with this audit entry ended, store and return the count.

        Exact whenever it is called: records written since the release were counted as they were
        written. Raises KeyError for an unknown entry.
        """
        cdef Change *change
        known = audit_count(self._store(), entry_id)
        if known is not None:
            return known
        list_id = self._list_of_release(entry_id)
        if list_id is None:           # settled or deleted in the meantime: the count is stored
            return audit_count(self._store(), entry_id)
        with self.snapshot(list_id) as snapshot:
            count = snapshot.count_released(entry_id)
        change = new_change(FINISH_COUNT, list_id, b"", "", b"")
        change.entry_id = entry_id
        change.count = count
        self._run(<size_t> change)
        return audit_count(self._store(), entry_id)

    def pending_counts(self):
        """Return the audit entries of releases that are still to be counted."""
        return sorted({entry_id for _, entry_id in uncounted_releases(self._store())})

    def upsert_campaign(self, campaign_id, name, *, note=b"", request_id="", memo=b""):
        """Register a campaign, or rename it; "" keeps the name (at first, the id)."""
        cdef Change *change = new_change(UPSERT_CAMPAIGN, "", note, request_id, memo)
        change.campaign_ids.push_back(string())
        assign(&change.campaign_ids.back(), campaign_id)
        assign(&change.name, name)
        return self._run(<size_t> change)

    def signal_campaign(
        self, campaign_id, list_id, stopped, *, note=b"", request_id="", memo=b""
    ):
        """End a stopped campaign's reservations on a list ("": all lists); R16.

        Recycle and reset (`stopped` False) only leave an audit entry. Refused: NOT_FOUND.
        """
        cdef Change *change = new_change(SIGNAL_CAMPAIGN, list_id, note, request_id, memo)
        change.campaign_ids.push_back(string())
        assign(&change.campaign_ids.back(), campaign_id)
        change.stopped = stopped
        return self._run(<size_t> change)

    def upsert_code(
        self, code, category, counts_as_attempt, success, *, note=b"", request_id="", memo=b""
    ):
        """Add or change a wrap-up code."""
        cdef Change *change = new_change(UPSERT_CODE, "", note, request_id, memo)
        assign(&change.code, code)
        assign(&change.category, category)
        change.counts_as_attempt = counts_as_attempt
        change.success = success
        return self._run(<size_t> change)

    def delete_code(self, code, *, note=b"", request_id="", memo=b""):
        """Delete a wrap-up code. Refused: NOT_FOUND."""
        cdef Change *change = new_change(DELETE_CODE, "", note, request_id, memo)
        assign(&change.code, code)
        return self._run(<size_t> change)

    def import_rows(
        self, list_id, rows, strategy, entry_id=0, *, note=b"", request_id="", memo=b""
    ):
        """Import up to 10,000 rows (record_id, campaign_id, campaign_name, expire_ns or None).

        `strategy`: 1 fail, 2 skip, 3 overwrite. `entry_id` 0 begins an import; further chunks pass
        the first one's and are added to its audit entry. Refused, with nothing of these rows
        written: NOT_FOUND, RESOURCE_EXHAUSTED, FAILED_PRECONDITION for a conflict with strategy 1.
        """
        cdef Change *change
        cdef ImportRow *row
        cdef size_t i
        if len(rows) > BATCH_RECORDS:
            raise ValueError(f"{len(rows)} rows in one chunk; {BATCH_RECORDS} are allowed")
        change = new_change(IMPORT_ROWS, list_id, note, request_id, memo)
        change.strategy = strategy
        change.entry_id = entry_id
        change.rows.resize(len(rows))
        for i, (record_id, campaign_id, campaign_name, expire_ns) in enumerate(rows):
            row = &change.rows[i]
            assign(&row.record_id, record_id)
            assign(&row.campaign_id, campaign_id)
            assign(&row.campaign_name, campaign_name)
            row.until_ns = NEVER_NS if expire_ns is None else <int64_t> expire_ns
        return self._run(<size_t> change)

    def _run(self, size_t pointer):
        """Run a change to its end and free it."""
        cdef Change *change = <Change *> pointer
        with nogil:
            run_and_wait(self.core, &change.task)
        try:
            if change.task.code != OK:
                raise refusal(&change.task)
            return Outcome(
                change.revision, change.time_ns,
                None if change.count == COUNT_PENDING else change.count, change.entry_id,
                bool(change.replayed), change.memo.data()[:change.memo.size()],
                tuple(change.tally),
            )
        finally:
            task_clear(&change.task)
            del change

    # --- reads

    cdef Store *_store(self) except NULL:
        if self.closed:
            raise Refused(UNAVAILABLE, "the server is stopping and takes no more calls")
        return self.core.store

    def get_list(self, list_id):
        """Return a list's ListInfo, or None."""
        return list_info(self._store(), list_id)

    def lists(self, after, limit):
        """Return up to `limit` ListInfo by id, after the id `after`."""
        return list_page(self._store(), after, limit)

    def campaigns(self, after, limit):
        """Return up to `limit` (campaign_id, name) by id, after the id `after`."""
        return campaign_page(self._store(), after, limit)

    def codes(self, after, limit):
        """Return up to `limit` (code, category, counts_as_attempt, success) by code."""
        return code_page(self._store(), after, limit)

    def audit(self, before, limit):
        """Return up to `limit` audit entries, newest first, with ids below `before` (0: all).

        Each is (entry_id, time_ns, revision, count or None while it is pending, note).
        """
        return audit_page(self._store(), before, limit)

    def request(self, request_id):
        """Return the Outcome stored for a request id in the last 24 h, or None."""
        return answered_request(self._store(), request_id, clock_now(self.core.clock))

    def snapshot(self, list_id):
        """Return a Snapshot of a list as of now. Refused: NOT_FOUND, RESOURCE_EXHAUSTED."""
        cdef SnapshotRequest *request = new SnapshotRequest()
        self._store()
        assign(&request.list_id, list_id)
        request.task.kind = TASK_SNAPSHOT
        request.task.body = request
        with nogil:
            run_and_wait(self.core, &request.task)
        if request.task.code != OK:
            error = refusal(&request.task)
            task_clear(&request.task)
            del request
            raise error
        self.open_snapshots += 1
        return (<Snapshot> Snapshot.__new__(Snapshot)).adopt(self.core.store, request, self)

    def _list_of_release(self, uint64_t entry_id):
        """Return the id of the list that a release still to be counted belongs to, or None."""
        numbers = [number for number, entry in uncounted_releases(self._store())
                   if entry == entry_id]
        for info in list_page(self._store(), "", 1 << 62) if numbers else ():
            if info.number == numbers[0]:
                return info.list_id
        return None

    @property
    def revision(self):
        """The revision of the last commit that changed something."""
        return self._store().state.revision

    @property
    def failed(self):
        """What ended the store, or None while it works."""
        if self.core.failure_code == MDB_SUCCESS:
            return None
        reason = lmdb.strerror(self.core.failure_code).decode(errors="replace")
        return f"a commit to {self.directory} failed: {reason}"

    @property
    def failure_fd(self):
        """An eventfd that is readable once storage has failed; then the process must end."""
        return self.core.failure_fd

    def settle(self):
        """Sweep the whole store now: fold old events, drop expired records, cut the log."""
        cdef bint more
        self._store()
        with nogil:
            more = run_settle_step(self.core, True)
            while more:
                more = run_settle_step(self.core, False)

    def stats(self):
        """Return counters and sizes as a dict; see the keys."""
        cdef EngineCore *core = self.core
        cdef Store *store = self._store()
        cdef MDB_envinfo info
        lmdb.env_info(store.env, &info)
        lists, campaigns, records, events = entry_count(store)
        used = (info.me_last_pgno + 1) * store.page_bytes
        disk = os.fstatvfs(store.data_fd)
        counters = core.counters
        return {
            "revision": store.state.revision,
            "time_ns": clock_now(core.clock),
            "clock_offset_ns": self.clock.offset_ns(),
            "uptime_s": time.monotonic() - self.opened_at,
            "queue_depth": core.queued_records,
            "queue_limit": core.queue_limit,
            "list_count": lists,
            "campaign_count": campaigns,
            "record_count": records,
            "unsettled_event_count": events,
            "store_bytes": used,
            "map_bytes": store.map_bytes,
            "map_free_bytes": store.map_bytes - min(store.map_bytes, used),
            "disk_free_bytes": disk.f_bavail * disk.f_frsize,
            "groups": counters.groups,
            "changed_groups": counters.changed_groups,
            "calls": counters.calls,
            "records": counters.records,
            "decisions": {
                "granted": counters.decisions[1], "denied": counters.decisions[2],
                "uncontrolled": counters.decisions[3],
            },
            "outcomes": {
                name: counters.outcomes[i + 1] for i, name in enumerate((
                    "ownership_acquired", "ownership_renewed", "ownership_kept",
                    "reservation_cleared", "not_controlled", "rejected",
                ))
            },
            "refused": {"queue_full": core.queue_refusals, "store_full": counters.refused_full},
            "commit_ns_total": counters.commit_ns,
            "settled_records": counters.settled,
            "alarms": self._alarms(),
            "failed": core.failure_code != MDB_SUCCESS,
        }

    def _alarms(self):
        alarms = []
        if self.core.store.disk_full:
            alarms.append(("disk_full", "the disk is full; grants are refused until space is freed"))
        if self.core.store.map_full:
            alarms.append((
                "map_full",
                "the store has reached map_bytes; grants are refused until records are released "
                "and settled, or the server is restarted with a larger map",
            ))
        if self.failed is not None:
            alarms.append(("storage_failed", self.failed))
        return alarms


cdef Change *new_change(int kind, str list_id, bytes note, str request_id, bytes memo) except NULL:
    """Return a change of a kind, to be filled in and passed to `Engine._run`."""
    cdef Change *change = new Change()
    change.task.kind = TASK_CHANGE
    change.task.body = change
    change.kind = <uint8_t> kind
    assign(&change.list_id, list_id)
    assign_bytes(&change.note, note)
    assign(&change.request_id, request_id)
    assign_bytes(&change.memo, memo)
    return change
