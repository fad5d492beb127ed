"""Calls of the native listener whose handlers are in Python: what their loop does for them.

A call becomes a handled one by its path. A request of one message is gathered like any other and
handed over whole; a stream of messages is handed over as its headers are there, and its messages as
they come. From then on loop and handler tell each other by letters (see `letters`): messages, the
end of the request, and back from the handler its answers and its status, which ends the call.

Invariants:
- Every call that was handed over gets one CALL_OVER, its last letter, whatever ended it.
- Messages that the handler has not taken yet hold back the stream's window once they are
  PREFETCH_BYTES, so a slow handler slows its own client and nobody else.
- A call for which nobody has to say who they are has OPEN_BYTES of messages waiting at most.
- What waits on either way is counted in the `held_bytes` of stream, connection and loop.

Everything runs on the loop's thread. It knows no socket, and nothing of what a call is about.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcpy, strlen

from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport get_be32, put_be32
from ownerd.base.containers cimport string
from ownerd.base.grpc_prefix cimport PREFIX_BYTES, grpc_message_bytes, grpc_put_prefix
from ownerd.base.nghttp2 cimport (
    NGHTTP2_DATA_FLAG_EOF, NGHTTP2_DATA_FLAG_NO_END_STREAM, NGHTTP2_ERR_DEFERRED,
    NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE, NGHTTP2_NV_FLAG_NONE, nghttp2_data_provider,
    nghttp2_data_source, nghttp2_nv, nghttp2_session, nghttp2_session_consume,
    nghttp2_session_consume_connection, nghttp2_session_consume_stream,
    nghttp2_session_resume_data, nghttp2_submit_response, nghttp2_submit_trailer, ssize_t,
)
from ownerd.net.authn cimport PEER_BYTES, access_peer
from ownerd.net.holdings cimport holdings_add, holdings_full, holdings_give_back
from ownerd.net.letters cimport (
    CALL_BEGINS, CALL_OVER, MESSAGE_CAME, MESSAGE_SENT, MESSAGE_TAKEN, REQUEST_ENDED, STATUS,
    HandledCall, call_let_go, call_new, letter_free, letter_post,
)
from ownerd.net.state cimport ANSWERED, HANDED_OVER, RECEIVING, HandledMethod, Loop, Stream

cdef enum:
    PREFETCH_BYTES = 256 << 10
    OPEN_BYTES = 64 << 10             # of a call for which nobody says who they are
    SIZE_BYTES = 4                    # before a name and before a value
    MOST_TRAILERS = 32

cdef const char *CONTENT_TYPE = "application/grpc"


cdef inline const HandledMethod *method_of(const Stream *stream) noexcept nogil:
    return &stream.loop.handled.methods[stream.handled.method]


# --- the request ----------------------------------------------------------------------------------

cdef bint handled_begin(Stream *stream, const char *path, size_t size) noexcept nogil:
    """Make a call a handled one; False if no handler has this path."""
    cdef Loop *loop = stream.loop
    cdef string wanted
    if loop.handled == NULL or stream.handled != NULL:
        return stream.handled != NULL
    wanted.assign(path, size)
    if loop.handled.by_path.count(wanted) == 0:
        return False
    stream.handled = call_new(
        loop.handled.mailbox, loop.from_handlers, loop.handled.by_path[wanted]
    )
    stream.handled.stream = stream
    return True


cdef const char *handled_name(const Stream *stream) noexcept nogil:
    """Return the rpc's name."""
    return method_of(stream).name.data()


cdef bint handled_is_open(const Stream *stream) noexcept nogil:
    """Tell whether nobody has to say who they are for this call."""
    return method_of(stream).open


cdef bint handled_streams_in(const Stream *stream) noexcept nogil:
    """Tell whether the request is a stream of messages."""
    return method_of(stream).streams_in


cdef void add_text(string *text, const char *data, size_t size) noexcept nogil:
    cdef char length[SIZE_BYTES]
    put_be32(length, <uint32_t> size)
    text.append(length, SIZE_BYTES)
    text.append(data, size)


cdef void handled_header(
    Stream *stream, const char *name, size_t name_size, const char *value, size_t value_size
) noexcept nogil:
    """Keep one header of the request, unless it is HTTP's own."""
    if name_size > 0 and name[0] != c':':
        add_text(&stream.handled.metadata, name, name_size)
        add_text(&stream.handled.metadata, value, value_size)


cdef void handled_hand_over(Stream *stream) noexcept nogil:
    """Tell the handlers of a call; its deadline has been found."""
    cdef HandledCall *call = stream.handled
    cdef char peer[PEER_BYTES]
    assert_that(stream.state == RECEIVING, "a call is handed over once")
    stream.state = HANDED_OVER
    access_peer(stream, peer)
    call.peer.assign(peer, strlen(peer))
    call.names.assign(stream.connection.peer_names, stream.connection.peer_names_size)
    if stream.call.task.deadline_ns != 0:
        call.timeout_ns = max(
            <int64_t> 0, stream.call.task.deadline_ns - stream.loop.now_ns
        )
    call.handed_over = True
    letter_post(call.to_handlers, call, CALL_BEGINS, NULL, 0)


cdef void handled_message(Stream *stream, const char *data, size_t size) noexcept nogil:
    """Hand one message over."""
    cdef HandledCall *call = stream.handled
    cdef char *copy = NULL
    if size > 0:
        copy = <char *> malloc(size)
        if copy == NULL:
            abort()
        memcpy(copy, data, size)
    call.waiting_bytes += size
    holdings_add(stream, size)
    letter_post(call.to_handlers, call, MESSAGE_CAME, copy, size)


cdef bint grow(Stream *stream, size_t wanted) noexcept nogil:
    """Make place for a message with its prefix; False if there is none."""
    cdef char *larger
    if wanted <= stream.body_capacity:
        return True
    if holdings_full(stream, wanted):
        return False
    larger = <char *> malloc(wanted)
    if larger == NULL:
        abort()
    memcpy(larger, stream.body, stream.body_size)
    if stream.body != stream.inline_body:
        free(stream.body)
        holdings_give_back(stream, stream.body_capacity)
    holdings_add(stream, wanted)
    stream.body, stream.body_capacity = larger, wanted
    return True


cdef size_t handled_most_bytes(const Stream *stream) noexcept nogil:
    """Return how long a message of the request may be."""
    cdef size_t most = stream.loop.limits.max_message_bytes
    return min(most, <size_t> OPEN_BYTES) if handled_is_open(stream) else most


cdef Taking handled_take(Stream *stream, const uint8_t *data, size_t size) noexcept nogil:
    """Take a piece of a stream of messages, cut anywhere, and hand over those that are whole."""
    cdef size_t wanted, piece
    assert_that(stream.state == HANDED_OVER, "messages come for a call that was handed over")
    while size > 0 or stream.body_size >= PREFIX_BYTES:
        wanted = PREFIX_BYTES
        if stream.body_size >= PREFIX_BYTES:
            if stream.body[0] != 0:
                return TAKING_COMPRESSED
            if grpc_message_bytes(stream.body) > handled_most_bytes(stream):
                return TAKING_TOO_LARGE
            wanted += grpc_message_bytes(stream.body)
        if stream.body_size == wanted:
            if handled_is_open(stream) \
                    and stream.handled.waiting_bytes + wanted > OPEN_BYTES + PREFIX_BYTES:
                return TAKING_NO_ROOM
            handled_message(stream, stream.body + PREFIX_BYTES, wanted - PREFIX_BYTES)
            stream.body_size = 0
            continue
        if size == 0:
            break
        # No faster than the message comes: its size is only what the client says.
        if not grow(stream, min(wanted, stream.body_size + max(size, stream.body_size))):
            return TAKING_NO_ROOM
        piece = min(min(wanted, stream.body_capacity) - stream.body_size, size)
        memcpy(stream.body + stream.body_size, data, piece)
        stream.body_size += piece
        data += piece
        size -= piece
    return TAKING


cdef bint handled_request_done(Stream *stream) noexcept nogil:
    """The client has said all; False if it stopped in the middle of a message."""
    if stream.body_size != 0:
        return False
    letter_post(stream.handled.to_handlers, stream.handled, REQUEST_ENDED, NULL, 0)
    return True


# --- the window -----------------------------------------------------------------------------------

cdef void handled_consume(
    Loop *loop, nghttp2_session *session, Stream *stream, int32_t stream_id, size_t size
) noexcept nogil:
    """Open the windows again for what has come; that of a stream may have to wait."""
    cdef HandledCall *call = NULL
    if stream != NULL:
        call = stream.handled
    if call != NULL and stream.state == HANDED_OVER and call.waiting_bytes > PREFETCH_BYTES:
        call.withheld_bytes += size
        nghttp2_session_consume_connection(session, size)
    else:
        nghttp2_session_consume(session, stream_id, size)


cdef void open_window(Stream *stream) noexcept nogil:
    cdef HandledCall *call = stream.handled
    if call.withheld_bytes > 0 and call.waiting_bytes <= PREFETCH_BYTES:
        nghttp2_session_consume_stream(
            stream.connection.session, stream.stream_id, call.withheld_bytes
        )
        call.withheld_bytes = 0


# --- the answer -----------------------------------------------------------------------------------

cdef int headers_of(Letter *letter, nghttp2_nv *headers) noexcept nogil:
    """Point at the names and values in a letter; return how many there are."""
    cdef size_t at = 0
    cdef int count = 0
    cdef size_t sizes[2]
    cdef const char *texts[2]
    cdef int i
    while at < letter.size and count < MOST_TRAILERS:
        for i in range(2):
            sizes[i] = get_be32(letter.data + at)
            texts[i] = letter.data + at + SIZE_BYTES
            at += SIZE_BYTES + sizes[i]
        assert_that(at <= letter.size, "a header lies within its letter")
        headers[count].name, headers[count].namelen = <uint8_t *> texts[0], sizes[0]
        headers[count].value, headers[count].valuelen = <uint8_t *> texts[1], sizes[1]
        headers[count].flags = NGHTTP2_NV_FLAG_NONE
        count += 1
    return count


cdef void put_header(nghttp2_nv *at, const char *name, const char *value) noexcept nogil:
    at.name, at.namelen = <uint8_t *> name, strlen(name)
    at.value, at.valuelen = <uint8_t *> value, strlen(value)
    at.flags = NGHTTP2_NV_FLAG_NONE


cdef void forget_first_answer(HandledCall *call) noexcept nogil:
    cdef Letter *sent = call.first_answer
    call.first_answer = sent.next
    if call.first_answer == NULL:
        call.last_answer = NULL
    call.sent_bytes = 0
    letter_free(sent)


cdef size_t copy_answer(Stream *stream, uint8_t *buffer, size_t capacity) noexcept nogil:
    """Copy the next piece of the first answer with its prefix; an answer that is out is told of."""
    cdef HandledCall *call = stream.handled
    cdef Letter *answer = call.first_answer
    cdef char prefix[PREFIX_BYTES]
    cdef size_t piece = 0, taken = 0
    if call.sent_bytes < PREFIX_BYTES:
        grpc_put_prefix(prefix, <uint32_t> answer.size)
        taken = min(capacity, PREFIX_BYTES - call.sent_bytes)
        memcpy(buffer, prefix + call.sent_bytes, taken)
        call.sent_bytes += taken
    if call.sent_bytes >= PREFIX_BYTES:
        piece = min(capacity - taken, answer.size + PREFIX_BYTES - call.sent_bytes)
        if piece > 0:
            memcpy(buffer + taken, answer.data + call.sent_bytes - PREFIX_BYTES, piece)
        call.sent_bytes += piece
    stream.sent_bytes += taken + piece    # what moves is given time
    if call.sent_bytes == answer.size + PREFIX_BYTES:
        holdings_give_back(stream, answer.size)
        forget_first_answer(call)
        letter_post(call.to_handlers, call, MESSAGE_SENT, NULL, 0)
    return taken + piece


cdef ssize_t on_read_handled(
    nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t capacity, uint32_t *flags,
    nghttp2_data_source *source, void *user_data
) noexcept nogil:
    """Copy what there is of the answers, and submit the trailers behind the last one."""
    cdef Stream *stream = <Stream *> source.ptr
    cdef HandledCall *call = stream.handled
    cdef nghttp2_nv trailers[MOST_TRAILERS]
    cdef size_t size = 0
    if call == NULL:                  # given up: the stream is being reset
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    while size < capacity and call.first_answer != NULL:
        size += copy_answer(stream, buffer + size, capacity - size)
    if call.first_answer != NULL:
        return <ssize_t> size
    if call.status != NULL:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM
        nghttp2_submit_trailer(session, stream_id, trailers, headers_of(call.status, trailers))
    elif size == 0:
        call.deferred = True
        return NGHTTP2_ERR_DEFERRED
    return <ssize_t> size


cdef bint submit_answers(Stream *stream) noexcept nogil:
    """Have nghttp2 send what there is; False if it cannot."""
    cdef HandledCall *call = stream.handled
    cdef nghttp2_session *session = stream.connection.session
    cdef nghttp2_data_provider provider
    cdef nghttp2_nv headers[MOST_TRAILERS + 2]
    cdef int count = 2
    if call.answering:
        if call.deferred:
            call.deferred = False
            return nghttp2_session_resume_data(session, stream.stream_id) == 0
        return True
    call.answering = True
    put_header(&headers[0], ":status", "200")
    put_header(&headers[1], "content-type", CONTENT_TYPE)
    if call.first_answer == NULL:     # trailers only
        count += headers_of(call.status, headers + 2)
        return nghttp2_submit_response(session, stream.stream_id, headers, count, NULL) == 0
    provider.source.ptr = stream
    provider.read_callback = on_read_handled
    return nghttp2_submit_response(session, stream.stream_id, headers, count, &provider) == 0


cdef Letter *unlinked(Letter *letter) noexcept nogil:
    """Return a letter as one to keep; the call keeps itself by its stream."""
    letter.next = NULL
    return letter


cdef bint handled_letter(Letter *letter) noexcept nogil:
    """Do what a handler asks for, and take over the letter; False: the connection is broken."""
    cdef HandledCall *call = letter.call
    cdef Stream *stream = <Stream *> call.stream
    assert_that(stream != NULL and stream.connection != NULL, "the call has its stream still")
    if letter.kind == MESSAGE_TAKEN:
        assert_that(call.waiting_bytes >= letter.size, "what is taken has waited")
        call.waiting_bytes -= letter.size
        holdings_give_back(stream, letter.size)
        letter_free(letter)
        open_window(stream)
        return True
    assert_that(call.status == NULL, "nothing comes behind a status")
    if letter.kind == STATUS:
        call.status = unlinked(letter)
        stream.state = ANSWERED
        stream.transfer_ns = stream.loop.now_ns
    else:
        holdings_add(stream, letter.size)
        if call.last_answer == NULL:
            call.first_answer = letter
        else:
            call.last_answer.next = letter
        call.last_answer = unlinked(letter)
    return submit_answers(stream)


cdef void handled_over(Stream *stream) noexcept nogil:
    """Tell the handler that the call is over, and let go of it; the stream may go on without it."""
    cdef HandledCall *call = stream.handled
    stream.handled = NULL
    call.stream = NULL
    while call.first_answer != NULL:
        forget_first_answer(call)
    if call.status != NULL:
        letter_free(call.status)
        call.status = NULL
    if call.handed_over:
        letter_post(call.to_handlers, call, CALL_OVER, NULL, 0)
    call_let_go(call)
