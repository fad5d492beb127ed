"""C interface of refusals: callers that were refused, counted by what they did and where from."""

from libc.stdint cimport uint64_t

from ownerd.api.dial_call cimport DialCall
from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport mutex, string, unordered_map

cdef cppclass Refusal:                # callers refused in one way, since the last look
    uint64_t count
    string list_id                    # of the first of them
    string campaign_id

cdef cppclass Refusals:
    mutex guard
    unordered_map[string, Refusal] kinds
    uint64_t uncounted                # those for which there was no place in it


# `code` is that of the refusal: UNAUTHENTICATED or PERMISSION_DENIED.
cdef void refusals_add(
    Refusals *refusals, int code, Slice principal_id, Slice peer, Slice action, Slice list_id,
    Slice campaign_id
) noexcept nogil
cdef void refusals_add_call(
    Refusals *refusals, const string *principal_id, Slice peer, const DialCall *call
) noexcept nogil
cdef refusals_take(Refusals *refusals)
