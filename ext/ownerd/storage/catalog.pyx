"""The catalog: lists with their events, campaigns, wrap-up codes, dropped lists; memory and rows.

Everything is in memory, since every decision asks for it. A change writes its rows in the open
transaction; most show in memory once they are committed (`load_list` and its like), so that nothing
is decided by what may still fail. A campaign that is added, who ever held a record, and the count
of a release are needed at once: these are put back if the transaction does not commit.

Lists that share their ownership (R28) are one List under several names.

Invariants:
- The catalog changes on the writer thread only, and by these functions only.
- A campaign's number is its place, forever; a Campaign that was shown is never changed or freed.
- `events` holds every event that some record in the tree or in a memtable may not have seen.
- No hold of a list's record ends before the list is due, but for those that the vacuum that goes on
  may drop.
- What maintenance has to do is found without a look at the other lists.

It decides nothing, and holds no record.
"""

from cython.operator cimport dereference, preincrement
from libc.stdint cimport uint16_t
from libc.string cimport memcmp, memcpy, memset

from ownerd.base.bytes cimport Slice, empty_slice, get_be32, put_be32, same, slice_of, text_slice
from ownerd.base.lmdb cimport MDB_SUCCESS, MDB_val
from ownerd.rules.limits cimport WRAP_UP_CODE_BYTES
from ownerd.rules.ownership cimport NEVER_NS
from ownerd.rules.wrap_up_codes cimport (
    UNKNOWN_CODE_REFUSE, UnknownCode, code_category, code_fold, code_trim,
)
from ownerd.storage.events cimport events_after, events_append, events_cut, is_uncounted
from ownerd.storage.notes cimport (
    NOTE_EVENT, NOTE_LIST_CREATED, NOTE_LIST_DELETED, NOTE_POLICY, NOTE_RENAMED, NoteKind,
)
from ownerd.storage.table_cursor cimport (
    TableCursor, cursor_close, cursor_next, cursor_open, cursor_seek,
)
from ownerd.storage.tables cimport (
    CAMPAIGNS, CODES, DROPPED_LISTS, EVENTS, HOLDERS, LISTS, META, OLD_LIST_BYTES, ListRow,
    SettingsRow, StoredEventRow, event_read, event_stored,
)
from ownerd.storage.transaction cimport delete_row, note_change, put_row

cdef enum:
    DUE_IN_FIRST_ROUND = 1            # of a list of which it is not known when a record is over

cdef Slice SETTINGS_KEY = slice_of(b"settings", 8)

# Wrap-up codes of a new store: (code, counts as attempt, success). Each is its own category.
DEFAULT_CODES = tuple(
    [(code, True, False) for code in (
        "Ambiguous", "Busy", "Deleted", "Failure", "Fax", "Machine", "No Answer",
        "Remote Hang Up", "SIT", "SIT Callable", "SIT Uncallable", "System Hang Up", "Scheduled",
        "Transferred", "Wrong Party", "Phone Number Deleted",
    )]
    + [(code, True, True) for code in ("Success", "Phone Number Success")]
    + [(code, False, False) for code in (
        "No Lines", "Non-Dialer Call", "Rescheduled", "Skipped", "Policy Scheduled", "Navigate",
    )]
)


# --- whole ----------------------------------------------------------------------------------------

cdef void catalog_init(Catalog *catalog, Transaction *txn) noexcept nogil:
    catalog.txn = txn
    catalog.committed_campaigns = 0
    catalog.unknown_code = UNKNOWN_CODE_REFUSE
    catalog.event_ns = 0


cdef void catalog_free(Catalog *catalog) noexcept nogil:
    """Free the lists and the campaigns; nobody has a snapshot of them any more."""
    cdef size_t i
    it = catalog.lists_by_number.begin()
    while it != catalog.lists_by_number.end():
        del dereference(it).second
        preincrement(it)
    for i in range(catalog.campaigns.size()):
        del catalog.campaigns[i]
    for i in range(catalog.former.size()):
        del catalog.former[i]


cdef void take_campaigns(Catalog *catalog, vector[Campaign *] *taken) noexcept nogil:
    cdef size_t i
    for i in range(catalog.former.size()):
        taken.push_back(catalog.former[i])
    for i in range(catalog.campaigns.size()):
        taken.push_back(catalog.campaigns[i])
    catalog.former.clear()
    catalog.campaigns.clear()


cdef void keep_campaigns(
    Catalog *catalog, vector[Campaign *] *campaigns, vector[Campaign *] *former
) noexcept nogil:
    """Go on showing the campaigns of before in a catalog that was loaded anew.

    One that is as it was stays itself: else each loading would leave all of them behind.
    """
    cdef size_t i
    cdef Campaign *shown
    catalog.former.swap(former[0])
    for i in range(campaigns.size()):
        shown = campaigns[0][i]
        if i < catalog.campaigns.size() and same_campaign(shown, catalog.campaigns[i]):
            shown.hold_revision = catalog.campaigns[i].hold_revision
            del catalog.campaigns[i]
            catalog.campaigns[i] = shown
        else:
            catalog.former.push_back(shown)
    campaigns.clear()


cdef inline bint same_campaign(const Campaign *one, const Campaign *other) noexcept nogil:
    return one.id == other.id and one.name == other.name


cdef void catalog_mark(Catalog *catalog) noexcept nogil:
    catalog.committed_campaigns = catalog.campaigns.size()
    forget_undo(catalog)


cdef inline void forget_undo(Catalog *catalog) noexcept nogil:
    # Clearing an empty one takes time too, once it has been large.
    if catalog.undo.size() != 0:
        catalog.undo.clear()
    catalog.new_holders.clear()


cdef void catalog_rollback(Catalog *catalog) noexcept nogil:
    cdef Campaign *campaign
    cdef Undo undo
    cdef size_t i
    while catalog.campaigns.size() > catalog.committed_campaigns:
        campaign = catalog.campaigns.back()
        catalog.campaign_numbers.erase(campaign.id)
        catalog.campaigns.pop_back()
        del campaign
    it = catalog.undo.begin()
    while it != catalog.undo.end():
        undo = dereference(it).second
        undo.list.events.rows[undo.index].released_count = undo.released_count
        preincrement(it)
    for i in range(catalog.new_holders.size()):
        set_holder(
            find_list_number(catalog, catalog.new_holders[i].first), catalog.new_holders[i].second,
            False,
        )
    forget_undo(catalog)


# --- lists ----------------------------------------------------------------------------------------

cdef List *find_list(Catalog *catalog, Slice list_id) noexcept nogil:
    cdef unordered_map[string, List *].iterator found
    found = catalog.lists.find(string(list_id.data, list_id.size))
    if found == catalog.lists.end():
        return NULL
    return dereference(found).second


cdef List *find_list_number(Catalog *catalog, uint32_t number) noexcept nogil:
    if catalog.lists_by_number.count(number) == 0:
        return NULL
    return catalog.lists_by_number[number]


cdef void all_lists(Catalog *catalog, vector[List *] *found) noexcept nogil:
    it = catalog.lists_by_number.begin()
    while it != catalog.lists_by_number.end():
        found.push_back(dereference(it).second)
        preincrement(it)


cdef void put_list(Catalog *catalog, List *lst) noexcept nogil:
    """Write the row of each of the list's names."""
    cdef ListRow row
    cdef size_t i
    memset(&row, 0, sizeof(row))
    row.number = lst.number
    row.head_seq = lst.head_seq
    row.enabled = lst.policy.enabled
    row.duration_ns = lst.policy.duration_ns
    row.renewal_window_ns = lst.policy.renewal_window_ns
    row.reservation_ttl_ns = lst.policy.reservation_ttl_ns
    row.update_ns = lst.update_ns
    row.update_revision = lst.update_revision
    row.enabled_since_ns = lst.policy.enabled_since_ns
    row.name_count = <uint16_t> lst.names.size()
    row.tells_holders = lst.tells_holders
    for i in range(lst.names.size()):
        row.create_ns = lst.names[i].create_ns
        put_row(
            catalog.txn, LISTS, text_slice(lst.names[i].id), slice_of(&row, sizeof(row)),
            empty_slice(),
        )


cdef void note_list(Catalog *catalog, NoteKind kind, const List *lst, Slice list_id) noexcept nogil:
    """Tell those who follow the log of a name that came or went."""
    cdef uint32_t number = lst.number
    note_change(catalog.txn, kind, list_id, slice_of(&number, sizeof(number)))


cdef void put_new_list(Catalog *catalog, List *lst, Slice list_id) noexcept nogil:
    note_list(catalog, NOTE_LIST_CREATED, lst, list_id)
    put_list(catalog, lst)


cdef void put_policy(Catalog *catalog, List *lst) noexcept nogil:
    """Write a list that has another policy."""
    cdef char about[4]
    put_be32(about, lst.number)
    note_change(catalog.txn, NOTE_POLICY, slice_of(about, sizeof(about)), empty_slice())
    put_list(catalog, lst)


cdef void delete_list_name(Catalog *catalog, List *lst, Slice list_id) noexcept nogil:
    cdef List draft
    note_list(catalog, NOTE_LIST_DELETED, lst, list_id)
    list_draft(lst, &draft)
    drop_name(&draft, list_id)
    delete_row(catalog.txn, LISTS, list_id)
    put_list(catalog, &draft)


cdef void drop_name(List *lst, Slice list_id) noexcept nogil:
    cdef size_t i
    for i in range(lst.names.size()):
        if same_text(lst.names[i].id, list_id):
            lst.names[i] = lst.names.back()
            lst.names.pop_back()
            return


cdef bint same_text(const string &text, Slice other) noexcept nogil:
    return text.size() == other.size and memcmp(text.data(), other.data, other.size) == 0


cdef void list_draft(const List *lst, List *draft) noexcept nogil:
    draft.names = lst.names
    draft.number = lst.number
    draft.head_seq = lst.head_seq
    draft.policy = lst.policy
    draft.update_ns = lst.update_ns
    draft.update_revision = lst.update_revision
    draft.tells_holders = lst.tells_holders


cdef ListRow list_row(const MDB_val *value) noexcept nogil:
    """Return a list's row, which lies in a page or in a string, at any place."""
    cdef ListRow row
    memset(&row, 0, sizeof(row))
    memcpy(&row, value.mv_data, min(value.mv_size, sizeof(row)))
    return row


cdef void list_from_row(List *lst, Slice list_id, Slice row) noexcept nogil:
    cdef ListRow values
    cdef ListName name
    memset(&values, 0, sizeof(values))
    memcpy(&values, row.data, min(row.size, sizeof(values)))
    name.id.assign(list_id.data, list_id.size)
    name.create_ns = values.create_ns
    drop_name(lst, list_id)
    lst.names.push_back(name)
    lst.number = values.number
    lst.head_seq = values.head_seq
    lst.policy.enabled = values.enabled
    lst.policy.enabled_since_ns = values.enabled_since_ns
    if row.size <= OLD_LIST_BYTES:
        lst.policy.enabled_since_ns = values.create_ns
    lst.policy.duration_ns = values.duration_ns
    lst.policy.renewal_window_ns = values.renewal_window_ns
    lst.policy.reservation_ttl_ns = values.reservation_ttl_ns
    lst.update_ns = values.update_ns
    lst.update_revision = values.update_revision
    lst.tells_holders = values.tells_holders != 0


cdef void put_dropped_list(Catalog *catalog, List *lst) noexcept nogil:
    cdef char key[4]
    put_be32(key, lst.number)
    delete_events(catalog, lst, lst.head_seq)
    put_row(catalog.txn, DROPPED_LISTS, slice_of(key, 4), empty_slice(), empty_slice())
    delete_holders(catalog, lst)
    note_list(catalog, NOTE_LIST_DELETED, lst, text_slice(lst.names[0].id))
    delete_row(catalog.txn, LISTS, text_slice(lst.names[0].id))


cdef void drop_list(Catalog *catalog, Slice list_id) noexcept nogil:
    """Move a list to the dropped ones, if this is its last name."""
    cdef List *lst = find_list(catalog, list_id)
    if lst == NULL:
        return
    catalog.lists.erase(string(list_id.data, list_id.size))
    if lst.names.size() > 1:
        drop_name(lst, list_id)
        return
    catalog.dropped_lists.push_back(lst.number)
    list_cut(catalog, lst, lst.head_seq)
    list_due(catalog, lst, NEVER_NS)
    catalog.lists_by_number.erase(lst.number)
    del lst


cdef void delete_dropped_list(Catalog *catalog, uint32_t number) noexcept nogil:
    cdef char key[4]
    put_be32(key, number)
    delete_row(catalog.txn, DROPPED_LISTS, slice_of(key, 4))


cdef void forget_dropped_list(Catalog *catalog, uint32_t number) noexcept nogil:
    """Forget a dropped list; others may have been dropped while it was being emptied."""
    cdef size_t i
    for i in range(catalog.dropped_lists.size()):
        if catalog.dropped_lists[i] == number:
            catalog.dropped_lists[i] = catalog.dropped_lists.back()
            catalog.dropped_lists.pop_back()
            return


# --- events ---------------------------------------------------------------------------------------

cdef void put_event(Catalog *catalog, uint32_t number, EventRow *row) noexcept nogil:
    cdef char key[8]
    cdef StoredEventRow stored = event_stored(row)
    put_be32(key, number)
    put_be32(key + 4, row.event.seq)
    put_row(catalog.txn, EVENTS, slice_of(key, 8), slice_of(&stored, sizeof(stored)), empty_slice())


cdef void put_new_event(Catalog *catalog, uint32_t number, EventRow *row) noexcept nogil:
    cdef char about[8]
    put_be32(about, number)
    put_be32(about + 4, row.event.seq)
    note_change(catalog.txn, NOTE_EVENT, slice_of(about, sizeof(about)), empty_slice())
    put_event(catalog, number, row)


cdef void delete_events(Catalog *catalog, List *lst, uint32_t last_seq) noexcept nogil:
    """Delete the rows of the list's events up to `last_seq`."""
    cdef char key[8]
    cdef size_t i
    put_be32(key, lst.number)
    for i in range(events_after(&lst.events, last_seq)):
        put_be32(key + 4, lst.events.rows[i].event.seq)
        delete_row(catalog.txn, EVENTS, slice_of(key, 8))


cdef void file_list(Catalog *catalog, List *lst) noexcept nogil:
    """Say what maintenance has to do first with the list's events."""
    cdef bint some = not lst.events.rows.empty()
    cdef bint count = some and is_uncounted(&lst.events.rows[0])
    if count:
        catalog.to_count.insert(lst.number)
    else:
        catalog.to_count.erase(lst.number)
    if some and not count:
        catalog.to_cut.insert(lst.number)
    else:
        catalog.to_cut.erase(lst.number)


cdef void list_appended(Catalog *catalog, List *lst, const EventRow *row) noexcept nogil:
    events_append(&lst.events, row)
    lst.head_seq = row.event.seq
    catalog.event_ns = max(catalog.event_ns, row.event.time_ns)
    if is_uncounted(row):
        catalog.uncounted.insert(Uncounted(row.entry_id, lst.number))
    file_list(catalog, lst)


cdef void list_cut(Catalog *catalog, List *lst, uint32_t last_seq) noexcept nogil:
    events_cut(&lst.events, last_seq)
    file_list(catalog, lst)


cdef void lists_uncounted(
    Catalog *catalog, uint64_t entry_id, vector[uint32_t] *numbers
) noexcept nogil:
    it = catalog.uncounted.lower_bound(Uncounted(entry_id, 0))
    while it != catalog.uncounted.end() and dereference(it).first == entry_id:
        numbers.push_back(dereference(it).second)
        preincrement(it)


cdef void all_uncounted(
    Catalog *catalog, Slice list_id, vector[uint64_t] *entries
) noexcept nogil:
    cdef List *lst = find_list(catalog, list_id)
    it = catalog.uncounted.begin()
    while it != catalog.uncounted.end():
        if list_id.size == 0 or (lst != NULL and dereference(it).second == lst.number):
            entries.push_back(dereference(it).first)
        preincrement(it)


cdef List *next_of(
    Catalog *catalog, set[uint32_t] *numbers, uint32_t after
) noexcept nogil:
    """Return the list with the next number; after the last one, the first."""
    it = numbers.upper_bound(after)
    if it == numbers.end():
        it = numbers.begin()
    if it == numbers.end():
        return NULL
    return find_list_number(catalog, dereference(it))


cdef List *next_to_count(Catalog *catalog, uint32_t after) noexcept nogil:
    return next_of(catalog, &catalog.to_count, after)


cdef List *next_to_cut(Catalog *catalog, uint32_t after) noexcept nogil:
    return next_of(catalog, &catalog.to_cut, after)


cdef void list_due(Catalog *catalog, List *lst, int64_t due_ns) noexcept nogil:
    if lst.due_ns != NEVER_NS:
        catalog.due.erase(Due(lst.due_ns, lst.number))
    lst.due_ns = due_ns
    if due_ns != NEVER_NS:
        catalog.due.insert(Due(due_ns, lst.number))


cdef List *first_due(Catalog *catalog, int64_t by_ns) noexcept nogil:
    it = catalog.due.begin()
    if it == catalog.due.end() or dereference(it).first > by_ns:
        return NULL
    return find_list_number(catalog, dereference(it).second)


cdef void count_ended(
    Catalog *catalog, List *lst, const vector[uint32_t] *counted
) noexcept nogil:
    """Count a record of which it is now written what events did to it (R15, R16, R27).

    They are rows of the list's log.
    """
    cdef size_t i
    for i in range(counted.size()):
        count_at(catalog, lst, counted[0][i])


cdef void count_at(Catalog *catalog, List *lst, size_t index) noexcept nogil:
    """Once an event has its final count nobody asks any more."""
    cdef Undo undo
    cdef EventRow *row = &lst.events.rows[index]
    cdef uint64_t key = <uint64_t> lst.number << 32 | row.event.seq
    if row.counted:
        return
    if catalog.undo.count(key) == 0:
        undo.list = lst
        undo.index = index
        undo.released_count = row.released_count
        catalog.undo[key] = undo
    row.released_count += 1


cdef bint is_of(
    const List *lst, size_t index, uint64_t entry_id
) noexcept nogil:
    """Tell whether there is such an event, of that audit entry; a release's stand side by side."""
    return index < lst.events.rows.size() and lst.events.rows[index].entry_id == entry_id


cdef void put_counted(
    Catalog *catalog, List *lst, uint32_t seq, uint64_t entry_id
) noexcept nogil:
    cdef EventRow row
    cdef size_t i = events_after(&lst.events, seq - 1)
    while is_of(lst, i, entry_id):
        row = lst.events.rows[i]
        row.counted = True
        put_event(catalog, lst.number, &row)
        i += 1


cdef void note_counted(
    Catalog *catalog, List *lst, uint32_t seq, uint64_t entry_id
) noexcept nogil:
    cdef size_t i = events_after(&lst.events, seq - 1)
    while is_of(lst, i, entry_id):
        lst.events.rows[i].counted = True
        i += 1
    catalog.uncounted.erase(Uncounted(entry_id, lst.number))
    file_list(catalog, lst)


cdef void put_released_counts(Catalog *catalog) noexcept nogil:
    cdef Undo undo
    it = catalog.undo.begin()
    while it != catalog.undo.end():
        undo = dereference(it).second
        put_event(catalog, undo.list.number, &undo.list.events.rows[undo.index])
        preincrement(it)


# --- holders --------------------------------------------------------------------------------------

cdef void set_holder(List *lst, uint32_t campaign, bint held) noexcept nogil:
    cdef size_t word = campaign // 64
    cdef uint64_t bit = <uint64_t> 1 << (campaign % 64)
    if word >= lst.holders.size():
        lst.holders.resize(word + 1, 0)
    lst.holders[word] = lst.holders[word] | bit if held else lst.holders[word] & ~bit


cdef Slice holder_key(char *key, uint32_t number, uint32_t campaign) noexcept nogil:
    put_be32(key, number)
    put_be32(key + 4, campaign)
    return slice_of(key, 8)


cdef void add_holder(Catalog *catalog, List *lst, uint32_t campaign) noexcept nogil:
    cdef char key[8]
    set_holder(lst, campaign, True)
    catalog.new_holders.push_back(NewHolder(lst.number, campaign))
    put_row(
        catalog.txn, HOLDERS, holder_key(key, lst.number, campaign), empty_slice(), empty_slice()
    )


cdef void delete_holders(Catalog *catalog, List *lst) noexcept nogil:
    cdef char key[8]
    cdef uint32_t campaign
    for campaign in range(<uint32_t> (lst.holders.size() * 64)):
        if list_held_by(lst, campaign):
            delete_row(catalog.txn, HOLDERS, holder_key(key, lst.number, campaign))


# --- campaigns and codes --------------------------------------------------------------------------

cdef uint32_t find_campaign(Catalog *catalog, Slice campaign_id) noexcept nogil:
    """Return the campaign's number; for an unknown one, the number that add_campaign would give."""
    cdef unordered_map[string, uint32_t].iterator found
    found = catalog.campaign_numbers.find(string(campaign_id.data, campaign_id.size))
    if found == catalog.campaign_numbers.end():
        return <uint32_t> catalog.campaigns.size()
    return dereference(found).second


cdef void all_campaigns(Catalog *catalog, vector[Campaign *] *found) noexcept nogil:
    found[0] = catalog.campaigns


cdef uint32_t add_campaign(Catalog *catalog, Slice campaign_id) noexcept nogil:
    """Register a campaign under its id as name, in the open transaction; return its number."""
    cdef Campaign *campaign = new Campaign()
    cdef uint32_t number = <uint32_t> catalog.campaigns.size()
    campaign.id.assign(campaign_id.data, campaign_id.size)
    campaign.name = campaign.id
    campaign.hold_revision = 0
    catalog.campaigns.push_back(campaign)
    catalog.campaign_numbers[campaign.id] = number
    put_campaign(catalog, number, campaign_id, campaign_id)
    return number


cdef void rename_campaign(Catalog *catalog, uint32_t number, const string &name) noexcept nogil:
    """Show a campaign under another name from now on.

    The former one stays in place, unchanged: snapshots, and decided calls that are not encoded yet,
    keep showing what they saw (engine.core).
    """
    cdef Campaign *renamed = new Campaign()
    catalog.former.push_back(catalog.campaigns[number])
    renamed.id = catalog.campaigns[number].id
    renamed.name = name
    renamed.hold_revision = catalog.campaigns[number].hold_revision
    catalog.campaigns[number] = renamed


cdef void put_deleted_campaign(Catalog *catalog, uint32_t number) noexcept nogil:
    """Write the row of a campaign that is no more: it has no id, but for those who look back."""
    put_campaign(catalog, number, empty_slice(), text_slice(catalog.campaigns[number].id))


cdef void forget_campaign(Catalog *catalog, uint32_t number) noexcept nogil:
    """Know a campaign no more; answers and snapshots go on showing what they saw."""
    catalog.campaign_numbers.erase(catalog.campaigns[number].id)


cdef void put_renamed(
    Catalog *catalog, uint32_t number, Slice campaign_id, Slice name
) noexcept nogil:
    cdef char about[4]
    put_be32(about, number)
    note_change(catalog.txn, NOTE_RENAMED, slice_of(about, sizeof(about)), empty_slice())
    put_campaign(catalog, number, campaign_id, name)


cdef void put_campaign(
    Catalog *catalog, uint32_t number, Slice campaign_id, Slice name
) noexcept nogil:
    """Write a campaign's row: the id's length in one byte, the id, the name."""
    cdef char key[4]
    cdef char size = <char> campaign_id.size
    cdef string rest
    put_be32(key, number)
    rest.assign(campaign_id.data, campaign_id.size)
    rest.append(name.data, name.size)
    put_row(catalog.txn, CAMPAIGNS, slice_of(key, 4), slice_of(&size, 1), text_slice(rest))


cdef bint find_code(Catalog *catalog, Slice code, Code *found) noexcept nogil:
    cdef unordered_map[string, Code].iterator place
    place = catalog.codes.find(string(code.data, code.size))
    if place == catalog.codes.end():
        return False
    found[0] = dereference(place).second
    return True


cdef Slice find_code_folded(Catalog *catalog, Slice text) noexcept nogil:
    cdef unordered_map[string, string].iterator place
    cdef char folded[WRAP_UP_CODE_BYTES]
    if code_trim(text).size > sizeof(folded):
        return empty_slice()
    place = catalog.folded_codes.find(string(folded, code_fold(text, folded)))
    if place == catalog.folded_codes.end():
        return empty_slice()
    return text_slice(dereference(place).second)


cdef bint find_spelled(Catalog *catalog, Slice text, Code *found) noexcept nogil:
    cdef Slice code
    if find_code(catalog, text, found):
        return True
    code = find_code_folded(catalog, text)
    return code.size != 0 and find_code(catalog, code, found)


cdef bint find_code_meant(Catalog *catalog, Slice text, Code *found) noexcept nogil:
    cdef Slice category
    if find_spelled(catalog, text, found):
        return True
    category = code_category(text)
    return category.size != 0 and find_spelled(catalog, category, found)


cdef void put_code(Catalog *catalog, Slice code, const Code *value, Slice category) noexcept nogil:
    """Write a wrap-up code's row: two flags, the category."""
    cdef char flags[2]
    flags[0], flags[1] = value.counts_as_attempt, value.success
    put_row(catalog.txn, CODES, code, slice_of(flags, 2), category)


cdef void delete_code_row(Catalog *catalog, Slice code) noexcept nogil:
    delete_row(catalog.txn, CODES, code)


cdef void put_settings(Catalog *catalog, UnknownCode unknown_code) noexcept nogil:
    cdef SettingsRow row
    memset(&row, 0, sizeof(row))
    row.unknown_code = unknown_code
    put_row(
        catalog.txn, META, SETTINGS_KEY, slice_of(&row, sizeof(row)), empty_slice(),
    )


# --- from what is committed -----------------------------------------------------------------------

cdef List *keep_list(Catalog *catalog, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Put a list's row into the catalog, in place if it is there (its events stay)."""
    cdef Slice list_id = slice_of(key.mv_data, key.mv_size)
    cdef List *lst = find_list_number(catalog, list_row(value).number)
    cdef bint known = lst != NULL
    if not known:
        lst = new List()
        lst.hold_revision = 0
        lst.due_ns = NEVER_NS
    list_from_row(lst, list_id, slice_of(value.mv_data, value.mv_size))
    catalog.lists[string(list_id.data, list_id.size)] = lst
    if not known:
        catalog.lists_by_number[lst.number] = lst
        list_due(catalog, lst, DUE_IN_FIRST_ROUND)
    return lst


cdef void load_events(Catalog *catalog, List *lst, TableCursor *scan) noexcept nogil:
    cdef EventRow row
    cdef StoredEventRow stored
    cdef char prefix[4]
    cdef bint more
    put_be32(prefix, lst.number)
    more = cursor_seek(scan, slice_of(prefix, 4))
    while more and get_be32(<const char *> scan.key.mv_data) == lst.number:
        memcpy(&stored, scan.value.mv_data, sizeof(stored))
        event_read(&row, &stored)
        list_appended(catalog, lst, &row)
        more = cursor_next(scan)


cdef int load_list(Catalog *catalog, Slice list_id) noexcept nogil:
    """Bring one list to what is committed."""
    cdef TableCursor scan
    cdef int code = cursor_open(catalog.txn.tables, LISTS, &scan)
    if code != MDB_SUCCESS:
        return code
    if cursor_seek(&scan, list_id):
        keep_list(catalog, &scan.key, &scan.value)
    return cursor_close(&scan)


cdef void load_list_row(Catalog *catalog, TableCursor *lists, TableCursor *events) noexcept nogil:
    """Load a name of a list, and with its first one its events."""
    cdef List *lst = keep_list(catalog, &lists.key, &lists.value)
    if lst.names.size() == 1:
        load_events(catalog, lst, events)


cdef int load_holders(Catalog *catalog) noexcept nogil:
    cdef TableCursor scan
    cdef const char *key
    cdef List *lst
    cdef int code = cursor_open(catalog.txn.tables, HOLDERS, &scan)
    if code != MDB_SUCCESS:
        return code
    while cursor_next(&scan):
        key = <const char *> scan.key.mv_data
        lst = find_list_number(catalog, get_be32(key))
        if lst != NULL:
            set_holder(lst, get_be32(key + 4), True)
    return cursor_close(&scan)


cdef int load_lists(Catalog *catalog) noexcept nogil:
    cdef TableCursor lists, events
    cdef int code = cursor_open(catalog.txn.tables, LISTS, &lists)
    if code != MDB_SUCCESS:
        return code
    code = cursor_open(catalog.txn.tables, EVENTS, &events)
    if code == MDB_SUCCESS:
        while not events.damaged and cursor_next(&lists):
            load_list_row(catalog, &lists, &events)
        code = cursor_close(&events)
    return cursor_close(&lists) or code


cdef int load_campaigns(Catalog *catalog) noexcept nogil:
    """Read the campaigns; one that was deleted has no id, and keeps its number."""
    cdef TableCursor scan
    cdef const unsigned char *value
    cdef Campaign *campaign
    cdef uint32_t number
    cdef int code = cursor_open(catalog.txn.tables, CAMPAIGNS, &scan)
    if code != MDB_SUCCESS:
        return code
    while cursor_next(&scan):
        number = get_be32(<const char *> scan.key.mv_data)
        value = <const unsigned char *> scan.value.mv_data
        campaign = new Campaign()
        catalog.campaigns.push_back(campaign)
        campaign.id.assign(<const char *> value + 1, value[0])
        campaign.name.assign(
            <const char *> value + 1 + value[0], scan.value.mv_size - 1 - value[0]
        )
        campaign.hold_revision = 0
        if not campaign.id.empty():
            catalog.campaign_numbers[campaign.id] = number
    return cursor_close(&scan)


cdef int load_codes(Catalog *catalog) noexcept nogil:
    cdef TableCursor scan
    cdef Code code
    cdef int status = cursor_open(catalog.txn.tables, CODES, &scan)
    if status != MDB_SUCCESS:
        return status
    catalog.codes.clear()
    catalog.folded_codes.clear()
    while cursor_next(&scan):
        code.counts_as_attempt = (<const char *> scan.value.mv_data)[0]
        code.success = (<const char *> scan.value.mv_data)[1]
        keep_code(catalog, slice_of(scan.key.mv_data, scan.key.mv_size), code)
    return cursor_close(&scan)


cdef void keep_code(Catalog *catalog, Slice text, Code code) noexcept nogil:
    """Keep a code, and its folded form unless one before it has it, in a store of before R26."""
    cdef char folded[WRAP_UP_CODE_BYTES]
    cdef string name = string(text.data, text.size)
    cdef string form
    catalog.codes[name] = code
    form.assign(folded, code_fold(text, folded))
    if catalog.folded_codes.count(form) == 0:
        catalog.folded_codes[form] = name


cdef int load_settings(Catalog *catalog) noexcept nogil:
    """Read the store's settings; one that was never set has its default."""
    cdef TableCursor scan
    cdef SettingsRow row
    cdef int status = cursor_open(catalog.txn.tables, META, &scan)
    if status != MDB_SUCCESS:
        return status
    if cursor_seek(&scan, SETTINGS_KEY) and same(
        <const char *> scan.key.mv_data, scan.key.mv_size, "settings"
    ):
        memcpy(&row, scan.value.mv_data, sizeof(row))
        catalog.unknown_code = <UnknownCode> row.unknown_code
    return cursor_close(&scan)


cdef int load_dropped_lists(Catalog *catalog) noexcept nogil:
    cdef TableCursor scan
    cdef int code = cursor_open(catalog.txn.tables, DROPPED_LISTS, &scan)
    if code != MDB_SUCCESS:
        return code
    while cursor_next(&scan):
        catalog.dropped_lists.push_back(get_be32(<const char *> scan.key.mv_data))
    return cursor_close(&scan)


cdef int load_catalog(Catalog *catalog) noexcept nogil:
    cdef int code = load_lists(catalog)
    if code == MDB_SUCCESS:
        code = load_holders(catalog)
    if code == MDB_SUCCESS:
        code = load_campaigns(catalog)
    if code == MDB_SUCCESS:
        code = load_codes(catalog)
    if code == MDB_SUCCESS:
        code = load_settings(catalog)
    return code if code != MDB_SUCCESS else load_dropped_lists(catalog)
