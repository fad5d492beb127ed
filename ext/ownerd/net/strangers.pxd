"""C interface of strangers: connections on which nobody known has made a call, by address."""

from ownerd.net.state cimport Connection, Loop, Stream

# These return whom to turn out, who is none of them any more; NULL: nobody.
cdef Connection *strangers_enter(Connection *connection) noexcept nogil
cdef Connection *strangers_make_room(Loop *loop) noexcept nogil
cdef Stream *strangers_begin_call(Stream *stream) noexcept nogil
# Without effect on what is not counted.
cdef void strangers_end_call(Stream *stream) noexcept nogil
cdef void strangers_leave(Connection *connection) noexcept nogil
