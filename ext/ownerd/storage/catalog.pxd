"""C interface of catalog: lists with their events, campaigns, codes, dropped lists, in memory."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string, unordered_map, vector
from ownerd.base.live cimport LiveCampaign, LiveList
from ownerd.rules.ownership cimport (
    EVENT_DURATION, EVENT_RELEASE, Code, Hold, Policy, rules_apply_event,
)
from ownerd.storage.tables cimport EventRow
from ownerd.storage.transaction cimport Transaction

cdef enum:
    NO_EVENT = -1

# Indexes of the events that ended what a record had, where it is counted; or NO_EVENT.
cdef struct Ended:
    int ownership                     # by a release (R15)
    int reservation                   # by an end of reservations (R16)

cdef cppclass Campaign:
    string id
    string name
    LiveCampaign live

cdef cppclass List:
    string id
    uint32_t number
    uint32_t head_seq
    Policy policy
    int64_t create_ns
    int64_t update_ns
    uint64_t update_revision
    uint64_t acquire_revision         # no ownership was acquired at a later revision
    vector[EventRow] events           # by seq; those that some record may not have seen yet
    uint64_t vacuumed_round           # the last vacuum of every list that visited its records
    LiveList live

cdef struct Undo:
    List *list
    size_t index
    int64_t released_count

# Changed on the writer thread only, by the functions below.
cdef cppclass Catalog:
    Transaction *txn                  # which its rows are written in
    unordered_map[string, List *] lists
    unordered_map[uint32_t, List *] lists_by_number
    vector[Campaign *] campaigns      # by number
    vector[Campaign *] former         # as before a rename; snapshots and answers show them
    unordered_map[string, uint32_t] campaign_numbers
    unordered_map[string, Code] codes
    vector[uint32_t] dropped_lists    # numbers of deleted lists that still have records
    size_t committed_campaigns
    vector[Undo] undo                 # counts of releases, before the open transaction


cdef inline bint campaign_known(const Catalog *catalog, uint32_t number) noexcept nogil:
    return number < catalog.campaigns.size()


cdef inline Campaign *campaign_of(Catalog *catalog, uint32_t number) noexcept nogil:
    """Return a known campaign; it lives as long as the store, under the name it has now."""
    return catalog.campaigns[number]


cdef inline void list_acquired(List *lst, uint64_t revision) noexcept nogil:
    """Note that ownership is acquired at a revision, which may still fail to commit."""
    lst.acquire_revision = revision


cdef inline bint is_uncounted(const EventRow *row) noexcept nogil:
    """Tell whether what an event ended is still to be counted (R15, R16)."""
    return row.event.kind != EVENT_DURATION and not row.counted


cdef inline Ended fold_events(
    const vector[EventRow] *events, uint32_t head_seq, Hold *hold
) noexcept nogil:
    """Apply the events, up to `head_seq`, that the record has not seen.

    Returns those that ended what the record had. At most one of each kind can have: a record that
    is held again is written again, and has then seen all.
    """
    cdef Ended ended
    cdef size_t i
    ended.ownership = ended.reservation = NO_EVENT
    if hold.event_seq >= head_seq:
        return ended
    for i in range(events.size()):
        if events[0][i].event.seq <= hold.event_seq \
                or not rules_apply_event(hold, &events[0][i].event):
            continue
        if events[0][i].event.kind == EVENT_RELEASE:
            ended.ownership = <int> i
        else:
            ended.reservation = <int> i
    hold.event_seq = head_seq
    return ended


cdef inline bint ended_by(
    const vector[EventRow] *events, Ended ended, uint64_t entry_id
) noexcept nogil:
    """Tell whether what is counted for an audit entry ended something of a record."""
    return (
        ended.ownership != NO_EVENT and events[0][ended.ownership].entry_id == entry_id
    ) or (ended.reservation != NO_EVENT and events[0][ended.reservation].entry_id == entry_id)


cdef void catalog_init(Catalog *catalog, Transaction *txn) noexcept nogil
cdef void catalog_free(Catalog *catalog) noexcept nogil
# Hands every campaign over, former ones too, to whoever frees them later.
cdef void take_campaigns(Catalog *catalog, vector[Campaign *] *taken) noexcept nogil
# Rolling back puts back what changed in memory since the mark; the rows are the transaction's.
cdef void catalog_mark(Catalog *catalog) noexcept nogil
cdef void catalog_rollback(Catalog *catalog) noexcept nogil

# --- what is known; a list is valid until it is dropped -------------------------------------------

# NULL: there is no such list.
cdef List *find_list(Catalog *catalog, Slice list_id) noexcept nogil
cdef List *find_list_number(Catalog *catalog, uint32_t number) noexcept nogil
cdef void all_lists(Catalog *catalog, vector[List *] *found) noexcept nogil
# By number. They live as long as the store, under the names that they have now.
cdef void all_campaigns(Catalog *catalog, vector[Campaign *] *found) noexcept nogil
# For an unknown campaign, the number that add_campaign would give.
cdef uint32_t find_campaign(Catalog *catalog, Slice campaign_id) noexcept nogil
cdef bint find_code(Catalog *catalog, Slice code, Code *found) noexcept nogil
cdef EventRow *find_uncounted(List *lst) noexcept nogil
cdef List *list_to_vacuum(Catalog *catalog, uint64_t vacuum_round) noexcept nogil
cdef bint find_dropped(Catalog *catalog, uint32_t *number) noexcept nogil

# --- into the open transaction: rows only, but for add_campaign and count_ended -------------------

cdef void put_list(Catalog *catalog, List *lst) noexcept nogil
cdef void put_event(Catalog *catalog, uint32_t number, EventRow *row) noexcept nogil
cdef void put_campaign(
    Catalog *catalog, uint32_t number, Slice campaign_id, Slice name
) noexcept nogil
cdef void put_code(Catalog *catalog, Slice code, const Code *value, Slice category) noexcept nogil
cdef void delete_code_row(Catalog *catalog, Slice code) noexcept nogil
# The list's number goes to the dropped lists; its events go, its records stay.
cdef void put_dropped_list(Catalog *catalog, List *lst) noexcept nogil
cdef void delete_dropped_list(Catalog *catalog, uint32_t number) noexcept nogil
cdef void delete_events(Catalog *catalog, List *lst, uint32_t last_seq) noexcept nogil
# Known at once, under its id as name; rolled back with the transaction.
cdef uint32_t add_campaign(Catalog *catalog, Slice campaign_id) noexcept nogil
# Counted at once; the row follows with put_released_counts, before the commit.
cdef void count_ended(Catalog *catalog, List *lst, Ended ended) noexcept nogil
# The events of one audit entry have their final count; then `note_counted` says so in memory.
cdef void put_counted(Catalog *catalog, List *lst, uint64_t entry_id) noexcept nogil
cdef void put_released_counts(Catalog *catalog) noexcept nogil

# --- in memory, after the commit of what it says --------------------------------------------------

# Snapshots, and decided calls that are not encoded yet, keep showing what they saw.
cdef void rename_campaign(Catalog *catalog, uint32_t number, const string &name) noexcept nogil
cdef void note_counted(List *lst, uint64_t entry_id) noexcept nogil
cdef void drop_list(Catalog *catalog, Slice list_id) noexcept nogil
cdef void forget_dropped_list(Catalog *catalog, uint32_t number) noexcept nogil
# Each brings a part to what is committed; an LMDB error code, or 0. A list stays where it is.
cdef int load_list(Catalog *catalog, Slice list_id) noexcept nogil
cdef int load_codes(Catalog *catalog) noexcept nogil
# All of it, before the writer thread starts.
cdef int load_catalog(Catalog *catalog) noexcept nogil

# A list's row, without its checksum; events and what is in memory only stay as they are.
cdef void list_from_row(List *lst, Slice list_id, Slice row) noexcept nogil
