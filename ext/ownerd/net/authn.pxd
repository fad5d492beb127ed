"""C interface of listener_access: who makes a call, and whether they may."""

from ownerd.net.state cimport Exchange, Loop

cdef void access_take_header(Exchange *exchange, const char *value, size_t size) noexcept nogil
cdef bint access_identify(Exchange *exchange) noexcept nogil
cdef bint access_lets_in(Exchange *exchange) noexcept nogil
cdef void access_refresh(Loop *loop) noexcept nogil
