"""One call on the native listener: its headers, its request, its answer, its memory.

A call begins with its HTTP/2 stream, is checked as gRPC asks, decoded and put into the loop's chain
for the engine; what the engine decides is encoded and submitted to nghttp2 as headers, message and
trailers. Errors are answered as trailers only.

Invariants:
- A stream that the engine has (UNDER_WAY) stays where it is until `stream_decided`, whatever
  becomes of its HTTP/2 stream: `stream_close` only detaches it then.
- A call that is READY and closed before the end of the wake-up is not submitted: nobody may have
  seen it begin.
- What a call holds is counted by `holdings`; its records and its request are freed once the answer
  is encoded.

All functions run on the loop's thread, except for the hand-over from the engine's writer, which
touches the inbox only. Nothing here reads or writes a socket, or decides about a connection.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport abort, free, malloc, realloc
from libc.string cimport memcpy, memset, strlen

from ownerd.api.dial_call cimport (
    CALL_KIND_COUNT, TRACE_PARENT_BYTES, call_clear, call_free_items, call_init, call_item_bytes,
    call_shrink_answer,
)
from ownerd.api.dial_codec cimport dial_decode, dial_encode, read_text_field
from ownerd.api.error_details cimport DETAILS_BYTES, details_encode
from ownerd.api.grpc_http2 cimport (
    TARGET_HANDLED, TARGET_HEALTH_CHECK, TARGET_HEALTH_WATCH, TARGET_UNKNOWN, grpc_escape,
    grpc_is_content_type, grpc_is_trace_parent, grpc_target, grpc_timeout_ns,
)
from ownerd.api.reasons cimport (
    BAD_TIMEOUT, COMPRESSED, COMPRESSION_UNTOLD, DEADLINE_PASSED, HEADERS_TOO_LARGE,
    MALFORMED_MESSAGE, MESSAGE_CUT_OFF, MESSAGE_TOO_LARGE, MORE_MESSAGES, NOT_GRPC, NOT_POST,
    NO_MESSAGE, NO_TRAILERS, REQUEST_STALLED, TOO_MUCH_UNDER_WAY, UNKNOWN_METHOD,
    UNKNOWN_SERVICE, Reason, Value, numeral, refuse, refuse_with,
)
from ownerd.api.task cimport MESSAGE_BYTES, OK, Task
from ownerd.base.assertions cimport assert_that
from ownerd.base.atomics cimport count_add
from ownerd.base.bytes cimport Slice, same
from ownerd.base.grpc_prefix cimport PREFIX_BYTES, grpc_message_bytes, grpc_put_prefix
from ownerd.base.live cimport LIVE_STREAM, live_count
from ownerd.base.mpsc cimport mpsc_enter, mpsc_leave, mpsc_push
from ownerd.base.nghttp2 cimport (
    NGHTTP2_CANCEL, NGHTTP2_DATA_FLAG_EOF, NGHTTP2_DATA_FLAG_NO_END_STREAM,
    NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_FLAG_NONE, NGHTTP2_INTERNAL_ERROR,
    NGHTTP2_NV_FLAG_NO_COPY_NAME, NGHTTP2_NV_FLAG_NO_COPY_VALUE, nghttp2_data_provider,
    nghttp2_data_source, nghttp2_nv, nghttp2_session, nghttp2_submit_response,
    nghttp2_submit_rst_stream, nghttp2_submit_trailer, ssize_t,
)
from ownerd.base.sockets cimport eventfd_write
from ownerd.engine.queue cimport queue_stands_by, queue_takes_dials
from ownerd.net.authn cimport access_identify, access_lets_in, access_recognizes, access_take_header
from ownerd.net.handled cimport (
    TAKING, TAKING_COMPRESSED, TAKING_CUT_OFF, TAKING_TOO_LARGE, Taking, handled_begin,
    handled_hand_over, handled_header, handled_is_open, handled_letter, handled_message,
    handled_most_bytes, handled_over, handled_request_done, handled_streams_in, handled_take,
)
from ownerd.net.holdings cimport (
    holdings_add, holdings_begin, holdings_end, holdings_full, holdings_full_beside,
    holdings_give_back,
)
from ownerd.net.letters cimport Letter
from ownerd.net.marks cimport connection_mark
from ownerd.net.state cimport (
    ANSWERED, ANSWER_BYTES, ENDED_CROWDED, HANDED_OVER, INLINE_BYTES, READY, RECEIVING, SERVE,
    UNDER_WAY, WATCHING, Connection, Inbox, Loop, Stream,
)
from ownerd.net.strangers cimport strangers_begin_call, strangers_end_call
from ownerd.net.watch cimport (
    HEALTH_BYTES, NOT_SERVING, SERVICE_UNKNOWN, SERVING, put_health, watch_begin, watch_end,
    watch_tell,
)

cdef enum Seen:                       # bits
    SEEN_POST = 1
    SEEN_GRPC = 2
    SEEN_TE = 4
    SEEN_PATH = 8
    SEEN_BAD_TIMEOUT = 16
    SEEN_ENCODING = 32                # another than identity
    SEEN_TOO_MUCH = 64
    SEEN_HEAD = 128                   # the method, whose answer has no body

cdef enum:
    SPARE_STREAMS = 4_096             # kept by a loop for calls to come
    STATUS_DIGITS = 6
    RETRY_DIGITS = 24

cdef const char *GRPC_CONTENT = "application/grpc"


# --- memory ---------------------------------------------------------------------------------------

cdef Stream *stream_open(Connection *connection, int32_t stream_id) noexcept nogil:
    """Begin a call on a new stream."""
    cdef Loop *loop = connection.loop
    cdef Stream *stream = loop.spare
    if stream != NULL:
        loop.spare = stream.next
        loop.spare_count -= 1
    else:
        stream = <Stream *> malloc(sizeof(Stream))
        if stream == NULL:
            abort()
    loop.spare_least = min(loop.spare_least, loop.spare_count)
    memset(stream, 0, sizeof(Stream) - INLINE_BYTES - ANSWER_BYTES)
    call_init(&stream.call, CALL_KIND_COUNT)
    stream.call.task.on_done = on_decided
    stream.loop = loop
    stream.stream_id = stream_id
    stream.target = TARGET_UNKNOWN
    stream.timeout_ns = -1
    stream.transfer_ns = loop.now_ns
    stream.call.buffer = stream.inline_answer
    stream.call.buffer_bytes = ANSWER_BYTES
    stream.body = stream.inline_body
    stream.body_capacity = INLINE_BYTES
    link_stream(connection, stream)
    holdings_begin(stream)
    assert_that(stream_id > 0 and stream_id % 2 == 1, "a stream is begun by the client")
    assert_that(stream.state == RECEIVING, "a call begins with its request")
    count_add(&loop.counts.streams, 1)
    count_add(&loop.counts.received, 1)
    live_count(LIVE_STREAM, 1)
    return stream


cdef void link_stream(Connection *connection, Stream *stream) noexcept nogil:
    stream.connection = connection
    stream.next = connection.streams
    if stream.next != NULL:
        stream.next.previous = stream
    connection.streams = stream
    connection.stream_count += 1
    connection.busy_ns = connection.loop.now_ns


cdef void unlink_stream(Stream *stream) noexcept nogil:
    cdef Connection *connection = stream.connection
    strangers_end_call(stream)
    assert_that(connection.stream_count > 0, "a stream that is unlinked was counted")
    assert_that(connection.held_bytes >= stream.held_bytes, "what a stream holds was counted")
    if stream.previous != NULL:
        stream.previous.next = stream.next
    else:
        connection.streams = stream.next
    if stream.next != NULL:
        stream.next.previous = stream.previous
    if connection.receiving == stream:
        connection.receiving = NULL
    connection.stream_count -= 1
    connection.held_bytes -= stream.held_bytes
    connection.busy_ns = connection.loop.now_ns
    stream.connection = NULL


cdef void stream_close(Stream *stream) noexcept nogil:
    """End a call whose stream is over; one that the engine has is only detached."""
    if stream.handled != NULL:
        count_add(&stream.loop.counts.given_up, stream.state == HANDED_OVER)
        handled_over(stream)
    unlink_stream(stream)
    if stream.state != READY and stream.state != UNDER_WAY:
        free_stream(stream)
        return
    count_add(&stream.loop.counts.given_up, 1)


cdef void free_stream(Stream *stream) noexcept nogil:
    cdef Loop *loop = stream.loop
    live_count(LIVE_STREAM, -1)
    call_clear(&stream.call)
    if stream.body != stream.inline_body:
        free(stream.body)
    count_add(&loop.counts.streams, -1)
    holdings_end(stream)
    if loop.spare_count == SPARE_STREAMS:
        free(stream)
        return
    stream.next = loop.spare
    loop.spare = stream
    loop.spare_count += 1


cdef void streams_free_spare(Loop *loop, uint32_t count) noexcept nogil:
    """Give back so many of what is kept for calls to come, or all there are."""
    cdef Stream *after
    while loop.spare != NULL and count > 0:
        after = loop.spare.next
        free(loop.spare)
        loop.spare = after
        loop.spare_count -= 1
        count -= 1


# --- the request ----------------------------------------------------------------------------------

cdef void stream_header(
    Stream *stream, const char *name, size_t name_size, const char *value, size_t value_size
) noexcept nogil:
    """Take one header of the request, which is counted already."""
    if stream.header_bytes > stream.loop.limits.max_header_bytes:
        stream.seen |= SEEN_TOO_MUCH
        return
    if stream.handled != NULL:
        handled_header(stream, name, name_size, value, value_size)
    if name_size == 5 and same(name, name_size, ":path"):
        stream.target = <uint8_t> grpc_target(value, value_size)
        stream.seen |= SEEN_PATH
        if stream.target == TARGET_UNKNOWN and handled_begin(stream, value, value_size):
            stream.target = TARGET_HANDLED
    elif name_size == 7 and same(name, name_size, ":method"):
        if same(value, value_size, "POST"):
            stream.seen |= SEEN_POST
        elif same(value, value_size, "HEAD"):
            stream.seen |= SEEN_HEAD
    elif name_size == 12:
        if same(name, name_size, "content-type") and grpc_is_content_type(value, value_size):
            stream.seen |= SEEN_GRPC
        elif same(name, name_size, "grpc-timeout"):
            stream.timeout_ns = grpc_timeout_ns(value, value_size)
            if stream.timeout_ns < 0:
                stream.seen |= SEEN_BAD_TIMEOUT
    elif name_size == 13:
        if same(name, name_size, "authorization"):
            access_take_header(stream, value, value_size)
        elif same(name, name_size, "grpc-encoding") and not same(value, value_size, "identity"):
            stream.seen |= SEEN_ENCODING
    elif name_size == 11:
        if same(name, name_size, "traceparent") and grpc_is_trace_parent(value, value_size):
            memcpy(stream.call.trace_parent, value, TRACE_PARENT_BYTES)
            stream.call.is_traced = True
    elif name_size == 2 and same(name, name_size, "te") and same(value, value_size, "trailers"):
        stream.seen |= SEEN_TE


cdef void stream_headers_done(Stream *stream) noexcept nogil:
    """Check the headers once all are there; what cannot be served is refused at once."""
    cdef Connection *connection = stream.connection
    cdef uint8_t seen = stream.seen
    connection.receiving = stream
    stream.headers_done = True
    if seen & SEEN_TOO_MUCH:
        refuse_too_much(stream)
    elif not seen & SEEN_POST:
        refuse_http(stream, NOT_POST, 405)
    elif not seen & SEEN_GRPC:
        refuse_http(stream, NOT_GRPC, 415)
    elif not seen & SEEN_TE:
        refuse(&stream.call.task, NO_TRAILERS)
        count_add(&stream.loop.counts.refused, 1)
        submit_error(stream, "400")
    elif stream.target == TARGET_UNKNOWN:
        refuse_stream(stream, UNKNOWN_METHOD)
    elif seen & SEEN_BAD_TIMEOUT:
        refuse_stream(stream, BAD_TIMEOUT)
    elif seen & SEEN_ENCODING:
        refuse_encoding(stream)
    elif not is_open(stream) and not access_identify(stream):
        answer_refused(stream)
    elif holdings_full(stream, 0):
        refuse_stream(stream, TOO_MUCH_UNDER_WAY)
    else:
        if is_open(stream) and not access_recognizes(stream):
            turn_out(strangers_begin_call(stream))
        if stream.timeout_ns >= 0:
            set_deadline(stream)
        if stream.state == RECEIVING and stream.handled != NULL and handled_streams_in(stream):
            handled_hand_over(stream)
    if stream.http_status != 0:       # it waits for its end, whoever it is from
        turn_out(strangers_begin_call(stream))


cdef void turn_out(Stream *stream) noexcept nogil:
    """End a stranger's open call, if there is one: its place is needed."""
    cdef Connection *connection
    if stream == NULL:
        return
    connection = stream.connection
    count_add(&stream.loop.counts.calls_turned_out, 1)
    if stream.handled != NULL:
        handled_over(stream)
    stream.state = ANSWERED
    nghttp2_submit_rst_stream(
        connection.session, NGHTTP2_FLAG_NONE, stream.stream_id, NGHTTP2_ENHANCE_YOUR_CALM
    )
    connection_mark(connection)
    if connection.unsent != NULL:     # it takes nothing: the stream would stay
        connection.ending = ENDED_CROWDED
        connection.dead = True


cdef bint streams_are_coming(const Connection *connection) noexcept nogil:
    """Tell whether there are requests that are not whole, and are not a stranger's."""
    cdef const Stream *stream = connection.streams
    while stream != NULL:
        if stream.state == RECEIVING and not stream.of_stranger:
            return True
        stream = stream.next
    return False


cdef inline bint is_health(const Stream *stream) noexcept nogil:
    return stream.target == TARGET_HEALTH_CHECK or stream.target == TARGET_HEALTH_WATCH


cdef inline bint is_open(const Stream *stream) noexcept nogil:
    """Tell whether nobody has to say who they are for this call."""
    return is_health(stream) or (stream.handled != NULL and handled_is_open(stream))


cdef void set_deadline(Stream *stream) noexcept nogil:
    """Count the timeout from when the bytes came, not from when there was time to read them."""
    cdef Loop *loop = stream.loop
    cdef int64_t deadline_ns = deadline(stream.connection.came_ns, stream.timeout_ns)
    stream.call.task.deadline_ns = deadline_ns
    if deadline_ns == 0:
        return
    if deadline_ns <= loop.now_ns:
        refuse_stream(stream, DEADLINE_PASSED)
    else:
        loop.next_look_ns = min(loop.next_look_ns, deadline_ns)


cdef int64_t deadline(int64_t now_ns, int64_t timeout_ns) noexcept nogil:
    if timeout_ns > (<int64_t> 0x7FFFFFFFFFFFFFFF) - now_ns:
        return 0                      # no deadline that this machine will see
    return now_ns + timeout_ns


cdef void stream_data(Stream *stream, const uint8_t *data, size_t size) noexcept nogil:
    """Take a piece of the request; it may be cut anywhere."""
    cdef size_t wanted = stream.body_size + size
    cdef uint32_t message_bytes
    if stream.state == HANDED_OVER and handled_streams_in(stream):
        take_messages(stream, data, size)
        return
    if stream.state != RECEIVING or stream.http_status != 0:
        return                        # nobody reads it
    if wanted > stream.body_capacity and not grow_body(stream, wanted):
        return
    memcpy(stream.body + stream.body_size, data, size)
    stream.body_size = wanted
    assert_that(wanted <= stream.body_capacity, "a request has its place")
    if wanted > INLINE_BYTES or stream.loop.limits.max_message_bytes < INLINE_BYTES:
        message_bytes = grpc_message_bytes(stream.body)
        if message_bytes > stream.loop.limits.max_message_bytes:
            refuse_size(stream, message_bytes)


cdef void take_messages(Stream *stream, const uint8_t *data, size_t size) noexcept nogil:
    """Take a piece of a stream of messages; one that cannot be taken ends the call."""
    cdef Taking rest = handled_take(stream, data, size)
    if rest != TAKING:
        refuse_messages(stream, rest)


cdef void refuse_messages(Stream *stream, Taking rest) noexcept nogil:
    """End a call whose handler has it; one that is answered in part can only be reset."""
    if stream.handled.answering:
        stream.state = ANSWERED
        nghttp2_submit_rst_stream(
            stream.connection.session, NGHTTP2_FLAG_NONE, stream.stream_id, NGHTTP2_INTERNAL_ERROR
        )
    elif rest == TAKING_COMPRESSED:
        refuse_stream(stream, COMPRESSION_UNTOLD)
    elif rest == TAKING_TOO_LARGE:
        refuse_size(stream, grpc_message_bytes(stream.body))
    elif rest == TAKING_CUT_OFF:
        refuse_stream(stream, MESSAGE_CUT_OFF)
    else:
        refuse_stream(stream, TOO_MUCH_UNDER_WAY)
    handled_over(stream)


cdef inline size_t most_bytes(const Stream *stream) noexcept nogil:
    """Return how long a request may be, its prefix included.

    Nobody has to say who they are for a look at the health: it takes no memory either.
    """
    if is_health(stream):
        return INLINE_BYTES
    if stream.handled != NULL:
        return handled_most_bytes(stream) + PREFIX_BYTES
    return stream.loop.limits.max_message_bytes + PREFIX_BYTES


cdef bint grow_body(Stream *stream, size_t wanted) noexcept nogil:
    """Make place for `wanted` bytes of request; False if that is more than a message may have."""
    cdef size_t most = most_bytes(stream)
    cdef size_t capacity = min(max(wanted, stream.body_capacity * 2), most)
    cdef bint is_inline = stream.body == stream.inline_body
    if wanted > most:
        refuse_size(stream, max(
            <size_t> grpc_message_bytes(stream.body), wanted - PREFIX_BYTES
        ))
        return False
    if holdings_full(stream, capacity):
        refuse_stream(stream, TOO_MUCH_UNDER_WAY)
        return False
    stream.body = <char *> realloc(NULL if is_inline else stream.body, capacity)
    if stream.body == NULL:
        abort()
    if is_inline:
        memcpy(stream.body, stream.inline_body, stream.body_size)
        stream.body_capacity = 0
    holdings_add(stream, capacity - stream.body_capacity)
    stream.body_capacity = capacity
    return True


cdef void stream_request_done(Stream *stream) noexcept nogil:
    """The request is whole: check its framing, decode it and make it ready for the engine."""
    cdef size_t size = stream.body_size
    stream.request_ended = True
    if stream.state == HANDED_OVER and handled_streams_in(stream):
        if not handled_request_done(stream):
            refuse_messages(stream, TAKING_CUT_OFF)
        return
    if stream.state != RECEIVING:
        return
    if stream.http_status != 0:
        answer_http(stream)
    elif size == 0:
        refuse_stream(stream, NO_MESSAGE)
    elif stream.body[0] != 0:
        refuse_stream(stream, COMPRESSION_UNTOLD)
    elif size < PREFIX_BYTES or size < PREFIX_BYTES + grpc_message_bytes(stream.body):
        refuse_stream(stream, MESSAGE_CUT_OFF)
    elif grpc_message_bytes(stream.body) > stream.loop.limits.max_message_bytes:
        refuse_size(stream, grpc_message_bytes(stream.body))
    elif size > PREFIX_BYTES + grpc_message_bytes(stream.body):
        refuse_stream(stream, MORE_MESSAGES)
    elif is_health(stream):
        answer_health(stream)
    elif stream.handled != NULL:
        handled_hand_over(stream)
        handled_message(stream, stream.body + PREFIX_BYTES, size - PREFIX_BYTES)
        handled_request_done(stream)
    else:
        decode(stream)


cdef void decode(Stream *stream) noexcept nogil:
    cdef Loop *loop = stream.loop
    stream.call.call_kind = stream.target
    if not dial_decode(
        &stream.call, stream.body + PREFIX_BYTES, stream.body_size - PREFIX_BYTES
    ):
        call_free_items(&stream.call)
        answer_refused(stream)
        return
    if not hold_items(stream):
        call_free_items(&stream.call)
        refuse_stream(stream, TOO_MUCH_UNDER_WAY)
        return
    if not access_lets_in(stream):
        answer_refused(stream)
        return
    assert_that(
        stream.state == RECEIVING and stream.request_ended, "a call is submitted once, and whole"
    )
    stream.state = READY
    count_add(&loop.counts.under_way, 1)
    stream.call.task.next = NULL
    if loop.last_ready == NULL:
        loop.first_ready = &stream.call.task
    else:
        loop.last_ready.next = &stream.call.task
    loop.last_ready = &stream.call.task


cdef bint hold_items(Stream *stream) noexcept nogil:
    """Count the records of a decoded batch; False if there is no place for them."""
    cdef size_t size = call_item_bytes(&stream.call)
    if size > 0 and holdings_full_beside(stream, size):
        return False
    holdings_add(stream, size)
    return True


cdef bint stream_submits(Stream *stream) noexcept nogil:
    """Give a call that is ready to the engine; False if nobody waits for it any more: it is freed.
    """
    assert_that(stream.state == READY, "a call is submitted once")
    if stream.connection != NULL:
        stream.state = UNDER_WAY
        return True
    count_add(&stream.loop.counts.under_way, -1)
    free_stream(stream)
    return False


# --- what does not move ---------------------------------------------------------------------------

cdef Look stream_look(Stream *stream) noexcept nogil:
    """Apply the limits in time to a call.

    Its deadline holds while the request still comes in. A request has to come in, and an answer has
    to be taken, within the transfer timeout, and whoever moves more gets the time for that.
    """
    cdef Loop *loop = stream.loop
    cdef int64_t deadline_ns = stream.call.task.deadline_ns
    if stream.state == RECEIVING:
        if deadline_ns != 0 and deadline_ns <= loop.now_ns:
            refuse_stream(stream, DEADLINE_PASSED)
            return LOOK_SAID
        if deadline_ns != 0:
            loop.next_look_ns = min(loop.next_look_ns, deadline_ns)
        if not is_late(loop, stream.transfer_ns, stream.body_size):
            return LOOK_FINE
        if not stream.headers_done:
            return LOOK_BROKEN        # nghttp2 takes no answer amid a header block
        count_add(&loop.counts.stalled, 1)
        refuse_stream(stream, REQUEST_STALLED)
        return LOOK_SAID
    if stream.state != ANSWERED or not is_late(loop, stream.transfer_ns, stream.sent_bytes):
        return LOOK_FINE
    count_add(&loop.counts.stalled, 1)
    stream.transfer_ns = loop.now_ns      # said once
    nghttp2_submit_rst_stream(
        stream.connection.session, NGHTTP2_FLAG_NONE, stream.stream_id, NGHTTP2_CANCEL
    )
    return LOOK_SAID


# --- the engine's decision ------------------------------------------------------------------------

cdef void on_decided(Task *task) noexcept nogil:
    """Leave an answered call in its loop's inbox; on the engine's writer thread."""
    cdef Inbox *inbox = &(<Stream *> task).loop.inbox
    mpsc_enter(&inbox.busy)
    if mpsc_push(&inbox.answered, task):
        eventfd_write(inbox.fd, 1)
    mpsc_leave(&inbox.busy)


cdef void stream_decided(Stream *stream) noexcept nogil:
    """The engine is done with the call: answer it, or free it if nobody waits any more."""
    assert_that(stream.state == UNDER_WAY, "only a call that was submitted is decided")
    assert_that(stream.loop.counts.under_way > 0, "a call that is decided was counted")
    count_add(&stream.loop.counts.under_way, -1)
    if stream.connection == NULL:
        free_stream(stream)
    else:
        if stream.call.task.code == OK:
            dial_encode(&stream.call)
        free_request(stream)
        submit_answer(stream)


cdef void free_request(Stream *stream) noexcept nogil:
    """Free what only the engine needed: the answer may wait for its reader a long time."""
    cdef size_t size = call_item_bytes(&stream.call)
    call_free_items(&stream.call)
    if stream.body != stream.inline_body:
        free(stream.body)
        size += stream.body_capacity
        stream.body = stream.inline_body
        stream.body_size = stream.body_capacity = 0
    holdings_give_back(stream, size)


# --- the answer -----------------------------------------------------------------------------------

cdef inline nghttp2_nv header(const char *name, const char *value) noexcept nogil:
    """Return a header that is made of literals."""
    cdef nghttp2_nv pair
    pair.name, pair.namelen = <uint8_t *> name, strlen(name)
    pair.value, pair.valuelen = <uint8_t *> value, strlen(value)
    pair.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
    return pair


cdef ssize_t on_read_answer(
    nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t capacity, uint32_t *flags,
    nghttp2_data_source *source, void *user_data
) noexcept nogil:
    """Copy the next piece of prefix and message, and submit the trailers behind the last one."""
    cdef Stream *stream = <Stream *> source.ptr
    cdef char prefix[PREFIX_BYTES]
    cdef nghttp2_nv trailer
    cdef size_t size, taken = 0
    if stream.sent_bytes < PREFIX_BYTES:
        grpc_put_prefix(prefix, <uint32_t> stream.call.answer_size)
        taken = min(capacity, PREFIX_BYTES - stream.sent_bytes)
        memcpy(buffer, prefix + stream.sent_bytes, taken)
        stream.sent_bytes += taken
    size = min(capacity - taken, stream.call.answer_size + PREFIX_BYTES - stream.sent_bytes)
    if size > 0:
        memcpy(
            buffer + taken, stream.call.answer + stream.sent_bytes - PREFIX_BYTES, size
        )
        stream.sent_bytes += size
    assert_that(stream.state == ANSWERED and taken + size <= capacity, "an answer fits")
    assert_that(
        stream.sent_bytes <= stream.call.answer_size + PREFIX_BYTES, "no more is sent than there is"
    )
    if stream.sent_bytes == stream.call.answer_size + PREFIX_BYTES:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM
        trailer = header("grpc-status", "0")
        nghttp2_submit_trailer(session, stream_id, &trailer, 1)
    return <ssize_t> (taken + size)


cdef void submit_answer(Stream *stream) noexcept nogil:
    """Hand the decided or refused call to nghttp2."""
    cdef Connection *connection = stream.connection
    cdef nghttp2_data_provider provider
    cdef nghttp2_nv headers[2]
    if stream.call.task.code != OK:
        submit_error(stream, "200")
        return
    assert_that(stream.state != ANSWERED, "a call has one answer")
    assert_that(stream.call.answer != NULL, "an answer has bytes")
    stream.state = ANSWERED
    stream.transfer_ns = stream.loop.now_ns
    if stream.call.answer != stream.inline_answer:
        call_shrink_answer(&stream.call)
        holdings_add(stream, stream.call.answer_size)
    headers[0] = header(":status", "200")
    headers[1] = header("content-type", GRPC_CONTENT)
    provider.source.ptr = stream
    provider.read_callback = on_read_answer
    if nghttp2_submit_response(
        connection.session, stream.stream_id, headers, 2, &provider
    ) != 0:
        connection.dead = True


cdef void submit_error(Stream *stream, const char *http_status) noexcept nogil:
    """Answer with trailers only."""
    cdef char digits[STATUS_DIGITS]
    cdef char escaped[3 * MESSAGE_BYTES]
    cdef char details[DETAILS_BYTES]
    cdef char retry_ms[RETRY_DIGITS]
    cdef nghttp2_nv headers[7]
    cdef size_t count = 4
    assert_that(stream.state != ANSWERED, "a call has one answer")
    assert_that(stream.call.task.message != NULL, "an error says what is wrong")
    stream.state = ANSWERED
    stream.transfer_ns = stream.loop.now_ns
    snprintf(digits, sizeof(digits), "%d", stream.call.task.code)
    headers[0] = header(":status", http_status)
    headers[1] = header("content-type", GRPC_CONTENT)
    headers[2] = header("grpc-status", digits)
    headers[2].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
    headers[3] = header("grpc-message", "")
    headers[3].value = <uint8_t *> escaped
    headers[3].valuelen = grpc_escape(stream.call.task.message, escaped)
    headers[3].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
    headers[count] = header("grpc-status-details-bin", "")
    headers[count].value = <uint8_t *> details
    headers[count].valuelen = details_encode(&stream.call.task, details)
    headers[count].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
    count += headers[count].valuelen > 0
    if stream.encoding_refused:
        headers[count] = header("grpc-accept-encoding", "identity")
        count += 1
    if stream.call.task.retry_ms != 0:
        snprintf(retry_ms, sizeof(retry_ms), "%lld", <long long> stream.call.task.retry_ms)
        headers[count] = header("grpc-retry-pushback-ms", retry_ms)
        headers[count].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
        count += 1
    if nghttp2_submit_response(
        stream.connection.session, stream.stream_id, headers, count, NULL
    ) != 0:
        stream.connection.dead = True


cdef void answer_refused(Stream *stream) noexcept nogil:
    """Answer a call that is refused before the engine sees it."""
    count_add(&stream.loop.counts.refused, 1)
    free_request(stream)
    submit_error(stream, "200")


cdef void refuse_stream(Stream *stream, Reason reason) noexcept nogil:
    refuse(&stream.call.task, reason)
    answer_refused(stream)


cdef void refuse_http(Stream *stream, Reason reason, uint16_t http_status) noexcept nogil:
    """Answer what is no gRPC call once it is whole, like any HTTP server."""
    refuse(&stream.call.task, reason)
    stream.http_status = http_status


cdef ssize_t on_read_text(
    nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t capacity, uint32_t *flags,
    nghttp2_data_source *source, void *user_data
) noexcept nogil:
    """Copy the next piece of the text for people who came here by chance."""
    cdef Stream *stream = <Stream *> source.ptr
    cdef size_t size = strlen(stream.call.task.message) - stream.sent_bytes
    size = min(size, capacity)
    memcpy(buffer, stream.call.task.message + stream.sent_bytes, size)
    stream.sent_bytes += size
    if stream.call.task.message[stream.sent_bytes] == 0:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF
    return <ssize_t> size


cdef void answer_http(Stream *stream) noexcept nogil:
    """Answer with a status of HTTP and a text."""
    cdef char digits[STATUS_DIGITS]
    cdef char code[STATUS_DIGITS]
    cdef nghttp2_data_provider provider
    cdef const nghttp2_data_provider *body = NULL
    cdef nghttp2_nv headers[3]
    assert_that(stream.state == RECEIVING, "a call has one answer")
    stream.state = ANSWERED
    stream.transfer_ns = stream.loop.now_ns
    count_add(&stream.loop.counts.refused, 1)
    snprintf(digits, sizeof(digits), "%d", <int> stream.http_status)
    snprintf(code, sizeof(code), "%d", stream.call.task.code)
    headers[0] = header(":status", digits)
    headers[0].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
    headers[1] = header("content-type", "text/plain")
    headers[2] = header("grpc-status", code)
    headers[2].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
    provider.source.ptr = stream
    provider.read_callback = on_read_text
    if not stream.seen & SEEN_HEAD:
        body = &provider
    if nghttp2_submit_response(
        stream.connection.session, stream.stream_id, headers, 3, body
    ) != 0:
        stream.connection.dead = True


cdef void refuse_too_much(Stream *stream) noexcept nogil:
    cdef Value most = numeral(stream.loop.limits.max_header_bytes)
    refuse_with(&stream.call.task, HEADERS_TOO_LARGE, &most)
    answer_refused(stream)


cdef void refuse_size(Stream *stream, size_t found) noexcept nogil:
    cdef Value values[2]
    values[0], values[1] = numeral(found), numeral(most_bytes(stream) - PREFIX_BYTES)
    refuse_with(&stream.call.task, MESSAGE_TOO_LARGE, values)
    answer_refused(stream)


cdef void refuse_encoding(Stream *stream) noexcept nogil:
    stream.encoding_refused = True
    refuse_stream(stream, COMPRESSED)


# --- health ---------------------------------------------------------------------------------------

cdef inline bint is_dials(Slice name) noexcept nogil:
    return same(name.data, name.size, "ownerd.v1.DialService")


cdef bint is_known_service(Slice name) noexcept nogil:
    return (
        name.size == 0
        or is_dials(name)
        or same(name.data, name.size, "ownerd.v1.AdminService")
    )


cdef inline uint8_t health_of(const Loop *loop, bint of_dials) noexcept nogil:
    """Return what the health is: serving while the engine takes calls, and this loop new ones.

    A node that stands by takes no dials, and answers the rest.
    """
    if loop.order != SERVE:
        return NOT_SERVING
    if queue_takes_dials(&loop.engine.queue):
        return SERVING
    return SERVING if not of_dials and queue_stands_by(&loop.engine.queue) else NOT_SERVING


cdef void answer_health(Stream *stream) noexcept nogil:
    """Answer the Check or Watch of grpc.health.v1.Health."""
    cdef Loop *loop = stream.loop
    cdef bint watching = stream.target == TARGET_HEALTH_WATCH
    cdef Slice service
    count_add(&loop.counts.health_checks, 1)
    if not read_text_field(
        stream.body + PREFIX_BYTES, stream.body_size - PREFIX_BYTES, 1, &service
    ):
        refuse_stream(stream, MALFORMED_MESSAGE)
    elif watching:
        stream.watches_dials = is_dials(service)
        stream.connection.dead |= not watch_begin(
            stream,
            health_of(loop, stream.watches_dials) if is_known_service(service)
            else SERVICE_UNKNOWN,
        )
    elif not is_known_service(service):
        refuse_stream(stream, UNKNOWN_SERVICE)
    else:
        stream.call.answer = stream.inline_answer
        put_health(stream.call.answer, health_of(loop, is_dials(service)))
        stream.call.answer_size = HEALTH_BYTES
        submit_answer(stream)


cdef void streams_tell_health(Connection *connection) noexcept nogil:
    """Tell the connection's watchers what the health is now."""
    cdef Stream *stream = connection.streams
    while stream != NULL:
        if stream.state == WATCHING:
            connection.dead |= not watch_tell(
                stream, health_of(connection.loop, stream.watches_dials)
            )
        stream = stream.next


cdef void streams_end_watches(Connection *connection) noexcept nogil:
    """End what would keep a connection open that takes no more calls."""
    cdef Stream *stream = connection.streams
    while stream != NULL:
        if stream.state == WATCHING:
            connection.dead |= not watch_end(stream)
        stream = stream.next


# --- handlers in Python ---------------------------------------------------------------------------

cdef void stream_letter(Stream *stream, Letter *letter) noexcept nogil:
    """Do what the call's handler asks for."""
    stream.connection.dead |= not handled_letter(letter)
