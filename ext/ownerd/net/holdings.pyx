"""The memory that calls hold, counted by call, connection, caller and loop, and its limits.

Counted is what is really there: the call itself, its request, its decoded records, each with the
holder that it may come to name, its answer until the peer has taken it, and what a socket did not
take. Of a loop's memory nobody has more than a
share: each principal, by all its connections on the loop, and all those together who have not said
who they are. Where nobody is asked there are no principals, and no shares but that of the health
checks.

Invariants:
- A stream holds in four places at once: its own count, its connection's while its HTTP/2 stream
  is open, its share's and its loop's until it is freed.
- A share lives while a stream or a connection points to it; the loop forgets the others now and
  then. It is known by its owner's budget, which outlives a publication of the table.

All functions run on the loop's thread.
"""

from libc.stdlib cimport abort, calloc, free

from ownerd.api.task cimport MESSAGE_BYTES
from ownerd.base.assertions cimport assert_that
from ownerd.net.state cimport Share

cdef enum:
    LIBRARY_BYTES = 640               # of nghttp2 for a stream and the headers of its answer
    STRANGERS_PART = 8                # of a loop's memory


cdef inline size_t call_bytes() noexcept nogil:
    """Return what a call holds from its first header on: itself, and the text of an error."""
    return sizeof(Stream) + LIBRARY_BYTES + MESSAGE_BYTES


cdef void holdings_begin(Stream *stream) noexcept nogil:
    """Count a new call; nobody has said yet whose it is."""
    stream.share = &stream.loop.strangers
    stream.share.streams += 1
    holdings_add(stream, call_bytes())


cdef void holdings_end(Stream *stream) noexcept nogil:
    """Give back what a call still holds as it is freed; its connection has let go of it."""
    cdef Loop *loop = stream.loop
    assert_that(stream.connection == NULL, "a stream is unlinked before it is freed")
    assert_that(loop.held_bytes >= stream.held_bytes, "what a stream holds was counted")
    assert_that(stream.share.held_bytes >= stream.held_bytes, "and in its share")
    loop.held_bytes -= stream.held_bytes
    stream.share.held_bytes -= stream.held_bytes
    stream.share.streams -= 1


cdef void holdings_add(Stream *stream, size_t size) noexcept nogil:
    """Count more bytes of a call whose HTTP/2 stream is open."""
    stream.held_bytes += size
    stream.connection.held_bytes += size
    stream.share.held_bytes += size
    stream.loop.held_bytes += size


cdef void holdings_give_back(Stream *stream, size_t size) noexcept nogil:
    """Count fewer bytes of a call whose HTTP/2 stream is open."""
    assert_that(stream.held_bytes >= size, "no more is given back than is held")
    assert_that(stream.connection.held_bytes >= size, "and by the connection")
    stream.held_bytes -= size
    stream.connection.held_bytes -= size
    stream.share.held_bytes -= size
    stream.loop.held_bytes -= size


cdef void holdings_add_unsent(Connection *connection, size_t size) noexcept nogil:
    """Count what a socket did not take."""
    connection.held_bytes += size
    connection.loop.held_bytes += size


cdef void holdings_give_back_unsent(Connection *connection, size_t size) noexcept nogil:
    assert_that(connection.held_bytes >= size, "what is kept was counted")
    connection.held_bytes -= size
    connection.loop.held_bytes -= size


# --- limits ---------------------------------------------------------------------------------------

cdef inline size_t share_bytes(const Stream *stream) noexcept nogil:
    """Return how much the share of a call's owner may hold."""
    cdef const Loop *loop = stream.loop
    if stream.share == &loop.strangers:
        return loop.limits.max_loop_bytes // STRANGERS_PART
    if stream.share == &loop.everybody:
        return loop.limits.max_loop_bytes
    return loop.limits.max_share_bytes


cdef bint holdings_full(const Stream *stream, size_t more) noexcept nogil:
    """Tell whether there is no place for `more` bytes of a call."""
    return (
        stream.connection.held_bytes + more > stream.loop.limits.max_held_bytes
        or stream.share.held_bytes + more > share_bytes(stream)
        or stream.loop.held_bytes + more > stream.loop.limits.max_loop_bytes
    )


cdef bint holdings_full_beside(const Stream *stream, size_t more) noexcept nogil:
    """Tell whether there is no place for `more` bytes beside other calls.

    A call that is alone has its place, so that the largest that is allowed can be made at all.
    """
    return (
        stream.connection.held_bytes > stream.held_bytes
        and stream.connection.held_bytes + more > stream.loop.limits.max_held_bytes
        or stream.share.held_bytes > stream.held_bytes
        and stream.share.held_bytes + more > share_bytes(stream)
        or stream.loop.held_bytes > stream.held_bytes
        and stream.loop.held_bytes + more > stream.loop.limits.max_loop_bytes
    )


# --- shares ---------------------------------------------------------------------------------------

cdef Share *share_of(Loop *loop, const Budget *owner) noexcept nogil:
    """Return the owner's share on this loop, made where there is none; there are not many."""
    cdef Share *share
    cdef size_t i
    for i in range(loop.shares.size()):
        if loop.shares[i].owner == owner:
            return loop.shares[i]
    share = <Share *> calloc(1, sizeof(Share))
    if share == NULL:
        abort()
    share.owner = owner
    loop.shares.push_back(share)
    return share


cdef void holdings_hand_over(Stream *stream, const Budget *owner) noexcept nogil:
    """Count a call in its caller's share from now on; NULL: nobody is asked who they are."""
    cdef Connection *connection = stream.connection
    cdef Share *share = connection.share
    if stream.share != &stream.loop.strangers:
        return                        # it was asked before
    if owner == NULL:
        share = &stream.loop.everybody
    elif share == NULL or share.owner != owner:
        share = share_of(stream.loop, owner)
        holdings_leave(connection)
        connection.share = share
        share.connections += 1
    stream.share.held_bytes -= stream.held_bytes
    stream.share.streams -= 1
    share.held_bytes += stream.held_bytes
    share.streams += 1
    stream.share = share


cdef void holdings_leave(Connection *connection) noexcept nogil:
    """The connection is its last caller's no more."""
    if connection.share != NULL:
        connection.share.connections -= 1
        connection.share = NULL


cdef void holdings_forget(Loop *loop) noexcept nogil:
    """Forget the shares that nobody points to."""
    cdef size_t i = 0
    while i < loop.shares.size():
        if loop.shares[i].streams > 0 or loop.shares[i].connections > 0:
            i += 1
            continue
        assert_that(loop.shares[i].held_bytes == 0, "a share without calls holds nothing")
        free(loop.shares[i])
        loop.shares[i] = loop.shares.back()
        loop.shares.pop_back()
