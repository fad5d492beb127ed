"""C interface of connection: one HTTP/2 connection of the native listener."""

from ownerd.base.nghttp2 cimport nghttp2_option, nghttp2_session_callbacks
from ownerd.net.state cimport Connection, Loop, Socket

cdef nghttp2_session_callbacks *connection_callbacks() noexcept nogil
cdef nghttp2_option *connection_options(bint holds_back) noexcept nogil
cdef Connection *connection_open(Loop *loop, Socket accepted) noexcept nogil
cdef void connection_close(Connection *connection) noexcept nogil
cdef void connection_read(Connection *connection) noexcept nogil
cdef void connection_write(Connection *connection) noexcept nogil
cdef void connection_look(Connection *connection) noexcept nogil
cdef void connection_look_at_calls(Connection *connection) noexcept nogil
cdef void connection_say_farewell(Connection *connection, int ending) noexcept nogil
cdef void connection_leave(Connection *connection) noexcept nogil
cdef void connection_end(Connection *connection, int ending) noexcept nogil
