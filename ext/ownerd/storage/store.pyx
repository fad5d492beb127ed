"""What is stored: the catalog with its tables, the records, and the transaction that changes both.

A transaction decides against the catalog in memory and against each record as it was last: in the
active memtable, else in the immutable one, else in the record tree. What it writes becomes rows of
the catalog's tables, entries of the active memtable and a row of the journal. Its commit is one
LMDB transaction of the journal's environment: journal, catalog, audit and time go to disk as one.

Invariants:
- The catalog and the memtables change only on the writer thread. `store_abort`, and a commit that
  fails, put back what the transaction changed in them.
- Once an LMDB call inside a transaction fails, `error` is set and the transaction cannot commit.
- Every revision has a row in the journal, from `log_first` on without a gap, until the tree
  has flushed it.
- Numbers of lists and campaigns are never used twice.
- Rows are the machine's own byte order (x86-64 and arm64 Linux are both little-endian); keys that
  must sort are big-endian.

It decides nothing and knows no gRPC. `opening` opens it, `scans` reads its tables elsewhere.
"""

from cython.operator cimport dereference
from libc.string cimport memcpy, memset

from ownerd.base.bytes cimport empty_slice, put_be32, slice_of, text_slice, val_of
from ownerd.base.failpoints cimport (
    FAIL_AFTER_COMMIT, FAIL_AFTER_ROTATE, FAIL_AFTER_TRIM, FAIL_BEFORE_COMMIT,
    FAIL_BEFORE_ROTATE, FAIL_BEFORE_TRIM, fail_at,
)
from ownerd.base.lmdb cimport (
    MDB_APPEND, MDB_CORRUPTED, MDB_FIRST, MDB_NEXT, MDB_NOTFOUND, MDB_SUCCESS, MDB_cursor, lmdb,
)
from ownerd.rules.ownership cimport rules_apply_event
from ownerd.storage.capacity cimport environment_capacity
from ownerd.storage.codec cimport (
    CHECKSUM_BYTES, VALUE_BYTES, hold_decode, hold_encode, record_key, row_seal, row_verify,
)
from ownerd.storage.log cimport LOG_KEY_BYTES, log_add, log_begin, log_finish, log_key, log_revision
from ownerd.storage.memtable cimport (
    Entry, entry_value, memtable_find, memtable_mark, memtable_new, memtable_put,
    memtable_rollback, record_hash,
)
from ownerd.storage.multiget cimport LOOKUP_FOUND, LOOKUP_NONE, multiget_clear
from ownerd.storage.record_tree cimport tree_find, tree_rest

cdef enum:
    SMALL_ROW_BYTES = 128             # rows up to here are put together on the stack
    TRIMMED_PER_COMMIT = 4            # so that the journal shrinks faster than it grows
    SPLIT_PAGES = 2                   # a page that is split is half full

TABLE_NAMES[:] = [
    "meta", "lists", "graves", "events", "campaigns", "codes", "audit", "requests", "journal",
    "principals",
]

# Wrap-up codes of a new store: (code, counts as attempt, success). Each is its own category.
DEFAULT_CODES = tuple(
    [(code, True, False) for code in (
        "Ambiguous", "Busy", "Deleted", "Failure", "Fax", "Machine", "No Answer",
        "Remote Hang Up", "SIT", "SIT Callable", "SIT Uncallable", "System Hang Up", "Scheduled",
        "Transferred", "Wrong Party", "Phone Number Deleted",
    )]
    + [(code, True, True) for code in ("Success", "Phone Number Success")]
    + [(code, False, False) for code in (
        "No Lines", "Non-Dialer Call", "Rescheduled", "Skipped", "Policy Scheduled",
    )]
)


# --- one write transaction ------------------------------------------------------------------------

cdef void note_error(Store *store, int code) noexcept nogil:
    if code != MDB_SUCCESS and store.error == MDB_SUCCESS:
        store.error = code


cdef MDB_txn *open_txn(Store *store) noexcept nogil:
    """Return the write transaction, begun now if it is not open; NULL once anything has failed."""
    if store.error == MDB_SUCCESS and store.txn == NULL:
        note_error(store, lmdb.txn_begin(store.environment.env, NULL, 0, &store.txn))
    return store.txn if store.error == MDB_SUCCESS else NULL


cdef void store_begin(Store *store) noexcept nogil:
    """Begin a transaction; LMDB's own begins with its first row, since many groups write none."""
    store.error = MDB_SUCCESS
    store.next_entry = store.state.next_entry
    store.next_list = store.state.next_list
    store.committed_campaigns = store.campaigns.size()
    store.undo.clear()
    log_begin(&store.journal)
    multiget_clear(&store.multiget)
    memtable_mark(store.active.get())


cdef void put_released_counts(Store *store) noexcept nogil:
    cdef size_t i
    cdef Undo *undo
    for i in range(store.undo.size()):
        undo = &store.undo[i]
        put_event(store, undo.list.number, &undo.list.events[undo.index])


cdef void put_log(Store *store, uint64_t revision, int64_t time_ns) noexcept nogil:
    """Append the transaction's rows to the journal."""
    cdef char key[LOG_KEY_BYTES]
    cdef Slice whole
    cdef MDB_val where, value
    cdef size_t part
    for part in range(store.journal.used):
        if open_txn(store) == NULL:
            return
        whole = slice_of(key, log_key(key, revision, part))
        where = val_of(whole)
        value = val_of(log_finish(&store.journal, part, whole, time_ns))
        note_error(
            store, lmdb.put(store.txn, store.tables[<int> LOG], &where, &value, MDB_APPEND)
        )


cdef void trim_log(Store *store, int most) noexcept nogil:
    """Remove up to `most` revisions that the tree has flushed from the journal."""
    cdef MDB_cursor *cursor
    cdef MDB_val key, value
    cdef uint64_t flushed = store.tree.flushed_revision.load()
    cdef int code
    if store.log_first > flushed or open_txn(store) == NULL:
        return
    fail_at(FAIL_BEFORE_TRIM)
    note_error(store, lmdb.cursor_open(store.txn, store.tables[<int> LOG], &cursor))
    if store.error != MDB_SUCCESS:
        return
    code = lmdb.cursor_get(cursor, &key, &value, MDB_FIRST)
    while code == MDB_SUCCESS and log_revision(&key) <= flushed:
        if key.mv_size == 8:          # a first part: the others go with it
            most -= 1
            if most < 0:
                break
        code = lmdb.cursor_del(cursor, 0)
        if code == MDB_SUCCESS:
            code = lmdb.cursor_get(cursor, &key, &value, MDB_NEXT)
    if code == MDB_SUCCESS:
        store.log_next = log_revision(&key)
    elif code == MDB_NOTFOUND:        # all of it is flushed
        store.log_next = flushed + 1
    else:
        note_error(store, code)
    lmdb.cursor_close(cursor)
    fail_at(FAIL_AFTER_TRIM)


cdef void put_state(Store *store, StateRow *state) noexcept nogil:
    put_row(
        store, META, slice_of(b"state", 5), slice_of(state, sizeof(StateRow)), empty_slice()
    )


cdef int store_commit(Store *store, uint64_t revision, int64_t now_ns) noexcept nogil:
    """Commit with the state row; 0 means that everything is on disk (R18).

    On an error the transaction is gone, catalog and memtable are as before. An error of the commit
    itself (not a full map) leaves the outcome unknown: the caller must stop the engine.
    """
    cdef StateRow state = store.state
    cdef int code
    tree_rest(store.tree)
    state.revision = revision
    state.time_ns = max(now_ns, state.time_ns)
    state.next_entry = store.next_entry
    state.next_list = store.next_list
    put_released_counts(store)
    put_state(store, &state)
    if revision != store.state.revision:
        put_log(store, revision, now_ns)
    trim_log(store, TRIMMED_PER_COMMIT)
    if store.error != MDB_SUCCESS:
        code = store.error
        store_abort(store)
        return code
    fail_at(FAIL_BEFORE_COMMIT)
    code = lmdb.txn_commit(store.txn)
    fail_at(FAIL_AFTER_COMMIT)
    store.txn = NULL
    if code != MDB_SUCCESS:
        roll_back(store)
        return code
    store.state = state
    store.log_first = store.log_next
    publish_counts(store)
    return MDB_SUCCESS


cdef void roll_back(Store *store) noexcept nogil:
    """Put back what the transaction changed in memory."""
    cdef Campaign *campaign
    cdef Undo *undo
    memtable_rollback(store.active.get())
    store.log_next = store.log_first
    while store.campaigns.size() > store.committed_campaigns:
        campaign = store.campaigns.back()
        store.campaign_numbers.erase(campaign.id)
        store.campaigns.pop_back()
        del campaign
    while not store.undo.empty():
        undo = &store.undo.back()
        undo.list.events[undo.index].released_count = undo.released_count
        store.undo.pop_back()


cdef void store_abort(Store *store) noexcept nogil:
    tree_rest(store.tree)
    if store.txn != NULL:
        lmdb.txn_abort(store.txn)
        store.txn = NULL
    roll_back(store)


cdef bint get_row(Store *store, Table table, Slice key, Slice *value) noexcept nogil:
    """Look up a row in the open transaction; the value is valid until its next write."""
    cdef MDB_val where = val_of(key), found
    cdef int code
    if open_txn(store) == NULL:
        return False
    code = lmdb.get(store.txn, store.tables[<int> table], &where, &found)
    if code == MDB_SUCCESS and not row_verify(&where, &found):
        code = MDB_CORRUPTED
    if code == MDB_SUCCESS:
        value[0] = slice_of(found.mv_data, found.mv_size)
        return True
    if code != MDB_NOTFOUND:
        note_error(store, code)
    return False


cdef void put_row(Store *store, Table table, Slice key, Slice fixed, Slice rest) noexcept nogil:
    """Write a sealed row made of a fixed part and the bytes after it."""
    cdef char small[SMALL_ROW_BYTES]
    cdef char *whole = small
    cdef string large
    cdef size_t size = fixed.size + rest.size
    cdef MDB_val where = val_of(key), value
    if open_txn(store) == NULL:
        return
    if size + CHECKSUM_BYTES > SMALL_ROW_BYTES:
        large.resize(size + CHECKSUM_BYTES)
        whole = &large[0]
    if fixed.size != 0:
        memcpy(whole, fixed.data, fixed.size)
    if rest.size != 0:
        memcpy(whole + fixed.size, rest.data, rest.size)
    row_seal(key, whole, size)
    value = val_of(slice_of(whole, size + CHECKSUM_BYTES))
    note_error(store, lmdb.put(store.txn, store.tables[<int> table], &where, &value, 0))


cdef void delete_row(Store *store, Table table, Slice key) noexcept nogil:
    cdef MDB_val where = val_of(key)
    cdef int code
    if open_txn(store) == NULL:
        return
    code = lmdb.delete(store.txn, store.tables[<int> table], &where, NULL)
    if code != MDB_NOTFOUND:
        note_error(store, code)


# --- catalog --------------------------------------------------------------------------------------

cdef List *find_list(Store *store, Slice list_id) noexcept nogil:
    cdef unordered_map[string, List *].iterator found
    found = store.lists.find(string(list_id.data, list_id.size))
    if found == store.lists.end():
        return NULL
    return dereference(found).second


cdef uint32_t find_campaign(Store *store, Slice campaign_id) noexcept nogil:
    """Return the campaign's number; for an unknown one, the number that add_campaign would give."""
    cdef unordered_map[string, uint32_t].iterator found
    found = store.campaign_numbers.find(string(campaign_id.data, campaign_id.size))
    if found == store.campaign_numbers.end():
        return <uint32_t> store.campaigns.size()
    return dereference(found).second


cdef uint32_t add_campaign(Store *store, Slice campaign_id) noexcept nogil:
    """Register a campaign under its id as name, in the open transaction; return its number."""
    cdef Campaign *campaign = new Campaign()
    cdef uint32_t number = <uint32_t> store.campaigns.size()
    campaign.id.assign(campaign_id.data, campaign_id.size)
    campaign.name = campaign.id
    store.campaigns.push_back(campaign)
    store.campaign_numbers[campaign.id] = number
    put_campaign(store, number, campaign_id, campaign_id)
    return number


cdef void rename_campaign(Store *store, uint32_t number, const string &name) noexcept nogil:
    """Show a campaign under another name from now on.

    The former one stays in place, unchanged: snapshots, and decided calls that are not encoded yet,
    keep showing what they saw (engine.core).
    """
    cdef Campaign *renamed = new Campaign()
    store.former.push_back(store.campaigns[number])
    renamed.id = store.campaigns[number].id
    renamed.name = name
    store.campaigns[number] = renamed


cdef bint find_code(Store *store, Slice code, Code *found) noexcept nogil:
    cdef unordered_map[string, Code].iterator place
    place = store.codes.find(string(code.data, code.size))
    if place == store.codes.end():
        return False
    found[0] = dereference(place).second
    return True


cdef void put_list(Store *store, List *lst) noexcept nogil:
    cdef ListRow row
    memset(&row, 0, sizeof(row))
    row.number = lst.number
    row.head_seq = lst.head_seq
    row.enabled = lst.policy.enabled
    row.duration_ns = lst.policy.duration_ns
    row.renewal_window_ns = lst.policy.renewal_window_ns
    row.reservation_ttl_ns = lst.policy.reservation_ttl_ns
    row.create_ns = lst.create_ns
    row.update_ns = lst.update_ns
    row.update_revision = lst.update_revision
    put_row(store, LISTS, text_slice(lst.id), slice_of(&row, sizeof(row)), empty_slice())


cdef void put_event(Store *store, uint32_t number, EventRow *row) noexcept nogil:
    cdef char key[8]
    put_be32(key, number)
    put_be32(key + 4, row.event.seq)
    put_row(store, EVENTS, slice_of(key, 8), slice_of(row, sizeof(EventRow)), empty_slice())


cdef void put_campaign(Store *store, uint32_t number, Slice campaign_id, Slice name) noexcept nogil:
    """Write a campaign's row: the id's length in one byte, the id, the name."""
    cdef char key[4]
    cdef char size = <char> campaign_id.size
    cdef string rest
    put_be32(key, number)
    rest.assign(campaign_id.data, campaign_id.size)
    rest.append(name.data, name.size)
    put_row(store, CAMPAIGNS, slice_of(key, 4), slice_of(&size, 1), text_slice(rest))


cdef void forget_list(Store *store, Slice list_id) noexcept nogil:
    cdef List *lst = find_list(store, list_id)
    if lst != NULL:
        store.lists.erase(lst.id)
        store.lists_by_number.erase(lst.number)
        del lst


# --- records --------------------------------------------------------------------------------------

cdef int fold_events(
    const vector[EventRow] *events, uint32_t head_seq, Hold *hold
) noexcept nogil:
    """Apply the events that the record has not seen; return the one that released it, or -1.

    At most one can have: a record that is acquired again is written again, and has then seen all.
    """
    cdef int released_by = NOT_RELEASED
    cdef size_t i
    if hold.event_seq == head_seq:
        return released_by
    for i in range(events.size()):
        if events[0][i].event.seq > hold.event_seq and rules_apply_event(hold, &events[0][i].event):
            released_by = <int> i
    hold.event_seq = head_seq
    return released_by


cdef bint find_row(Store *store, const Record *record, MDB_val *value) noexcept nogil:
    """Find a record's newest row: in the active memtable, in the immutable one, in the tree."""
    cdef const Entry *entry
    cdef int code
    entry = memtable_find(store.active.get(), record.hash, record.key, record.key_size)
    if entry == NULL and store.immutable.get() != NULL:
        entry = memtable_find(store.immutable.get(), record.hash, record.key, record.key_size)
    if entry != NULL:
        value[0] = val_of(slice_of(entry_value(entry), entry.value_size))
        return entry.value_size != 0
    code = tree_find(store.tree, record.key, record.key_size, value)
    if code != MDB_SUCCESS and code != MDB_NOTFOUND:
        note_error(store, code)
    return code == MDB_SUCCESS


cdef void record_load(
    Store *store, List *lst, Slice record_id, const Seen *seen, Record *record
) noexcept nogil:
    """Read a record brought up to its list's last event; an absent one is nobody's.

    `seen` is what looking multiget saw of it, or NULL.
    """
    cdef MDB_val value
    if seen != NULL and seen.key_size != 0:
        record.key_size = seen.key_size
        record.hash = seen.hash
        memcpy(record.key, store.multiget.keys.data() + seen.key_at, seen.key_size)
    else:
        record.key_size = record_key(record.key, lst.number, record_id)
        record.hash = record_hash(record.key, record.key_size)
    if seen != NULL and seen.lookup != LOOKUP_NONE:
        record.existed = seen.lookup == LOOKUP_FOUND
        record.hold = seen.hold
    else:
        record.existed = find_row(store, record, &value)
        if record.existed and not hold_decode(&value, &record.hold):
            note_error(store, MDB_CORRUPTED)
            record.existed = False
    record.released_by = NOT_RELEASED
    if record.existed:
        record.released_by = fold_events(&lst.events, lst.head_seq, &record.hold)
        return
    memset(&record.hold, 0, sizeof(Hold))
    record.hold.event_seq = lst.head_seq


cdef void count_release(Store *store, List *lst, int released_by) noexcept nogil:
    """Count a record whose release by event `released_by` is now written (see R15's answer)."""
    cdef Undo undo
    if released_by == NOT_RELEASED:
        return
    undo.list = lst
    undo.index = <size_t> released_by
    undo.released_count = lst.events[undo.index].released_count
    if not noted(store, &undo):
        store.undo.push_back(undo)
    lst.events[undo.index].released_count += 1


cdef bint noted(Store *store, const Undo *undo) noexcept nogil:
    """Tell whether the transaction counts this event already; its row is written once."""
    cdef size_t i
    for i in range(store.undo.size()):
        if store.undo[i].list == undo.list and store.undo[i].index == undo.index:
            return True
    return False


cdef void record_store(Store *store, List *lst, Record *record, int64_t now_ns) noexcept nogil:
    """Write a record's state; nothing, if nothing of it is left."""
    cdef char value[VALUE_BYTES]
    cdef size_t size = hold_encode(&record.hold, now_ns, value)
    cdef Slice key = slice_of(record.key, record.key_size)
    cdef Memtable *memtable = store.active.get()
    count_release(store, lst, record.released_by)
    log_add(&store.journal, key, slice_of(value, size))
    memtable_put(memtable, record.hash, key, slice_of(value, size))
    memtable.record_delta += (size != 0) - <int> record.existed


# --- memtables ------------------------------------------------------------------------------------

cdef bint is_flushed(Store *store) noexcept nogil:
    """Tell whether the tree has everything that was ever committed."""
    return store.tree.flushed_revision.load() >= store.state.revision


cdef bint rotate(Store *store) noexcept nogil:
    """Rotate the active memtable and begin another, between two transactions; True if it did.

    Not while another memtable is immutable, nor when there is nothing that the tree does not have.
    """
    if store.immutable.get() != NULL or is_flushed(store):
        return False
    fail_at(FAIL_BEFORE_ROTATE)
    store.active.get().last_revision = store.state.revision
    store.immutable = store.active
    store.active = shared_ptr[Memtable](memtable_new(store.memtable_bytes))
    fail_at(FAIL_AFTER_ROTATE)
    return True


cdef void drop_flushed(Store *store) noexcept nogil:
    """Let go of the immutable memtable once the tree has it."""
    if store.immutable.get() != NULL \
            and store.tree.flushed_revision.load() >= store.immutable.get().last_revision:
        store.immutable.reset()
        store.tree.flushing_delta.store(0)
        publish_counts(store)


cdef void publish_counts(Store *store) noexcept nogil:
    """Let other threads see how much is not flushed."""
    cdef Memtable *immutable = store.immutable.get()
    store.unflushed_count.store(
        store.active.get().record_count + (immutable.record_count if immutable != NULL else 0)
    )
    store.unflushed_delta.store(
        store.active.get().record_delta + (immutable.record_delta if immutable != NULL else 0)
    )


cdef Capacity store_capacity(Store *store, int64_t now_ns) noexcept nogil:
    """Tell what may still be written; asked before each group.

    What the memtables hold is promised room in the tree.
    """
    cdef uint64_t promised = store.active.get().growth_bytes
    if store.immutable.get() != NULL:
        promised += store.immutable.get().growth_bytes
    return min(
        environment_capacity(store.environment, store.reserve_bytes, 0, now_ns),
        environment_capacity(
            store.tree.environment, store.reserve_bytes, promised * SPLIT_PAGES, now_ns
        ),
    )
