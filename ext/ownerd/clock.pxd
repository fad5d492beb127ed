"""C interface of clock: the server's time in nanoseconds since the Unix epoch."""

from libc.stdint cimport int64_t

from ownerd.containers cimport mutex

cdef cppclass ClockState:
    mutex guard
    bint manual
    int64_t time_ns        # the server time at the last reading
    int64_t boot_ns        # CLOCK_BOOTTIME at the last reading
    int64_t slewed_at_ns   # CLOCK_BOOTTIME at the last slew


cdef class Clock:
    cdef ClockState *state


cdef int64_t clock_now(ClockState *state) noexcept nogil
cdef int64_t clock_elapsed() noexcept nogil
cdef void clock_start_from(ClockState *state, int64_t highest_stored_ns) noexcept nogil
