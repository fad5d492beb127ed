"""C interface of events: what changed a whole list, folded over a record that has not seen it."""

from libc.stdint cimport uint32_t
from libcpp.memory cimport shared_ptr

from ownerd.base.containers cimport unordered_map, vector
from ownerd.rules.ownership cimport EVENT_RELEASE, Hold
from ownerd.storage.tables cimport EventRow

cdef enum:
    NOT_RELEASED = -1

# Where the rows are that a record has to look at: indexes of rows, ascending.
cdef cppclass EventIndex:
    size_t row_count                  # rows that are in it
    vector[uint32_t] durations
    vector[uint32_t] runs             # of each duration: the run that it belongs to
    vector[uint32_t] run_ends         # of each run: the place of its last one in `durations`
    unordered_map[uint32_t, vector[uint32_t]] releases   # by campaign, or ALL_CAMPAIGNS
    unordered_map[uint32_t, vector[uint32_t]] endings    # of reservations, likewise

cdef cppclass EventLog:
    vector[EventRow] rows             # by seq
    shared_ptr[EventIndex] index      # none until it is needed


cdef inline bint is_uncounted(const EventRow *row) noexcept nogil:
    """Tell whether an event is a release that is still to be counted (R15)."""
    return row.event.kind == EVENT_RELEASE and not row.counted


cdef inline int fold_events(EventLog *events, uint32_t head_seq, Hold *hold) noexcept nogil:
    """Apply the events, up to `head_seq`, that the record has not seen.

    Returns the index of the one that released it, or NOT_RELEASED. At most one can have: a record
    that is acquired again is written again, and has then seen all.
    """
    if hold.event_seq >= head_seq:
        return NOT_RELEASED
    return fold_late(events, head_seq, hold)


cdef int fold_late(EventLog *events, uint32_t head_seq, Hold *hold) noexcept nogil
# The index of the first row after `seq`; the number of rows if there is none.
cdef size_t events_after(const EventLog *events, uint32_t seq) noexcept nogil
# NULL: every release is counted.
cdef EventRow *find_uncounted(EventLog *events) noexcept nogil
cdef void events_append(EventLog *events, const EventRow *row) noexcept nogil
cdef void events_cut(EventLog *events, uint32_t last_seq) noexcept nogil
# A copy for another thread, which gets an index of its own.
cdef void events_copy(const EventLog *events, uint32_t last_seq, EventLog *copy) noexcept nogil
