"""Delivers the engine's answers to futures of one asyncio loop, many per wake-up.

The writer thread pushes answered calls onto an inbox and writes the eventfd only when the inbox was
empty; the loop reads the eventfd once and resolves every future that is ready. Everything but the
push runs on the loop's thread.

A future that was cancelled is left alone: the call was decided and, if it changed something, is on
disk all the same.
"""

import os

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc

from ownerd.calls cimport CALL_KIND_COUNT, OK, DialCall, call_clear, call_init
from ownerd.wire cimport wire_decode
from ownerd.writer cimport engine_submit

from ownerd.calls import Refused

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int, int)
    int EFD_NONBLOCK
    int EFD_CLOEXEC
    int eventfd_write(int, uint64_t)
    int eventfd_read(int, uint64_t *)


cdef struct Letter:                   # a call with what has to live as long as it does
    DialCall call                     # first: a Task* of ours is a Letter*
    Inbox *inbox
    PyObject *body                    # owned; the call's slices point into it
    PyObject *future                  # owned


cdef void on_answered(Task *task) noexcept nogil:
    cdef Inbox *inbox = (<Letter *> task).inbox
    cdef bint first
    inbox.guard.lock()
    first = inbox.done == NULL
    task.next = inbox.done
    inbox.done = task
    inbox.guard.unlock()
    if first:
        eventfd_write(inbox.fd, 1)


cdef Letter *new_letter(Mailbox mailbox, uint8_t kind, bytes body, future) except NULL:
    cdef Letter *letter = <Letter *> malloc(sizeof(Letter))
    if letter == NULL:
        raise MemoryError()
    call_init(&letter.call, kind)
    letter.call.task.on_done = on_answered
    letter.inbox = mailbox.inbox
    Py_INCREF(body)                   # given back by free_letter
    Py_INCREF(future)                 # given back by free_letter
    letter.body = <PyObject *> body
    letter.future = <PyObject *> future
    return letter


cdef void free_letter(Letter *letter):
    call_clear(&letter.call)
    Py_DECREF(<object> letter.body)
    Py_DECREF(<object> letter.future)
    free(letter)


cdef resolve(Letter *letter):
    """Give the future its answer, unless nobody waits for it any more."""
    future = <object> letter.future
    if future.done():
        return
    if letter.call.task.code == OK:
        future.set_result(letter.call.answer[:letter.call.answer_size])
    else:
        message = letter.call.task.message.decode(errors="replace")
        future.set_exception(Refused(letter.call.task.code, message))


cdef class Mailbox:
    """The asyncio side of an engine's data plane; one for each loop.

    Register `deliver` with `loop.add_reader(mailbox.fileno(), mailbox.deliver)`.
    """

    def __cinit__(self, Engine engine):
        self.engine = engine
        self.inbox = new Inbox()
        self.inbox.done = NULL
        self.inbox.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if self.inbox.fd < 0:
            raise OSError("cannot make an eventfd")

    def __dealloc__(self):
        # With calls under way the writer still needs the inbox; it is left to the process's end.
        if self.inbox != NULL and self.waiting == 0:
            if self.inbox.fd >= 0:
                os.close(self.inbox.fd)
            del self.inbox

    def fileno(self):
        """Return the eventfd that is readable while answers wait."""
        return self.inbox.fd

    @property
    def pending(self):
        """How many calls are not answered yet."""
        return self.waiting

    @property
    def received(self):
        """How many calls were ever submitted, refused ones included."""
        return self.taken

    def dial(self, int kind, bytes body, future):
        """Submit a request; `future` gets the response bytes, or Refused as its exception."""
        cdef Letter *letter
        if not 0 <= kind < CALL_KIND_COUNT:
            raise ValueError(f"kind is {kind}")
        self.taken += 1
        letter = new_letter(self, <uint8_t> kind, body, future)
        if wire_decode(&letter.call, <const char *> body, len(body)) \
                and engine_submit(self.engine.core, &letter.call.task):
            self.waiting += 1
            return
        resolve(letter)
        free_letter(letter)

    def deliver(self):
        """Resolve the futures of all calls answered so far, in the order of their answers."""
        cdef uint64_t ignored
        cdef Task *task
        cdef Task *after
        cdef Task *ordered = NULL
        eventfd_read(self.inbox.fd, &ignored)
        self.inbox.guard.lock()
        task = self.inbox.done
        self.inbox.done = NULL
        self.inbox.guard.unlock()
        while task != NULL:           # the inbox is a stack: turn it round
            after = task.next
            task.next = ordered
            ordered = task
            task = after
        while ordered != NULL:
            after = ordered.next
            self.waiting -= 1
            resolve(<Letter *> ordered)
            free_letter(<Letter *> ordered)
            ordered = after
