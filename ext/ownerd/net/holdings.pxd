"""C interface of holdings: the memory that calls hold, by call, connection, caller and loop."""

from ownerd.access.table cimport Budget
from ownerd.net.state cimport Connection, Loop, Stream

cdef void holdings_begin(Stream *stream) noexcept nogil
cdef void holdings_end(Stream *stream) noexcept nogil
cdef void holdings_hand_over(Stream *stream, const Budget *owner) noexcept nogil
cdef void holdings_add(Stream *stream, size_t size) noexcept nogil
cdef void holdings_give_back(Stream *stream, size_t size) noexcept nogil
cdef bint holdings_full(const Stream *stream, size_t more) noexcept nogil
cdef bint holdings_full_beside(const Stream *stream, size_t more) noexcept nogil
cdef void holdings_add_unsent(Connection *connection, size_t size) noexcept nogil
cdef void holdings_give_back_unsent(Connection *connection, size_t size) noexcept nogil
cdef void holdings_leave(Connection *connection) noexcept nogil
cdef void holdings_forget(Loop *loop) noexcept nogil
