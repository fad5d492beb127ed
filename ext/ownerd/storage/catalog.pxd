"""C interface of catalog: lists with their events, campaigns, codes, dropped lists, in memory."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.lmdb cimport MDB_val
from ownerd.base.containers cimport pair, set, string, unordered_map, vector
from ownerd.base.live cimport LiveCampaign, LiveList
from ownerd.rules.ownership cimport Code, Policy
from ownerd.rules.wrap_up_codes cimport UnknownCode
from ownerd.storage.events cimport EventLog
from ownerd.storage.tables cimport EventRow, ListRow
from ownerd.storage.transaction cimport Transaction

cdef cppclass Campaign:
    string id
    string name
    uint64_t hold_revision            # it came to hold no record at a later revision
    LiveCampaign live

cdef cppclass ListName:
    string id
    int64_t create_ns

cdef cppclass List:
    vector[ListName] names            # one, or those of all lists that share it
    uint32_t number
    uint32_t head_seq
    Policy policy
    int64_t update_ns
    uint64_t update_revision
    uint64_t hold_revision            # no hold was made at a later revision
    bint tells_holders                # `holders` is all that ever were
    vector[uint64_t] holders          # campaigns that held a record, a bit each
    EventLog events                   # those that some record may not have seen yet
    int64_t due_ns                    # no hold of a record ends earlier, as far as is known
    LiveList live

# The count of a release before the open transaction.
cdef struct Undo:
    List *list
    size_t index
    int64_t released_count

ctypedef pair[int64_t, uint32_t] Due
ctypedef pair[uint32_t, uint32_t] NewHolder  # a list, and a campaign that never held a record in it
ctypedef pair[uint64_t, uint32_t] Uncounted  # an audit entry, and a list where it ended something

# Changed on the writer thread only, by the functions below.
cdef cppclass Catalog:
    Transaction *txn                  # which its rows are written in
    unordered_map[string, List *] lists  # by each of their names
    unordered_map[uint32_t, List *] lists_by_number
    # what maintenance has to do with them, by number
    set[uint32_t] to_count            # the first event is a release that nobody has counted
    set[uint32_t] to_cut              # the first event is one that the records may be brought past
    set[Due] due                      # by the time from which a record may be over, unless never
    set[Uncounted] uncounted
    vector[Campaign *] campaigns      # by number; those that are deleted stay
    vector[Campaign *] former         # as before a rename; snapshots and answers show them
    unordered_map[string, uint32_t] campaign_numbers
    unordered_map[string, Code] codes
    unordered_map[string, string] folded_codes  # the code of each folded form
    UnknownCode unknown_code          # what a report with an unknown code means
    vector[uint32_t] dropped_lists    # numbers of deleted lists that still have records
    size_t committed_campaigns
    unordered_map[uint64_t, Undo] undo  # by list number and seq
    vector[NewHolder] new_holders     # in the open transaction
    int64_t event_ns                  # when a list last got an event


cdef inline bint campaign_known(const Catalog *catalog, uint32_t number) noexcept nogil:
    return number < catalog.campaigns.size()


cdef inline Campaign *campaign_of(Catalog *catalog, uint32_t number) noexcept nogil:
    """Return a known campaign; it lives as long as the store, under the name it has now."""
    return catalog.campaigns[number]


# Noted at once; the row is in the open transaction, and rolled back with it.
cdef void add_holder(Catalog *catalog, List *lst, uint32_t campaign) noexcept nogil


cdef inline bint list_held_by(const List *lst, uint32_t campaign) noexcept nogil:
    """Tell whether a campaign is noted as one that held a record of the list."""
    cdef size_t word = campaign // 64
    return word < lst.holders.size() and lst.holders[word] >> (campaign % 64) & 1


cdef inline bint list_may_be_held_by(const List *lst, uint32_t campaign) noexcept nogil:
    """Tell whether a campaign may ever have held a record; of a list of before anyone may have."""
    return not lst.tells_holders or list_held_by(lst, campaign)


cdef inline bint list_ever_held(const List *lst) noexcept nogil:
    """Tell whether any campaign may ever have held a record."""
    return not lst.tells_holders or not lst.holders.empty()


cdef inline void note_hold(
    Catalog *catalog, List *lst, uint32_t campaign, uint64_t revision
) noexcept nogil:
    """Note that a campaign may hold a record from a revision on, which may still fail to commit."""
    lst.hold_revision = revision
    catalog.campaigns[campaign].hold_revision = revision
    if lst.tells_holders and not list_held_by(lst, campaign):
        add_holder(catalog, lst, campaign)


cdef inline void list_ends(Catalog *catalog, List *lst, int64_t end_ns) noexcept nogil:
    """Note when the hold of a record that is written ends, also if that may fail to commit."""
    if end_ns < lst.due_ns:
        list_due(catalog, lst, end_ns)


cdef void catalog_init(Catalog *catalog, Transaction *txn) noexcept nogil
cdef void catalog_free(Catalog *catalog) noexcept nogil
# Hands every campaign over, former ones too, to whoever frees them later.
cdef void take_campaigns(Catalog *catalog, vector[Campaign *] *taken) noexcept nogil
# Takes over those of a catalog that this one was loaded in the place of, which somebody may show.
cdef void keep_campaigns(
    Catalog *catalog, vector[Campaign *] *campaigns, vector[Campaign *] *former
) noexcept nogil
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
# R26: which code a dialer means, however it spells it.
cdef bint find_code_meant(Catalog *catalog, Slice text, Code *found) noexcept nogil
# The code that has the same folded form; empty: none has.
cdef Slice find_code_folded(Catalog *catalog, Slice text) noexcept nogil
# Where it is still to be counted what ended by an audit entry: numbers of lists.
cdef void lists_uncounted(
    Catalog *catalog, uint64_t entry_id, vector[uint32_t] *numbers
) noexcept nogil
# "": of any list. By audit entry, which is there once for each list.
cdef void all_uncounted(
    Catalog *catalog, Slice list_id, vector[uint64_t] *entries
) noexcept nogil
# The next list in a round of those whose first event is to be counted, or to be cut; or NULL.
cdef List *next_to_count(Catalog *catalog, uint32_t after) noexcept nogil
cdef List *next_to_cut(Catalog *catalog, uint32_t after) noexcept nogil
# The list with a record that may be over first, if that is by then; or NULL.
cdef List *first_due(Catalog *catalog, int64_t by_ns) noexcept nogil

# --- into the open transaction: rows only, but for what is said to be at once ---------------------

cdef void put_list(Catalog *catalog, List *lst) noexcept nogil
# A list, or one more name of one, that was not there; the name is one of the list's.
cdef void put_new_list(Catalog *catalog, List *lst, Slice list_id) noexcept nogil
cdef void put_policy(Catalog *catalog, List *lst) noexcept nogil
# One of several names of a list; the others go on.
cdef void delete_list_name(Catalog *catalog, List *lst, Slice list_id) noexcept nogil
# An event that the list did not have.
cdef void put_new_event(Catalog *catalog, uint32_t number, EventRow *row) noexcept nogil
cdef void put_renamed(
    Catalog *catalog, uint32_t number, Slice campaign_id, Slice name
) noexcept nogil
cdef void put_code(Catalog *catalog, Slice code, const Code *value, Slice category) noexcept nogil
cdef void delete_code_row(Catalog *catalog, Slice code) noexcept nogil
cdef void put_settings(Catalog *catalog, UnknownCode unknown_code) noexcept nogil
# The list's number goes to the dropped lists; its events go, its records stay.
cdef void put_dropped_list(Catalog *catalog, List *lst) noexcept nogil
cdef void delete_dropped_list(Catalog *catalog, uint32_t number) noexcept nogil
cdef void delete_events(Catalog *catalog, List *lst, uint32_t last_seq) noexcept nogil
# Known at once, under its id as name; rolled back with the transaction.
cdef void put_deleted_campaign(Catalog *catalog, uint32_t number) noexcept nogil
cdef uint32_t add_campaign(Catalog *catalog, Slice campaign_id) noexcept nogil
# Counted at once; the row follows with put_released_counts, before the commit.
cdef void count_ended(
    Catalog *catalog, List *lst, const vector[uint32_t] *counted
) noexcept nogil
# The events of one audit entry, from `seq` on, have their final count; then `note_counted` says so.
cdef void put_counted(
    Catalog *catalog, List *lst, uint32_t seq, uint64_t entry_id
) noexcept nogil
cdef void put_released_counts(Catalog *catalog) noexcept nogil

# --- in memory, after the commit of what it says --------------------------------------------------

# Snapshots, and decided calls that are not encoded yet, keep showing what they saw.
cdef void rename_campaign(Catalog *catalog, uint32_t number, const string &name) noexcept nogil
cdef void list_appended(Catalog *catalog, List *lst, const EventRow *row) noexcept nogil
cdef void list_cut(Catalog *catalog, List *lst, uint32_t last_seq) noexcept nogil
cdef void note_counted(
    Catalog *catalog, List *lst, uint32_t seq, uint64_t entry_id
) noexcept nogil
cdef void drop_list(Catalog *catalog, Slice list_id) noexcept nogil
# It keeps its number, which no campaign has again.
cdef void forget_campaign(Catalog *catalog, uint32_t number) noexcept nogil
cdef void forget_dropped_list(Catalog *catalog, uint32_t number) noexcept nogil
# Each brings a part to what is committed; an LMDB error code, or 0. A list stays where it is, with
# its events: those are appended and cut.
cdef int load_list(Catalog *catalog, Slice list_id) noexcept nogil
cdef int load_codes(Catalog *catalog) noexcept nogil
cdef int load_settings(Catalog *catalog) noexcept nogil
# All of it, before the writer thread starts.
cdef int load_catalog(Catalog *catalog) noexcept nogil

# In memory only: from when on a record of the list may be over; NEVER_NS: none will be.
cdef void list_due(Catalog *catalog, List *lst, int64_t due_ns) noexcept nogil

# What is in a list's row; events and what is in memory only stay as they are.
cdef void list_draft(const List *lst, List *draft) noexcept nogil
# Of a row without its checksum.
cdef ListRow list_row(const MDB_val *value) noexcept nogil
cdef void list_from_row(List *lst, Slice list_id, Slice row) noexcept nogil
