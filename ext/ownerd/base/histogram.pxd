"""Lengths of time, counted by power of two: a shift, a look at the highest bit and two adds each.

Written by one thread; others read the counts as they stand (see `atomics`).
"""

from libc.stdint cimport int64_t, uint64_t

from ownerd.base.atomics cimport count_add

cdef enum:
    SHORTEST_BITS = 14                # the first class is up to 2^14 ns, 16 us
    TIME_CLASSES = 22                 # the last one but one is up to 2^34 ns, 17 s

# Nothing but uint64_t.
cdef struct Histogram:
    # Class i is below 2^(SHORTEST_BITS + i) ns, the last has no end.
    uint64_t counts[TIME_CLASSES]
    uint64_t total_ns

cdef extern from *:
    int highest_bit "63 - __builtin_clzll"(uint64_t value) noexcept nogil  # which is not 0


cdef inline void histogram_add(Histogram *histogram, int64_t length_ns) noexcept nogil:
    """Count one length; a negative one as nothing."""
    cdef uint64_t steps = <uint64_t> max(length_ns, 0) >> SHORTEST_BITS
    cdef int time_class = 0 if steps == 0 else highest_bit(steps) + 1
    count_add(&histogram.counts[min(time_class, TIME_CLASSES - 1)], 1)
    count_add(&histogram.total_ns, max(length_ns, 0))
