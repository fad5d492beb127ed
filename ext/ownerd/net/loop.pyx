"""The loops of the native listener: each a thread with an epoll set and its own connections.

One wake-up reads every connection that has something, those included whose last bytes TLS keeps,
submits all calls decoded meanwhile to the engine as one chain, takes the answers that the engine
has left in the inbox, and writes each connection that has output once. The first loop accepts, and
hands the connections out in turn.

Invariants:
- A loop's thread never waits but in epoll_wait, and never takes the GIL.
- Other threads reach a loop through its inbox: the engine's writer leaves answers, the accepting
  loop leaves sockets, Python leaves orders. The eventfd is written only for the first of a batch.
- The thread ends after the order to close, once it has no connection and the engine none of its
  calls; until then nothing that the engine may touch is freed.

It knows no HTTP/2 and no gRPC: connections and streams do.
"""

import os

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memset

from ownerd.access.table cimport AccessCore
from ownerd.api.task cimport Task
from ownerd.base.assertions cimport assert_that
from ownerd.base.atomics cimport count_add, flag_read, flag_set
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.containers cimport vector
from ownerd.base.mpsc cimport mpsc_await_quiet, mpsc_take_in_order
from ownerd.base.nghttp2 cimport nghttp2_option_del, nghttp2_session_callbacks_del
from ownerd.base.sockets cimport (
    EAGAIN, ECONNABORTED, EFD_CLOEXEC, EFD_NONBLOCK, EINTR, EPOLLERR, EPOLLHUP, EPOLLIN,
    EPOLLOUT, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, IPPROTO_TCP, SOCK_CLOEXEC,
    SOCK_NONBLOCK, TCP_NODELAY, accept4, close, epoll_create1, epoll_ctl, epoll_event,
    epoll_wait, errno, eventfd, eventfd_read, eventfd_write, setsockopt,
)
from ownerd.base.threads cimport thread_start
from ownerd.base.tls cimport TlsMaterial
from ownerd.base.units cimport NS_PER_MS
from ownerd.engine.core cimport EngineCore
from ownerd.engine.group_commit cimport submit_dials
from ownerd.net.authn cimport access_refresh
from ownerd.net.connection cimport (
    connection_callbacks, connection_close, connection_end, connection_leave, connection_look,
    connection_look_at_calls, connection_open, connection_options, connection_read,
    connection_say_farewell, connection_write,
)
from ownerd.net.holdings cimport holdings_forget
from ownerd.net.letters cimport (
    Letter, Mailbox, letter_free, mailbox_close, mailbox_let_go, mailbox_new, mailbox_take,
)
from ownerd.net.marks cimport connection_mark
from ownerd.net.state cimport (
    CLOSE, DRAIN, ENDED_DRAIN, LEAVING, READ_BYTES, SERVE, WRITE_BYTES, Connection,
    HandledMethods, Limits, Loop, Share, Socket, Stream,
)
from ownerd.net.stream cimport (
    stream_decided, stream_letter, stream_submits, streams_are_coming, streams_free_spare,
    streams_tell_health,
)
from ownerd.rules.ownership cimport NEVER_NS

cdef enum:
    EVENTS = 256                      # taken from epoll at once
    ACCEPTS = 64                      # connections accepted in one wake-up
    HANDSHAKES = 16                   # steps of TLS handshakes in one wake-up
    MAKING_ROOM = 64                  # connections beyond the limit while strangers' are ended
    ACCEPT_PAUSE_MS = 100             # when no connection can be taken
    CLOSING_LOOK_MS = 20
    DRAINING_LOOK_MS = 100
    LOOK_MS = 20                      # between two looks at calls that come in

cdef int64_t LATE_NS = 50 * NS_PER_MS


# --- the inbox ------------------------------------------------------------------------------------

cdef void loop_order(Loop *loop, int order, int64_t deadline_ns) noexcept nogil:
    """Tell a loop to go on to a later order; from any thread."""
    loop.inbox.guard.lock()
    if order > loop.inbox.order:
        loop.inbox.order = order
    loop.inbox.order_deadline_ns = deadline_ns
    loop.inbox.guard.unlock()
    eventfd_write(loop.inbox.fd, 1)


cdef void hand_over(Loop *loop, Socket accepted) noexcept nogil:
    """Give an accepted socket to a loop; on the accepting loop's thread."""
    loop.inbox.guard.lock()
    loop.inbox.arrivals.push_back(accepted)
    loop.inbox.guard.unlock()
    eventfd_write(loop.inbox.fd, 1)


cdef void loop_limit(Loop *loop, const Limits *limits) noexcept nogil:
    """Give a loop other limits; from any thread."""
    loop.inbox.guard.lock()
    loop.inbox.limits = limits[0]
    loop.inbox.limits_new = True
    loop.inbox.guard.unlock()
    eventfd_write(loop.inbox.fd, 1)


cdef void loop_tell_health(Loop *loop) noexcept nogil:
    """Have a loop tell its watchers what the health is now; from any thread."""
    loop.inbox.guard.lock()
    loop.inbox.health_new = True
    loop.inbox.guard.unlock()
    eventfd_write(loop.inbox.fd, 1)


cdef void tell_health(Loop *loop) noexcept nogil:
    cdef Connection *connection = loop.connections
    while connection != NULL:
        streams_tell_health(connection)
        connection_mark(connection)
        connection = connection.next


cdef void take_inbox(Loop *loop) noexcept nogil:
    """Take what other threads have left: answers in their order, sockets, an order."""
    cdef Task *task
    cdef Task *after
    cdef vector[Socket] arrivals
    cdef size_t i
    cdef uint64_t ignored
    cdef int order
    cdef bint health_new
    eventfd_read(loop.inbox.fd, &ignored)
    task = mpsc_take_in_order(&loop.inbox.answered)
    loop.inbox.guard.lock()
    arrivals.swap(loop.inbox.arrivals)
    if loop.inbox.limits_new:
        loop.inbox.limits_new = False
        loop.limits = loop.inbox.limits
    health_new = loop.inbox.health_new
    loop.inbox.health_new = False
    loop.order_deadline_ns = loop.inbox.order_deadline_ns
    order = loop.inbox.order
    loop.inbox.guard.unlock()
    # A session costs some time, and the guard is waited for by the loop that accepts.
    for i in range(arrivals.size()):
        connection_open(loop, arrivals[i])
    while task != NULL:
        after = task.next
        take_decided(<Stream *> task)
        task = after
    if health_new:
        tell_health(loop)
    if order != loop.order:
        obey(loop, order)


cdef void take_decided(Stream *stream) noexcept nogil:
    if stream.connection != NULL:
        connection_mark(stream.connection)
    stream_decided(stream)


cdef void take_letters(Loop *loop) noexcept nogil:
    """Do what the handlers in Python ask for; what is about calls that are over is dropped."""
    cdef Letter *letter = mailbox_take(loop.from_handlers)
    cdef Letter *after
    cdef Stream *stream
    while letter != NULL:
        after = letter.next
        stream = <Stream *> letter.call.stream
        if stream == NULL:
            letter_free(letter)
        else:
            connection_mark(stream.connection)
            stream_letter(stream, letter)
        letter = after


cdef bint submit_ready(Loop *loop) noexcept nogil:
    """Submit what this wake-up has decoded; what the engine refuses is answered at once.

    True if this thread has decided it: the answers are in the inbox.

    Calls that were given up in the meantime are left out.
    """
    cdef Task *refused = loop.first_ready
    cdef Task **at
    cdef Task *after
    cdef bint decided
    if refused == NULL:
        return False
    assert_that(loop.last_ready.next == NULL, "the last call that is ready is the last")
    loop.first_ready = loop.last_ready = NULL
    at = &refused
    while at[0] != NULL:
        after = at[0].next
        if stream_submits(<Stream *> at[0]):
            at = &at[0].next
        else:
            at[0] = after
    if refused == NULL:
        return False
    refused = submit_dials(loop.engine, refused, &decided)
    while refused != NULL:
        after = refused.next
        take_decided(<Stream *> refused)
        refused = after
    return decided


# --- orders ---------------------------------------------------------------------------------------

cdef void obey(Loop *loop, int order) noexcept nogil:
    """Go on to a later order.

    Connections that wait to be accepted are taken first: their peers may have made calls on them,
    and a socket that is closed would lose those.
    """
    cdef Connection *connection
    cdef size_t i
    assert_that(order > loop.order, "orders only get stricter")
    loop.order = order
    for i in range(loop.listening.size()):
        while not loop.listening_paused and accept_one(loop, loop.listening[i]):
            pass
    stop_listening(loop)
    for i in range(loop.listening.size()):
        close(loop.listening[i].fd)
    loop.listening.clear()
    connection = loop.connections
    while connection != NULL:
        # Written before the farewell is: watchers know that nobody serves here before it.
        streams_tell_health(connection)
        connection_write(connection)
        connection_say_farewell(connection, ENDED_DRAIN)
        if order == CLOSE:
            connection_leave(connection)
        connection = connection.next
    flag_set(&loop.counts.order, order)


cdef bint is_told(Loop *loop) noexcept nogil:
    """Tell whether no peer begins calls any more, and none is in the middle of a request."""
    cdef Connection *connection = loop.connections
    while connection != NULL:
        if connection.session != NULL and not connection.dead and (
            connection.goaway < LEAVING or streams_are_coming(connection)
        ):
            return False
        connection = connection.next
    return True


cdef void end_all(Loop *loop) noexcept nogil:
    cdef Connection *connection = loop.connections
    while connection != NULL:
        connection_end(connection, ENDED_DRAIN)
        connection = connection.next


# --- accepting ------------------------------------------------------------------------------------

cdef void listen(Loop *loop) noexcept nogil:
    """Have epoll tell of connections to accept."""
    cdef epoll_event event
    cdef size_t i
    memset(&event, 0, sizeof(event))
    event.events = EPOLLIN
    event.data.ptr = loop             # what no connection is
    for i in range(loop.listening.size()):
        epoll_ctl(loop.epoll_fd, EPOLL_CTL_ADD, loop.listening[i].fd, &event)
    loop.listening_paused = False


cdef void stop_listening(Loop *loop) noexcept nogil:
    cdef size_t i
    for i in range(loop.listening.size()):
        epoll_ctl(loop.epoll_fd, EPOLL_CTL_DEL, loop.listening[i].fd, NULL)


cdef void pause_listening(Loop *loop) noexcept nogil:
    """Leave new connections with the system for a moment: there is no place for them here."""
    stop_listening(loop)
    loop.listening_paused = True
    loop.resume_ns = loop.now_ns + ACCEPT_PAUSE_MS * NS_PER_MS
    count_add(&loop.counts.accept_pauses, 1)


cdef uint64_t open_count(Loop *loop) noexcept nogil:
    """Return how many connections the whole listener has, those being handed over included."""
    cdef uint64_t closed = 0
    cdef size_t i
    for i in range(loop.peers.size()):
        closed += flag_read(&loop.peers[i].counts.closed)
    assert_that(closed <= loop.counts.accepted, "only what was accepted is closed")
    return loop.counts.accepted - closed


cdef Loop *next_loop(Loop *loop) noexcept nogil:
    """Return the loop whose turn it is; on a full listener, one that has strangers to make room.

    NULL: there is no room.
    """
    cdef uint64_t open = open_count(loop)
    cdef Loop *peer
    cdef size_t i
    if open >= loop.limits.max_connections + MAKING_ROOM:
        return NULL
    for i in range(loop.peers.size()):
        peer = loop.peers[(loop.next_peer + i) % loop.peers.size()]
        if open < loop.limits.max_connections or flag_read(&peer.counts.strangers) > 0:
            return peer
    return NULL


cdef bint accept_one(Loop *loop, Socket listening) noexcept nogil:
    """Accept and hand out one connection; False if there is none, or no place for one."""
    cdef int one = 1
    cdef Loop *peer = next_loop(loop)
    cdef Socket accepted = listening
    if peer == NULL:
        pause_listening(loop)
        return False
    accepted.fd = accept4(listening.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if accepted.fd < 0:
        # EMFILE and its like: what waits is accepted when there is a place again.
        if errno != EAGAIN and errno != EINTR and errno != ECONNABORTED:
            pause_listening(loop)
        return False
    loop.next_peer += 1
    # No use on a Unix socket.
    setsockopt(accepted.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    count_add(&loop.counts.accepted, 1)
    accepted.makes_room = open_count(loop) > loop.limits.max_connections
    assert_that(
        open_count(loop) <= loop.limits.max_connections + MAKING_ROOM,
        "there are no more connections than may be",
    )
    if peer == loop:
        connection_open(loop, accepted)
    else:
        hand_over(peer, accepted)
    return True


cdef void accept_some(Loop *loop) noexcept nogil:
    cdef size_t i
    cdef int taken
    for i in range(loop.listening.size()):
        taken = 0
        while not loop.listening_paused and taken < ACCEPTS \
                and accept_one(loop, loop.listening[i]):
            taken += 1


# --- the loop -------------------------------------------------------------------------------------

cdef void take_event(Loop *loop, epoll_event *event) noexcept nogil:
    cdef Connection *connection
    if event.data.ptr == NULL:
        return                        # the inbox, which is taken after the reads
    if event.data.ptr == <void *> loop:
        accept_some(loop)
        return
    if event.data.ptr == <void *> loop.from_handlers:
        take_letters(loop)
        return
    connection = <Connection *> event.data.ptr
    if event.events & EPOLLOUT:
        connection_mark(connection)
    if connection.to_be_read:
        return                        # below, once
    if event.events & (EPOLLIN | EPOLLERR | EPOLLHUP) or connection.read_awaits_write:
        connection_read(connection)


cdef void read_unread(Loop *loop) noexcept nogil:
    """Read on where TLS keeps bytes; each once, however many it keeps."""
    cdef Connection *connection = loop.unread
    cdef Connection *after
    loop.unread = NULL
    while connection != NULL:
        after = connection.next_unread
        assert_that(connection.to_be_read, "what is in the list of the unread is marked so")
        connection.to_be_read = False
        if connection.unsent == NULL and not connection.dead:
            connection_read(connection)
        connection = after


cdef void write_marked(Loop *loop) noexcept nogil:
    """Write what has output, close what is dead."""
    cdef Connection *connection
    while loop.dirty != NULL:
        connection = loop.dirty
        assert_that(connection.dirty, "what is in the list of the dirty is marked so")
        connection_write(connection)
        # Marked until now, so that it was not put into the list a second time.
        loop.dirty = connection.next_dirty
        connection.dirty = False
        if connection.dead:
            connection_close(connection)


cdef void check_limits(Loop *loop) noexcept nogil:
    """Apply the limits in time to every connection."""
    cdef Connection *connection = loop.connections
    while connection != NULL:
        connection_look(connection)
        connection = connection.next
    holdings_forget(loop)
    # What was not needed since the last look is not kept.
    streams_free_spare(loop, loop.spare_least)
    loop.spare_least = loop.spare_count
    loop.checked_ns = loop.now_ns


cdef inline int64_t check_interval_ns(const Loop *loop) noexcept nogil:
    """Return how long it is between two looks: a server that stops waits for some of them."""
    if loop.order == SERVE:
        return loop.limits.check_interval_ns
    return min(loop.limits.check_interval_ns, DRAINING_LOOK_MS * NS_PER_MS)


cdef void look_at_calls(Loop *loop) noexcept nogil:
    """Look at the calls with a deadline that still come in.

    However many deadlines there are, a look waits ten times as long as the last one has taken, and
    not less than LOOK_MS.
    """
    cdef Connection *connection = loop.connections
    cdef int64_t took_ns
    loop.next_look_ns = NEVER_NS
    while connection != NULL:
        connection_look_at_calls(connection)
        connection = connection.next
    took_ns = clock_elapsed() - loop.now_ns
    loop.rest_until_ns = loop.now_ns + max(10 * took_ns, LOOK_MS * NS_PER_MS)


cdef bint look_is_due(const Loop *loop) noexcept nogil:
    return loop.now_ns >= max(loop.next_look_ns, loop.rest_until_ns)


cdef int patience_ms(Loop *loop) noexcept nogil:
    """Return how long epoll may wait: for ever while there is nothing to look at."""
    cdef int64_t wait_ns
    if loop.order == CLOSE:
        return CLOSING_LOOK_MS
    if loop.listening_paused:
        return ACCEPT_PAUSE_MS
    if loop.order == DRAIN:
        return DRAINING_LOOK_MS
    if loop.connections == NULL:
        return -1 if loop.spare == NULL else <int> (loop.limits.check_interval_ns // NS_PER_MS)
    wait_ns = loop.limits.check_interval_ns
    if loop.next_look_ns != NEVER_NS:
        wait_ns = min(wait_ns, max(loop.next_look_ns, loop.rest_until_ns) - loop.now_ns)
    return <int> (max(<int64_t> 0, wait_ns) // NS_PER_MS) + 1


cdef void note_wait(
    Loop *loop, int64_t before_ns, int64_t asleep_ns, int patience, bint interrupted
) noexcept nogil:
    """Note since when what is found now may have been there.

    A wait that is interrupted, or longer than was asked for, tells that the process stood still.
    """
    cdef int64_t waited_ns = loop.now_ns - asleep_ns
    if not loop.interrupted:
        loop.awake_ns = loop.now_ns
    if interrupted or (patience >= 0 and waited_ns > patience * NS_PER_MS + LATE_NS):
        loop.awake_ns = min(loop.awake_ns, asleep_ns)
    if asleep_ns - before_ns > LATE_NS:
        loop.awake_ns = min(loop.awake_ns, before_ns)
    loop.interrupted = interrupted


cdef void wake_up(Loop *loop) noexcept nogil:
    cdef epoll_event events[EVENTS]
    cdef bint is_inbox = False
    cdef int i
    cdef int patience = 0 if loop.unread != NULL else patience_ms(loop)
    cdef int64_t before_ns = loop.now_ns
    cdef int64_t asleep_ns = clock_elapsed()
    cdef int count = epoll_wait(loop.epoll_fd, events, EVENTS, patience)
    loop.now_ns = clock_elapsed()
    assert_that(loop.now_ns >= before_ns, "time does not go back")
    note_wait(loop, before_ns, asleep_ns, patience, count < 0)
    assert_that(loop.dirty == NULL, "a wake-up leaves nothing unwritten")
    count_add(&loop.counts.wakeups, 1)
    loop.handshakes_left = HANDSHAKES
    for i in range(count):
        is_inbox |= events[i].data.ptr == NULL
        take_event(loop, &events[i])
    read_unread(loop)
    is_inbox |= submit_ready(loop)
    if is_inbox:
        take_inbox(loop)
    write_marked(loop)
    if loop.listening_paused and loop.now_ns >= loop.resume_ns:
        listen(loop)
    if loop.order == CLOSE and loop.now_ns >= loop.order_deadline_ns:
        end_all(loop)
    elif loop.now_ns - loop.checked_ns >= check_interval_ns(loop):
        check_limits(loop)
    if look_is_due(loop):
        look_at_calls(loop)
    write_marked(loop)
    if loop.order != SERVE and not loop.counts.told and is_told(loop):
        count_add(&loop.counts.told, 1)
    flag_set(&loop.counts.held_bytes, loop.held_bytes)


cdef void *loop_main(void *argument) noexcept nogil:
    cdef Loop *loop = <Loop *> argument
    while loop.order != CLOSE or loop.connections != NULL or loop.counts.under_way != 0:
        wake_up(loop)
    assert_that(loop.first_ready == NULL, "every call has been submitted")
    assert_that(
        loop.counts.streams == 0 and loop.held_bytes == 0, "every call is answered and freed"
    )
    flag_set(&loop.ended, True)
    return NULL


# --- life -----------------------------------------------------------------------------------------

cdef Loop *loop_new(
    EngineCore *engine, AccessCore *access, const Limits *limits, TlsMaterial *tls,
    HandledMethods *handled,
) except NULL:
    """Return a loop that is not started yet."""
    cdef Loop *loop
    cdef Mailbox *from_handlers = mailbox_new()
    loop = new Loop()
    loop.from_handlers = from_handlers
    loop.handled = handled
    loop.engine = engine
    loop.access = access
    loop.table_number = 0
    access_refresh(loop)
    loop.limits = limits[0]
    loop.tls = tls
    loop.order = loop.inbox.order = SERVE
    loop.inbox.limits_new = loop.inbox.health_new = False
    loop.inbox.answered = NULL
    loop.inbox.busy = 0
    memset(&loop.counts, 0, sizeof(loop.counts))
    loop.connections = loop.dirty = loop.unread = NULL
    loop.spare = NULL
    loop.spare_count = 0
    loop.held_bytes = 0
    loop.first_ready = loop.last_ready = NULL
    loop.listening_paused = loop.ended = False
    loop.next_peer = 0
    loop.now_ns = loop.checked_ns = loop.awake_ns = clock_elapsed()
    loop.interrupted = False
    loop.next_look_ns = NEVER_NS
    loop.rest_until_ns = 0
    loop.spare_least = 0
    memset(&loop.strangers, 0, sizeof(Share))
    memset(&loop.everybody, 0, sizeof(Share))
    loop.seed = <uint32_t> loop.now_ns
    loop.callbacks = connection_callbacks()
    loop.options = connection_options(handled != NULL)
    loop.input = <char *> malloc(READ_BYTES)
    loop.output = <char *> malloc(WRITE_BYTES)
    if loop.input == NULL or loop.output == NULL:
        abort()
    loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    loop.inbox.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    if loop.epoll_fd < 0 or loop.inbox.fd < 0:
        code = errno
        loop_free(loop)
        raise OSError(code, f"cannot make an epoll set: {os.strerror(code)}")
    return loop


cdef void loop_free(Loop *loop) noexcept nogil:
    """Free a loop whose thread is over, or was never started."""
    cdef size_t i
    mpsc_await_quiet(&loop.inbox.busy)
    assert_that(loop.connections == NULL, "every connection is closed before its loop is freed")
    assert_that(loop.inbox.answered == NULL, "every answer is taken before its loop is freed")
    for i in range(loop.listening.size()):
        close(loop.listening[i].fd)
    for i in range(loop.inbox.arrivals.size()):
        close(loop.inbox.arrivals[i].fd)   # accepted when this loop was over already
    streams_free_spare(loop, loop.spare_count)
    mailbox_close(loop.from_handlers)
    mailbox_let_go(loop.from_handlers)
    holdings_forget(loop)
    nghttp2_session_callbacks_del(loop.callbacks)
    nghttp2_option_del(loop.options)
    free(loop.input)
    free(loop.output)
    if loop.epoll_fd >= 0:
        close(loop.epoll_fd)
    if loop.inbox.fd >= 0:
        close(loop.inbox.fd)
    del loop


cdef int loop_start(Loop *loop, pthread_t *thread, size_t number) except -1:
    """Start the thread of the listener's loop with that number."""
    cdef epoll_event event
    memset(&event, 0, sizeof(event))
    event.events = EPOLLIN
    epoll_ctl(loop.epoll_fd, EPOLL_CTL_ADD, loop.inbox.fd, &event)
    event.data.ptr = loop.from_handlers
    epoll_ctl(loop.epoll_fd, EPOLL_CTL_ADD, loop.from_handlers.fd, &event)
    listen(loop)
    name = b"ownerd-loop-%d" % number
    thread_start(thread, loop_main, loop, name)
    return 0
