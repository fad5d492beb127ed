"""Takes calls to the engine and its answers to futures of one asyncio loop, many at a time.

A commit costs the same for one call as for many, and an event loop brings calls no faster than a
disk syncs them: the writer would find one or two at a time. So calls are laid out and submitted
together, as soon as there are as many as can be expected soon: those that were answered last, whose
callers come back, and those that came meanwhile. Nobody waits longer than the longest wait, a
caller that is alone does not wait, and neither does a batch. (The engine itself has no timer.)

The writer thread pushes answered calls onto an inbox and writes the eventfd only when the inbox was
empty; the loop reads the eventfd once and resolves every future that is ready. Everything but the
push runs on the loop's thread.

A future that was cancelled is left alone: the call was decided and, if it changed something, is on
disk all the same.
"""

import os

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from ownerd.access.refusals cimport refusals_add_call
from ownerd.access.table cimport Access, Identity, access_admits
from ownerd.api.dial_call cimport (
    CALL_CLAIM_BATCH, CALL_KIND_COUNT, CALL_REPORT_BATCH, TRACE_PARENT_BYTES, DialCall, call_clear,
    call_init,
)
from ownerd.api.dial_codec cimport dial_decode, dial_encode
from ownerd.api.grpc_http2 cimport grpc_is_trace_parent
from ownerd.api.reasons cimport task_refusal
from ownerd.api.task cimport OK, PERMISSION_DENIED
from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport slice_of
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.live cimport LIVE_AIO_CALL, live_count
from ownerd.base.mpsc cimport mpsc_push, mpsc_take_in_order
from ownerd.base.sockets cimport EFD_CLOEXEC, EFD_NONBLOCK, eventfd, eventfd_read, eventfd_write
from ownerd.base.units cimport NS_PER_S, NS_PER_US
from ownerd.engine.queue cimport queue_submit_all

from ownerd.access.table import peer_host

cdef extern from "<sys/timerfd.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    struct itimerspec:
        timespec it_interval
        timespec it_value
    int CLOCK_MONOTONIC
    int TFD_NONBLOCK
    int TFD_CLOEXEC
    int timerfd_create(int, int)
    int timerfd_settime(int, int, const itimerspec *, itimerspec *)

DEFAULT_LONGEST_WAIT_US = 2_000

cdef enum:
    LONGEST_DEADLINE_S = 1_000_000_000


cdef struct AioCall:                  # a call with what has to live as long as it does
    DialCall call                     # first: a Task* of ours is a AioCall*
    Inbox *inbox
    PyObject *body                    # owned; the call's slices point into it
    PyObject *future                  # owned


cdef void on_answered(Task *task) noexcept nogil:
    cdef Inbox *inbox = (<AioCall *> task).inbox
    if mpsc_push(&inbox.done, task):
        eventfd_write(inbox.fd, 1)


cdef AioCall *new_call(AioBridge aio_bridge, uint8_t kind, bytes body, future) except NULL:
    cdef AioCall *call = <AioCall *> malloc(sizeof(AioCall))
    if call == NULL:
        raise MemoryError()
    live_count(LIVE_AIO_CALL, 1)
    call_init(&call.call, kind)
    call.call.task.on_done = on_answered
    call.inbox = aio_bridge.inbox
    Py_INCREF(body)                   # given back by free_call
    Py_INCREF(future)                 # given back by free_call
    call.body = <PyObject *> body
    call.future = <PyObject *> future
    return call


cdef void free_call(AioCall *call):
    live_count(LIVE_AIO_CALL, -1)
    call_clear(&call.call)
    Py_DECREF(<object> call.body)
    Py_DECREF(<object> call.future)
    free(call)


cdef take_trace_parent(DialCall *call, str text):
    cdef bytes header = text.encode()
    if grpc_is_trace_parent(header, len(header)):
        memcpy(call.trace_parent, <const char *> header, TRACE_PARENT_BYTES)
        call.is_traced = True


cdef int64_t deadline(double remaining_s) noexcept:
    """Return the instant that is so far ahead; 0 if nobody will see it."""
    if remaining_s > LONGEST_DEADLINE_S:
        return 0
    return clock_elapsed() + max(<int64_t> 1, <int64_t> (remaining_s * NS_PER_S))


cdef resolve(AioCall *call):
    """Give the future its answer, unless nobody waits for it any more."""
    future = <object> call.future
    if future.done():
        return
    if call.call.task.code == OK:
        dial_encode(&call.call)
        future.set_result(call.call.answer[:call.call.answer_size])
    else:
        future.set_exception(task_refusal(&call.call.task))


cdef class AioBridge:
    """The asyncio side of an engine's data plane; one for each loop.

    `attach` it to the loop before the first call.

    Args:
        engine: where the calls go.
        access: who may make them.
        longest_wait_us: how long a call may wait for company, in microseconds; 0: not at all.
    """

    def __cinit__(
        self, Engine engine not None, Access access not None, *,
        longest_wait_us=DEFAULT_LONGEST_WAIT_US,
    ):
        self.engine = engine
        self.access = access
        self.expected = 1
        self.longest_wait_ns = longest_wait_us * NS_PER_US
        self.inbox = new Inbox()
        self.inbox.done = NULL
        self.inbox.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        self.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.inbox.fd < 0 or self.timer_fd < 0:
            raise OSError("cannot make an eventfd and a timerfd")

    def __dealloc__(self):
        if self.timer_fd >= 0:
            os.close(self.timer_fd)
        # With calls under way the writer still needs the inbox; it is left to the process's end.
        if self.inbox != NULL and self.under_way == 0:
            if self.inbox.fd >= 0:
                os.close(self.inbox.fd)
            del self.inbox

    def attach(self, loop):
        """Have an event loop deliver the answers and watch the longest wait."""
        loop.add_reader(self.inbox.fd, self.deliver)
        loop.add_reader(self.timer_fd, self.send)

    def detach(self, loop):
        """Undo `attach`."""
        loop.remove_reader(self.inbox.fd)
        loop.remove_reader(self.timer_fd)

    @property
    def pending(self):
        """How many calls are not answered yet."""
        return self.under_way + self.pending

    @property
    def received(self):
        """How many calls were ever taken, refused ones included."""
        return self.taken

    def dial(
        self, int kind, bytes body, future, Identity identity not None, peer, remaining_s=None,
        str trace_parent="",
    ):
        """Take a request; `future` gets the response bytes, or Refused as its exception.

        `identity` is who makes it, `peer` a function that returns where from, as gRPC spells it,
        `remaining_s` how long its caller waits for it; None: for ever; `trace_parent` its header.
        """
        cdef AioCall *call
        if not 0 <= kind < CALL_KIND_COUNT:
            raise ValueError(f"kind is {kind}")
        self.taken += 1
        call = new_call(self, <uint8_t> kind, body, future)
        if remaining_s is not None:
            call.call.task.deadline_ns = deadline(remaining_s)
        if trace_parent:
            take_trace_parent(&call.call, trace_parent)
        if not dial_decode(&call.call, <const char *> body, len(body)) \
                or not self.authorize(&call.call.task, identity, peer):
            resolve(call)
            free_call(call)
            return
        self.append(&call.call.task)
        self.pending += 1
        if self.pending >= self.expected or self.longest_wait_ns == 0 \
                or kind == CALL_CLAIM_BATCH or kind == CALL_REPORT_BATCH:
            self.send()
        elif not self.timer_armed:
            self.arm(self.longest_wait_ns)

    cdef bint authorize(self, Task *task, Identity identity, peer) except *:
        """Tell whether the caller may make the call; else it is refused, and counted as such."""
        cdef DialCall *call = <DialCall *> task
        if access_admits(identity.principal, call):
            return True
        if task.code == PERMISSION_DENIED:
            host = peer_host(peer()).encode()
            refusals_add_call(
                &self.access.core.refusals, &identity.principal.id,
                slice_of(<const char *> host, len(host)), call,
            )
        return False

    def send(self):
        """Submit what is laid out now."""
        cdef Task *after
        cdef Task *refused
        if self.timer_armed:
            self.arm(0)
        self.drop_given_up()
        refused = self.first_pending
        if refused == NULL:
            return
        self.under_way += self.pending
        self.pending = 0
        self.first_pending = self.last_pending = NULL
        with nogil:
            refused = queue_submit_all(&self.engine.core.queue, refused)
        while refused != NULL:
            after = refused.next
            self.hand_over(refused)
            refused = after

    cdef drop_given_up(self):
        """Forget the calls laid out whose callers have left: what nobody waits for is not done."""
        cdef Task *task = self.first_pending
        cdef Task *after
        self.first_pending = self.last_pending = NULL
        while task != NULL:
            after = task.next
            if (<object> (<AioCall *> task).future).done():
                free_call(<AioCall *> task)
                self.pending -= 1
            else:
                self.append(task)
            task = after

    cdef void append(self, Task *task) noexcept:
        task.next = NULL
        if self.last_pending == NULL:
            self.first_pending = task
        else:
            self.last_pending.next = task
        self.last_pending = task

    def deliver(self):
        """Resolve the futures of all calls answered so far, in the order of their answers."""
        cdef uint64_t ignored
        cdef Py_ssize_t answered = 0
        cdef Task *task
        cdef Task *after
        eventfd_read(self.inbox.fd, &ignored)
        task = mpsc_take_in_order(&self.inbox.done)
        while task != NULL:
            after = task.next
            self.hand_over(task)
            answered += 1
            task = after
        self.expected = answered + self.pending

    cdef hand_over(self, Task *task):
        """Resolve the future of a call that is done, and free the call."""
        assert_that(self.under_way > 0, "a call that is done was submitted")
        self.under_way -= 1
        resolve(<AioCall *> task)
        free_call(<AioCall *> task)

    cdef void arm(self, int64_t wait_ns) noexcept:
        """Set the timer of the longest wait; 0 stops it, and it is no longer readable either."""
        cdef itimerspec when
        when.it_interval.tv_sec = when.it_interval.tv_nsec = 0
        when.it_value.tv_sec = wait_ns // NS_PER_S
        when.it_value.tv_nsec = wait_ns % NS_PER_S
        timerfd_settime(self.timer_fd, 0, &when, NULL)
        self.timer_armed = wait_ns != 0
