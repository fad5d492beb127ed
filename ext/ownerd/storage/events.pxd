"""C interface of events: what changed a whole list, folded over a record that has not seen it."""

from libc.stdint cimport uint32_t
from libcpp.memory cimport shared_ptr

from ownerd.base.containers cimport unordered_map, vector
from ownerd.rules.ownership cimport EVENT_RELEASE, EVENT_RESERVATIONS_END, Hold
from ownerd.storage.tables cimport EventRow

cdef enum:
    NO_EVENT = -1

# Rows of the events that ended what a record had, where it is counted; or NO_EVENT.
cdef struct Ended:
    int ownership                     # by a release (R15)
    int reservation                   # by an end of reservations (R16)

# Where the rows are that a record has to look at: indexes of rows, ascending.
cdef cppclass EventIndex:
    size_t row_count                  # rows that are in it
    bint is_whole                     # every event can be found by it
    vector[uint32_t] durations
    vector[uint32_t] runs             # of each duration: the run that it belongs to
    vector[uint32_t] run_ends         # of each run: the place of its last one in `durations`
    unordered_map[uint32_t, vector[uint32_t]] releases   # by campaign, or ALL_CAMPAIGNS
    unordered_map[uint32_t, vector[uint32_t]] endings    # of reservations, likewise

cdef cppclass EventLog:
    vector[EventRow] rows             # by seq
    shared_ptr[EventIndex] index      # none until it is needed


cdef inline bint is_uncounted(const EventRow *row) noexcept nogil:
    """Tell whether what an event ended is still to be counted (R15, R16)."""
    return not row.counted and (
        row.event.kind == EVENT_RELEASE or row.event.kind == EVENT_RESERVATIONS_END
    )


cdef inline Ended ended_nothing() noexcept nogil:
    cdef Ended ended
    ended.ownership = ended.reservation = NO_EVENT
    return ended


cdef inline Ended fold_events(EventLog *events, uint32_t head_seq, Hold *hold) noexcept nogil:
    """Apply the events, up to `head_seq`, that the record has not seen.

    Returns those that ended what the record had. At most one of each kind can have: a record that
    is held again is written again, and has then seen all.
    """
    if hold.event_seq >= head_seq:
        return ended_nothing()
    return fold_late(events, head_seq, hold)


cdef Ended fold_late(EventLog *events, uint32_t head_seq, Hold *hold) noexcept nogil
# The index of the first row after `seq`; the number of rows if there is none.
cdef size_t events_after(const EventLog *events, uint32_t seq) noexcept nogil
# NULL: everything is counted.
cdef EventRow *find_uncounted(EventLog *events) noexcept nogil
cdef void events_append(EventLog *events, const EventRow *row) noexcept nogil
cdef void events_cut(EventLog *events, uint32_t last_seq) noexcept nogil
# A copy for another thread, which gets an index of its own.
cdef void events_copy(const EventLog *events, uint32_t last_seq, EventLog *copy) noexcept nogil
