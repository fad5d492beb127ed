"""The server's time (R19), and the only place that reads a clock.

A clock starts at max(wall clock, highest time ever stored), advances with CLOCK_BOOTTIME and is
slewed towards the wall clock by at most 1 ms per second. It never steps and never goes back, so a
step of the wall clock moves no hold. Any thread may read it.

It does not store the time: the store writes it with every commit.
"""

from ownerd.base.assertions cimport assert_that
from ownerd.base.doors cimport door_number

cdef enum:
    SLEW_DIVISOR = 1000               # 1 ms per second
    SLEW_STEP_NS = 1_000_000          # shorter steps would round the slew to nothing

cdef int64_t WALL_OFFSET_NS = door_number("OWNERD_WALL_OFFSET_S") * NS_PER_S   # 0 but in tests


cdef class Clock:
    """Read the server's time, which follows R19. Thread-safe; one clock serves one engine."""

    def __cinit__(self):
        self.state = new ClockState()
        self.state.manual = False
        self.state.boot_ns = clock_read(CLOCK_BOOTTIME)
        self.state.slewed_at_ns = self.state.boot_ns
        self.state.time_ns = wall_now()

    def __dealloc__(self):
        del self.state

    def now_ns(self):
        """Return the server time in nanoseconds since the Unix epoch."""
        return clock_now(self.state)

    def offset_ns(self):
        """Return server time minus wall clock in nanoseconds; 0 for a manual clock."""
        return clock_offset(self.state, clock_now(self.state))


cdef int64_t wall_now() noexcept nogil:
    return clock_read(CLOCK_REALTIME) + WALL_OFFSET_NS


cdef int64_t clock_now(ClockState *state) noexcept nogil:
    """Return the server time; never less than any thread was told before."""
    cdef int64_t result
    state.guard.lock()
    if not state.manual:
        clock_advance(state, clock_read(CLOCK_BOOTTIME), wall_now())
    result = state.time_ns
    state.guard.unlock()
    return result


cdef int64_t clock_elapsed() noexcept nogil:
    """Return nanoseconds since some fixed instant, for measuring how long something takes."""
    return clock_read(CLOCK_MONOTONIC)


cdef int64_t clock_offset(const ClockState *state, int64_t now_ns) noexcept nogil:
    """Return how far a time that was read is ahead of the wall clock."""
    return 0 if state.manual else now_ns - wall_now()


cdef void clock_start_from(ClockState *state, int64_t highest_stored_ns) noexcept nogil:
    """Raise the time to the highest one ever stored; called before the first decision."""
    state.guard.lock()
    if highest_stored_ns > state.time_ns:
        state.time_ns = highest_stored_ns
    state.guard.unlock()


cdef void clock_continue(ClockState *state, int64_t time_ns) noexcept nogil:
    """Go on from another node's time; nobody was answered by this clock before."""
    state.guard.lock()
    if not state.manual:
        state.time_ns = time_ns
        state.boot_ns = state.slewed_at_ns = clock_read(CLOCK_BOOTTIME)
    state.guard.unlock()


cdef void clock_advance(ClockState *state, int64_t boot_ns, int64_t wall_ns) noexcept nogil:
    """Advance by what passed on CLOCK_BOOTTIME, then slew towards the wall clock."""
    cdef int64_t allowed, gap, passed = max(<int64_t> 0, boot_ns - state.boot_ns)
    cdef int64_t before_ns = state.time_ns
    state.time_ns += passed
    state.boot_ns += passed
    if boot_ns - state.slewed_at_ns < SLEW_STEP_NS:
        return
    allowed = (boot_ns - state.slewed_at_ns) // SLEW_DIVISOR
    state.slewed_at_ns = boot_ns
    gap = wall_ns - state.time_ns
    # Never take back more than what passed since the last reading: the time must not go back.
    state.time_ns += max(-min(allowed, passed), min(allowed, gap))
    assert_that(state.time_ns >= before_ns, "the time never goes back (R19)")
    assert_that(state.time_ns - before_ns <= passed + allowed, "the time never steps (R19)")
