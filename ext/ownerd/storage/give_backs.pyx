"""What dialers gave back (R23): an instant of a dialer, in one list or in all.

A give-back is no event of a list: it is kept by dialer, and asked for when a record is read that a
named dialer has reserved. It is applied at its own instant, between the events of the list before
it and those after it, however late it is. Once everything that the dialer had reserved by then has
ended by itself, it is forgotten (`dialers`).

It changes no record by itself, and writes nothing.
"""

from libc.stdint cimport uint32_t

from ownerd.rules.ownership cimport rules_apply_event, rules_apply_give_back
from ownerd.storage.events cimport events_after


cdef void give_backs_add(
    GiveBacks *given, uint32_t dialer, const GiveBack *entry
) noexcept nogil:
    """Add an entry in its place: they are in order."""
    cdef vector[GiveBack] *entries = &given.by_dialer[dialer]
    cdef GiveBack later
    cdef size_t i = entries.size()
    entries.push_back(entry[0])
    while i > 0 and entries[0][i - 1].time_ns > entry.time_ns:
        later = entries[0][i - 1]
        entries[0][i], entries[0][i - 1] = later, entry[0]
        i -= 1


cdef const GiveBack *find_give_back(const Fold *by, const Hold *hold) noexcept nogil:
    """Return the first give-back that the record's reservation was there for, or NULL."""
    cdef const vector[GiveBack] *entries
    cdef size_t i
    if by.given.by_dialer.count(hold.dialer) == 0:
        return NULL
    entries = &by.given.by_dialer[hold.dialer]
    for i in range(entries.size()):
        if hold.reserved_since_ns <= entries[0][i].time_ns <= by.horizon_ns \
                and (entries[0][i].list == by.list or entries[0][i].list == EVERY_LIST):
            return &entries[0][i]
    return NULL


cdef void fold_given_back(const Fold *by, Hold *hold, vector[uint32_t] *counted) noexcept nogil:
    """Fold a record that a named dialer has reserved; see `fold`."""
    cdef const GiveBack *entry = find_give_back(by, hold)
    cdef uint32_t dialer = hold.dialer
    cdef size_t i
    if entry != NULL:
        i = events_after(by.events, hold.event_seq)
        while i < by.events.rows.size() and by.events.rows[i].event.seq <= by.head_seq \
                and by.events.rows[i].event.time_ns <= entry.time_ns:
            if rules_apply_event(hold, &by.events.rows[i].event) and counted != NULL:
                counted.push_back(<uint32_t> i)
            i += 1
        rules_apply_give_back(hold, dialer, entry.time_ns)
    if hold.event_seq < by.head_seq:
        fold_events(by.events, by.head_seq, hold, counted)
