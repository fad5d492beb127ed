"""Dials that took long, or that their caller traces, kept for whoever writes the log.

The writer adds, anybody takes. A call that took `least_ns` or longer is kept with what it waited
for; where traces are exported, one whose `traceparent` says that it is sampled likewise. Memory is
bounded: of more than can be kept only the number is.
"""

from ownerd.api.dial_call cimport TRACE_PARENT_BYTES, TRACE_SAMPLED_AT
from ownerd.base.bytes cimport Slice
from ownerd.base.clock cimport clock_elapsed


cdef bint is_sampled(const DialCall *call) noexcept nogil:
    # The last of the flags, in hexadecimal.
    cdef char digit = call.trace_parent[TRACE_SAMPLED_AT]
    return call.is_traced and ((digit - c'0') if digit <= c'9' else digit - c'a' + 10) & 1


cdef void take_text(string *text, Slice given) noexcept nogil:
    text.assign(given.data, given.size)


cdef void keep(SlowCalls *slow, const DialCall *call, const CallTimes *times) noexcept nogil:
    cdef SlowCall *kept
    slow.guard.lock()
    if slow.calls.size() >= MOST_SLOW_CALLS:
        slow.missed += 1
    else:
        slow.calls.resize(slow.calls.size() + 1)
        kept = &slow.calls[slow.calls.size() - 1]
        kept.times = times[0]
        kept.call_kind, kept.code, kept.item_count = call.call_kind, call.task.code, call.item_count
        take_text(&kept.list_id, call.list_id)
        take_text(&kept.campaign_id, call.campaign_id)
        if call.is_traced:
            kept.trace_parent.assign(call.trace_parent, TRACE_PARENT_BYTES)
    slow.guard.unlock()


cdef void slow_calls_note(
    SlowCalls *slow, const DialCall *call, const CallTimes *times
) noexcept nogil:
    cdef int64_t least_ns = slow.least_ns.load()
    if least_ns != 0 and times.total_ns >= least_ns \
            or call.is_traced and slow.takes_traced.load() and is_sampled(call):
        keep(slow, call, times)


cdef str text_of(const string *text):
    return text.data()[:text.size()].decode()


cdef tuple slow_calls_take(SlowCalls *slow):
    cdef vector[SlowCall] taken
    cdef SlowCall *call
    cdef uint64_t missed
    cdef size_t i
    cdef int64_t now_ns
    # No Python object may be made under the lock: that can hand the GIL to another thread, which
    # then waits for the lock with it.
    slow.guard.lock()
    taken.swap(slow.calls)
    missed = slow.missed
    slow.missed = 0
    slow.guard.unlock()
    now_ns = clock_elapsed()
    found = []
    for i in range(taken.size()):
        call = &taken[i]
        found.append((
            call.call_kind, call.code, call.item_count, text_of(&call.list_id),
            text_of(&call.campaign_id), text_of(&call.trace_parent),
            now_ns - call.times.ended_ns, call.times.total_ns, call.times.queue_ns,
            call.times.commit_ns,
        ))
    return found, missed
