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
from ownerd.base.mpsc cimport mpsc_await_quiet, mpsc_take_in_order
from ownerd.base.nghttp2 cimport nghttp2_option_del, nghttp2_session_callbacks_del
from ownerd.base.sockets cimport (
    EAGAIN, ECONNABORTED, EFD_CLOEXEC, EFD_NONBLOCK, EINTR, EPOLLERR, EPOLLHUP, EPOLLIN,
    EPOLLOUT, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, IPPROTO_TCP, SOCK_CLOEXEC,
    SOCK_NONBLOCK, TCP_NODELAY, accept4, close, epoll_create1, epoll_ctl, epoll_event,
    epoll_wait, errno, eventfd, eventfd_read, eventfd_write, setsockopt,
)
from ownerd.base.threads cimport thread_start
from ownerd.base.units cimport NS_PER_MS
from ownerd.engine.core cimport EngineCore
from ownerd.engine.queue cimport queue_submit_all
from ownerd.net.authn cimport access_refresh
from ownerd.net.connection cimport (
    connection_callbacks, connection_close, connection_end, connection_leave, connection_look,
    connection_mark, connection_open, connection_options, connection_read,
    connection_say_farewell, connection_write,
)
from ownerd.net.state cimport (
    CLOSE, ENDED_DRAIN, READ_BYTES, SERVE, WRITE_BYTES, Connection, Limits, Loop, Socket,
    Stream,
)
from ownerd.net.stream cimport stream_decided, streams_free_spare
from ownerd.net.tls cimport TlsMaterial

cdef enum:
    EVENTS = 256                      # taken from epoll at once
    ACCEPTS = 64                      # connections accepted in one wake-up
    HANDSHAKES = 16                   # steps of TLS handshakes in one wake-up
    ACCEPT_PAUSE_MS = 100             # when no connection can be taken
    CLOSING_LOOK_MS = 20


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


cdef void take_inbox(Loop *loop) noexcept nogil:
    """Take what other threads have left: answers in their order, sockets, an order."""
    cdef Task *task
    cdef Task *after
    cdef size_t i
    cdef uint64_t ignored
    eventfd_read(loop.inbox.fd, &ignored)
    task = mpsc_take_in_order(&loop.inbox.answered)
    loop.inbox.guard.lock()
    for i in range(loop.inbox.arrivals.size()):
        connection_open(loop, loop.inbox.arrivals[i])
    loop.inbox.arrivals.clear()
    loop.order_deadline_ns = loop.inbox.order_deadline_ns
    cdef int order = loop.inbox.order
    loop.inbox.guard.unlock()
    while task != NULL:
        after = task.next
        take_decided(<Stream *> task)
        task = after
    if order != loop.order:
        obey(loop, order)


cdef void take_decided(Stream *stream) noexcept nogil:
    if stream.connection != NULL:
        connection_mark(stream.connection)
    stream_decided(stream)


cdef void submit_ready(Loop *loop) noexcept nogil:
    """Submit what this wake-up has decoded; what the engine refuses is answered at once."""
    cdef Task *refused = loop.first_ready
    cdef Task *after
    if refused == NULL:
        return
    assert_that(loop.last_ready.next == NULL, "the last call that is ready is the last")
    loop.first_ready = loop.last_ready = NULL
    refused = queue_submit_all(&loop.engine.queue, refused)
    while refused != NULL:
        after = refused.next
        take_decided(<Stream *> refused)
        refused = after


# --- orders ---------------------------------------------------------------------------------------

cdef void obey(Loop *loop, int order) noexcept nogil:
    """Go on to a later order."""
    cdef Connection *connection
    cdef size_t i
    assert_that(order > loop.order, "orders only get stricter")
    loop.order = order
    stop_listening(loop)
    for i in range(loop.listening.size()):
        close(loop.listening[i].fd)
    loop.listening.clear()
    connection = loop.connections
    while connection != NULL:
        connection_say_farewell(connection, ENDED_DRAIN)
        if order == CLOSE:
            connection_leave(connection)
        connection = connection.next


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


cdef bint accept_one(Loop *loop, Socket listening) noexcept nogil:
    """Accept and hand out one connection; False if there is none, or no place for one."""
    cdef int one = 1
    cdef Loop *peer
    cdef Socket accepted = listening
    if open_count(loop) >= loop.limits.max_connections:
        pause_listening(loop)
        return False
    accepted.fd = accept4(listening.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if accepted.fd < 0:
        # EMFILE and its like: what waits is accepted when there is a place again.
        if errno != EAGAIN and errno != EINTR and errno != ECONNABORTED:
            pause_listening(loop)
        return False
    # No use on a Unix socket.
    setsockopt(accepted.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    count_add(&loop.counts.accepted, 1)
    assert_that(
        open_count(loop) <= loop.limits.max_connections, "there are no more connections than may be"
    )
    peer = loop.peers[loop.next_peer % loop.peers.size()]
    loop.next_peer += 1
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
    loop.checked_ns = loop.now_ns


cdef int patience_ms(Loop *loop) noexcept nogil:
    """Return how long epoll may wait: for ever while there is nothing to look at."""
    if loop.order == CLOSE:
        return CLOSING_LOOK_MS
    if loop.listening_paused:
        return ACCEPT_PAUSE_MS
    if loop.connections == NULL:
        return -1
    return <int> (loop.limits.check_interval_ns // NS_PER_MS)


cdef void wake_up(Loop *loop) noexcept nogil:
    cdef epoll_event events[EVENTS]
    cdef bint is_inbox = False
    cdef int i
    cdef int64_t before_ns = loop.now_ns
    cdef int count = epoll_wait(
        loop.epoll_fd, events, EVENTS, 0 if loop.unread != NULL else patience_ms(loop)
    )
    loop.now_ns = clock_elapsed()
    assert_that(loop.now_ns >= before_ns, "time does not go back")
    assert_that(loop.dirty == NULL, "a wake-up leaves nothing unwritten")
    count_add(&loop.counts.wakeups, 1)
    loop.handshakes_left = HANDSHAKES
    for i in range(count):
        is_inbox |= events[i].data.ptr == NULL
        take_event(loop, &events[i])
    read_unread(loop)
    submit_ready(loop)
    if is_inbox:
        take_inbox(loop)
    write_marked(loop)
    if loop.listening_paused and loop.now_ns >= loop.resume_ns:
        listen(loop)
    if loop.order == CLOSE and loop.now_ns >= loop.order_deadline_ns:
        end_all(loop)
    elif loop.now_ns - loop.checked_ns >= loop.limits.check_interval_ns:
        check_limits(loop)
    write_marked(loop)


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
    EngineCore *engine, AccessCore *access, const Limits *limits, TlsMaterial *tls
) except NULL:
    """Return a loop that is not started yet."""
    cdef Loop *loop = new Loop()
    loop.engine = engine
    loop.access = access
    loop.table_number = 0
    access_refresh(loop)
    loop.limits = limits[0]
    loop.tls = tls
    loop.order = loop.inbox.order = SERVE
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
    loop.now_ns = loop.checked_ns = clock_elapsed()
    loop.seed = <uint32_t> loop.now_ns
    loop.callbacks = connection_callbacks()
    loop.options = connection_options()
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
    streams_free_spare(loop)
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
    listen(loop)
    name = b"ownerd-loop-%d" % number
    thread_start(thread, loop_main, loop, name)
    return 0
