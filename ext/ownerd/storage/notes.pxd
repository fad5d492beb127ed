"""C interface of notes: what an entry of the log says of its changes beside the rows."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from ownerd.base.bytes cimport Slice
from ownerd.storage.log_entry cimport LogEntry, LogRow

# Numbers that stand in the log where a table's would.
cdef enum LogOnly:
    OWNER_CHANGED = 64                # a row of RECORDS that changed who owns it, or until when
    HOLD_GONE = 65                    # of RECORDS, where nothing is left; the value: who held it
    OWNER_GONE = 66                   # the same, and it had an owner
    NOTES = 67                        # by kind and what it is about

cdef enum NoteKind:
    NOTE_HELD_BEFORE = 1              # a record: who held it when another campaign took it over
    NOTE_REJECTED = 2                 # a record: a `RejectedNote` (R31)
    NOTE_EVENT = 3                    # list and seq, of an event that is new
    NOTE_GIVEN_BACK = 4               # a dialer's id: a `GivenBackNote` (R23)
    NOTE_POLICY = 5                   # a list that has another policy
    NOTE_LIST_CREATED = 6             # a list's id: its number
    NOTE_LIST_DELETED = 7             # the same
    NOTE_RENAMED = 8                  # a campaign that has another name

cdef extern from *:
    """
    #include <cstdint>
    static constexpr uint32_t OWNERD_HELD_BY_NOBODY = UINT32_MAX;
    """
    const uint32_t HELD_BY_NOBODY "OWNERD_HELD_BY_NOBODY"

cdef struct RejectedNote:             # the record's value, list id and campaign id follow
    int64_t attempt_ns                # as reported, else when it was decided
    uint8_t hold_size
    uint8_t list_id_size
    uint8_t unused[6]

cdef struct GivenBackNote:
    int64_t time_ns
    uint32_t dialer
    uint32_t campaign
    uint32_t list                     # or EVERY_LIST
    uint32_t unused

# A record's row, however it is told.
cdef struct RecordRow:
    Slice key
    Slice value                       # empty: nothing is left
    bint owner_changed
    uint32_t held_by                  # where nothing is left: who held it; or HELD_BY_NOBODY

cdef struct Note:
    uint8_t kind
    Slice about
    Slice value


# --- writing --------------------------------------------------------------------------------------

# What a record becomes; no value: nothing is left of what `held_by` had.
cdef void entry_put_record(
    LogEntry *entry, Slice key, Slice value, bint owner_changed, uint32_t held_by
) noexcept nogil
cdef void entry_note(LogEntry *entry, NoteKind kind, Slice about, Slice value) noexcept nogil

# --- reading --------------------------------------------------------------------------------------

# False: it is no record's row.
cdef bint read_record(const LogRow *row, RecordRow *record) noexcept nogil
cdef inline bint is_note(const LogRow *row) noexcept nogil:
    return row.table == NOTES
cdef Note note_of(const LogRow *row) noexcept nogil
