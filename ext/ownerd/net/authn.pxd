"""C interface of authn: who makes a call, and whether they may."""

from ownerd.net.state cimport Loop, Stream

cdef enum:
    PEER_BYTES = 80                   # of an address and its port in words

cdef void access_take_header(Stream *stream, const char *value, size_t size) noexcept nogil
cdef bint access_identify(Stream *stream) noexcept nogil
cdef bint access_lets_in(Stream *stream) noexcept nogil
cdef void access_refresh(Loop *loop) noexcept nogil
cdef void access_peer(Stream *stream, char *text) noexcept nogil
cdef bint access_recognizes(Stream *stream) noexcept nogil
