"""Drives an open engine in process: calls made, decoded, submitted and counted without the GIL.

Each thread keeps a number of calls in flight, or sends them at a fixed rate whether or not earlier
ones were answered (latency then counts from the instant a call was due). It does what a listener
does between socket and engine: `dial_decode` on a buffer of bytes, `queue_submit_all` for all that
are ready at once, one wake-up for many answers, `dial_encode` on the thread that has it. The
answers are read from the call, not from the encoded response.

Invariants: a call is with the engine or with its thread, never with both; a thread ends only when
the engine has given back every call. It decides nothing and touches no socket.
"""

from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from ownerd.api.dial_call cimport CALL_CLAIM, CALL_CLAIM_BATCH, DialCall, call_clear, call_init
from ownerd.api.dial_codec cimport dial_decode, dial_encode
from ownerd.api.task cimport OK, UNAVAILABLE, Task
from ownerd.base.clock cimport (
    CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, clock_read, clockid_t, timespec,
)
from ownerd.base.mpsc cimport (
    mpsc_await_quiet, mpsc_enter, mpsc_leave, mpsc_push, mpsc_take_in_order,
)
from ownerd.base.threads cimport (
    pthread_getcpuclockid, sem_clockwait, sem_destroy, sem_init, sem_post, sem_t, sem_wait,
)
from ownerd.base.units cimport NS_PER_S
from ownerd.engine.core cimport EngineCore
from ownerd.engine.engine cimport Engine
from ownerd.engine.queue cimport queue_submit_all
from ownerd.load.plan cimport Picker, Plan, PlanCore, picker_init, plan_bound, plan_encode
from ownerd.load.tally cimport (
    ANSWER_COUNT, Tally, tally_answer, tally_clear, tally_counts, tally_mark,
)
from ownerd.load.threads cimport TOGETHER_NS, Worker, run_load, worker_stop, worker_stopping

__all__ = ["drive", "fill"]

cdef enum:
    BACK_OFF_NS = 200_000             # after a refusal, with no answer to wait for


# --- one thread -----------------------------------------------------------------------------------

cdef struct Slot:                     # one call, used again and again
    DialCall call                     # first: a Task* of ours is a Slot*
    EngineWorker *worker
    char *buffer                      # the encoded request, which the call's slices point into
    int64_t due_ns

cdef struct EngineWorker:
    Worker head                       # first: a Worker* of ours is an EngineWorker*
    EngineCore *engine
    const PlanCore *plan
    Picker picker
    Slot *slots
    char *buffers
    uint32_t slot_count
    uint32_t under_way                # calls that the engine has
    Task *idle                        # calls that it has not
    Task *answered                    # pushed by the writer
    int busy                          # whether the writer is leaving something
    sem_t arrived                     # posted when `answered` was empty
    uint64_t records_left             # to be sent in all
    clockid_t writer_clock            # the first thread reads these two for all
    int64_t writer_ns
    int64_t process_ns


cdef void on_answered(Task *task) noexcept nogil:
    cdef EngineWorker *worker = (<Slot *> task).worker
    mpsc_enter(&worker.busy)
    if mpsc_push(&worker.answered, task):
        sem_post(&worker.arrived)
    mpsc_leave(&worker.busy)


cdef Task *prepare(EngineWorker *worker, Slot *slot, Task *chain) noexcept nogil:
    """Make the next call in an idle slot; return it, or `chain` after it, ready to be submitted."""
    cdef uint8_t kind
    cdef uint32_t records = worker.plan.batch_records
    cdef size_t size
    if records > worker.records_left:
        records = <uint32_t> worker.records_left
    worker.records_left -= records
    size = plan_encode(worker.plan, &worker.picker, records, &kind, slot.buffer)
    call_init(&slot.call, kind)
    slot.call.task.on_done = on_answered
    if not dial_decode(&slot.call, slot.buffer, size):
        count_slot(worker, slot, slot.due_ns)
        return chain
    slot.call.task.next = chain
    worker.under_way += 1
    return &slot.call.task


cdef void count_slot(EngineWorker *worker, Slot *slot, int64_t now_ns) noexcept nogil:
    """Count an answered or refused call and let its slot be used again."""
    cdef Tally *tally = &worker.head.tally
    cdef DialCall *call = &slot.call
    cdef uint64_t *answers
    cdef uint32_t i
    tally_answer(tally, slot.due_ns, now_ns, call.task.code, call.item_count)
    if call.task.code == OK and tally_counts(tally, now_ns):
        answers = tally.outcomes
        if call.call_kind == CALL_CLAIM or call.call_kind == CALL_CLAIM_BATCH:
            answers = tally.decisions
        for i in range(call.item_count):
            answers[call.items[i].answer % ANSWER_COUNT] += 1
    elif call.task.code == UNAVAILABLE:
        worker_stop(&worker.head)     # the engine has ended; asking on would only burn time
    call_clear(call)
    call.task.next = worker.idle
    worker.idle = &call.task


cdef Task *take_due(EngineWorker *worker, int64_t now_ns) noexcept nogil:
    """Prepare every call that is due and has a slot; return them as a chain."""
    cdef Task *chain = NULL
    cdef Slot *slot
    while worker.idle != NULL and worker.records_left > 0:
        if worker.head.gap_ns != 0 and worker.head.due_ns > now_ns:
            break
        slot = <Slot *> worker.idle
        worker.idle = slot.call.task.next
        slot.due_ns = now_ns
        if worker.head.gap_ns != 0:
            slot.due_ns = <int64_t> worker.head.due_ns
            worker.head.due_ns += worker.head.gap_ns
        chain = prepare(worker, slot, chain)
    return chain


cdef bint send_due(EngineWorker *worker, int64_t now_ns) noexcept nogil:
    """Submit what is due; False if the engine refused some of it."""
    cdef Task *chain = take_due(worker, now_ns)
    cdef Task *after
    cdef bint accepted
    if chain == NULL:
        return True
    chain = queue_submit_all(&worker.engine.queue, chain)
    accepted = chain == NULL
    while chain != NULL:
        after = chain.next
        worker.under_way -= 1
        count_slot(worker, <Slot *> chain, now_ns)
        chain = after
    return accepted


cdef void wait_until(EngineWorker *worker, int64_t time_ns) noexcept nogil:
    """Sleep until an answer has come, or until the time; a wake-up for nothing does no harm."""
    cdef timespec until
    until.tv_sec = time_ns // NS_PER_S
    until.tv_nsec = time_ns % NS_PER_S
    sem_clockwait(&worker.arrived, CLOCK_MONOTONIC, &until)


cdef void wait_for_more(EngineWorker *worker, bint accepted, int64_t now_ns) noexcept nogil:
    """Sleep until there is something to do: an answer, a call that is due, the end."""
    cdef int64_t until_ns = worker.head.tally.end_ns
    if worker.under_way == 0 and not accepted:
        until_ns = now_ns + BACK_OFF_NS
    elif worker.head.gap_ns != 0 and worker.idle != NULL:
        until_ns = min(until_ns, max(<int64_t> worker.head.due_ns + 1, now_ns + TOGETHER_NS))
    if until_ns > now_ns:
        wait_until(worker, until_ns)


cdef void collect(EngineWorker *worker) noexcept nogil:
    """Take all answers that are there, and encode them as a listener would."""
    cdef Task *task = mpsc_take_in_order(&worker.answered)
    cdef Task *after
    cdef int64_t now_ns = clock_read(CLOCK_MONOTONIC)
    while task != NULL:
        after = task.next
        worker.under_way -= 1
        if task.code == OK:
            dial_encode(&(<Slot *> task).call)
        count_slot(worker, <Slot *> task, now_ns)
        task = after


cdef void mark(EngineWorker *worker, int64_t now_ns) noexcept nogil:
    """Read the CPU clocks as the span begins and as it ends."""
    cdef Tally *tally = &worker.head.tally
    cdef bint begun = tally.begun, ended = tally.ended
    tally_mark(tally, now_ns)
    if worker.head.index != 0 or (begun == tally.begun and ended == tally.ended):
        return
    worker.writer_ns = clock_read(worker.writer_clock) - worker.writer_ns
    worker.process_ns = clock_read(CLOCK_PROCESS_CPUTIME_ID) - worker.process_ns


cdef void drive_main(Worker *head) noexcept nogil:
    """Send until the time is over or the records are sent, then wait for every call to return."""
    cdef EngineWorker *worker = <EngineWorker *> head
    cdef int64_t now_ns
    cdef bint accepted
    while not worker_stopping(head):
        now_ns = clock_read(CLOCK_MONOTONIC)
        mark(worker, now_ns)
        if head.tally.ended or (worker.records_left == 0 and worker.under_way == 0):
            break
        accepted = send_due(worker, now_ns)
        wait_for_more(worker, accepted, now_ns)
        collect(worker)
    while worker.under_way > 0:
        sem_wait(&worker.arrived)
        collect(worker)
    mpsc_await_quiet(&worker.busy)


# --- all threads ----------------------------------------------------------------------------------

cdef class Team:
    """The threads of one load, made, run and freed."""

    cdef EngineWorker *workers
    cdef Worker **heads
    cdef uint32_t count
    cdef object engine, plan          # kept alive

    def __cinit__(self, Engine engine, Plan plan, uint32_t threads, uint32_t in_flight):
        self.engine, self.plan = engine, plan
        engine._store()               # refused once the engine is closed
        self.workers = <EngineWorker *> calloc(threads, sizeof(EngineWorker))
        self.heads = <Worker **> calloc(threads, sizeof(Worker *))
        if self.workers == NULL or self.heads == NULL:
            raise MemoryError()
        self.count = threads
        for i in range(threads):
            self.heads[i] = &self.workers[i].head
            if not make_worker(
                &self.workers[i], engine.core, plan.core, i, threads,
                in_flight // threads + (i < in_flight % threads),
            ):
                raise MemoryError()
        pthread_getcpuclockid(engine.writer, &self.workers[0].writer_clock)

    def __dealloc__(self):
        if self.workers != NULL:
            for i in range(self.count):
                free_worker(&self.workers[i])
        free(self.workers)
        free(self.heads)

    def run(self, double seconds, double warm_up_s, double rate_per_s, uint64_t record_limit):
        """Run the load; return a LoadResult."""
        for i in range(self.count):
            self.workers[i].records_left = record_limit
        result = run_load(self.heads, self.count, seconds, warm_up_s, rate_per_s)
        return result._replace(
            writer_cpu_s=self.workers[0].writer_ns / 1e9,
            process_cpu_s=self.workers[0].process_ns / 1e9,
        )


cdef bint make_worker(
    EngineWorker *worker, EngineCore *engine, const PlanCore *plan, uint32_t index, uint32_t count,
    uint32_t in_flight,
) noexcept nogil:
    """Fill in a zeroed worker with every slot idle; False for want of memory."""
    cdef size_t bound = plan_bound(plan)
    cdef uint32_t i
    worker.head.main = drive_main
    worker.head.index = index
    worker.engine = engine
    worker.plan = plan
    worker.slot_count = in_flight
    sem_init(&worker.arrived, 0, 0)
    picker_init(&worker.picker, plan, index, count)
    worker.slots = <Slot *> calloc(in_flight, sizeof(Slot))
    worker.buffers = <char *> malloc(in_flight * bound)
    if worker.slots == NULL or worker.buffers == NULL:
        return False
    for i in range(in_flight):
        worker.slots[i].worker = worker
        worker.slots[i].buffer = worker.buffers + i * bound
        worker.slots[i].call.task.next = worker.idle
        worker.idle = &worker.slots[i].call.task
    return True


cdef void free_worker(EngineWorker *worker) noexcept nogil:
    tally_clear(&worker.head.tally)
    if worker.slots != NULL:
        sem_destroy(&worker.arrived)
    free(worker.slots)
    free(worker.buffers)


def drive(
    Engine engine, Plan plan, *, in_flight=256, threads=1, seconds=5.0, warm_up_s=0.5,
    rate_per_s=0.0,
):
    """Send a plan's calls to an engine for some time; return a LoadResult.

    Args:
        engine: an open engine; it must not be closed meanwhile.
        plan: what to send.
        in_flight: calls under way, over all threads; with a rate, at most so many.
        threads: native threads that send, 1 to `in_flight`.
        seconds: how long to measure, after `warm_up_s` of the same load.
        rate_per_s: calls due in a second, over all threads; 0: each follows an answer.
    """
    if not 1 <= threads <= in_flight:
        raise ValueError(f"threads: {threads} found; 1 to in_flight ({in_flight}) are allowed")
    return Team(engine, plan, threads, in_flight).run(seconds, warm_up_s, rate_per_s, UINT64_MAX)


def fill(Engine engine, Plan plan, *, in_flight=3, limit_s=600.0):
    """Send every record of a plan made `in_order` once; return the LoadResult.

    Its time is `limit_s`; the calls are all those that were answered until then.
    """
    if not plan.core.in_order:
        raise ValueError("a plan that is not in_order cannot tell what it has sent")
    return Team(engine, plan, 1, in_flight).run(limit_s, 0.0, 0.0, plan.core.record_count)
