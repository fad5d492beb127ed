"""The one rate limiter: GCRA, the generic cell rate algorithm, on a single number.

What was used is kept as an instant, `spent_ns`: every use moves it on by its price, and time
catches up with it. A burst is how far ahead of the time it may be. Pure functions: whoever keeps
the instant stores what `rate_after` returns, atomically where threads share it.
"""

from libc.stdint cimport int64_t

from ownerd.base.assertions cimport assert_that


cdef inline int64_t rate_wait_ns(
    int64_t spent_ns, int64_t now_ns, int64_t price_ns, int64_t burst_ns
) noexcept nogil:
    """Return how long to wait until one more use is allowed; 0 if it is now."""
    assert_that(0 < price_ns <= burst_ns, "a burst allows one use at least")
    return max(<int64_t> 0, max(spent_ns, now_ns) - now_ns - (burst_ns - price_ns))


cdef inline int64_t rate_after(int64_t spent_ns, int64_t now_ns, int64_t cost_ns) noexcept nogil:
    """Return the instant once a use that costs so much is paid for."""
    assert_that(cost_ns >= 0, "nothing is given back by a use")
    return max(spent_ns, now_ns) + cost_ns
