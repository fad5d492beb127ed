"""One HTTP/2 connection of the native listener: its socket, its nghttp2 session, its limits.

On a socket that speaks TLS the handshake comes first; only then is there a session. Bytes from the
socket go through nghttp2, whose callbacks turn HTTP/2 streams into `Stream`s; what nghttp2 has to
say is gathered and written with one call. A connection whose output is not taken is not read until
it is. Every wake-up reads at most READ_BYTES of it, so that a busy peer costs the others no more.

Invariants:
- Everything runs on the loop's thread. A connection is closed by the loop at the end of a wake-up,
  never inside a callback: what goes wrong only marks it dead.
- `transport` is all that touches the socket's bytes. TLS may keep some that it has read
  from the socket: the connection is `unread` then, and read again without epoll.
- A goaway has two steps: a GOAWAY that names no last stream tells the peer to begin no more calls
  here, and once a PING has been answered (or a second has passed) a GOAWAY with the last stream
  follows, so no call that was on its way is lost.

It does not decode requests and knows nothing of the engine.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport abort, calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from ownerd.api.task cimport OK
from ownerd.base.assertions cimport assert_that
from ownerd.base.atomics cimport count_add
from ownerd.base.live cimport LIVE_CONNECTION, live_count
from ownerd.base.nghttp2 cimport (
    NGHTTP2_DATA, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_FLAG_ACK, NGHTTP2_FLAG_END_STREAM,
    NGHTTP2_FLAG_NONE, NGHTTP2_GOAWAY, NGHTTP2_HCAT_REQUEST, NGHTTP2_HEADERS, NGHTTP2_NO_ERROR,
    NGHTTP2_PING, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_RST_STREAM, NGHTTP2_SETTINGS,
    NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
    NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES,
    NGHTTP2_STREAM_CLOSED, nghttp2_frame, nghttp2_option, nghttp2_option_new,
    nghttp2_option_set_no_auto_window_update, nghttp2_option_set_no_closed_streams,
    nghttp2_session, nghttp2_session_callbacks, nghttp2_session_callbacks_new,
    nghttp2_session_callbacks_set_on_begin_headers_callback,
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback,
    nghttp2_session_callbacks_set_on_frame_recv_callback,
    nghttp2_session_callbacks_set_on_frame_send_callback,
    nghttp2_session_callbacks_set_on_header_callback,
    nghttp2_session_callbacks_set_on_stream_close_callback, nghttp2_session_del,
    nghttp2_session_get_last_proc_stream_id, nghttp2_session_get_stream_user_data,
    nghttp2_session_mem_send, nghttp2_session_server_new2,
    nghttp2_session_set_local_window_size, nghttp2_session_set_stream_user_data,
    nghttp2_session_terminate_session, nghttp2_session_want_read, nghttp2_session_want_write,
    nghttp2_settings_entry, nghttp2_submit_goaway, nghttp2_submit_ping,
    nghttp2_submit_rst_stream, nghttp2_submit_settings, nghttp2_submit_shutdown_notice,
    ownerd_set_most_continuations, ownerd_set_reset_limit, ssize_t,
)
from ownerd.base.openssl cimport SSL_free
from ownerd.base.rate_limiter cimport rate_after, rate_wait_ns
from ownerd.base.sockets cimport (
    EPOLLIN, EPOLLOUT, EPOLL_CTL_ADD, EPOLL_CTL_MOD, SHUT_WR, epoll_ctl, epoll_event, shutdown,
)
from ownerd.base.tls cimport (
    TLS_DONE, TLS_ENDED, TLS_LOST, TLS_WANTS_READ, TLS_WANTS_WRITE, tls_accept, tls_handshake,
    tls_peer_names, tls_say_goodbye, tls_speaks_http2,
)
from ownerd.base.units cimport NS_PER_MS, NS_PER_S
from ownerd.net.frames cimport (
    FRAMES_BROKEN, FRAMES_CLOSED, FRAMES_CONTINUED, FRAMES_FLOOD, FRAMES_FORBIDDEN, FrameFault,
    frames_begin, frames_stream_ended, frames_take,
)
from ownerd.net.handled cimport handled_consume
from ownerd.net.holdings cimport holdings_add_unsent, holdings_give_back_unsent, holdings_leave
from ownerd.net.marks cimport connection_mark
from ownerd.net.state cimport (
    ANSWERED, DRAIN, ENDED_AGE, ENDED_BROKEN, ENDED_BY_PEER, ENDED_CROWDED, ENDED_DRAIN,
    ENDED_HANDSHAKE, ENDED_HEADERS, ENDED_IDLE, ENDED_KEEPALIVE, ENDED_RESETS, ENDED_STALLED,
    ENDED_TLS, ENDING_COUNT, LEAVING, LINGERING, NOTICED, READ_BYTES, SERVE, STAYING, UNDER_WAY,
    WRITE_BYTES, Connection, Loop, Socket, Stream,
)
from ownerd.net.strangers cimport strangers_enter, strangers_leave, strangers_make_room
from ownerd.net.stream cimport (
    LOOK_BROKEN, LOOK_SAID, Look, is_late, stream_close, stream_data, stream_header,
    stream_headers_done, stream_look, stream_open, stream_request_done, streams_end_watches,
)
from ownerd.net.transport cimport (
    TRANSPORT_AGAIN, TRANSPORT_BROKEN, transport_close, transport_read, transport_silence_ns,
    transport_write,
)

cdef extern from "<openssl/crypto.h>" nogil:
    void OPENSSL_cleanse(void *, size_t)

cdef enum:
    STREAM_WINDOW_BYTES = 1 << 20
    CONNECTION_WINDOW_BYTES = 4 << 20
    RESET_BURST_S = 10                # resets of as many seconds may come at once
    HEADER_BYTES = 32                 # counted for each header, as by SETTINGS_MAX_HEADER_LIST_SIZE
    HEADERS_CUT_FACTOR = 4            # past as many times the limit the connection is cut
    PING_BYTES = 8
    NO_LIMIT = 1 << 30

cdef int64_t STRANGER_GRACE_NS = 5 * NS_PER_S
cdef int64_t LATE_NS = 50 * NS_PER_MS   # a loop that was awake has looked within that time

cdef const char *ALIVE_PING = "ownerd-a"
cdef const char *FAREWELL_PING = "ownerd-f"


# --- what the peer sends --------------------------------------------------------------------------

cdef int on_begin_headers(
    nghttp2_session *session, const nghttp2_frame *frame, void *user_data
) noexcept nogil:
    cdef Connection *connection = <Connection *> user_data
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        connection.receiving = find_stream(connection, frame.hd.stream_id)
        return 0
    connection.receiving = stream_open(connection, frame.hd.stream_id)
    nghttp2_session_set_stream_user_data(session, frame.hd.stream_id, connection.receiving)
    return 0


cdef Stream *find_stream(Connection *connection, int32_t stream_id) noexcept nogil:
    """Return the stream of an open stream; NULL if there is none."""
    cdef Stream *stream = connection.receiving
    if stream == NULL or stream.stream_id != stream_id:
        stream = <Stream *> nghttp2_session_get_stream_user_data(
            connection.session, stream_id
        )
        connection.receiving = stream
    return stream


cdef int on_header(
    nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
    const uint8_t *value, size_t value_size, uint8_t flags, void *user_data
) noexcept nogil:
    cdef Connection *connection = <Connection *> user_data
    cdef Stream *stream = find_stream(connection, frame.hd.stream_id)
    if stream == NULL or connection.cut:
        return 0
    stream.header_bytes += <uint32_t> (name_size + value_size + HEADER_BYTES)
    if stream.header_bytes // HEADERS_CUT_FACTOR > connection.loop.limits.max_header_bytes:
        cut_off(connection, ENDED_HEADERS, NGHTTP2_ENHANCE_YOUR_CALM)
    elif frame.headers.cat == NGHTTP2_HCAT_REQUEST:   # nothing is asked of trailers
        stream_header(
            stream, <const char *> name, name_size, <const char *> value, value_size
        )
    return 0


cdef int on_data(
    nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t size,
    void *user_data
) noexcept nogil:
    cdef Connection *connection = <Connection *> user_data
    cdef Stream *stream = find_stream(connection, stream_id)
    if stream != NULL:
        stream_data(stream, data, size)
    if connection.loop.handled != NULL:
        handled_consume(connection.loop, session, stream, stream_id, size)
    return 0


cdef int on_frame(
    nghttp2_session *session, const nghttp2_frame *frame, void *user_data
) noexcept nogil:
    """Take note of a whole frame."""
    cdef Connection *connection = <Connection *> user_data
    cdef uint8_t type = frame.hd.type
    cdef Stream *stream
    if type == NGHTTP2_HEADERS or type == NGHTTP2_DATA:
        stream = find_stream(connection, frame.hd.stream_id)
        if stream == NULL:
            return 0
        if type == NGHTTP2_HEADERS and frame.headers.cat == NGHTTP2_HCAT_REQUEST:
            stream_headers_done(stream)
        if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
            stream_request_done(stream)
    elif type == NGHTTP2_RST_STREAM:
        stream = find_stream(connection, frame.hd.stream_id)
        if stream != NULL:
            stream.request_ended = True   # nothing more comes
        # Who gives up a call that was worth a decision has paid for it as for any other.
        if stream == NULL or not is_decided(stream):
            spend_reset(connection)
    elif type == NGHTTP2_SETTINGS:
        connection.settings_seen = True
    elif type == NGHTTP2_GOAWAY:
        connection.peer_left = True
    elif type == NGHTTP2_PING and frame.hd.flags & NGHTTP2_FLAG_ACK:
        if connection.goaway == NOTICED \
                and memcmp(frame.ping.opaque_data, FAREWELL_PING, PING_BYTES) == 0:
            connection_leave(connection)
    return 0


cdef inline bint is_decided(const Stream *stream) noexcept nogil:
    return stream.state == UNDER_WAY or (stream.state == ANSWERED and stream.call.task.code == OK)


cdef int on_frame_sent(
    nghttp2_session *session, const nghttp2_frame *frame, void *user_data
) noexcept nogil:
    """Stop the upload of a call that was answered early; count resets that the peer provoked.

    The farewell's PING goes out behind its GOAWAY: nghttp2 would send it first, and its answer is
    to tell that the GOAWAY has been read.
    """
    cdef Connection *connection = <Connection *> user_data
    cdef Stream *stream
    if frame.hd.type == NGHTTP2_HEADERS and frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
        stream = find_stream(connection, frame.hd.stream_id)
        if stream != NULL and not stream.request_ended:
            nghttp2_submit_rst_stream(
                session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_NO_ERROR
            )
    elif frame.hd.type == NGHTTP2_RST_STREAM and frame.rst_stream.error_code != NGHTTP2_NO_ERROR:
        spend_reset(connection)
    elif frame.hd.type == NGHTTP2_GOAWAY and connection.goaway == NOTICED:
        nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, <const uint8_t *> FAREWELL_PING)
    return 0


cdef int on_stream_closed(
    nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *user_data
) noexcept nogil:
    cdef Connection *connection = <Connection *> user_data
    cdef Stream *stream = find_stream(connection, stream_id)
    if stream != NULL:
        if stream.request_ended:
            frames_stream_ended(&connection.frames, stream_id)
        stream_close(stream)
    return 0


cdef void spend_reset(Connection *connection) noexcept nogil:
    """Take one reset out of the budget; a connection that has spent it is told to calm down."""
    cdef Loop *loop = connection.loop
    cdef int64_t price_ns = NS_PER_S // loop.limits.max_resets_per_s
    if rate_wait_ns(
        connection.resets_ns, loop.now_ns, price_ns, RESET_BURST_S * NS_PER_S
    ) == 0:
        connection.resets_ns = rate_after(connection.resets_ns, loop.now_ns, price_ns)
    else:
        cut_off(connection, ENDED_RESETS, NGHTTP2_ENHANCE_YOUR_CALM)


cdef void cut_off(Connection *connection, int ending, uint32_t error_code) noexcept nogil:
    """Tell a peer why its connection ends, and look at nothing more of it."""
    if connection.cut:
        return
    connection.cut = True
    connection.ending = <uint8_t> ending
    if connection.goaway < LEAVING:
        leave(connection)
    nghttp2_session_terminate_session(connection.session, error_code)
    connection_mark(connection)


cdef nghttp2_session_callbacks *connection_callbacks() noexcept nogil:
    """Return what nghttp2 calls for every session."""
    cdef nghttp2_session_callbacks *callbacks
    if nghttp2_session_callbacks_new(&callbacks) != 0:
        abort()
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame)
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_closed)
    return callbacks


cdef nghttp2_option *connection_options(bint holds_back) noexcept nogil:
    """Return the options of every session; `holds_back` where not all is taken as it comes."""
    cdef nghttp2_option *options
    if nghttp2_option_new(&options) != 0:
        abort()
    nghttp2_option_set_no_closed_streams(options, 1)
    nghttp2_option_set_no_auto_window_update(options, holds_back)
    # Ours is a setting, and counts the resets that a peer provokes too.
    ownerd_set_reset_limit(options, NO_LIMIT, NO_LIMIT)
    # Those are counted before nghttp2 sees them, so that a GOAWAY can say what was wrong.
    ownerd_set_most_continuations(options, NO_LIMIT)
    return options


# --- life -----------------------------------------------------------------------------------------

cdef Connection *connection_open(Loop *loop, Socket accepted) noexcept nogil:
    """Take over an accepted socket; a stranger's connection may have to go for it."""
    cdef Connection *connection = <Connection *> calloc(1, sizeof(Connection))
    if connection == NULL:
        abort()
    assert_that(accepted.fd >= 0, "an accepted socket is open")
    live_count(LIVE_CONNECTION, 1)
    connection.loop = loop
    connection.fd = accepted.fd
    connection.opened_ns = connection.alive_ns = connection.busy_ns = loop.now_ns
    connection.goaway_ns = loop.now_ns
    connection.age_limit_ns = jittered(loop, loop.limits.max_age_ns)
    connection.next = loop.connections
    if connection.next != NULL:
        connection.next.previous = connection
    loop.connections = connection
    count_add(&loop.counts.connections, 1)
    watch(connection, EPOLLIN)
    if not accepted.secure:
        begin_session(connection)
    else:
        connection.tls = tls_accept(loop.tls, accepted.fd)
        if connection.tls == NULL:
            connection_end(connection, ENDED_TLS)
    turn_out(strangers_enter(connection))
    if accepted.makes_room:
        turn_out(strangers_make_room(loop))
    return connection


cdef void turn_out(Connection *connection) noexcept nogil:
    """End a stranger's connection, if there is one, at once: its place is needed."""
    if connection == NULL:
        return
    if connection.session != NULL and connection.goaway < LEAVING:
        cut_off(connection, ENDED_CROWDED, NGHTTP2_NO_ERROR)
        connection_write(connection)
    connection_end(connection, ENDED_CROWDED)


cdef void begin_session(Connection *connection) noexcept nogil:
    """Begin to speak HTTP/2."""
    cdef Loop *loop = connection.loop
    assert_that(connection.session == NULL, "a connection has one session")
    assert_that(connection.goaway == STAYING, "nobody has left before the handshake is over")
    if nghttp2_session_server_new2(
        &connection.session, loop.callbacks, connection, loop.options
    ) != 0:
        abort()
    frames_begin(&connection.frames)
    send_settings(connection)
    connection_mark(connection)
    if loop.order != SERVE:
        connection_say_farewell(connection, ENDED_DRAIN)


cdef bint shake_hands(Connection *connection) noexcept nogil:
    """Go on with the TLS handshake; True once HTTP/2 can be spoken.

    A wake-up does so many steps of handshakes and no more, as each may cost a millisecond; the
    others' sockets stay readable.
    """
    cdef int rest
    if connection.tls == NULL or connection.loop.handshakes_left == 0:
        return False
    connection.loop.handshakes_left -= 1
    rest = tls_handshake(connection.tls)
    connection.read_awaits_write = rest == TLS_WANTS_WRITE
    if rest == TLS_WANTS_READ or rest == TLS_WANTS_WRITE:
        watch(connection, EPOLLOUT if rest == TLS_WANTS_WRITE else EPOLLIN)
        return False
    if rest != TLS_DONE or not tls_speaks_http2(connection.tls):
        refuse_handshake(connection, rest)
        return False
    count_add(&connection.loop.counts.handshakes, 1)
    tls_peer_names(connection.tls, &connection.peer_names, &connection.peer_names_size)
    begin_session(connection)
    return True


cdef void refuse_handshake(Connection *connection, int rest) noexcept nogil:
    """Let the alert reach a peer that may still be sending, and forget its TLS."""
    if rest == TLS_ENDED or rest == TLS_LOST:
        connection_end(connection, ENDED_BY_PEER)
        return
    if rest == TLS_DONE:
        tls_say_goodbye(connection.tls)
    assert_that(connection.session == NULL, "without TLS nothing was said in HTTP/2")
    SSL_free(connection.tls)
    connection.tls = NULL
    connection.ending = ENDED_TLS
    leave(connection)
    connection.goaway = LINGERING
    connection.goaway_ns = connection.loop.now_ns
    shutdown(connection.fd, SHUT_WR)


cdef int64_t jittered(Loop *loop, int64_t age_ns) noexcept nogil:
    """Return an age within a tenth of the given one, so that peers do not all reconnect at once."""
    loop.seed = loop.seed * 1_664_525 + 1_013_904_223
    return age_ns - age_ns // 10 + (age_ns // 5) // 1_024 * <int64_t> (loop.seed >> 22)


cdef void send_settings(Connection *connection) noexcept nogil:
    cdef nghttp2_settings_entry settings[4]
    cdef Loop *loop = connection.loop
    settings[0].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
    settings[0].value = loop.limits.max_streams
    settings[1].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
    settings[1].value = STREAM_WINDOW_BYTES
    settings[2].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
    settings[2].value = loop.limits.max_header_bytes
    settings[3].settings_id = NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES
    settings[3].value = 1             # answers are small, and nghttp2 is faster without them
    if nghttp2_submit_settings(
        connection.session, NGHTTP2_FLAG_NONE, settings, 4
    ) != 0 or nghttp2_session_set_local_window_size(
        connection.session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW_BYTES
    ) != 0:
        abort()


cdef void connection_close(Connection *connection) noexcept nogil:
    """Close the socket, let go of the open calls and free the connection."""
    cdef Loop *loop = connection.loop
    assert_that(connection.dead, "only what is marked dead is closed")
    assert_that(not connection.dirty, "what is closed is in no list of what to write")
    while connection.streams != NULL:
        stream_close(connection.streams)
    drop_unsent(connection)
    holdings_leave(connection)
    assert_that(
        connection.stream_count == 0 and connection.held_bytes == 0,
        "a connection without streams holds nothing",
    )
    strangers_leave(connection)
    transport_close(connection)
    nghttp2_session_del(connection.session)
    free(connection.peer_names)
    if connection.to_be_read:
        forget_unread(connection)
    if connection.previous != NULL:
        connection.previous.next = connection.next
    else:
        loop.connections = connection.next
    if connection.next != NULL:
        connection.next.previous = connection.previous
    assert_that(loop.counts.connections > 0, "a connection that is closed was counted")
    count_add(&loop.counts.connections, -1)
    count_add(&loop.counts.left, -<int64_t> (connection.goaway >= LEAVING))
    count_add(&loop.counts.closed, 1)
    count_add(&loop.counts.ended[connection.ending], 1)
    live_count(LIVE_CONNECTION, -1)
    OPENSSL_cleanse(connection, sizeof(Connection))   # its token
    free(connection)


cdef void read_again(Connection *connection) noexcept nogil:
    """Have the loop read it in the next wake-up, whatever epoll says."""
    assert_that(connection.unread and not connection.dead, "only what TLS keeps is read again")
    if not connection.to_be_read:
        connection.to_be_read = True
        connection.next_unread = connection.loop.unread
        connection.loop.unread = connection


cdef void forget_unread(Connection *connection) noexcept nogil:
    """Take a connection out of the list of those to be read again."""
    cdef Connection **at = &connection.loop.unread
    while at[0] != connection:
        at = &at[0].next_unread
    at[0] = connection.next_unread


cdef void connection_end(Connection *connection, int ending) noexcept nogil:
    """Have the loop close it at the end of this wake-up; the first reason counts."""
    assert_that(0 <= ending < ENDING_COUNT, "an ending is one of those that are counted")
    if connection.ending == ENDED_BY_PEER:
        connection.ending = <uint8_t> ending
    connection.dead = True
    connection_mark(connection)
    assert_that(connection.dirty, "what is dead is looked at by the end of the wake-up")


cdef void watch(Connection *connection, uint32_t events) noexcept nogil:
    """Tell epoll what to wait for."""
    cdef epoll_event event
    cdef int how = EPOLL_CTL_MOD if connection.events != 0 else EPOLL_CTL_ADD
    if events == connection.events:
        return
    memset(&event, 0, sizeof(event))
    event.events = events
    event.data.ptr = connection
    if epoll_ctl(connection.loop.epoll_fd, how, connection.fd, &event) != 0:
        connection_end(connection, ENDED_BROKEN)
    connection.events = events


# --- reading and writing --------------------------------------------------------------------------

cdef void connection_read(Connection *connection) noexcept nogil:
    """Read once and let nghttp2 take it apart."""
    cdef Loop *loop = connection.loop
    cdef ssize_t size
    assert_that(not connection.to_be_read, "a connection is read once in a wake-up")
    if connection.session == NULL and connection.goaway != LINGERING \
            and not shake_hands(connection):
        return
    note_arrival(connection)
    size = transport_read(connection, loop.input, READ_BYTES)
    if size < READ_BYTES and not connection.unread:
        connection.drained_ns = loop.now_ns
    if size == TRANSPORT_AGAIN:
        if connection.read_awaits_write or connection.write_awaits_read:
            connection_mark(connection)
        return
    if size <= 0:
        connection_end(connection, ENDED_BY_PEER)
        return
    connection.alive_ns = loop.now_ns
    connection.ping_ns = 0
    if connection.goaway == LINGERING or connection.cut:
        return                        # nobody listens any more
    take_frames(connection, <size_t> size)
    connection_mark(connection)


cdef void note_arrival(Connection *connection) noexcept nogil:
    """Find out when the bytes that are read next came: a deadline counts from then.

    Usually that is now. Where nobody has looked for a while, the system is asked for the last ones:
    they may have waited while the process stood still, or had too much else to do.
    """
    cdef Loop *loop = connection.loop
    cdef int64_t silence_ns
    connection.came_ns = loop.now_ns
    if loop.now_ns - connection.drained_ns <= LATE_NS:
        return
    silence_ns = transport_silence_ns(connection)
    connection.came_ns = max(
        connection.drained_ns, loop.awake_ns if silence_ns < 0 else loop.now_ns - silence_ns
    )


cdef void take_frames(Connection *connection, size_t size) noexcept nogil:
    """Take what was read; what breaks the rules ends the connection, and says so if it can."""
    cdef FrameFault fault = frames_take(
        &connection.frames, connection.session, <const uint8_t *> connection.loop.input, size
    )
    while connection.frames.idle_resets > 0:
        connection.frames.idle_resets -= 1
        spend_reset(connection)
    if fault == FRAMES_BROKEN:
        connection_end(connection, ENDED_BROKEN)
    elif fault == FRAMES_CONTINUED:
        cut_off(connection, ENDED_HEADERS, NGHTTP2_ENHANCE_YOUR_CALM)
    elif fault == FRAMES_FLOOD:
        cut_off(connection, ENDED_BROKEN, NGHTTP2_ENHANCE_YOUR_CALM)
    elif fault == FRAMES_CLOSED:
        cut_off(connection, ENDED_BROKEN, NGHTTP2_STREAM_CLOSED)
    elif fault == FRAMES_FORBIDDEN:
        cut_off(connection, ENDED_BROKEN, NGHTTP2_PROTOCOL_ERROR)


cdef size_t gather(Connection *connection) noexcept nogil:
    """Copy what nghttp2 has to say into the loop's buffer; at most WRITE_BYTES."""
    cdef Loop *loop = connection.loop
    cdef const uint8_t *data
    cdef size_t size = 0
    cdef ssize_t piece
    # A piece is one frame with its head; the largest are DATA frames of 16 KiB.
    while size <= WRITE_BYTES // 2:
        piece = nghttp2_session_mem_send(connection.session, &data)
        if piece == 0:
            break
        if piece < 0 or <size_t> piece > WRITE_BYTES - size:
            connection_end(connection, ENDED_BROKEN)
            break
        memcpy(loop.output + size, data, <size_t> piece)
        size += <size_t> piece
        assert_that(size <= WRITE_BYTES, "what is gathered has its place")
    return size


cdef void keep_unsent(Connection *connection, const char *data, size_t size) noexcept nogil:
    assert_that(connection.unsent == NULL, "nothing is written past what was not taken")
    assert_that(size > 0, "what is kept is something")
    connection.unsent = <char *> malloc(size)
    if connection.unsent == NULL:
        abort()
    memcpy(connection.unsent, data, size)
    connection.unsent_size = size
    connection.unsent_at = 0
    connection.unsent_ns = connection.loop.now_ns
    holdings_add_unsent(connection, size)


cdef void drop_unsent(Connection *connection) noexcept nogil:
    if connection.unsent != NULL:
        holdings_give_back_unsent(connection, connection.unsent_size)
        free(connection.unsent)
        connection.unsent = NULL


cdef bint send_unsent(Connection *connection) noexcept nogil:
    """Write what the socket did not take before; False while some of it is left."""
    cdef ssize_t taken
    if connection.unsent == NULL:
        return True
    taken = transport_write(
        connection, connection.unsent + connection.unsent_at,
        connection.unsent_size - connection.unsent_at,
    )
    if taken == TRANSPORT_BROKEN:
        connection_end(connection, ENDED_BY_PEER)
    elif taken > 0:
        connection.alive_ns = connection.loop.now_ns
        connection.unsent_at += <size_t> taken
        assert_that(
            connection.unsent_at <= connection.unsent_size, "no more is taken than there is"
        )
    if connection.unsent_at < connection.unsent_size:
        return False
    drop_unsent(connection)
    return True


cdef void connection_write(Connection *connection) noexcept nogil:
    """Write what there is to say, with as few calls as it takes.

    While the socket does not take all of it, nothing more is read from the peer.
    """
    cdef size_t size
    cdef ssize_t taken
    if connection.dead or connection.goaway == LINGERING or connection.session == NULL:
        return
    while send_unsent(connection):
        size = gather(connection)
        if size == 0 or connection.dead:
            break
        taken = transport_write(connection, connection.loop.output, size)
        if taken == TRANSPORT_BROKEN:
            connection_end(connection, ENDED_BY_PEER)
            return
        taken = max(taken, <ssize_t> 0)
        if <size_t> taken < size:
            keep_unsent(connection, connection.loop.output + taken, size - <size_t> taken)
            break
    if connection.dead:
        return
    watch(connection, wanted_events(connection))
    if connection.unread and connection.unsent == NULL:
        read_again(connection)
    if connection.unsent == NULL and not nghttp2_session_want_read(connection.session) \
            and not nghttp2_session_want_write(connection.session):
        linger(connection)


cdef inline uint32_t wanted_events(Connection *connection) noexcept nogil:
    cdef uint32_t events = EPOLLIN
    if connection.unsent != NULL and not connection.write_awaits_read:
        events = EPOLLOUT
    return events | <uint32_t> EPOLLOUT if connection.read_awaits_write else events


cdef void linger(Connection *connection) noexcept nogil:
    """Half close, so that the last words reach a peer that is still sending."""
    if connection.goaway == STAYING and not connection.peer_left:
        connection.ending = ENDED_BROKEN
    assert_that(connection.goaway < LINGERING, "goodbye is said once")
    if connection.goaway < LEAVING:
        leave(connection)
    assert_that(connection.unsent == NULL, "goodbye is said when all is said")
    connection.goaway = LINGERING
    connection.goaway_ns = connection.loop.now_ns
    if connection.tls != NULL and not connection.tls_dead:
        tls_say_goodbye(connection.tls)
    shutdown(connection.fd, SHUT_WR)


# --- time -----------------------------------------------------------------------------------------

cdef void connection_say_farewell(Connection *connection, int ending) noexcept nogil:
    """Tell the peer to begin no more calls here; what is on its way is still taken."""
    if connection.session == NULL:
        # No call can have begun; but its peer may wait with one for the end of the handshake.
        if connection.loop.order != DRAIN:
            connection_end(connection, ending)
        connection.goaway_ns = connection.loop.now_ns
        return
    if connection.goaway != STAYING:
        return
    connection.goaway = NOTICED
    connection.ending = <uint8_t> ending
    connection.goaway_ns = connection.loop.now_ns
    nghttp2_submit_shutdown_notice(connection.session)
    connection_mark(connection)


cdef void connection_leave(Connection *connection) noexcept nogil:
    """Take no new calls; the connection ends when those in flight are answered."""
    if connection.goaway >= LEAVING or connection.session == NULL:
        return
    assert_that(connection.ending != ENDED_BY_PEER, "who leaves has a reason")
    leave(connection)
    nghttp2_submit_goaway(
        connection.session, NGHTTP2_FLAG_NONE,
        nghttp2_session_get_last_proc_stream_id(connection.session), NGHTTP2_NO_ERROR, NULL, 0,
    )
    streams_end_watches(connection)
    connection_mark(connection)


cdef void leave(Connection *connection) noexcept nogil:
    """Take no new calls from now on."""
    assert_that(connection.goaway < LEAVING, "who leaves does so once")
    connection.goaway = LEAVING
    connection.goaway_ns = connection.loop.now_ns
    count_add(&connection.loop.counts.left, 1)


cdef void connection_look_at_calls(Connection *connection) noexcept nogil:
    """Apply the limits in time to the calls."""
    cdef Stream *stream = connection.streams
    cdef Look found
    if connection.dead or connection.cut or connection.goaway == LINGERING:
        return
    while stream != NULL:
        found = stream_look(stream)   # closes no stream: that comes with the next write
        if found == LOOK_BROKEN:
            cut_off(connection, ENDED_STALLED, NGHTTP2_ENHANCE_YOUR_CALM)
            return
        if found == LOOK_SAID:
            connection_mark(connection)
        stream = stream.next


cdef void connection_look(Connection *connection) noexcept nogil:
    """Apply the limits in time; called for every connection now and then."""
    cdef Loop *loop = connection.loop
    cdef int64_t now_ns = loop.now_ns
    if connection.goaway == LINGERING:
        if now_ns - connection.goaway_ns > NS_PER_S:
            connection_end(connection, connection.ending)
    elif connection.session == NULL and loop.order == DRAIN:
        if now_ns - connection.goaway_ns > NS_PER_S:
            connection_end(connection, ENDED_DRAIN)
    elif not connection.settings_seen:
        if now_ns - connection.opened_ns > loop.limits.handshake_timeout_ns:
            connection_end(connection, ENDED_HANDSHAKE)
    elif connection.goaway == LEAVING:
        if now_ns - connection.goaway_ns > grace_ns(connection):
            connection_end(connection, connection.ending)
    elif connection.goaway == NOTICED:
        if now_ns - connection.goaway_ns > NS_PER_S:
            connection_leave(connection)
    elif now_ns - connection.opened_ns > connection.age_limit_ns:
        connection_say_farewell(connection, ENDED_AGE)
    elif is_stranger(connection) and now_ns - connection.opened_ns > stranger_ns(loop):
        connection_say_farewell(connection, ENDED_IDLE)
    elif connection.stream_count == 0 \
            and now_ns - connection.busy_ns > loop.limits.max_idle_ns:
        connection_say_farewell(connection, ENDED_IDLE)
    if connection.unsent != NULL and is_late(loop, connection.unsent_ns, connection.unsent_at):
        connection_end(connection, ENDED_STALLED)
    connection_look_at_calls(connection)
    if not connection.dead:
        keep_alive(connection)


cdef bint is_stranger(const Connection *connection) noexcept nogil:
    """Tell whether nobody known has made a call here, where one has to say who one is."""
    return not connection.known and not connection.loop.table.get().open


cdef int64_t stranger_ns(const Loop *loop) noexcept nogil:
    """Return how long strangers may keep a connection: they must not take all there are."""
    return min(loop.limits.max_idle_ns, loop.limits.first_call_timeout_ns)


cdef int64_t grace_ns(const Connection *connection) noexcept nogil:
    """Return how long the calls in flight on a connection that ends are waited for."""
    if is_stranger(connection):
        return min(connection.loop.limits.max_age_grace_ns, STRANGER_GRACE_NS)
    return connection.loop.limits.max_age_grace_ns


cdef void keep_alive(Connection *connection) noexcept nogil:
    """Ask a silent peer for a sign of life, and end the connection when none comes."""
    cdef Loop *loop = connection.loop
    if connection.goaway == LINGERING or connection.session == NULL:
        return
    if connection.ping_ns != 0:
        if loop.now_ns - connection.ping_ns > loop.limits.keepalive_timeout_ns:
            connection_end(connection, ENDED_KEEPALIVE)
    elif loop.now_ns - connection.alive_ns > loop.limits.keepalive_time_ns:
        connection.ping_ns = loop.now_ns
        nghttp2_submit_ping(connection.session, NGHTTP2_FLAG_NONE, <const uint8_t *> ALIVE_PING)
        connection_mark(connection)
