"""C interface of changes: what each revision changed, out of the log."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from ownerd.base.containers cimport string, unordered_map, vector
from ownerd.rules.ownership cimport Hold, Policy
from ownerd.storage.known_names cimport KnownNames
from ownerd.storage.log_reader cimport LogReader, ReadEntry, ReadStatus
from ownerd.storage.store cimport Store

cdef enum ChangeKind:
    CHANGE_LIST_CREATED
    CHANGE_RENAMED                    # `campaign`
    CHANGE_POLICY
    CHANGE_DURATION                   # `time_ns`, `length_ns`
    CHANGE_RELEASED                   # `time_ns`, `campaign`, `include_reservations`
    CHANGE_TRANSFERRED                # `time_ns`, `campaign`, `to_campaign`
    CHANGE_RESERVATIONS_ENDED         # `time_ns`, `campaign`, `text`: the dialer, or ""
    CHANGE_TIME_SET_BACK              # `time_ns`, `length_ns`
    CHANGE_RECORD                     # `id`, `hold`, `campaign`: who held it before
    CHANGE_REJECTED                   # `id`, `hold`, `time_ns`, `list_id`, `text`: the campaign
    CHANGE_LIST_DELETED

# One change; what a kind does not name is not set.
cdef cppclass Change:
    uint8_t kind
    bint include_reservations
    bint owner_changed
    uint32_t list                     # its number; or EVERY_LIST, or of CHANGE_RENAMED none
    uint32_t campaign
    uint32_t to_campaign
    uint32_t dialer
    int64_t time_ns
    int64_t length_ns
    Policy policy
    Hold hold                         # as the revision left it
    string id                         # of the record
    string list_id                    # that came or went; that a report named
    string text

# Follows the log from a revision on. One thread's at a time; the store outlives its steps.
cdef cppclass Changes:
    Store *store
    bint with_reservations
    KnownNames names                  # as of `revision`, but for lists that it deleted
    uint64_t revision                 # the last one that was read
    int64_t time_ns                   # of it
    vector[Change] all                # what it changed, in the order in which to apply it
    # private
    LogReader log
    ReadEntry entry
    bint has_entry                    # one is read that is not shown yet
    unordered_map[string, size_t] places    # of records by key: where in `all`
    vector[string] dropped            # ids of lists that the last revision deleted
    vector[uint32_t] dropped_numbers


# Begins behind a revision. READ_TAIL: it may be stepped; READ_TRIMMED, READ_AHEAD, READ_DAMAGED,
# READ_FAILED as a log_reader. `code`: LMDB's, where a table cannot be read.
cdef ReadStatus changes_begin(
    Changes *changes, Store *store, uint64_t after_revision, bint with_reservations, int *code
) noexcept nogil
# Goes on to the next revision, unless it is after `newest`. READ_ENTRY: `all` is what it changed,
# perhaps nothing; READ_TAIL: there is none yet.
cdef ReadStatus changes_next(Changes *changes, uint64_t newest) noexcept nogil
