"""C interface of events: what changed a whole list, folded over a record that has not seen it."""

from libc.stdint cimport uint32_t
from libcpp.memory cimport shared_ptr

from ownerd.base.containers cimport unordered_map, vector
from ownerd.rules.ownership cimport (
    EVENT_RELEASE, EVENT_RESERVATIONS_END, EVENT_TRANSFER, Hold,
)
from ownerd.storage.tables cimport EventRow

# Where the rows are that a record has to look at: indexes of rows, ascending.
cdef cppclass EventIndex:
    size_t row_count                  # rows that are in it
    vector[uint32_t] barriers         # those that are applied by themselves
    vector[uint32_t] durations
    vector[uint32_t] runs             # of each duration: the run that it belongs to
    vector[uint32_t] run_ends         # of each run: the place of its last one in `durations`
    unordered_map[uint32_t, vector[uint32_t]] releases   # by campaign, or ALL_CAMPAIGNS
    unordered_map[uint32_t, vector[uint32_t]] endings    # of reservations, likewise

cdef cppclass EventLog:
    vector[EventRow] rows             # by seq
    shared_ptr[EventIndex] index      # none until it is needed


cdef inline bint is_uncounted(const EventRow *row) noexcept nogil:
    """Tell whether what an event ended or gave away is still to be counted (R15, R16, R27)."""
    return not row.counted and (
        row.event.kind == EVENT_RELEASE or row.event.kind == EVENT_RESERVATIONS_END
        or row.event.kind == EVENT_TRANSFER
    )


# Apply the events, up to `head_seq`, that the record has not seen. The rows of those that ended or
# gave away what the record had are appended to `counted`, if that is not NULL.
cdef void fold_events(
    EventLog *events, uint32_t head_seq, Hold *hold, vector[uint32_t] *counted
) noexcept nogil
# The index of the first row after `seq`; the number of rows if there is none.
cdef size_t events_after(const EventLog *events, uint32_t seq) noexcept nogil
# NULL: everything is counted.
cdef EventRow *find_uncounted(EventLog *events) noexcept nogil
cdef void events_append(EventLog *events, const EventRow *row) noexcept nogil
cdef void events_cut(EventLog *events, uint32_t last_seq) noexcept nogil
# A copy for another thread, which gets an index of its own.
cdef void events_copy(const EventLog *events, uint32_t last_seq, EventLog *copy) noexcept nogil
