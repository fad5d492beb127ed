"""Interface of aio_bridge: answers of the engine delivered to an asyncio loop."""

from libc.stdint cimport int64_t

from ownerd.access.table cimport Access, Identity
from ownerd.api.task cimport Task
from ownerd.engine.engine cimport Engine

# What the writer thread fills and the loop's thread empties.
cdef cppclass Inbox:
    Task *done                        # see mpsc
    int fd                            # eventfd, readable while there are answers


cdef class AioBridge:
    cdef Engine engine
    cdef Access access
    cdef Inbox *inbox
    cdef Py_ssize_t under_way         # submitted to the engine, not yet delivered
    cdef Py_ssize_t pending           # waiting for company
    cdef Py_ssize_t expected          # as many calls can be expected soon
    cdef Task *first_pending
    cdef Task *last_pending
    cdef int timer_fd
    cdef bint timer_armed
    cdef int64_t longest_wait_ns
    cdef Py_ssize_t taken

    cdef hand_over(self, Task *task)
    cdef bint authorize(self, Task *task, Identity identity, peer) except *
    cdef drop_given_up(self)
    cdef void append(self, Task *task) noexcept
    cdef void arm(self, int64_t wait_ns) noexcept
