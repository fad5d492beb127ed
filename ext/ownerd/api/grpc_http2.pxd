"""C interface of grpc_http2: what gRPC writes into HTTP/2 headers, read and written."""

from libc.stdint cimport int64_t

# What a path leads to; the five calls of DialService come first, as their CallKind.
cdef enum Target:
    TARGET_HEALTH_CHECK = 16
    TARGET_HEALTH_WATCH = 17
    TARGET_HANDLED = 18               # whoever listens knows of a handler for it
    TARGET_UNKNOWN = 19

cdef int grpc_target(const char *path, size_t size) noexcept nogil
cdef const char *grpc_call_name(int target) noexcept nogil
cdef bint grpc_is_content_type(const char *content_type, size_t size) noexcept nogil
cdef int64_t grpc_timeout_ns(const char *text, size_t size) noexcept nogil
cdef bint grpc_is_trace_parent(const char *text, size_t size) noexcept nogil
cdef size_t grpc_escape(const char *message, char *escaped) noexcept nogil
