"""C interface of feed: one reader's part of the changes, as messages of Watch."""

from libc.stdint cimport uint32_t, uint64_t
from libcpp.memory cimport shared_ptr

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string, unordered_map, vector
from ownerd.engine.engine cimport Engine
from ownerd.storage.changes cimport Changes

# Whether somebody may see a list, and in it a campaign; an empty slice of either asks nothing.
ctypedef bint (*MaySee)(const void *who, Slice list_id, Slice campaign_id) noexcept nogil

# A list under a name that the reader follows.
cdef cppclass Followed:
    string list_id
    unordered_map[uint32_t, bint] sees    # which campaigns, by number

cdef cppclass FeedCore:
    Changes changes
    bint with_reservations
    unordered_map[string, bint] wanted    # list ids; none: all
    MaySee may_see                        # NULL: nothing may be seen yet
    const void *who
    string incarnation_id
    # By list number, as of `names_changed`.
    unordered_map[uint32_t, vector[Followed]] followed
    uint64_t names_changed
    # What was read last: messages one behind the other, and where each ends.
    string bytes
    vector[size_t] ends
    uint64_t read_revision                # the last complete one in them

cdef class Feed:
    cdef FeedCore *core
    cdef Engine engine
    cdef object kept                      # what `who` belongs to


# Has a feed show what somebody may see; `owner` is kept as long as it.
cdef feed_limit(Feed feed, MaySee may_see, const void *who, object owner)
