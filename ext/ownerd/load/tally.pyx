"""What a load gets back: answers, statuses, a histogram of latencies, records by second.

What is answered between the warm-up and the end counts, nothing else. A histogram is log-linear:
128 buckets for each power of two, so a quantile is at most 1/128 above the true value and never
below it; the maximum is exact. A tally belongs to one thread; merging is for after the threads.
"""

from collections import namedtuple

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from ownerd.api.task cimport OK
from ownerd.base.clock cimport CLOCK_THREAD_CPUTIME_ID, clock_read
from ownerd.base.units cimport NS_PER_S

DECISIONS = ("unspecified", "granted", "denied", "uncontrolled")
OUTCOMES = (
    "unspecified", "ownership_acquired", "ownership_renewed", "ownership_kept",
    "reservation_cleared", "not_controlled", "rejected",
)
STATUS_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    "CONNECTION_LOST",
)

LoadResult = namedtuple(
    "LoadResult",
    "seconds calls records decisions outcomes errors latency records_by_second load_cpu_s threads "
    "writer_cpu_s process_cpu_s",
    defaults=(0.0, 0.0),
)
LoadResult.__doc__ = """What a load measured in `seconds`, after its warm-up.

`calls` were answered with OK and decided `records`; `decisions` and `outcomes` count the answers by
name, `errors` the other answers by gRPC status; `latency` is a Latencies of the calls. `load_cpu_s`
is what the load's own `threads` used. Where the load ran in the engine's process, `writer_cpu_s` is
what its writer thread used in the same span and `process_cpu_s` the whole process: without
`load_cpu_s` that is the engine's, its background threads included."""


# --- latencies ------------------------------------------------------------------------------------

cdef uint64_t bucket_end(uint32_t bucket) noexcept nogil:
    """Return the greatest value that falls into a bucket."""
    cdef uint32_t octave
    if bucket < (1 << SUB_BITS):
        return bucket
    octave = (bucket >> SUB_BITS) - 1
    return ((<uint64_t> (bucket & ((1 << SUB_BITS) - 1)) + (1 << SUB_BITS) + 1) << octave) - 1


cdef void histogram_add(Histogram *into, const Histogram *other) noexcept nogil:
    cdef int i
    into.count += other.count
    into.sum_ns += other.sum_ns
    into.max_ns = max(into.max_ns, other.max_ns)
    for i in range(BUCKET_COUNT):
        into.buckets[i] += other.buckets[i]


cdef uint64_t histogram_quantile(const Histogram *histogram, double share) noexcept nogil:
    cdef uint64_t left = <uint64_t> (share * histogram.count)
    cdef int i
    for i in range(BUCKET_COUNT):
        if histogram.buckets[i] > left:
            return min(bucket_end(<uint32_t> i), histogram.max_ns)
        left -= histogram.buckets[i]
    return histogram.max_ns


cdef class Latencies:
    """A histogram of times in nanoseconds, from 0 to over an hour; not for several threads."""

    cdef Histogram histogram

    def __cinit__(self):
        memset(&self.histogram, 0, sizeof(Histogram))

    def record(self, uint64_t value_ns):
        """Add one time."""
        histogram_record(&self.histogram, value_ns)

    def merge(self, Latencies other):
        """Add all of another's times."""
        histogram_add(&self.histogram, &other.histogram)

    def quantile_ns(self, double share):
        """Return the time that `share` (0 to 1) of all do not exceed; 0 if there are none.

        At most 1/128 above the true value, never below it.
        """
        return histogram_quantile(&self.histogram, share)

    @property
    def count(self):
        """How many times were recorded."""
        return self.histogram.count

    @property
    def max_ns(self):
        """The longest."""
        return self.histogram.max_ns

    @property
    def mean_ns(self):
        """The arithmetic mean; 0.0 if there are none."""
        return self.histogram.sum_ns / max(<uint64_t> 1, self.histogram.count)


# --- one thread's count ---------------------------------------------------------------------------

cdef bint tally_init(Tally *tally, int64_t begin_ns, int64_t end_ns) noexcept nogil:
    """Begin to count what is answered in a span of CLOCK_MONOTONIC; False for want of memory."""
    memset(tally, 0, sizeof(Tally))
    tally.begin_ns = begin_ns
    tally.end_ns = end_ns
    tally.seconds = <uint32_t> ((end_ns - begin_ns + NS_PER_S - 1) // NS_PER_S)
    tally.records_by_second = <uint64_t *> calloc(tally.seconds + 1, sizeof(uint64_t))
    return tally.records_by_second != NULL


cdef void tally_clear(Tally *tally) noexcept nogil:
    free(tally.records_by_second)
    tally.records_by_second = NULL


cdef bint tally_mark(Tally *tally, int64_t now_ns) noexcept nogil:
    """Read the thread's CPU clock as the span begins and as it ends; True once it has ended."""
    if not tally.begun and now_ns >= tally.begin_ns:
        tally.begun = True
        tally.cpu_begin_ns = clock_read(CLOCK_THREAD_CPUTIME_ID)
    if not tally.ended and now_ns >= tally.end_ns:
        tally.ended = True
        tally.cpu_ns = clock_read(CLOCK_THREAD_CPUTIME_ID) - tally.cpu_begin_ns
    return tally.ended


cdef void tally_answer(
    Tally *tally, int64_t due_ns, int64_t now_ns, int status, uint32_t records
) noexcept nogil:
    """Count one answer that came now to a call that was due at `due_ns`."""
    cdef uint64_t *counter = &tally.statuses[STATUS_UNKNOWN]
    if not tally_counts(tally, now_ns):
        return
    if 0 <= status < STATUS_COUNT:
        counter = &tally.statuses[status]
    counter[0] += 1
    if status != OK:
        return
    tally.calls += 1
    tally.records += records
    tally.records_by_second[(now_ns - tally.begin_ns) // NS_PER_S] += records
    histogram_record(&tally.latency, <uint64_t> max(<int64_t> 0, now_ns - due_ns))


cdef void tally_merge(Tally *into, const Tally *tally) noexcept nogil:
    """Add the count of another thread over the same span."""
    cdef int i
    cdef uint32_t second
    into.calls += tally.calls
    into.records += tally.records
    into.cpu_ns += tally.cpu_ns
    for i in range(ANSWER_COUNT):
        into.decisions[i] += tally.decisions[i]
        into.outcomes[i] += tally.outcomes[i]
    for i in range(STATUS_COUNT):
        into.statuses[i] += tally.statuses[i]
    for second in range(into.seconds):
        into.records_by_second[second] += tally.records_by_second[second]
    histogram_add(&into.latency, &tally.latency)


cdef load_result(Tally *tally, uint32_t threads):
    """Return a merged tally as a LoadResult."""
    cdef Latencies latency = Latencies()
    latency.histogram = tally.latency
    return LoadResult(
        (tally.end_ns - tally.begin_ns) / 1e9,
        tally.calls,
        tally.records,
        {name: tally.decisions[i] for i, name in enumerate(DECISIONS) if tally.decisions[i]},
        {name: tally.outcomes[i] for i, name in enumerate(OUTCOMES) if tally.outcomes[i]},
        {name: tally.statuses[i] for i, name in enumerate(STATUS_NAMES)
         if tally.statuses[i] and i != OK},
        latency,
        [tally.records_by_second[i] for i in range(tally.seconds)],
        tally.cpu_ns / 1e9,
        threads,
    )
