"""C interface of handled: calls whose handlers are in Python, as their loop sees them."""

from libc.stdint cimport int32_t, uint8_t

from ownerd.base.nghttp2 cimport nghttp2_session
from ownerd.net.letters cimport Letter
from ownerd.net.state cimport Loop, Stream

cdef enum Taking:                     # what became of a piece of the request
    TAKING
    TAKING_COMPRESSED
    TAKING_TOO_LARGE
    TAKING_CUT_OFF
    TAKING_NO_ROOM


cdef bint handled_begin(Stream *stream, const char *path, size_t size) noexcept nogil
cdef const char *handled_name(const Stream *stream) noexcept nogil
cdef bint handled_is_open(const Stream *stream) noexcept nogil
cdef bint handled_streams_in(const Stream *stream) noexcept nogil
cdef void handled_header(
    Stream *stream, const char *name, size_t name_size, const char *value, size_t value_size
) noexcept nogil
cdef void handled_hand_over(Stream *stream) noexcept nogil
cdef size_t handled_most_bytes(const Stream *stream) noexcept nogil
cdef void handled_message(Stream *stream, const char *data, size_t size) noexcept nogil
cdef Taking handled_take(Stream *stream, const uint8_t *data, size_t size) noexcept nogil
cdef bint handled_request_done(Stream *stream) noexcept nogil
cdef void handled_over(Stream *stream) noexcept nogil
# The letter's call has a stream still.
cdef bint handled_letter(Letter *letter) noexcept nogil
cdef void handled_consume(
    Loop *loop, nghttp2_session *session, Stream *stream, int32_t stream_id, size_t size
) noexcept nogil
