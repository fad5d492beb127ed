"""C interface of give_backs: instants at which dialers gave back; records brought up to them."""

from libc.stdint cimport int64_t, uint32_t
from libcpp.memory cimport shared_ptr

from ownerd.base.containers cimport unordered_map, vector
from ownerd.rules.ownership cimport NO_DIALER, Hold, reservation_given_away
from ownerd.storage.events cimport EventLog, fold_events

cdef enum:
    EVERY_LIST = 0xFFFFFFFF           # in the place of a list's number

cdef struct GiveBack:
    int64_t time_ns                   # what the dialer had reserved by then is over
    int64_t until_ns                  # all that it had reserved by then has ended by itself
    uint32_t list                     # its number, or EVERY_LIST

# Of each dialer, by time.
cdef cppclass GiveBacks:
    unordered_map[uint32_t, vector[GiveBack]] by_dialer

# Readers on other threads share one that is never changed any more.
ctypedef shared_ptr[GiveBacks] SharedGiveBacks

# By what a record of one list is brought up to now.
cdef struct Fold:
    EventLog *events
    GiveBacks *given
    uint32_t list                     # its number
    uint32_t head_seq                 # the last event that is folded
    int64_t horizon_ns                # a later give-back is not looked at


cdef inline void fold(const Fold *by, Hold *hold, vector[uint32_t] *counted) noexcept nogil:
    """Bring a record up to its list's events, and up to what its dialer gave back (R23).

    The rows of the events that count the record are appended to `counted`, if that is not NULL.
    """
    if hold.dialer != NO_DIALER and not reservation_given_away(hold) \
            and by.given.by_dialer.size() != 0:
        fold_given_back(by, hold, counted)
    elif hold.event_seq < by.head_seq:
        fold_events(by.events, by.head_seq, hold, counted)


cdef void fold_given_back(const Fold *by, Hold *hold, vector[uint32_t] *counted) noexcept nogil
cdef void give_backs_add(
    GiveBacks *given, uint32_t dialer, const GiveBack *entry
) noexcept nogil
