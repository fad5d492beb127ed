"""One client connection that speaks gRPC over HTTP/2, and the calls on it, on nghttp2.

A channel belongs to one thread and never blocks. Its slots are made with it; each is idle or
under way, and `on_ended` runs once for each call, whichever way it ends: with the server's status,
refused by a reset, or lost with the connection.

A call that keeps its request open is a stream: its answers pile up in `answer` as they come, and
whoever made it takes them from there.

It knows no service, no epoll and no time.
"""

from libc.errno cimport EAGAIN, EINPROGRESS, EINTR, errno
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, strlen

from ownerd.base.grpc_prefix cimport PREFIX_BYTES, grpc_put_prefix
from ownerd.base.nghttp2 cimport (
    NGHTTP2_CANCEL, NGHTTP2_DATA_FLAG_EOF, NGHTTP2_ERR_CALLBACK_FAILURE, NGHTTP2_ERR_DEFERRED,
    NGHTTP2_FLAG_NONE, NGHTTP2_GOAWAY, NGHTTP2_NO_ERROR, NGHTTP2_NV_FLAG_NO_COPY_NAME,
    NGHTTP2_NV_FLAG_NO_COPY_VALUE, NGHTTP2_REFUSED_STREAM, NGHTTP2_SETTINGS_ENABLE_PUSH,
    NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, nghttp2_data_provider, nghttp2_data_source,
    nghttp2_frame, nghttp2_nv, nghttp2_option, nghttp2_option_del, nghttp2_option_new,
    nghttp2_option_set_no_closed_streams, nghttp2_session, nghttp2_session_callbacks,
    nghttp2_session_callbacks_del, nghttp2_session_callbacks_new,
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback,
    nghttp2_session_callbacks_set_on_frame_recv_callback,
    nghttp2_session_callbacks_set_on_header_callback,
    nghttp2_session_callbacks_set_on_stream_close_callback, nghttp2_session_client_new2,
    nghttp2_session_del, nghttp2_session_get_stream_user_data, nghttp2_session_mem_recv,
    nghttp2_session_mem_send, nghttp2_session_set_local_window_size,
    nghttp2_session_terminate_session, nghttp2_session_want_read, nghttp2_session_want_write,
    nghttp2_settings_entry, nghttp2_submit_request, nghttp2_submit_settings, ssize_t,
)

cdef extern from "<sys/socket.h>" nogil:
    int AF_UNIX
    int SOCK_STREAM
    int SOCK_NONBLOCK
    int SOCK_CLOEXEC
    int MSG_NOSIGNAL
    int socket(int, int, int)
    int connect(int, const sockaddr *, socklen_t)
    int setsockopt(int, int, int, const void *, socklen_t)
    ssize_t recv(int, void *, size_t, int)
    ssize_t send(int, const void *, size_t, int)

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP

cdef extern from "<unistd.h>" nogil:
    int close(int)

cdef enum:
    IN_BYTES = 64 << 10
    OUT_BYTES = 256 << 10             # collected before a write
    FRAME_BYTES = (16 << 10) + 9      # the most that one step of nghttp2 adds
    WINDOW_BYTES = 64 << 20           # larger than all answers together: we never hold a server up
    READS = 8                         # of a channel before others have their turn
    STATUS_CANCELLED = 1
    STATUS_UNKNOWN = 2
    STATUS_INTERNAL = 13
    STATUS_UNAVAILABLE = 14


# --- bytes ----------------------------------------------------------------------------------------

cdef ssize_t plain_receive(Channel *channel, char *buffer, size_t size) noexcept nogil:
    cdef ssize_t got = recv(channel.fd, buffer, size, 0)
    if got > 0:
        return got
    if got < 0 and (errno == EAGAIN or errno == EINTR):
        return TRANSPORT_WAIT
    return TRANSPORT_ENDED


cdef ssize_t plain_send(Channel *channel, const char *data, size_t size) noexcept nogil:
    cdef ssize_t sent = send(channel.fd, data, size, MSG_NOSIGNAL)
    if sent >= 0:
        return sent
    return TRANSPORT_WAIT if errno == EAGAIN or errno == EINTR else TRANSPORT_ENDED


cdef bint plain_begin(Channel *channel) noexcept nogil:
    return True


cdef void plain_end(Channel *channel) noexcept nogil:
    pass


PLAIN.begin = plain_begin
PLAIN.receive = plain_receive
PLAIN.send = plain_send
PLAIN.end = plain_end
PLAIN.keeps_bytes = False


# --- what nghttp2 calls ---------------------------------------------------------------------------

cdef ssize_t on_read_request(
    nghttp2_session *session, int32_t stream, uint8_t *buffer, size_t size, uint32_t *flags,
    nghttp2_data_source *source, void *context,
) noexcept nogil:
    cdef CallSlot *slot = <CallSlot *> source.ptr
    size = min(size, slot.request_size - slot.request_sent)
    memcpy(buffer, slot.request + slot.request_sent, size)
    slot.request_sent += size
    if slot.request_sent == slot.request_size and slot.keeps_open:
        return <ssize_t> size if size > 0 else NGHTTP2_ERR_DEFERRED
    if slot.request_sent == slot.request_size:
        flags[0] |= <uint32_t> NGHTTP2_DATA_FLAG_EOF
    return <ssize_t> size


cdef inline CallSlot *slot_of(nghttp2_session *session, int32_t stream) noexcept nogil:
    return <CallSlot *> nghttp2_session_get_stream_user_data(session, stream)


cdef inline bint is_text(
    const uint8_t *text, size_t size, const char *expected
) noexcept nogil:
    return size == strlen(expected) and memcmp(text, expected, size) == 0


cdef int number_of(const uint8_t *text, size_t size) noexcept nogil:
    """Return a decimal number of at most 3 digits; STATUS_UNKNOWN for anything else."""
    cdef int number = 0
    cdef size_t i
    if not 1 <= size <= 3:
        return STATUS_UNKNOWN
    for i in range(size):
        if not 48 <= text[i] <= 57:
            return STATUS_UNKNOWN
        number = 10 * number + text[i] - 48
    return number


cdef int on_header(
    nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
    const uint8_t *value, size_t value_size, uint8_t flags, void *context,
) noexcept nogil:
    cdef CallSlot *slot
    if name_size != 7 and name_size != 11:  # neither of the two, so not worth a look-up
        return 0
    slot = slot_of(session, frame.hd.stream_id)
    if slot == NULL:
        return 0
    if is_text(name, name_size, "grpc-status"):
        slot.status = number_of(value, value_size)
    elif is_text(name, name_size, ":status"):
        slot.http_status = number_of(value, value_size)
    return 0


cdef int on_data(
    nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t size,
    void *context,
) noexcept nogil:
    cdef CallSlot *slot = slot_of(session, stream)
    cdef char *larger
    if slot == NULL:
        return 0
    if slot.answer_size + size > slot.answer_capacity:
        larger = <char *> realloc(slot.answer, 2 * (slot.answer_size + size))
        if larger == NULL:
            return NGHTTP2_ERR_CALLBACK_FAILURE
        slot.answer = larger
        slot.answer_capacity = 2 * (slot.answer_size + size)
    memcpy(slot.answer + slot.answer_size, data, size)
    slot.answer_size += size
    return 0


cdef int on_frame(
    nghttp2_session *session, const nghttp2_frame *frame, void *context
) noexcept nogil:
    if frame.hd.type == NGHTTP2_GOAWAY:
        (<Channel *> context).draining = True
    return 0


cdef int on_stream_close(
    nghttp2_session *session, int32_t stream, uint32_t error_code, void *context
) noexcept nogil:
    cdef CallSlot *slot = slot_of(session, stream)
    if slot == NULL:
        return 0
    if slot.status == NO_STATUS:  # the server gave none: what the stream's end stands for
        if error_code == <uint32_t> NGHTTP2_REFUSED_STREAM:
            slot.status = STATUS_UNAVAILABLE
        elif error_code == <uint32_t> NGHTTP2_CANCEL:
            slot.status = STATUS_CANCELLED
        elif error_code == <uint32_t> NGHTTP2_NO_ERROR:
            slot.status = STATUS_UNKNOWN
        else:
            slot.status = STATUS_INTERNAL
    end_call(slot)
    return 0


cdef void end_call(CallSlot *slot) noexcept nogil:
    slot.under_way = False
    slot.next = slot.channel.idle
    slot.channel.idle = slot
    slot.channel.on_ended(slot)


# --- the connection -------------------------------------------------------------------------------

cdef bint channel_make(Channel *channel, uint32_t in_flight, size_t request_bytes) noexcept nogil:
    """Give a zeroed channel its slots, all idle; False for want of memory."""
    cdef uint32_t i
    cdef CallSlot *slot
    channel.fd = -1
    channel.transport = &PLAIN
    channel.scheme = "http"
    channel.user_agent = "ownerd"
    channel.credential_name = "authorization"
    channel.out = <char *> malloc(OUT_BYTES + FRAME_BYTES)
    channel.slots = <CallSlot *> calloc(in_flight, sizeof(CallSlot))
    if channel.out == NULL or channel.slots == NULL:
        return False
    for i in range(in_flight):
        slot = &channel.slots[i]
        slot.channel = channel
        slot.request = <char *> malloc(PREFIX_BYTES + request_bytes)
        if slot.request == NULL:
            return False
        channel.slot_count += 1
        slot.next = channel.idle
        channel.idle = slot
    return True


cdef void channel_free(Channel *channel) noexcept nogil:
    """Free what the channel holds; it is closed already, or never was open."""
    cdef uint32_t i
    for i in range(channel.slot_count):
        free(channel.slots[i].request)
        free(channel.slots[i].answer)
    free(channel.slots)
    free(channel.out)


cdef bint open_session(Channel *channel) noexcept nogil:
    cdef nghttp2_session_callbacks *callbacks
    cdef nghttp2_option *options
    cdef nghttp2_settings_entry settings[2]
    if nghttp2_session_callbacks_new(&callbacks) != 0:
        return False
    if nghttp2_option_new(&options) != 0:
        nghttp2_session_callbacks_del(callbacks)
        return False
    nghttp2_option_set_no_closed_streams(options, 1)
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    nghttp2_session_client_new2(&channel.session, callbacks, channel, options)
    nghttp2_session_callbacks_del(callbacks)
    nghttp2_option_del(options)
    if channel.session == NULL:
        return False
    settings[0].settings_id, settings[0].value = NGHTTP2_SETTINGS_ENABLE_PUSH, 0
    settings[1].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
    settings[1].value = WINDOW_BYTES
    nghttp2_submit_settings(channel.session, NGHTTP2_FLAG_NONE, settings, 2)
    nghttp2_session_set_local_window_size(channel.session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES)
    return True


cdef bint channel_connect(Channel *channel) noexcept nogil:
    """Begin to connect; False if that failed at once. Calls may be made before it is done."""
    cdef int on = 1
    channel.draining = channel.awaits_bytes = channel.awaits_write = False
    channel.out_at = channel.out_size = channel.sent_bytes = 0
    channel.fd = socket(
        channel.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0
    )
    if channel.fd < 0:
        return False
    if connect(channel.fd, <sockaddr *> &channel.address, channel.address_size) != 0 \
            and errno != EINPROGRESS:
        close_socket(channel)
        return False
    if channel.address.ss_family != AF_UNIX:
        setsockopt(channel.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
    if not channel.transport.begin(channel) or not open_session(channel):
        close_socket(channel)
        return False
    return True


cdef void close_socket(Channel *channel) noexcept nogil:
    if channel.fd >= 0:
        channel.transport.end(channel)
        close(channel.fd)
    channel.fd = -1


cdef void channel_lose(Channel *channel, int status) noexcept nogil:
    """Drop the connection; calls under way end with `status`."""
    cdef uint32_t i
    nghttp2_session_del(channel.session)
    channel.session = NULL
    close_socket(channel)
    for i in range(channel.slot_count):
        if channel.slots[i].under_way:
            channel.slots[i].status = status
            end_call(&channel.slots[i])


cdef void channel_close(Channel *channel) noexcept nogil:
    """Say GOAWAY and close; the server cancels what is still under way."""
    if channel.session == NULL:
        return
    nghttp2_session_terminate_session(channel.session, NGHTTP2_NO_ERROR)
    channel_flush(channel)
    channel_lose(channel, STATUS_CANCELLED)


cdef bint channel_receive(Channel *channel) noexcept nogil:
    """Take what has come and end the calls that it answers; False once the connection is over."""
    cdef char buffer[IN_BYTES]
    cdef ssize_t got
    cdef int turn = 0
    while turn < READS or channel.transport.keeps_bytes:
        turn += 1
        got = channel.transport.receive(channel, buffer, IN_BYTES)
        if got == TRANSPORT_WAIT:
            break
        if got < 0 or nghttp2_session_mem_recv(channel.session, <uint8_t *> buffer, got) < 0:
            return False
        if got < IN_BYTES:
            break
    return nghttp2_session_want_read(channel.session) != 0 \
        or nghttp2_session_want_write(channel.session) != 0


cdef bint fill_out(Channel *channel) noexcept nogil:
    """Collect frames behind what waits to be sent; False if nghttp2 gave up."""
    cdef const uint8_t *frame
    cdef ssize_t size
    if channel.out_at > 0:
        memmove(
            channel.out, channel.out + channel.out_at, channel.out_size - channel.out_at
        )
        channel.out_size -= channel.out_at
        channel.out_at = 0
    while channel.out_size < OUT_BYTES:
        size = nghttp2_session_mem_send(channel.session, &frame)
        if size <= 0 or size > FRAME_BYTES:
            return size == 0
        memcpy(channel.out + channel.out_size, frame, size)
        channel.out_size += size
    return True


cdef bint channel_flush(Channel *channel) noexcept nogil:
    """Send what the socket takes; False once the connection is over.

    What is left is [out_at, out_size): flush again when the socket is writable.
    """
    cdef ssize_t sent
    while True:
        if not fill_out(channel):
            return False
        if channel.out_size == 0:
            return True
        sent = channel.transport.send(channel, channel.out, channel.out_size)
        if sent == TRANSPORT_WAIT:
            return True
        if sent < 0:
            return False
        channel.out_at = sent
        channel.sent_bytes += sent


cdef bint channel_awaits_write(const Channel *channel) noexcept nogil:
    """Whether there is something to do once the socket is writable."""
    return channel.out_size > 0 and not channel.awaits_bytes or channel.awaits_write


# --- calls ----------------------------------------------------------------------------------------

cdef inline nghttp2_nv header(const char *name, const char *value) noexcept nogil:
    cdef nghttp2_nv pair
    pair.name, pair.namelen = <uint8_t *> name, strlen(name)
    pair.value, pair.valuelen = <uint8_t *> value, strlen(value)
    pair.flags = <uint8_t> (NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE)
    return pair


cdef bint channel_call(Channel *channel, CallSlot *slot, const char *path) noexcept nogil:
    """Begin a call with the channel's first idle slot, its message in place.

    False if the connection takes no more calls; the slot is idle then. `path` and the request
    stay where they are until the call ends.
    """
    cdef nghttp2_nv headers[8]
    cdef size_t header_count = 7
    cdef nghttp2_data_provider body
    headers[0] = header(":method", "POST")
    headers[1] = header(":scheme", channel.scheme)
    headers[2] = header(":path", path)
    headers[3] = header(":authority", channel.authority)
    headers[4] = header("te", "trailers")
    headers[5] = header("content-type", "application/grpc")
    headers[6] = header("user-agent", channel.user_agent)
    if channel.authorization != NULL:
        headers[7] = header(channel.credential_name, channel.authorization)
        header_count = 8
    grpc_put_prefix(slot.request, <uint32_t> (slot.request_size - PREFIX_BYTES))
    slot.request_sent = slot.answer_size = 0
    slot.status = NO_STATUS
    slot.http_status = 0
    body.source.ptr = slot
    body.read_callback = on_read_request
    if nghttp2_submit_request(
        channel.session, NULL, headers, header_count, &body, slot
    ) < 0:
        channel.draining = True
        return False
    channel.idle = slot.next
    slot.under_way = True
    return True
