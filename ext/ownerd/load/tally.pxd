"""C interface of tally: what came back of a load, and how long it took."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    SUB_BITS = 7                      # buckets of an octave, as a power of two: error below 1/128
    VALUE_BITS = 42                   # over an hour in nanoseconds; what is longer counts as that
    BUCKET_COUNT = (VALUE_BITS - SUB_BITS + 1) << SUB_BITS
    ANSWER_COUNT = 8
    STATUS_COUNT = 18                 # gRPC's, and what is none
    STATUS_UNKNOWN = 2
    STATUS_LOST = 17                  # the connection ended before the answer

cdef struct Histogram:                # of nanoseconds
    uint64_t count
    uint64_t sum_ns
    uint64_t max_ns
    uint64_t buckets[BUCKET_COUNT]

# What one thread measured between begin_ns and end_ns; the thread's own until it has ended.
cdef struct Tally:
    int64_t begin_ns
    int64_t end_ns
    uint64_t calls                    # answered with OK
    uint64_t records                  # decided in them
    uint64_t decisions[ANSWER_COUNT]  # by ClaimDecision
    uint64_t outcomes[ANSWER_COUNT]   # by AttemptOutcome
    uint64_t statuses[STATUS_COUNT]   # every answer, by gRPC status
    int64_t cpu_ns                    # of the thread, once the time is over
    int64_t cpu_begin_ns
    bint begun
    bint ended
    Histogram latency                 # of the calls answered with OK
    uint64_t *records_by_second
    uint32_t seconds


cdef bint tally_init(Tally *tally, int64_t begin_ns, int64_t end_ns) noexcept nogil
cdef void tally_clear(Tally *tally) noexcept nogil
cdef bint tally_mark(Tally *tally, int64_t now_ns) noexcept nogil
cdef void tally_answer(
    Tally *tally, int64_t due_ns, int64_t now_ns, int status, uint32_t records
) noexcept nogil
cdef void tally_merge(Tally *into, const Tally *tally) noexcept nogil
cdef void histogram_add(Histogram *into, const Histogram *other) noexcept nogil
cdef load_result(Tally *tally, uint32_t threads)


cdef inline uint32_t bucket_of(uint64_t value) noexcept nogil:
    """Return the bucket of a value: exact below 2^SUB_BITS, then 2^SUB_BITS for each octave."""
    cdef int octave
    if value < (<uint64_t> 1 << SUB_BITS):
        return <uint32_t> value
    if value >= (<uint64_t> 1 << VALUE_BITS):
        return BUCKET_COUNT - 1
    octave = 63 - __builtin_clzll(value) - SUB_BITS
    return <uint32_t> ((octave << SUB_BITS) + (value >> octave))


cdef inline void histogram_record(Histogram *histogram, uint64_t value_ns) noexcept nogil:
    histogram.count += 1
    histogram.sum_ns += value_ns
    histogram.max_ns = max(histogram.max_ns, value_ns)
    histogram.buckets[bucket_of(value_ns)] += 1


cdef inline bint tally_counts(const Tally *tally, int64_t now_ns) noexcept nogil:
    """Tell whether what is answered at this time counts."""
    return tally.begin_ns <= now_ns < tally.end_ns


cdef extern from *:
    int __builtin_clzll(unsigned long long) noexcept nogil
