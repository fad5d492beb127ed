"""The rate limiter as Python uses it; its rule is in the .pxd, for native code."""

from libc.stdint cimport INT64_MIN

from ownerd.base.units cimport NS_PER_S


cdef class RateLimiter:
    """Lets `burst` uses through at once, then one in each `interval_s` seconds.

    It reads no clock: every method is given the time, of a clock that never goes back. Not for
    several threads at a time.
    """

    cdef int64_t spent_ns
    cdef int64_t price_ns
    cdef int64_t burst_ns

    def __init__(self, int burst, double interval_s):
        self.spent_ns = INT64_MIN
        self.price_ns = <int64_t> (interval_s * NS_PER_S)
        self.burst_ns = burst * self.price_ns

    def allows(self, double now_s):
        """Tell whether one more use is let through."""
        return rate_wait_ns(self.spent_ns, ns_of(now_s), self.price_ns, self.burst_ns) == 0

    def spend(self, double now_s):
        """Count a use that was let through."""
        self.spent_ns = rate_after(self.spent_ns, ns_of(now_s), self.price_ns)

    def is_rested(self, double now_s):
        """Tell whether it is as if it had never been used."""
        return self.spent_ns <= ns_of(now_s)


cdef inline int64_t ns_of(double seconds) noexcept:
    return <int64_t> (seconds * NS_PER_S)
