"""Marks that a wake-up leaves for its end: which connections have something to be written."""

from ownerd.net.state cimport Connection


cdef inline void connection_mark(Connection *connection) noexcept nogil:
    """Have the loop write it, or close it, at the end of this wake-up."""
    if not connection.dirty:
        connection.dirty = True
        connection.next_dirty = connection.loop.dirty
        connection.loop.dirty = connection
