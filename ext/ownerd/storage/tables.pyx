"""The tables of a store: their names on disk and the layout of their rows.

Rows are the machine's own byte order (x86-64 and arm64 Linux are both little-endian); keys that
must sort are big-endian. Numbers of lists and campaigns are never used twice.

A row lies in the record tree with its checksum; in memory (`rows`) and in the log, whose entries
have one, without. It reads and writes none: `table_cursor` reads what is committed, `transaction`
reads and writes in the open transaction.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memset

from ownerd.rules.ownership cimport EVENT_TRANSFER

TABLE_NAMES[:] = [
    "meta", "lists", "graves", "events", "campaigns", "codes", "audit", "requests", "records",
    "principals", "dialers", "give_backs", "holders",
]


cdef StoredEventRow event_stored(const EventRow *row) noexcept nogil:
    cdef StoredEventRow stored
    stored.seq, stored.campaign = row.event.seq, row.event.campaign
    stored.kind, stored.include_reservations = row.event.kind, row.event.include_reservations
    stored.time_ns = row.event.time_ns
    stored.value = row.event.duration_ns
    if row.event.kind == EVENT_TRANSFER:
        stored.value = row.event.to_campaign
    stored.entry_id, stored.released_count = row.entry_id, row.released_count
    stored.counted = row.counted
    return stored


cdef void event_read(EventRow *row, const StoredEventRow *stored) noexcept nogil:
    memset(row, 0, sizeof(EventRow))
    row.event.seq, row.event.campaign = stored.seq, stored.campaign
    # The bytes behind the kind were not always 0.
    row.event.kind = <uint8_t> (stored.kind & 0xFF)
    row.event.include_reservations = stored.include_reservations
    row.event.time_ns = stored.time_ns
    if row.event.kind == EVENT_TRANSFER:
        row.event.to_campaign = <uint32_t> stored.value
    else:
        row.event.duration_ns = stored.value
    row.entry_id, row.released_count = stored.entry_id, stored.released_count
    row.counted = stored.counted
