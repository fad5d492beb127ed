"""Notes: what the log tells those who follow it, where the rows do not say what has changed.

A record's row says who holds it now. Whether that changed who owns it, and who held it before, is
known only where it is decided; so the row's place in the entry is under a number of its own. What
is no row at all (an attempt that was rejected, a give-back, the name of a list that is gone) is a
note. Replaying an entry passes notes over: they are no state.

Entries of segments of the first format have neither (`segment`).
"""

from libc.string cimport memcpy

from ownerd.base.bytes cimport empty_slice, slice_of
from ownerd.base.containers cimport string
from ownerd.storage.log_entry cimport entry_delete, entry_put
from ownerd.storage.tables cimport RECORDS


cdef void entry_put_record(
    LogEntry *entry, Slice key, Slice value, bint owner_changed, uint32_t held_by
) noexcept nogil:
    if value.size != 0:
        entry_put(
            entry, <uint32_t> OWNER_CHANGED if owner_changed else <uint32_t> RECORDS, key, value
        )
    elif held_by == HELD_BY_NOBODY:
        entry_delete(entry, RECORDS, key)
    else:
        entry_put(
            entry, OWNER_GONE if owner_changed else HOLD_GONE, key,
            slice_of(&held_by, sizeof(held_by)),
        )


cdef void entry_note(LogEntry *entry, NoteKind kind, Slice about, Slice value) noexcept nogil:
    cdef char first = <char> <int> kind
    cdef string key = string(&first, 1)
    key.append(about.data, about.size)
    entry_put(entry, NOTES, slice_of(key.data(), key.size()), value)


cdef bint read_record(const LogRow *row, RecordRow *record) noexcept nogil:
    record.key, record.value = row.key, row.value
    record.owner_changed = row.table == OWNER_CHANGED or row.table == OWNER_GONE
    record.held_by = HELD_BY_NOBODY
    if row.table == HOLD_GONE or row.table == OWNER_GONE:
        if row.value.size == sizeof(record.held_by):
            memcpy(&record.held_by, row.value.data, sizeof(record.held_by))
        record.value = empty_slice()
        return True
    return row.table == RECORDS or row.table == OWNER_CHANGED


cdef Note note_of(const LogRow *row) noexcept nogil:
    """Return what a note says; one without a kind has kind 0."""
    cdef Note note
    note.kind = 0
    note.about, note.value = empty_slice(), row.value
    if row.key.size > 0:
        note.kind = <uint8_t> row.key.data[0]
        note.about = slice_of(row.key.data + 1, row.key.size - 1)
    return note
