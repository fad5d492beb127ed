"""A list's events: what changed it as a whole; what they make of a record.

A list that changes as a whole (its duration, a release, a transfer, an end of reservations) gets an
event, whatever its size; a record is brought past those that it has not seen when it is read. A few
are applied one by one. Where there are many, most do not matter to one record, and an index finds
those that do in O(log n):

- Of the releases of a record's campaign, or of all, only the first one can end its ownership: what
  is over by then does not come back (R12).
- Duration changes after that release find no ownership. Those before it make runs, in each of which
  what one sets is still alive at the next: only the end of a run counts.
- Of the events that end a reservation, likewise only the first.

That holds while time goes on, and while a record is one campaign's: where the time was set back
(R19) or ownership was transferred (R27) is a barrier, which is applied by itself, between what is
before it and what is after it.

So nothing is thrown away that a record may need, and the rules stay in `rules`: the events that
matter are applied by them. A debug build folds both ways and compares.

An index is filled as far as it is asked for. A log belongs to one thread at a time; copies are
independent.
"""

from libc.string cimport memcmp
from libcpp.algorithm cimport sort

from ownerd.base.assertions cimport ASSERTING, assert_that
from ownerd.rules.ownership cimport (
    ALL_CAMPAIGNS, EVENT_DURATION, EVENT_RELEASE, EVENT_RESERVATIONS_END, EVENT_TIME_SET_BACK,
    EVENT_TRANSFER, Event, reservation_given_away, rules_apply_durations, rules_apply_event,
    rules_follows,
)

cdef enum:
    FEW_EVENTS = 8                    # so many are applied one by one


# --- a log ----------------------------------------------------------------------------------------

cdef size_t events_after(const EventLog *events, uint32_t seq) noexcept nogil:
    cdef size_t low = 0, high = events.rows.size(), middle
    while low < high:
        middle = (low + high) // 2
        if events.rows[middle].event.seq <= seq:
            low = middle + 1
        else:
            high = middle
    return low


cdef EventRow *find_uncounted(EventLog *events) noexcept nogil:
    """Return the first event whose count is still to be made, or NULL."""
    cdef size_t i
    for i in range(events.rows.size()):
        if is_uncounted(&events.rows[i]):
            return &events.rows[i]
    return NULL


cdef void events_append(EventLog *events, const EventRow *row) noexcept nogil:
    assert_that(
        events.rows.empty() or events.rows.back().event.seq < row.event.seq, "events have an order"
    )
    events.rows.push_back(row[0])


cdef void events_cut(EventLog *events, uint32_t last_seq) noexcept nogil:
    """Forget the events up to `last_seq`, which every record has seen."""
    cdef vector[EventRow] kept
    cdef size_t i
    for i in range(events_after(events, last_seq), events.rows.size()):
        kept.push_back(events.rows[i])
    events.rows.swap(kept)
    events.index.reset()


cdef void events_copy(const EventLog *events, uint32_t last_seq, EventLog *copy) noexcept nogil:
    """Copy the events up to `last_seq`."""
    cdef size_t i, end = events_after(events, last_seq)
    copy.index.reset()
    copy.rows.clear()
    copy.rows.reserve(end)
    for i in range(end):
        copy.rows.push_back(events.rows[i])


# --- its index ------------------------------------------------------------------------------------

cdef void index_duration(
    EventIndex *index, const vector[EventRow] *rows, uint32_t at
) noexcept nogil:
    cdef size_t place = index.durations.size()
    cdef bint follows = False
    if place != 0:
        follows = rules_follows(
            &rows[0][index.durations[place - 1]].event, &rows[0][at].event
        )
    if not follows:
        index.run_ends.push_back(0)
    index.durations.push_back(at)
    index.runs.push_back(<uint32_t> (index.run_ends.size() - 1))
    index.run_ends[index.run_ends.size() - 1] = <uint32_t> place


cdef EventIndex *index_of(EventLog *events) noexcept nogil:
    """Return the index with every row in it."""
    cdef EventIndex *index = events.index.get()
    cdef const Event *event
    cdef uint32_t at
    if index == NULL:
        events.index = shared_ptr[EventIndex](new EventIndex())
        index = events.index.get()
        index.row_count = 0
    for at in range(<uint32_t> index.row_count, <uint32_t> events.rows.size()):
        event = &events.rows[at].event
        if event.kind == EVENT_DURATION:
            index_duration(index, &events.rows, at)
            continue
        if event.kind == EVENT_TIME_SET_BACK or event.kind == EVENT_TRANSFER:
            index.barriers.push_back(at)
            continue
        if event.kind == EVENT_RELEASE:
            index.releases[event.campaign].push_back(at)
        if event.kind == EVENT_RESERVATIONS_END or event.include_reservations:
            index.endings[event.campaign].push_back(at)
    index.row_count = events.rows.size()
    return index


cdef size_t place_from(const vector[uint32_t] *places, uint32_t start) noexcept nogil:
    """Return which of the places is the first one at `start` or later."""
    cdef size_t low = 0, high = places.size(), middle
    while low < high:
        middle = (low + high) // 2
        if places[0][middle] < start:
            low = middle + 1
        else:
            high = middle
    return low


cdef uint32_t first_from(
    unordered_map[uint32_t, vector[uint32_t]] *places, uint32_t campaign, uint32_t start,
    uint32_t none
) noexcept nogil:
    """Return the first row of a campaign at `start` or later, or `none`."""
    cdef const vector[uint32_t] *found
    cdef size_t place
    if places.count(campaign) == 0:
        return none
    found = &places[0][campaign]
    place = place_from(found, start)
    return none if place == found.size() else found[0][place]


# --- folding --------------------------------------------------------------------------------------

cdef inline void apply_row(
    EventLog *events, size_t at, Hold *hold, vector[uint32_t] *counted
) noexcept nogil:
    if rules_apply_event(hold, &events.rows[at].event) and counted != NULL:
        counted.push_back(<uint32_t> at)


cdef void fold_one_by_one(
    EventLog *events, size_t start, Hold *hold, vector[uint32_t] *counted
) noexcept nogil:
    cdef size_t i
    for i in range(start, events.rows.size()):
        apply_row(events, i, hold, counted)


cdef void fold_durations(
    EventLog *events, const EventIndex *index, uint32_t start, uint32_t end, Hold *hold
) noexcept nogil:
    """Apply the duration changes among the rows [start, end)."""
    cdef size_t first = place_from(&index.durations, start)
    cdef size_t last = place_from(&index.durations, end)
    if first == last:
        return
    last = min(last - 1, <size_t> index.run_ends[index.runs[first]])
    rules_apply_durations(
        hold, &events.rows[index.durations[first]].event, &events.rows[index.durations[last]].event
    )


cdef uint32_t first_of(
    unordered_map[uint32_t, vector[uint32_t]] *places, const Hold *hold, bint campaigns,
    uint32_t start, uint32_t end
) noexcept nogil:
    """Return the first row of [start, end) that is for all, or for the record's campaign; or `end`.
    """
    cdef uint32_t first = first_from(places, ALL_CAMPAIGNS, start, end)
    if campaigns:
        first = min(first, first_from(places, hold.campaign, start, end))
    return min(first, end)


cdef void fold_one(
    EventLog *events, uint32_t at, uint32_t seen, Hold *hold, vector[uint32_t] *counted
) noexcept nogil:
    """Apply one event out of turn."""
    hold.event_seq = seen
    apply_row(events, at, hold, counted)


cdef void fold_stretch(
    EventLog *events, uint32_t start, uint32_t end, Hold *hold, vector[uint32_t] *counted
) noexcept nogil:
    """Apply what matters among the rows [start, end), which have no barrier.

    Ownership and reservation are folded each by itself. A release that ends reservations too is
    among both; it is applied as a release first, and as the end of a reservation finds no ownership
    any more. What a transfer left reserved only ends with the reservations of all.
    """
    cdef EventIndex *index = index_of(events)
    cdef uint32_t seen = hold.event_seq
    cdef uint32_t ending = first_of(
        &index.endings, hold, not reservation_given_away(hold), start, end
    )
    cdef uint32_t release = first_of(&index.releases, hold, True, start, end)
    fold_durations(events, index, start, release, hold)
    if ending != end and events.rows[ending].event.kind == EVENT_RESERVATIONS_END:
        fold_one(events, ending, seen, hold, counted)
        ending = end
    if release != end:
        fold_one(events, release, seen, hold, counted)
    if ending != end:
        fold_one(events, ending, seen, hold, counted)
    hold.event_seq = seen


cdef void fold_indexed(
    EventLog *events, uint32_t start, Hold *hold, vector[uint32_t] *counted
) noexcept nogil:
    """Apply only what matters, from barrier to barrier."""
    cdef EventIndex *index = index_of(events)
    cdef size_t place = place_from(&index.barriers, start)
    cdef uint32_t barrier
    while place < index.barriers.size():
        barrier = index.barriers[place]
        fold_stretch(events, start, barrier, hold, counted)
        apply_row(events, barrier, hold, counted)
        start = barrier + 1
        place += 1
    fold_stretch(events, start, <uint32_t> events.rows.size(), hold, counted)


cdef void assert_folded(EventLog *events, size_t start, const Hold *hold) noexcept nogil:
    """Compare what comes of the events that matter with what comes of every one in turn."""
    cdef Hold indexed = hold[0], other = hold[0]
    cdef vector[uint32_t] counted, otherwise
    cdef size_t i
    fold_indexed(events, <uint32_t> start, &indexed, &counted)
    fold_one_by_one(events, start, &other, &otherwise)
    sort(counted.begin(), counted.end())
    assert_that(counted.size() == otherwise.size(), "each way counts as many events")
    for i in range(counted.size()):
        assert_that(counted[i] == otherwise[i], "the first ones that end something are the ones")
    other.event_seq = indexed.event_seq
    assert_that(memcmp(&other, &indexed, sizeof(Hold)) == 0, "both ways come to the same")


cdef void fold_events(
    EventLog *events, uint32_t head_seq, Hold *hold, vector[uint32_t] *counted
) noexcept nogil:
    """Bring the record past the events that it has not seen."""
    cdef size_t start = events_after(events, hold.event_seq)
    assert_that(
        events.rows.empty() or events.rows.back().event.seq <= head_seq, "the head is the last one"
    )
    if events.rows.size() - start <= FEW_EVENTS:
        fold_one_by_one(events, start, hold, counted)
        hold.event_seq = head_seq
        return
    if ASSERTING:
        assert_folded(events, start, hold)
    fold_indexed(events, <uint32_t> start, hold, counted)
    hold.event_seq = head_seq
