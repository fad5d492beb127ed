"""C interface of stream: one call, from its first header to its last byte."""

from libc.stdint cimport int32_t, uint8_t

from ownerd.net.letters cimport Letter
from ownerd.net.state cimport Connection, Loop, Stream

cdef Stream *stream_open(Connection *connection, int32_t stream_id) noexcept nogil
cdef void stream_close(Stream *stream) noexcept nogil
cdef void stream_header(
    Stream *stream, const char *name, size_t name_size, const char *value, size_t value_size
) noexcept nogil
cdef void stream_headers_done(Stream *stream) noexcept nogil
cdef void stream_data(Stream *stream, const uint8_t *data, size_t size) noexcept nogil
cdef void stream_request_done(Stream *stream) noexcept nogil
cdef void stream_decided(Stream *stream) noexcept nogil
cdef void streams_free_spare(Loop *loop) noexcept nogil
cdef void stream_letter(Stream *stream, Letter *letter) noexcept nogil
cdef void streams_tell_health(Connection *connection) noexcept nogil
cdef void streams_end_watches(Connection *connection) noexcept nogil
cdef void streams_look(Connection *connection) noexcept nogil
cdef bint streams_are_coming(const Connection *connection) noexcept nogil
