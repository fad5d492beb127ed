"""One call on the native listener: its headers, its request, its answer, its memory.

An exchange is opened with its stream, checked as gRPC asks, decoded and put into the loop's chain
for the engine; what the engine decides is submitted to nghttp2 as headers, message and trailers.
Errors are answered as trailers only.

Invariants:
- An exchange that the engine has (UNDER_WAY) stays where it is until `exchange_decided`, whatever
  becomes of its stream: `exchange_close` only detaches it then.
- Whatever an exchange holds beyond its own struct is counted in `held_bytes`: of its connection
  until its stream is gone, of its loop until it is freed.

All functions run on the loop's thread, except for the hand-over from the engine's writer, which
touches the inbox only. Nothing here reads or writes a socket, or decides about a connection.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport abort, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset, strlen

from ownerd.api.calls cimport (
    CALL_KIND_COUNT, INVALID_ARGUMENT, MESSAGE_BYTES, NOT_FOUND, OK, RESOURCE_EXHAUSTED, Task,
    call_clear, call_init, task_refuse,
)
from ownerd.api.dial_codec cimport dial_decode, read_text_field
from ownerd.api.grpc_http2 cimport (
    GRPC_INTERNAL, GRPC_UNIMPLEMENTED, PREFIX_BYTES, TARGET_HEALTH_CHECK, TARGET_UNKNOWN,
    grpc_escape, grpc_is_content_type, grpc_message_bytes, grpc_put_prefix, grpc_target,
    grpc_timeout_ns,
)
from ownerd.base.bytes cimport Slice, same
from ownerd.base.mpsc cimport mpsc_enter, mpsc_leave, mpsc_push
from ownerd.base.nghttp2 cimport (
    NGHTTP2_DATA_FLAG_EOF, NGHTTP2_DATA_FLAG_NO_END_STREAM, NGHTTP2_NV_FLAG_NONE,
    NGHTTP2_NV_FLAG_NO_COPY_NAME, NGHTTP2_NV_FLAG_NO_COPY_VALUE, nghttp2_data_provider,
    nghttp2_data_source, nghttp2_nv, nghttp2_session, nghttp2_submit_response,
    nghttp2_submit_trailer, ssize_t,
)
from ownerd.base.sockets cimport eventfd_write
from ownerd.engine.group_commit cimport RUNNING
from ownerd.net.authn cimport access_identify, access_lets_in, access_take_header
from ownerd.net.state cimport (
    ANSWERED, ANSWER_BYTES, INLINE_BYTES, RECEIVING, SERVE, UNDER_WAY, Connection, Exchange,
    Inbox, Loop,
)

cdef enum Seen:                       # bits
    SEEN_POST = 1
    SEEN_GRPC = 2
    SEEN_TE = 4
    SEEN_PATH = 8
    SEEN_BAD_TIMEOUT = 16
    SEEN_ENCODING = 32                # another than identity
    SEEN_TOO_MUCH = 64

cdef enum:
    SPARE_EXCHANGES = 4_096           # kept by a loop for calls to come
    SERVING = 1                       # grpc.health.v1.HealthCheckResponse.ServingStatus
    NOT_SERVING = 2
    STATUS_DIGITS = 4
    RETRY_DIGITS = 24

cdef const char *GRPC_CONTENT = "application/grpc"


# --- memory ---------------------------------------------------------------------------------------

cdef Exchange *exchange_open(Connection *connection, int32_t stream_id) noexcept nogil:
    """Begin a call on a new stream."""
    cdef Loop *loop = connection.loop
    cdef Exchange *exchange = loop.spare
    if exchange != NULL:
        loop.spare = exchange.next
        loop.spare_count -= 1
    else:
        exchange = <Exchange *> malloc(sizeof(Exchange))
        if exchange == NULL:
            abort()
    memset(exchange, 0, sizeof(Exchange) - INLINE_BYTES - ANSWER_BYTES)
    call_init(&exchange.call, CALL_KIND_COUNT)
    exchange.call.task.on_done = on_decided
    exchange.loop = loop
    exchange.stream_id = stream_id
    exchange.target = TARGET_UNKNOWN
    exchange.timeout_ns = -1
    exchange.call.room = exchange.inline_answer
    exchange.call.buffer_bytes = ANSWER_BYTES
    exchange.body = exchange.inline_body
    exchange.body_capacity = INLINE_BYTES
    link_exchange(connection, exchange)
    loop.counts.exchanges += 1
    loop.counts.received += 1
    return exchange


cdef void link_exchange(Connection *connection, Exchange *exchange) noexcept nogil:
    exchange.connection = connection
    exchange.next = connection.exchanges
    if exchange.next != NULL:
        exchange.next.previous = exchange
    connection.exchanges = exchange
    connection.exchange_count += 1
    connection.busy_ns = connection.loop.now_ns


cdef void unlink_exchange(Exchange *exchange) noexcept nogil:
    cdef Connection *connection = exchange.connection
    if exchange.previous != NULL:
        exchange.previous.next = exchange.next
    else:
        connection.exchanges = exchange.next
    if exchange.next != NULL:
        exchange.next.previous = exchange.previous
    if connection.receiving == exchange:
        connection.receiving = NULL
    connection.exchange_count -= 1
    connection.held_bytes -= exchange.held_bytes
    connection.busy_ns = connection.loop.now_ns
    exchange.connection = NULL


cdef void exchange_close(Exchange *exchange) noexcept nogil:
    """End a call whose stream is over; one that the engine has is only detached."""
    unlink_exchange(exchange)
    if exchange.state == UNDER_WAY:
        exchange.loop.counts.given_up += 1
    else:
        free_exchange(exchange)


cdef void free_exchange(Exchange *exchange) noexcept nogil:
    cdef Loop *loop = exchange.loop
    call_clear(&exchange.call)
    if exchange.body != exchange.inline_body:
        free(exchange.body)
    loop.counts.exchanges -= 1
    loop.held_bytes -= exchange.held_bytes
    if loop.spare_count == SPARE_EXCHANGES:
        free(exchange)
        return
    exchange.next = loop.spare
    loop.spare = exchange
    loop.spare_count += 1


cdef void exchanges_free_spare(Loop *loop) noexcept nogil:
    """Give back what is kept for calls to come."""
    cdef Exchange *after
    while loop.spare != NULL:
        after = loop.spare.next
        free(loop.spare)
        loop.spare = after
    loop.spare_count = 0


cdef inline void hold(Exchange *exchange, size_t size) noexcept nogil:
    exchange.held_bytes += size
    exchange.connection.held_bytes += size
    exchange.loop.held_bytes += size


cdef inline bint holds_too_much(const Exchange *exchange, size_t more) noexcept nogil:
    """Tell whether there is no place for `more` bytes of a request."""
    return (
        exchange.connection.held_bytes + more > exchange.loop.limits.max_held_bytes
        or exchange.loop.held_bytes + more > exchange.loop.limits.max_loop_bytes
    )


# --- the request ----------------------------------------------------------------------------------

cdef void exchange_header(
    Exchange *exchange, const char *name, size_t name_size, const char *value, size_t value_size
) noexcept nogil:
    """Take one header of the request; those that gRPC servers do not ask for are only counted."""
    exchange.header_bytes += <uint32_t> (name_size + value_size + 32)
    if exchange.header_bytes > exchange.loop.limits.max_header_bytes:
        exchange.seen |= SEEN_TOO_MUCH
    elif name_size == 5 and same(name, name_size, ":path"):
        exchange.target = <uint8_t> grpc_target(value, value_size)
        exchange.seen |= SEEN_PATH
    elif name_size == 7 and same(name, name_size, ":method"):
        if same(value, value_size, "POST"):
            exchange.seen |= SEEN_POST
    elif name_size == 12:
        if same(name, name_size, "content-type") and grpc_is_content_type(value, value_size):
            exchange.seen |= SEEN_GRPC
        elif same(name, name_size, "grpc-timeout"):
            exchange.timeout_ns = grpc_timeout_ns(value, value_size)
            if exchange.timeout_ns < 0:
                exchange.seen |= SEEN_BAD_TIMEOUT
    elif name_size == 13:
        if same(name, name_size, "authorization"):
            access_take_header(exchange, value, value_size)
        elif same(name, name_size, "grpc-encoding") and not same(value, value_size, "identity"):
            exchange.seen |= SEEN_ENCODING
    elif name_size == 2 and same(name, name_size, "te") and same(value, value_size, "trailers"):
        exchange.seen |= SEEN_TE


cdef void exchange_headers_done(Exchange *exchange) noexcept nogil:
    """Check the headers once all are there; what cannot be served is refused at once."""
    cdef Connection *connection = exchange.connection
    cdef uint8_t seen = exchange.seen
    connection.receiving = exchange
    if seen & SEEN_TOO_MUCH:
        refuse_too_much(exchange)
    elif not seen & SEEN_POST:
        refuse(exchange, GRPC_INTERNAL, "405", "HTTP method: only POST is a gRPC call")
    elif not seen & SEEN_GRPC:
        refuse(exchange, GRPC_INTERNAL, "415", "content-type: found none of application/grpc")
    elif not seen & SEEN_TE:
        refuse(exchange, GRPC_INTERNAL, "400", "te: found no 'te: trailers', which gRPC asks for")
    elif exchange.target == TARGET_UNKNOWN:
        refuse(exchange, GRPC_UNIMPLEMENTED, "200", "Method not found!")
    elif seen & SEEN_BAD_TIMEOUT:
        refuse(
            exchange, GRPC_INTERNAL, "200",
            "grpc-timeout: found no 1 to 8 digits with one of the units H, M, S, m, u, n",
        )
    elif seen & SEEN_ENCODING:
        refuse_encoding(exchange)
    elif exchange.target != TARGET_HEALTH_CHECK and not access_identify(exchange):
        refuse_caller(exchange)
    elif holds_too_much(exchange, 0):
        refuse_held(exchange)
    elif exchange.timeout_ns >= 0:
        exchange.call.task.deadline_ns = deadline(exchange.loop.now_ns, exchange.timeout_ns)


cdef int64_t deadline(int64_t now_ns, int64_t timeout_ns) noexcept nogil:
    if timeout_ns > (<int64_t> 0x7FFFFFFFFFFFFFFF) - now_ns:
        return 0                      # no deadline that this machine will see
    return now_ns + timeout_ns


cdef void exchange_data(Exchange *exchange, const uint8_t *data, size_t size) noexcept nogil:
    """Take a piece of the request; it may be cut anywhere."""
    cdef size_t wanted = exchange.body_size + size
    cdef uint32_t message_bytes
    if exchange.state != RECEIVING:
        return                        # answered before it was whole: nobody reads the rest
    if wanted > exchange.body_capacity and not grow_body(exchange, wanted):
        return
    memcpy(exchange.body + exchange.body_size, data, size)
    exchange.body_size = wanted
    if wanted > INLINE_BYTES or exchange.loop.limits.max_message_bytes < INLINE_BYTES:
        message_bytes = grpc_message_bytes(exchange.body)
        if message_bytes > exchange.loop.limits.max_message_bytes:
            refuse_size(exchange, message_bytes)


cdef inline size_t most_bytes(const Exchange *exchange) noexcept nogil:
    """Return how long a request may be, its prefix included.

    Nobody has to say who they are for a look at the health: it takes no memory either.
    """
    if exchange.target == TARGET_HEALTH_CHECK:
        return INLINE_BYTES
    return exchange.loop.limits.max_message_bytes + PREFIX_BYTES


cdef bint grow_body(Exchange *exchange, size_t wanted) noexcept nogil:
    """Make room for `wanted` bytes of request; False if that is more than a message may have."""
    cdef size_t most = most_bytes(exchange)
    cdef size_t capacity = min(max(wanted, exchange.body_capacity * 2), most)
    cdef bint is_inline = exchange.body == exchange.inline_body
    if wanted > most:
        refuse_size(exchange, max(
            <size_t> grpc_message_bytes(exchange.body), wanted - PREFIX_BYTES
        ))
        return False
    if holds_too_much(exchange, capacity):
        refuse_held(exchange)
        return False
    exchange.body = <char *> realloc(NULL if is_inline else exchange.body, capacity)
    if exchange.body == NULL:
        abort()
    if is_inline:
        memcpy(exchange.body, exchange.inline_body, exchange.body_size)
        exchange.body_capacity = 0
    hold(exchange, capacity - exchange.body_capacity)
    exchange.body_capacity = capacity
    return True


cdef void exchange_request_done(Exchange *exchange) noexcept nogil:
    """The request is whole: check its framing, decode it and make it ready for the engine."""
    cdef size_t size = exchange.body_size
    exchange.request_ended = True
    if exchange.state != RECEIVING:
        return
    if size == 0:
        refuse(exchange, GRPC_UNIMPLEMENTED, "200", "the call has one request, and found was none")
    elif exchange.body[0] != 0:
        refuse_encoding(exchange)
    elif size < PREFIX_BYTES or size < PREFIX_BYTES + grpc_message_bytes(exchange.body):
        refuse(exchange, GRPC_INTERNAL, "200", "the request ended in the middle of its message")
    elif grpc_message_bytes(exchange.body) > exchange.loop.limits.max_message_bytes:
        refuse_size(exchange, grpc_message_bytes(exchange.body))
    elif size > PREFIX_BYTES + grpc_message_bytes(exchange.body):
        refuse(exchange, GRPC_UNIMPLEMENTED, "200", "the call has one request, and found were more")
    elif exchange.target == TARGET_HEALTH_CHECK:
        answer_health(exchange)
    else:
        decode(exchange)


cdef void decode(Exchange *exchange) noexcept nogil:
    cdef Loop *loop = exchange.loop
    exchange.call.call_kind = exchange.target
    if not dial_decode(
        &exchange.call, exchange.body + PREFIX_BYTES, exchange.body_size - PREFIX_BYTES
    ):
        loop.counts.refused += 1
        submit_answer(exchange)
        return
    if not access_lets_in(exchange):
        refuse_caller(exchange)
        return
    exchange.state = UNDER_WAY
    loop.counts.under_way += 1
    exchange.call.task.next = NULL
    if loop.last_ready == NULL:
        loop.first_ready = &exchange.call.task
    else:
        loop.last_ready.next = &exchange.call.task
    loop.last_ready = &exchange.call.task


# --- the engine's decision ------------------------------------------------------------------------

cdef void on_decided(Task *task) noexcept nogil:
    """Leave an answered call in its loop's inbox; on the engine's writer thread."""
    cdef Inbox *inbox = &(<Exchange *> task).loop.inbox
    mpsc_enter(&inbox.busy)
    if mpsc_push(<void **> &inbox.answered, task, <void **> &task.next):
        eventfd_write(inbox.fd, 1)
    mpsc_leave(&inbox.busy)


cdef void exchange_decided(Exchange *exchange) noexcept nogil:
    """The engine is done with the call: answer it, or free it if nobody waits any more."""
    exchange.loop.counts.under_way -= 1
    if exchange.connection == NULL:
        free_exchange(exchange)
    else:
        submit_answer(exchange)


# --- the answer -----------------------------------------------------------------------------------

cdef inline nghttp2_nv header(const char *name, const char *value) noexcept nogil:
    """Return a header that is made of literals."""
    cdef nghttp2_nv pair
    pair.name, pair.namelen = <uint8_t *> name, strlen(name)
    pair.value, pair.valuelen = <uint8_t *> value, strlen(value)
    pair.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
    return pair


cdef ssize_t on_read_answer(
    nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t room, uint32_t *flags,
    nghttp2_data_source *source, void *user_data
) noexcept nogil:
    """Copy the next piece of prefix and message, and submit the trailers behind the last one."""
    cdef Exchange *exchange = <Exchange *> source.ptr
    cdef char prefix[PREFIX_BYTES]
    cdef nghttp2_nv trailer
    cdef size_t size, taken = 0
    if exchange.sent_bytes < PREFIX_BYTES:
        grpc_put_prefix(prefix, <uint32_t> exchange.call.answer_size)
        taken = min(room, PREFIX_BYTES - exchange.sent_bytes)
        memcpy(buffer, prefix + exchange.sent_bytes, taken)
        exchange.sent_bytes += taken
    size = min(room - taken, exchange.call.answer_size + PREFIX_BYTES - exchange.sent_bytes)
    if size > 0:
        memcpy(
            buffer + taken, exchange.call.answer + exchange.sent_bytes - PREFIX_BYTES, size
        )
        exchange.sent_bytes += size
    if exchange.sent_bytes == exchange.call.answer_size + PREFIX_BYTES:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM
        trailer = header("grpc-status", "0")
        nghttp2_submit_trailer(session, stream_id, &trailer, 1)
    return <ssize_t> (taken + size)


cdef void submit_answer(Exchange *exchange) noexcept nogil:
    """Hand the decided or refused call to nghttp2."""
    cdef Connection *connection = exchange.connection
    cdef nghttp2_data_provider provider
    cdef nghttp2_nv headers[2]
    if exchange.call.task.code != OK:
        submit_error(exchange, "200")
        return
    exchange.state = ANSWERED
    hold(exchange, exchange.call.answer_size)
    headers[0] = header(":status", "200")
    headers[1] = header("content-type", GRPC_CONTENT)
    provider.source.ptr = exchange
    provider.read_callback = on_read_answer
    if nghttp2_submit_response(
        connection.session, exchange.stream_id, headers, 2, &provider
    ) != 0:
        connection.dead = True


cdef void submit_error(Exchange *exchange, const char *http_status) noexcept nogil:
    """Answer with trailers only."""
    cdef char digits[STATUS_DIGITS]
    cdef char escaped[3 * MESSAGE_BYTES]
    cdef char retry_ms[RETRY_DIGITS]
    cdef nghttp2_nv headers[6]
    cdef size_t count = 4
    exchange.state = ANSWERED
    snprintf(digits, sizeof(digits), "%d", exchange.call.task.code)
    headers[0] = header(":status", http_status)
    headers[1] = header("content-type", GRPC_CONTENT)
    headers[2] = header("grpc-status", digits)
    headers[2].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
    headers[3] = header("grpc-message", "")
    headers[3].value = <uint8_t *> escaped
    headers[3].valuelen = grpc_escape(exchange.call.task.message, escaped)
    headers[3].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
    if exchange.encoding_refused:
        headers[count] = header("grpc-accept-encoding", "identity")
        count += 1
    if exchange.call.task.retry_ms != 0:
        snprintf(retry_ms, sizeof(retry_ms), "%lld", <long long> exchange.call.task.retry_ms)
        headers[count] = header("grpc-retry-pushback-ms", retry_ms)
        headers[count].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
        count += 1
    if nghttp2_submit_response(
        exchange.connection.session, exchange.stream_id, headers, count, NULL
    ) != 0:
        exchange.connection.dead = True


cdef void refuse(
    Exchange *exchange, int code, const char *http_status, const char *message
) noexcept nogil:
    """Answer with an error that the engine never saw."""
    snprintf(task_refuse(&exchange.call.task, code), MESSAGE_BYTES, "%s", message)
    exchange.loop.counts.refused += 1
    submit_error(exchange, http_status)


cdef void refuse_caller(Exchange *exchange) noexcept nogil:
    """Answer a caller that is unknown, may not do this, or does it too often."""
    exchange.loop.counts.refused += 1
    submit_error(exchange, "200")


cdef void refuse_too_much(Exchange *exchange) noexcept nogil:
    cdef char message[MESSAGE_BYTES]
    snprintf(
        message, sizeof(message), "headers: found more than %u bytes; allowed: at most as many",
        exchange.loop.limits.max_header_bytes,
    )
    refuse(exchange, RESOURCE_EXHAUSTED, "200", message)


cdef void refuse_size(Exchange *exchange, size_t found) noexcept nogil:
    cdef char message[MESSAGE_BYTES]
    snprintf(
        message, sizeof(message), "request: found a message of %zu bytes; allowed: at most %zu",
        found, most_bytes(exchange) - PREFIX_BYTES,
    )
    refuse(exchange, RESOURCE_EXHAUSTED, "200", message)


cdef void refuse_held(Exchange *exchange) noexcept nogil:
    refuse(
        exchange, RESOURCE_EXHAUSTED, "200",
        "this connection, or all together, have too many bytes of requests and answers under way; "
        "take answers faster, or send less at a time",
    )


cdef void refuse_encoding(Exchange *exchange) noexcept nogil:
    exchange.encoding_refused = True
    refuse(
        exchange, GRPC_UNIMPLEMENTED, "200",
        "grpc-encoding: found a compressed request; allowed: identity",
    )


# --- health ---------------------------------------------------------------------------------------

cdef bint is_known_service(Slice name) noexcept nogil:
    return (
        name.size == 0
        or same(name.data, name.size, "ownerd.v1.DialService")
        or same(name.data, name.size, "ownerd.v1.AdminService")
    )


cdef void answer_health(Exchange *exchange) noexcept nogil:
    """Answer grpc.health.v1.Health/Check: serving while the engine takes calls."""
    cdef Loop *loop = exchange.loop
    cdef bint serving = loop.engine.state == RUNNING and loop.order == SERVE
    cdef Slice service
    loop.counts.health_checks += 1
    if not read_text_field(
        exchange.body + PREFIX_BYTES, exchange.body_size - PREFIX_BYTES, 1, &service
    ):
        refuse(
            exchange, INVALID_ARGUMENT, "200",
            "request: not a well-formed protobuf message of this call",
        )
    elif not is_known_service(service):
        refuse(
            exchange, NOT_FOUND, "200",
            "service: found none of this server's; allowed: ownerd.v1.DialService, "
            "ownerd.v1.AdminService, or empty for the server as a whole",
        )
    else:
        exchange.call.answer = exchange.inline_answer
        exchange.call.answer[0] = 1 << 3   # field 1, a varint
        exchange.call.answer[1] = SERVING if serving else NOT_SERVING
        exchange.call.answer_size = 2
        submit_answer(exchange)
