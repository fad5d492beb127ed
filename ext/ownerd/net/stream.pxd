"""C interface of stream: one call, from its first header to its last byte."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from ownerd.base.units cimport NS_PER_S
from ownerd.net.letters cimport Letter
from ownerd.net.state cimport Connection, Loop, Stream

cdef enum Look:
    LOOK_FINE
    LOOK_SAID                         # there is something to be written
    LOOK_BROKEN                       # the connection cannot go on

cdef enum:
    LEAST_BYTES_PER_S = 16 << 10      # that earn a transfer more time


cdef inline bint is_late(const Loop *loop, int64_t begun_ns, size_t moved_bytes) noexcept nogil:
    """Tell whether a transfer has had the time that there is for as much as it has moved."""
    return loop.now_ns - begun_ns > (
        loop.limits.transfer_timeout_ns
        + <int64_t> moved_bytes * (NS_PER_S // LEAST_BYTES_PER_S)
    )


cdef Stream *stream_open(Connection *connection, int32_t stream_id) noexcept nogil
cdef void stream_close(Stream *stream) noexcept nogil
cdef void stream_header(
    Stream *stream, const char *name, size_t name_size, const char *value, size_t value_size
) noexcept nogil
cdef void stream_headers_done(Stream *stream) noexcept nogil
cdef void stream_data(Stream *stream, const uint8_t *data, size_t size) noexcept nogil
cdef void stream_request_done(Stream *stream) noexcept nogil
cdef void stream_decided(Stream *stream) noexcept nogil
cdef bint stream_submits(Stream *stream) noexcept nogil
cdef Look stream_look(Stream *stream) noexcept nogil
cdef void stream_letter(Stream *stream, Letter *letter) noexcept nogil
cdef void streams_tell_health(Connection *connection) noexcept nogil
cdef void streams_end_watches(Connection *connection) noexcept nogil
cdef bint streams_are_coming(const Connection *connection) noexcept nogil
cdef void streams_free_spare(Loop *loop, uint32_t count) noexcept nogil
