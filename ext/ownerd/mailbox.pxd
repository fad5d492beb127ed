"""Interface of mailbox: answers of the engine delivered to an asyncio loop."""

from ownerd.calls cimport Task
from ownerd.containers cimport mutex
from ownerd.engine cimport Engine

# What the writer thread fills and the loop's thread empties.
cdef cppclass Inbox:
    mutex guard
    Task *done                        # newest first
    int fd                            # eventfd, readable while there are answers


cdef class Mailbox:
    cdef Engine engine
    cdef Inbox *inbox
    cdef Py_ssize_t waiting
    cdef Py_ssize_t taken
