"""C interface of commands: what the control plane asks for, each one commit."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from ownerd.api.task cimport Task
from ownerd.base.containers cimport string, vector
from ownerd.base.live cimport LiveCommand
from ownerd.rules.ownership cimport (
    IMPORT_TAKEN, IMPORT_TAKEN_OVER, ImportOutcome, Policy,
)
from ownerd.storage.catalog cimport List
from ownerd.storage.store cimport Store
from ownerd.storage.tables cimport AuditRow, EventRow, RequestRow

cdef enum CommandKind:
    CREATE_LIST
    UPDATE_POLICY
    DELETE_LIST
    RELEASE
    RELEASE_RECORDS
    TRANSFER
    UPSERT_CAMPAIGN
    DELETE_CAMPAIGN
    SIGNAL_CAMPAIGN
    UPSERT_CODE
    DELETE_CODE
    UPDATE_SETTINGS
    IMPORT_ROWS
    PUT_PRINCIPAL
    DELETE_PRINCIPAL
    NOTE_REFUSALS
    NOTE_EVENT                        # only its audit entry
    CUT_AUDIT

cdef enum ImportStrategy:             # the numbers of admin.proto
    IMPORT_FAIL = 1
    IMPORT_SKIP = 2
    IMPORT_OVERWRITE = 3

cdef enum TallyIndex:
    TALLY_IMPORTED
    TALLY_SKIPPED
    TALLY_OVERWRITTEN
    TALLY_EXPIRED
    TALLY_COUNT
    TALLY_LEFT_OUT = 0                # RELEASE_RECORDS: how many, as a negative number

cdef cppclass ImportRow:
    string record_id
    string campaign_id
    string campaign_name              # empty: leave the name as it is
    int64_t until_ns                  # NEVER_NS: no expiration
    int64_t since_ns                  # NO_TIME: owned from now on

cdef cppclass Rename:
    uint32_t number
    string name

cdef struct Appended:
    uint32_t number                   # of the list
    EventRow row

# Which fields are read depends on the kind; see the functions of commands.pyx.
cdef cppclass Command:
    Task task
    LiveCommand live
    uint8_t kind
    string list_id
    Policy policy
    uint64_t expected_revision        # 0: any
    string shares_with                # CREATE_LIST: the list whose ownership it shares
    bint checked                      # deletions: nothing was held at `checked_revision`
    uint64_t checked_revision         # refuse if a hold was made since
    bint force
    bint all_campaigns
    bint all_lists                    # RELEASE
    bint include_reservations
    bint counts_as_attempt
    bint success
    uint8_t unknown_code              # UPDATE_SETTINGS: an UnknownCode
    bint exact                        # IMPORT_ROWS: expirations as the rows have them (R32)
    uint8_t strategy
    string to_campaign_id             # TRANSFER
    bint rename_campaigns             # IMPORT_ROWS: also those that have a name already
    bint expire_by_policy             # IMPORT_ROWS: rows without expiration get the list's duration
    vector[string] campaign_ids
    vector[string] record_ids
    string only_campaign              # RELEASE_RECORDS: that owns them; empty: any
    vector[ImportRow] rows
    string name
    string code
    string category
    string principal
    string note
    string request_key                # of the requester and its id; empty: not remembered
    string memo
    uint64_t entry_id                 # in: IMPORT_ROWS; out: the audit entry
    uint64_t first_entry              # CUT_AUDIT: the entries that go
    uint64_t last_entry
    # the outcome
    uint64_t revision
    int64_t time_ns
    int64_t count                     # COUNT_PENDING while records are being counted
    int64_t tally[TALLY_COUNT]
    vector[uint32_t] left_out         # RELEASE_RECORDS: indexes of records that another one owns
    bint replayed
    # between apply and commit
    List *list
    uint32_t campaign                 # DELETE_CAMPAIGN: its number
    vector[Rename] renames
    vector[Appended] appended         # events


cdef inline TallyIndex tally_of(ImportOutcome outcome) noexcept nogil:
    """Return what an imported row is counted as."""
    if outcome == IMPORT_TAKEN:
        return TALLY_IMPORTED
    return TALLY_OVERWRITTEN if outcome == IMPORT_TAKEN_OVER else TALLY_SKIPPED


cdef inline bint request_of_before(const Store *store, const RequestRow *row) noexcept nogil:
    """Tell whether a request was answered before the store began this incarnation."""
    return row.revision <= store.state.first_revision


cdef int command_run(Store *store, Command *command, int64_t clock_ns) noexcept nogil
cdef bint read_audit(Store *store, uint64_t entry_id, AuditRow *row, string *note) noexcept nogil
cdef void put_audit(
    Store *store, uint64_t entry_id, AuditRow *row, const string &note
) noexcept nogil
cdef void refuse_full(Store *store, Task *task) noexcept nogil
