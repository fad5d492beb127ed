"""C interface of watch: the answers to Health/Watch."""

from libc.stdint cimport uint8_t

from ownerd.net.state cimport Stream

cdef enum ServingStatus:              # of grpc.health.v1.HealthCheckResponse
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3

cdef enum:
    HEALTH_BYTES = 2                  # of a HealthCheckResponse

# Write a HealthCheckResponse.
cdef void put_health(char *at, uint8_t health) noexcept nogil
# The functions that may break the connection return False then.
cdef bint watch_begin(Stream *stream, uint8_t health) noexcept nogil
cdef bint watch_tell(Stream *stream, uint8_t health) noexcept nogil
cdef bint watch_end(Stream *stream) noexcept nogil
