"""C interface of slow_calls: dials that took long, or that somebody traces, kept for the log."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp.atomic cimport atomic

from ownerd.api.dial_call cimport DialCall
from ownerd.base.containers cimport mutex, string, vector

cdef enum:
    MOST_SLOW_CALLS = 256             # kept until they are taken; beyond, only their number is

# What a call spent, in nanoseconds.
cdef struct CallTimes:
    int64_t ended_ns                  # of clock_elapsed
    int64_t total_ns                  # from the queue to the answer
    int64_t queue_ns                  # of that, before its group
    int64_t commit_ns                 # and in its group's commit, if there was one

cdef cppclass SlowCall:
    CallTimes times
    uint8_t call_kind
    int code
    uint32_t item_count
    string list_id
    string campaign_id
    string trace_parent               # empty: the call had none

cdef cppclass SlowCalls:
    atomic[int64_t] least_ns          # that make a call a slow one; 0: none is
    atomic[bint] takes_traced         # whether sampled ones are kept, however long they took
    mutex guard                       # over what follows
    vector[SlowCall] calls
    uint64_t missed                   # since calls were last taken


# By the writer, of each call; next to nothing unless the call is wanted.
cdef void slow_calls_note(
    SlowCalls *slow, const DialCall *call, const CallTimes *times
) noexcept nogil
# Takes what is kept: see `Engine.take_slow_calls`.
cdef tuple slow_calls_take(SlowCalls *slow)
