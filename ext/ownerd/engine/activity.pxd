"""C interface of activity: what each campaign asked of each list, and what it was told."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.api.dial_call cimport DialCall
from ownerd.base.containers cimport mutex, string, unordered_map, vector

cdef enum:
    ANSWERS = 8                       # ClaimDecision and AttemptOutcome are smaller
    FREQUENT = 8                      # campaigns that are told of

# The campaigns that were met most often; exact while they are no more than there is place for.
cdef struct Frequent:
    uint32_t campaigns[FREQUENT]
    uint64_t counts[FREQUENT]         # 0: the place is free

cdef struct Counts:
    uint64_t decisions[ANSWERS]
    uint64_t outcomes[ANSWERS]
    uint64_t lapsed                   # of its reservations
    Frequent denied_by
    int64_t last_ns                   # when it asked last, on the clock of `clock_elapsed`

cdef cppclass Activity:
    mutex guard                       # the writer counts, others look
    unordered_map[uint64_t, Counts] counts  # by number of list and campaign
    unordered_map[uint32_t, vector[uint32_t]] campaigns  # of each list, those in `counts`
    unordered_map[string, uint32_t] strangers  # numbers of campaigns that the store does not know
    uint32_t next_stranger


# Between `guard`'s lock and unlock; a group of calls is counted under one.
# `answers` has place for ANSWERS: how often each was given in the call. Returns how many
# reservations lapsed.
cdef uint32_t activity_count(
    Activity *activity, const DialCall *call, int64_t now_ns, uint64_t *answers
) noexcept nogil
# Those of a list, by id of campaign; `names` are the ids of campaigns by number.
cdef list activity_rows(Activity *activity, uint32_t list_number, list names)
