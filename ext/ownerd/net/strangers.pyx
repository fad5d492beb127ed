"""Strangers of one loop: connections on which nobody known has made a call, and their open calls.

What anybody may have without saying who they are is counted here by the address that it comes from
(of IPv6 its first half, which one machine has as a whole), apart from everything of known callers.
Whoever has a call answered after saying who they are leaves for good.

Invariants:
- A crowd, those of one address, has no more connections and no more calls than the limits say. One
  more takes the place of its oldest one: nothing that a stranger can do makes that one stay, and
  whoever is known has left long before.
- Where all strangers together are too many, the largest crowd gives.

Everything runs on the loop's thread. Whom to turn out is said here, and done by the caller.
"""

from cython.operator cimport dereference, preincrement
from libc.string cimport memcmp, memset

from ownerd.base.assertions cimport assert_that
from ownerd.base.atomics cimport count_add
from ownerd.base.containers cimport string, unordered_map
from ownerd.base.sockets cimport (
    AF_INET, AF_INET6, getpeername, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage,
    socklen_t,
)
from ownerd.net.state cimport Connection, Crowd, Loop, Stream

cdef enum:
    IPV4_BYTES = 4
    IPV6_BYTES = 16
    NETWORK_BYTES = 8                 # of an IPv6 address
    CALLS_OF_CONNECTION = 32          # open at once, of a stranger
    CALLS_OF_LOOP_FACTOR = 16         # as many times the limit of one address

# What an IPv4 address begins with where it is written as one of IPv6.
cdef enum:
    MAPPED_BYTES = 12

cdef char MAPPED[MAPPED_BYTES]
memset(MAPPED, 0, MAPPED_BYTES)
MAPPED[10] = MAPPED[11] = <char> 0xFF


cdef string address_of(const Connection *connection) noexcept nogil:
    """Return what connections of one place have in common; a Unix socket is one place."""
    cdef sockaddr_storage address
    cdef socklen_t size = sizeof(address)
    cdef const char *bytes
    memset(&address, 0, sizeof(address))
    getpeername(connection.fd, <sockaddr *> &address, &size)
    if address.ss_family == AF_INET:
        return string(<const char *> &(<sockaddr_in *> &address).sin_addr, IPV4_BYTES)
    if address.ss_family != AF_INET6:
        return string()
    bytes = <const char *> &(<sockaddr_in6 *> &address).sin6_addr
    if memcmp(bytes, MAPPED, MAPPED_BYTES) == 0:
        return string(bytes + MAPPED_BYTES, IPV6_BYTES - MAPPED_BYTES)
    return string(bytes, NETWORK_BYTES)


# --- connections ----------------------------------------------------------------------------------

cdef Connection *strangers_enter(Connection *connection) noexcept nogil:
    """Count a new connection."""
    cdef Loop *loop = connection.loop
    cdef string address = address_of(connection)
    cdef Crowd *crowd = crowd_of(loop, address)
    connection.crowd = crowd
    connection.older = crowd.newest
    if crowd.newest != NULL:
        crowd.newest.newer = connection
    else:
        crowd.oldest = connection
    crowd.newest = connection
    crowd.count += 1
    count_add(&loop.counts.strangers, 1)
    if crowd.count > loop.limits.max_strangers:
        return turned_out(crowd)
    return NULL


cdef Crowd *crowd_of(Loop *loop, const string &address) noexcept nogil:
    cdef Crowd *crowd = &loop.crowds[address]
    if crowd.count == 0:              # a new one
        crowd.address = address
        crowd.oldest = crowd.newest = NULL
        crowd.oldest_call = crowd.newest_call = NULL
        crowd.call_count = 0
    return crowd


cdef Connection *turned_out(Crowd *crowd) noexcept nogil:
    cdef Connection *oldest = crowd.oldest
    strangers_leave(oldest)
    return oldest


cdef Connection *strangers_make_room(Loop *loop) noexcept nogil:
    """Give the oldest of the largest crowd."""
    cdef Crowd *largest = NULL
    cdef unordered_map[string, Crowd].iterator it = loop.crowds.begin()
    while it != loop.crowds.end():
        if largest == NULL or dereference(it).second.count > largest.count:
            largest = &dereference(it).second
        preincrement(it)
    if largest == NULL:
        return NULL
    return turned_out(largest)


cdef void strangers_leave(Connection *connection) noexcept nogil:
    """Count a connection no longer, nor its calls."""
    cdef Crowd *crowd = connection.crowd
    cdef Stream *stream = connection.streams
    if crowd == NULL:
        return
    while stream != NULL and connection.open_calls > 0:
        strangers_end_call(stream)
        stream = stream.next
    if connection.older != NULL:
        connection.older.newer = connection.newer
    else:
        crowd.oldest = connection.newer
    if connection.newer != NULL:
        connection.newer.older = connection.older
    else:
        crowd.newest = connection.older
    connection.older = connection.newer = NULL
    connection.crowd = NULL
    crowd.count -= 1
    count_add(&connection.loop.counts.strangers, -1)
    if crowd.count == 0:
        assert_that(crowd.call_count == 0, "calls are of connections that are there")
        forget(connection.loop, crowd)


cdef void forget(Loop *loop, Crowd *crowd) noexcept nogil:
    cdef string address = crowd.address   # what is erased cannot name itself
    loop.crowds.erase(address)


# --- calls ----------------------------------------------------------------------------------------

cdef Stream *strangers_begin_call(Stream *stream) noexcept nogil:
    """Count a call for which nobody has to say who they are; without effect on a known connection.
    """
    cdef Connection *connection = stream.connection
    cdef Crowd *crowd = connection.crowd
    cdef Loop *loop = stream.loop
    if crowd == NULL or stream.of_stranger:
        return NULL
    stream.of_stranger = True
    stream.older_call = crowd.newest_call
    if crowd.newest_call != NULL:
        crowd.newest_call.newer_call = stream
    else:
        crowd.oldest_call = stream
    crowd.newest_call = stream
    crowd.call_count += 1
    connection.open_calls += 1
    count_add(&loop.counts.stranger_calls, 1)
    if connection.open_calls > CALLS_OF_CONNECTION:
        return oldest_of(connection)
    if crowd.call_count > loop.limits.max_stranger_calls:
        return call_turned_out(crowd.oldest_call)
    if loop.counts.stranger_calls > CALLS_OF_LOOP_FACTOR * loop.limits.max_stranger_calls:
        return of_most_calls(loop)
    return NULL


cdef Stream *call_turned_out(Stream *stream) noexcept nogil:
    strangers_end_call(stream)
    return stream


cdef Stream *oldest_of(Connection *connection) noexcept nogil:
    """Give the oldest open call of one connection: the last of its streams that is counted."""
    cdef Stream *stream = connection.streams
    cdef Stream *oldest = NULL
    while stream != NULL:
        if stream.of_stranger:
            oldest = stream
        stream = stream.next
    assert_that(oldest != NULL, "a connection that has open calls has an oldest")
    return call_turned_out(oldest)


cdef Stream *of_most_calls(Loop *loop) noexcept nogil:
    cdef Crowd *most = NULL
    cdef unordered_map[string, Crowd].iterator it = loop.crowds.begin()
    while it != loop.crowds.end():
        if most == NULL or dereference(it).second.call_count > most.call_count:
            most = &dereference(it).second
        preincrement(it)
    return call_turned_out(most.oldest_call)


cdef void strangers_end_call(Stream *stream) noexcept nogil:
    """Count a call no longer."""
    cdef Connection *connection = stream.connection
    cdef Crowd *crowd = connection.crowd
    if not stream.of_stranger:
        return
    assert_that(crowd != NULL and crowd.call_count > 0, "a call that is counted has a crowd")
    stream.of_stranger = False
    if stream.older_call != NULL:
        stream.older_call.newer_call = stream.newer_call
    else:
        crowd.oldest_call = stream.newer_call
    if stream.newer_call != NULL:
        stream.newer_call.older_call = stream.older_call
    else:
        crowd.newest_call = stream.older_call
    stream.older_call = stream.newer_call = NULL
    crowd.call_count -= 1
    connection.open_calls -= 1
    count_add(&connection.loop.counts.stranger_calls, -1)
