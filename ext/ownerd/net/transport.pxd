"""C interface of transport: the bytes of one connection, plain or through TLS."""

from libc.stdint cimport int64_t

from ownerd.base.sockets cimport ssize_t
from ownerd.net.state cimport Connection

cdef enum:                            # in the place of a number of bytes
    TRANSPORT_AGAIN = -1              # nothing now
    TRANSPORT_BROKEN = -2             # nothing any more

cdef ssize_t transport_read(Connection *connection, char *buffer, size_t capacity) noexcept nogil
cdef ssize_t transport_write(
    Connection *connection, const char *data, size_t size
) noexcept nogil
cdef int64_t transport_silence_ns(Connection *connection) noexcept nogil
cdef void transport_close(Connection *connection) noexcept nogil
