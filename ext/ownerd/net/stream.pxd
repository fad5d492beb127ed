"""C interface of listener_exchange: one call, from its first header to its last byte."""

from libc.stdint cimport int32_t, uint8_t

from ownerd.net.state cimport Connection, Loop, Stream

cdef Stream *exchange_open(Connection *connection, int32_t stream_id) noexcept nogil
cdef void exchange_close(Stream *stream) noexcept nogil
cdef void exchange_header(
    Stream *stream, const char *name, size_t name_size, const char *value, size_t value_size
) noexcept nogil
cdef void exchange_headers_done(Stream *stream) noexcept nogil
cdef void exchange_data(Stream *stream, const uint8_t *data, size_t size) noexcept nogil
cdef void exchange_request_done(Stream *stream) noexcept nogil
cdef void exchange_decided(Stream *stream) noexcept nogil
cdef void exchanges_free_spare(Loop *loop) noexcept nogil
