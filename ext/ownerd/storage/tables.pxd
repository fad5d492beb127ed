"""C interface of tables: the tables of a store, and how their rows lie."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from ownerd.rules.ownership cimport Event
from ownerd.storage.filesystem cimport FileMark

# Also how the log names them: a number stays its table's.
cdef enum Table:
    META
    LISTS
    DROPPED_LISTS
    EVENTS
    CAMPAIGNS
    CODES
    AUDIT
    REQUESTS
    RECORDS                           # see `records`, and the codec of their values
    PRINCIPALS
    DIALERS
    GIVE_BACKS                        # by dialer, list and time; until when it is needed
    HOLDERS                           # by list and campaign
    TABLE_COUNT

cdef enum:
    COUNT_PENDING = -1                # an audit entry whose records are still being counted
    REQUEST_MEMORY_NS = 86_400_000_000_000   # R20: repeats are recognised for 24 h

cdef const char *TABLE_NAMES[TABLE_COUNT]   # in the order of Table

# --- rows: the fixed part of each value; strings follow it ----------------------------------------

# META "state". In the tree, what it has been flushed up to, put by every commit; in the log, what
# the store is after the entry.
cdef struct StateRow:
    uint64_t revision
    uint64_t store_id
    int64_t time_ns                   # R19: the highest time ever stored
    uint64_t next_entry
    uint32_t next_list
    uint32_t format
    uint64_t incarnation              # its random id
    uint64_t first_revision           # that the incarnation began at; its first change is the next
    uint64_t session                  # the random id of the opening that wrote it; 0: of none yet
    uint64_t commit_count             # last: see `meta_pages`; 0 in the log

cdef enum:
    STATE_FORMAT = 5                  # one environment, and the log as files

cdef struct SessionRow:               # META "session", of the tree alone: the last opening
    uint64_t session                  # its random id
    uint64_t before                   # while one begins: that of the opening before it
    uint64_t log_session              # of whom the last entry was when it began
    FileMark files[2]                 # of the log's directory and the data file
    FileMark stamp                    # DIR/SESSION
    FileMark stamp_before             # while one begins: the former DIR/SESSION

cdef struct ClusterRow:               # META "cluster": where in the log of a cluster a store is
    uint64_t log_id                   # the log's random id
    uint64_t revision                 # of an entry of it that the store has
    uint64_t epoch                    # of whoever appended that; 0: it came with the store
    uint32_t crc                      # of that entry's last part; likewise
    uint32_t unused

cdef struct SettingsRow:              # META "settings", once one was set
    uint32_t unknown_code             # an UnknownCode
    uint32_t unused[7]

# LISTS, by list id; of lists that share their ownership the rows differ in `create_ns` alone, and
# have one number (R28).
cdef struct ListRow:
    int64_t duration_ns
    int64_t renewal_window_ns
    int64_t reservation_ttl_ns
    int64_t create_ns
    int64_t update_ns
    uint64_t update_revision
    uint32_t number
    uint32_t head_seq
    uint32_t enabled
    uint16_t name_count               # how many lists share it; 0: one, in rows of before
    uint16_t tells_holders            # HOLDERS has every campaign that ever held a record
    int64_t enabled_since_ns          # not of rows of before, which have OLD_LIST_BYTES

cdef enum:
    OLD_LIST_BYTES = 64

cdef struct EventRow:                 # an event as it is in memory
    Event event
    uint64_t entry_id                 # the audit entry that reports the count
    int64_t released_count            # records written since of which it ended or gave something
    uint64_t counted                  # the audit entry has its final count

cdef struct StoredEventRow:           # EVENTS, by list number and seq
    uint32_t seq
    uint32_t campaign
    uint32_t kind
    uint32_t include_reservations
    int64_t time_ns
    int64_t value                     # a duration; of a transfer, the campaign that receives
    uint64_t entry_id
    int64_t released_count
    uint64_t counted

cdef struct DialerRow:                # DIALERS, by number; the id follows
    int64_t until_ns
    uint32_t campaign
    uint32_t unused

cdef struct AuditRow:                 # AUDIT, by entry id; the note follows
    int64_t time_ns
    uint64_t revision
    int64_t count

cdef struct RequestRow:               # REQUESTS, by `request_key`; the memo follows
    int64_t time_ns
    uint64_t revision
    uint64_t entry_id                 # whose count is the answer's
    int64_t tally[4]

# Between an event in memory and its row.
cdef StoredEventRow event_stored(const EventRow *row) noexcept nogil
cdef void event_read(EventRow *row, const StoredEventRow *stored) noexcept nogil
