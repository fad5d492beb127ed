"""The bytes of one connection of the native listener: its socket, plain or through TLS.

Nothing here waits. A connection that TLS has failed says no word more (`tls_dead`); what TLS needs
the other direction for, and what it keeps that epoll does not tell of, is noted in the connection.
All functions run on the loop's thread. It knows no HTTP/2, and decides nothing about a connection.
"""

from ownerd.base.assertions cimport assert_that
from ownerd.base.atomics cimport count_add
from ownerd.base.openssl cimport SSL_free
from ownerd.base.sockets cimport (
    EAGAIN, EINTR, IPPROTO_TCP, MSG_NOSIGNAL, TCP_INFO, close, errno, getsockopt, recv, send,
    socklen_t, tcp_info,
)
from ownerd.base.tls cimport (
    TLS_DONE, TLS_ENDED, TLS_FAILED, TLS_LOST, TLS_WANTS_READ, TLS_WANTS_WRITE, tls_read,
    tls_say_goodbye, tls_write,
)
from ownerd.base.units cimport NS_PER_MS


cdef ssize_t transport_read(Connection *connection, char *buffer, size_t capacity) noexcept nogil:
    """Read what has come: the number of bytes, 0 at the end, or that there are none."""
    cdef ssize_t size
    assert_that(connection.fd >= 0 and capacity > 0, "an open socket is read into something")
    if connection.tls != NULL:
        return secure_read(connection, buffer, capacity)
    size = recv(connection.fd, buffer, capacity, 0)
    if size >= 0:
        return size
    return TRANSPORT_AGAIN if errno == EAGAIN or errno == EINTR else TRANSPORT_BROKEN


cdef ssize_t transport_write(
    Connection *connection, const char *data, size_t size
) noexcept nogil:
    """Write what the peer takes now: the number of bytes, or that it takes none."""
    cdef ssize_t taken
    assert_that(connection.fd >= 0 and size > 0, "something is written to an open socket")
    if connection.tls != NULL:
        return secure_write(connection, data, size)
    taken = send(connection.fd, data, size, MSG_NOSIGNAL)
    if taken >= 0:
        count_add(&connection.loop.counts.writes, 1)
        return taken
    return TRANSPORT_AGAIN if errno == EAGAIN or errno == EINTR else TRANSPORT_BROKEN


cdef inline bint is_over(int rest) noexcept nogil:
    return rest == TLS_ENDED or rest == TLS_LOST or rest == TLS_FAILED


cdef ssize_t secure_read(Connection *connection, char *buffer, size_t capacity) noexcept nogil:
    """`transport_read` through TLS."""
    cdef int rest
    cdef ssize_t size
    if connection.tls_dead:
        return TRANSPORT_BROKEN
    size = tls_read(connection.tls, buffer, capacity, &rest)
    connection.tls_dead = rest == TLS_FAILED or rest == TLS_LOST
    connection.read_awaits_write = rest == TLS_WANTS_WRITE
    # An end behind some bytes is come to in the next wake-up, like bytes that had no place.
    connection.unread = size > 0 and (rest == TLS_DONE or is_over(rest))
    if size > 0:
        return size
    if rest == TLS_ENDED:
        return 0
    return TRANSPORT_BROKEN if connection.tls_dead else TRANSPORT_AGAIN


cdef ssize_t secure_write(Connection *connection, const char *data, size_t size) noexcept nogil:
    """`transport_write` through TLS."""
    cdef int rest
    cdef ssize_t taken
    if connection.tls_dead:
        return TRANSPORT_BROKEN
    taken = tls_write(connection.tls, data, size, &rest)
    count_add(&connection.loop.counts.writes, 1)
    connection.tls_dead = is_over(rest)
    connection.write_awaits_read = rest == TLS_WANTS_READ
    if taken > 0:
        return taken
    return TRANSPORT_BROKEN if connection.tls_dead else TRANSPORT_AGAIN


cdef int64_t transport_silence_ns(Connection *connection) noexcept nogil:
    """Return how long ago the last bytes came, as the system knows it; -1 if it does not."""
    cdef tcp_info info
    cdef socklen_t size = sizeof(info)
    if getsockopt(connection.fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0:
        return -1                     # a Unix socket
    return <int64_t> info.tcpi_last_data_recv * NS_PER_MS


cdef void transport_close(Connection *connection) noexcept nogil:
    """Say goodbye, if that is possible at once, and close the socket."""
    if connection.tls != NULL:
        if connection.session != NULL and connection.unsent == NULL and not connection.tls_dead:
            tls_say_goodbye(connection.tls)
        SSL_free(connection.tls)
    close(connection.fd)
