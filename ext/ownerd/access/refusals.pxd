"""C interface of denials: callers that were refused, counted by what they did and where from."""

from libc.stdint cimport uint8_t, uint64_t

from ownerd.api.dial_call cimport DialCall
from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport mutex, string, unordered_map

cdef enum Refusal:                    # the numbers of admin.proto
    REFUSED_UNAUTHENTICATED = 1
    REFUSED_PERMISSION = 2

cdef cppclass Denial:                 # callers refused in one way, since the last look
    uint64_t count
    string list_id                    # of the first of them
    string campaign_id

cdef cppclass Denials:
    mutex guard
    unordered_map[string, Denial] kinds
    uint64_t uncounted                # those for which there was no place in it


cdef void denials_add(
    Denials *denials, uint8_t refusal, Slice principal_id, Slice peer, Slice action, Slice list_id,
    Slice campaign_id
) noexcept nogil
cdef void denials_add_call(
    Denials *denials, const string *principal_id, Slice peer, const DialCall *call
) noexcept nogil
cdef denials_take(Denials *denials)
