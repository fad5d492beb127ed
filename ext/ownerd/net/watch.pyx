"""Health/Watch on the native listener: a stream that is told the health now and at each change.

A watcher takes no memory but its stream's. What it is told is the latest: a change that is undone
before the one before it was sent is not told.

All functions run on the loop's thread. What the health is, streams and the loop know.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcpy, strlen

from ownerd.base.assertions cimport assert_that
from ownerd.base.grpc_prefix cimport PREFIX_BYTES, grpc_put_prefix
from ownerd.base.nghttp2 cimport (
    NGHTTP2_DATA_FLAG_EOF, NGHTTP2_DATA_FLAG_NO_END_STREAM, NGHTTP2_ERR_DEFERRED,
    NGHTTP2_NV_FLAG_NO_COPY_NAME, NGHTTP2_NV_FLAG_NO_COPY_VALUE, nghttp2_data_provider,
    nghttp2_data_source, nghttp2_nv, nghttp2_session, nghttp2_session_resume_data,
    nghttp2_submit_response, nghttp2_submit_trailer, ssize_t,
)
from ownerd.net.state cimport ANSWERED, WATCHING, Stream

cdef enum:
    TOLD_BYTES = PREFIX_BYTES + HEALTH_BYTES


cdef void put_health(char *at, uint8_t health) noexcept nogil:
    at[0] = 1 << 3                    # field 1, a varint
    at[1] = <char> health


cdef inline nghttp2_nv header(const char *name, const char *value) noexcept nogil:
    cdef nghttp2_nv pair
    pair.name, pair.namelen = <uint8_t *> name, strlen(name)
    pair.value, pair.valuelen = <uint8_t *> value, strlen(value)
    pair.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
    return pair


cdef ssize_t on_read_watch(
    nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t capacity, uint32_t *flags,
    nghttp2_data_source *source, void *user_data
) noexcept nogil:
    """Copy what is to be told next; behind the last of it come the trailers of an end."""
    cdef Stream *stream = <Stream *> source.ptr
    cdef nghttp2_nv trailers[2]
    cdef size_t size
    if stream.sent_bytes == 0:        # nothing is half told
        if stream.health_told == stream.health:
            if stream.state == WATCHING:
                stream.deferred = True
                return NGHTTP2_ERR_DEFERRED
            flags[0] |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM
            trailers[0] = header("grpc-status", "14")
            trailers[1] = header("grpc-message", "this connection is being closed; watch again")
            nghttp2_submit_trailer(session, stream_id, trailers, 2)
            return 0
        stream.health_told = stream.health
        grpc_put_prefix(stream.inline_answer, HEALTH_BYTES)
        put_health(stream.inline_answer + PREFIX_BYTES, stream.health)
    size = min(capacity, TOLD_BYTES - stream.sent_bytes)
    memcpy(buffer, stream.inline_answer + stream.sent_bytes, size)
    stream.sent_bytes = (stream.sent_bytes + size) % TOLD_BYTES
    return <ssize_t> size


cdef bint watch_begin(Stream *stream, uint8_t health) noexcept nogil:
    """Begin to tell a stream the health."""
    cdef nghttp2_data_provider provider
    cdef nghttp2_nv headers[2]
    stream.state = WATCHING
    stream.health, stream.health_told = health, 0
    headers[0] = header(":status", "200")
    headers[1] = header("content-type", "application/grpc")
    provider.source.ptr = stream
    provider.read_callback = on_read_watch
    return nghttp2_submit_response(
        stream.connection.session, stream.stream_id, headers, 2, &provider
    ) == 0


cdef bint go_on(Stream *stream) noexcept nogil:
    if not stream.deferred:
        return True
    stream.deferred = False
    return nghttp2_session_resume_data(stream.connection.session, stream.stream_id) == 0


cdef bint watch_tell(Stream *stream, uint8_t health) noexcept nogil:
    """Tell a watcher of a change; one of a service that is unknown is told of none."""
    assert_that(stream.state == WATCHING, "only watchers are told")
    if stream.health != SERVICE_UNKNOWN:
        stream.health = health
    return go_on(stream)


cdef bint watch_end(Stream *stream) noexcept nogil:
    """End the stream, once all is told."""
    assert_that(stream.state == WATCHING, "a watch ends once")
    stream.state = ANSWERED
    stream.transfer_ns = stream.loop.now_ns
    return go_on(stream)
