"""C interface of clock: the server's time in nanoseconds since the Unix epoch."""

from libc.stdint cimport int64_t

from ownerd.base.containers cimport mutex
from ownerd.base.live cimport LiveClock
from ownerd.base.units cimport NS_PER_S

cdef extern from "<time.h>" nogil:
    ctypedef int clockid_t
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    clockid_t CLOCK_REALTIME
    clockid_t CLOCK_BOOTTIME
    clockid_t CLOCK_MONOTONIC
    clockid_t CLOCK_PROCESS_CPUTIME_ID
    clockid_t CLOCK_THREAD_CPUTIME_ID
    int clock_gettime(clockid_t, timespec *)

cdef cppclass ClockState:
    mutex guard
    bint manual                       # stands still until it is moved: tests only
    int64_t time_ns                   # the server time at the last reading
    int64_t boot_ns                   # CLOCK_BOOTTIME at the last reading
    int64_t slewed_at_ns              # CLOCK_BOOTTIME at the last slew
    LiveClock live


cdef class Clock:
    cdef ClockState *state


cdef int64_t clock_now(ClockState *state) noexcept nogil
cdef int64_t clock_elapsed() noexcept nogil
# The time less the wall clock's; 0 for a manual clock.
cdef int64_t clock_offset(const ClockState *state, int64_t now_ns) noexcept nogil
cdef void clock_start_from(ClockState *state, int64_t highest_stored_ns) noexcept nogil
# Goes on from a time that others went by, also if that goes back.
cdef void clock_continue(ClockState *state, int64_t time_ns) noexcept nogil
cdef void clock_advance(ClockState *state, int64_t boot_ns, int64_t wall_ns) noexcept nogil


cdef inline int64_t clock_read(clockid_t which) noexcept nogil:
    """Return one of the machine's clocks in nanoseconds; none of them is the server's time."""
    cdef timespec now
    clock_gettime(which, &now)
    return <int64_t> now.tv_sec * NS_PER_S + now.tv_nsec
