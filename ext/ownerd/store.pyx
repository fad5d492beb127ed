"""What is on disk: one LMDB environment with every table, and the catalog read from it.

Owns the data directory (DIR/LOCK, DIR/records/), the layout of every row, the one write transaction
and the in-memory catalog: lists with their events, campaigns, codes.

Invariants:
- DIR/LOCK is locked before LMDB opens and until it is closed; one process per directory.
- The catalog changes only while a write transaction is open or right after its commit, and always
  on the writer thread. `store_abort` puts back what a transaction changed in it.
- Once an LMDB call inside a transaction fails, `error` is set and the transaction cannot commit.
- Numbers of lists and campaigns are never used twice.
- Rows are the machine's own byte order (x86-64 and arm64 Linux are both little-endian); keys that
  must sort are big-endian.

It decides nothing and knows no gRPC.
"""

import os
import shutil

from cython.operator cimport dereference, preincrement
from libc.string cimport memcpy, memset

from ownerd.directory cimport take_lock
from ownerd.lmdb_api cimport (
    MDB_CORRUPTED, MDB_CREATE, MDB_NEXT, MDB_NORDAHEAD, MDB_NOTFOUND, MDB_NOTLS, MDB_RDONLY,
    MDB_SET_RANGE, MDB_SUCCESS, MDB_envinfo, MDB_stat, lmdb,
)
from ownerd.rows cimport (
    SEAL_BYTES, VALUE_BYTES, empty_slice, get_be32, hold_decode, hold_encode, open_row,
    put_be32, seal_row, slice_of, text_slice,
)
from ownerd.rules cimport rules_apply_event

from ownerd.directory import StoreError, prepare_directory, sync_directory

cdef enum:
    FORMAT = 1
    NEW_MAP_BYTES = 1 << 20           # more than a new store needs
    SMALL_ROW_BYTES = 128             # rows up to here are put together on the stack
    READERS = 254                     # snapshots and reads in flight; each is short

TABLE_NAMES[:] = [
    "meta", "lists", "graves", "events", "campaigns", "codes", "records", "audit", "requests",
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

cdef inline void note_error(Store *store, int code) noexcept nogil:
    if code != MDB_SUCCESS and store.error == MDB_SUCCESS:
        store.error = code


cdef inline MDB_val val_of(Slice slice) noexcept nogil:
    cdef MDB_val value
    value.mv_data = <void *> slice.data
    value.mv_size = slice.size
    return value


cdef int store_begin(Store *store) noexcept nogil:
    store.error = lmdb.txn_begin(store.env, NULL, 0, &store.txn)
    store.next_entry = store.state.next_entry
    store.next_list = store.state.next_list
    store.committed_campaigns = store.campaigns.size()
    store.undo.clear()
    return store.error


cdef void put_released_counts(Store *store) noexcept nogil:
    cdef size_t i
    cdef Undo *undo
    for i in range(store.undo.size()):
        undo = &store.undo[i]
        put_event(store, undo.list.number, &undo.list.events[undo.index])


cdef int store_commit(Store *store, uint64_t revision, int64_t now_ns) noexcept nogil:
    """Commit with the state row; 0 means that everything is on disk (R18).

    On an error the transaction is gone and the catalog as before. An error of the commit itself
    (not a full map) leaves the outcome unknown: the caller must stop the engine.
    """
    cdef StateRow state = store.state
    cdef int code
    state.revision = revision
    state.time_ns = max(now_ns, state.time_ns)
    state.next_entry = store.next_entry
    state.next_list = store.next_list
    put_released_counts(store)
    put_row(
        store, META, slice_of(b"state", 5), slice_of(&state, sizeof(state)), empty_slice()
    )
    if store.error != MDB_SUCCESS:
        code = store.error
        store_abort(store)
        return code
    code = lmdb.txn_commit(store.txn)
    store.txn = NULL
    if code != MDB_SUCCESS:
        roll_back_catalog(store)
        return code
    store.state = state
    return MDB_SUCCESS


cdef void roll_back_catalog(Store *store) noexcept nogil:
    cdef Campaign *campaign
    cdef Undo *undo
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
    if store.txn != NULL:
        lmdb.txn_abort(store.txn)
        store.txn = NULL
    roll_back_catalog(store)


cdef bint get_row(Store *store, Table table, Slice key, Slice *value) noexcept nogil:
    """Look up a row in the open transaction; the value is valid until its next write."""
    cdef MDB_val where = val_of(key), found
    cdef int code = lmdb.get(store.txn, store.tables[<int> table], &where, &found)
    if code == MDB_SUCCESS and not open_row(&where, &found):
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
    if store.error != MDB_SUCCESS:
        return
    if size + SEAL_BYTES > SMALL_ROW_BYTES:
        large.resize(size + SEAL_BYTES)
        whole = &large[0]
    if fixed.size != 0:
        memcpy(whole, fixed.data, fixed.size)
    if rest.size != 0:
        memcpy(whole + fixed.size, rest.data, rest.size)
    seal_row(key, whole, size)
    value = val_of(slice_of(whole, size + SEAL_BYTES))
    note_error(store, lmdb.put(store.txn, store.tables[<int> table], &where, &value, 0))


cdef void delete_row(Store *store, Table table, Slice key) noexcept nogil:
    cdef MDB_val where = val_of(key)
    cdef int code
    if store.error != MDB_SUCCESS:
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


cdef int record_load(
    Store *store, List *lst, const char *key, size_t key_size, Hold *hold
) noexcept nogil:
    """Read a record brought up to its list's last event; an absent one is nobody's.

    Returns the index of the event that released its ownership (to be counted if the record is
    written), or NOT_RELEASED.
    """
    cdef Slice value
    cdef MDB_val raw
    if get_row(store, RECORDS, slice_of(key, key_size), &value):
        raw = val_of(value)
        if hold_decode(&raw, hold):
            return fold_events(&lst.events, lst.head_seq, hold)
        note_error(store, MDB_CORRUPTED)
    memset(hold, 0, sizeof(Hold))
    hold.event_seq = lst.head_seq
    return NOT_RELEASED


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


cdef void record_store(
    Store *store, List *lst, const char *key, size_t key_size, Hold *hold, int released_by,
    int64_t now_ns
) noexcept nogil:
    """Write a record's state, or delete it if nothing of it is left."""
    cdef char value[VALUE_BYTES]
    cdef size_t size = hold_encode(hold, now_ns, value)
    count_release(store, lst, released_by)
    if size == 0:
        delete_row(store, RECORDS, slice_of(key, key_size))
    else:
        put_row(store, RECORDS, slice_of(key, key_size), slice_of(value, size), empty_slice())


# --- reading the catalog --------------------------------------------------------------------------

cdef int scan_open(Store *store, Table table, Scan *scan) noexcept nogil:
    cdef int code
    scan.damaged = False
    code = lmdb.txn_begin(store.env, NULL, MDB_RDONLY, &scan.txn)
    if code != MDB_SUCCESS:
        return code
    code = lmdb.cursor_open(scan.txn, store.tables[<int> table], &scan.cursor)
    if code != MDB_SUCCESS:
        lmdb.txn_abort(scan.txn)
    return code


cdef int scan_close(Scan *scan) noexcept nogil:
    """End the scan; MDB_CORRUPTED if it was ended by a damaged row, else 0."""
    lmdb.cursor_close(scan.cursor)
    lmdb.txn_abort(scan.txn)
    return MDB_CORRUPTED if scan.damaged else MDB_SUCCESS


cdef bint scan_step(Scan *scan, int operation) noexcept nogil:
    """Move the cursor; False at the end, and at a damaged row."""
    if lmdb.cursor_get(scan.cursor, &scan.key, &scan.value, operation) != MDB_SUCCESS:
        return False
    scan.damaged = not open_row(&scan.key, &scan.value)
    return not scan.damaged


cdef bint scan_seek(Scan *scan, Slice first) noexcept nogil:
    scan.key = val_of(first)
    return scan_step(scan, MDB_SET_RANGE)


cdef bint scan_next(Scan *scan) noexcept nogil:
    return scan_step(scan, MDB_NEXT)


cdef void list_from_row(List *lst, const MDB_val *key, const MDB_val *value) noexcept nogil:
    cdef ListRow row
    memcpy(&row, value.mv_data, sizeof(row))
    lst.id.assign(<const char *> key.mv_data, key.mv_size)
    lst.number = row.number
    lst.head_seq = row.head_seq
    lst.policy.enabled = row.enabled
    lst.policy.duration_ns = row.duration_ns
    lst.policy.renewal_window_ns = row.renewal_window_ns
    lst.policy.reservation_ttl_ns = row.reservation_ttl_ns
    lst.create_ns = row.create_ns
    lst.update_ns = row.update_ns
    lst.update_revision = row.update_revision


cdef List *keep_list(Store *store, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Put a list's row into the catalog, in place if it is there (its events stay)."""
    cdef List *lst = find_list(store, slice_of(key.mv_data, key.mv_size))
    if lst == NULL:
        lst = new List()
        lst.acquire_revision = 0
        lst.swept = 0
        list_from_row(lst, key, value)
        store.lists[lst.id] = lst
        store.lists_by_number[lst.number] = lst
    else:
        list_from_row(lst, key, value)
    return lst


cdef void load_events(Store *store, List *lst, Scan *scan) noexcept nogil:
    cdef EventRow row
    cdef char prefix[4]
    cdef bint more
    put_be32(prefix, lst.number)
    lst.events.clear()
    more = scan_seek(scan, slice_of(prefix, 4))
    while more and get_be32(<const char *> scan.key.mv_data) == lst.number:
        memcpy(&row, scan.value.mv_data, sizeof(row))
        lst.events.push_back(row)
        more = scan_next(scan)


cdef int load_list(Store *store, Slice list_id) noexcept nogil:
    """Bring one list of the catalog, with its events, to what was committed."""
    cdef Scan scan
    cdef MDB_val key = val_of(list_id), value
    cdef int code = scan_open(store, EVENTS, &scan)
    if code != MDB_SUCCESS:
        return code
    code = lmdb.get(scan.txn, store.tables[<int> LISTS], &key, &value)
    scan.damaged = code == MDB_SUCCESS and not open_row(&key, &value)
    if code == MDB_SUCCESS and not scan.damaged:
        load_events(store, keep_list(store, &key, &value), &scan)
    return scan_close(&scan) or code


cdef int load_lists(Store *store) noexcept nogil:
    cdef Scan lists, events
    cdef int code = scan_open(store, LISTS, &lists)
    if code != MDB_SUCCESS:
        return code
    code = scan_open(store, EVENTS, &events)
    if code == MDB_SUCCESS:
        while not events.damaged and scan_next(&lists):
            load_events(store, keep_list(store, &lists.key, &lists.value), &events)
        code = scan_close(&events)
    return scan_close(&lists) or code


cdef int load_campaigns(Store *store) noexcept nogil:
    """Read the campaigns, which are never deleted."""
    cdef Scan scan
    cdef const unsigned char *value
    cdef Campaign *campaign
    cdef uint32_t number
    cdef int code = scan_open(store, CAMPAIGNS, &scan)
    if code != MDB_SUCCESS:
        return code
    while scan_next(&scan):
        number = get_be32(<const char *> scan.key.mv_data)
        value = <const unsigned char *> scan.value.mv_data
        campaign = new Campaign()
        store.campaigns.push_back(campaign)
        campaign.id.assign(<const char *> value + 1, value[0])
        campaign.name.assign(
            <const char *> value + 1 + value[0], scan.value.mv_size - 1 - value[0]
        )
        store.campaign_numbers[campaign.id] = number
    return scan_close(&scan)


cdef int load_codes(Store *store) noexcept nogil:
    cdef Scan scan
    cdef Code code
    cdef int status = scan_open(store, CODES, &scan)
    if status != MDB_SUCCESS:
        return status
    store.codes.clear()
    while scan_next(&scan):
        code.counts_as_attempt = (<const char *> scan.value.mv_data)[0]
        code.success = (<const char *> scan.value.mv_data)[1]
        store.codes[string(<const char *> scan.key.mv_data, scan.key.mv_size)] = code
    return scan_close(&scan)


cdef int load_graves(Store *store) noexcept nogil:
    cdef Scan scan
    cdef int code = scan_open(store, GRAVES, &scan)
    if code != MDB_SUCCESS:
        return code
    while scan_next(&scan):
        store.graves.push_back(get_be32(<const char *> scan.key.mv_data))
    return scan_close(&scan)


# --- opening and closing --------------------------------------------------------------------------

cdef check(int code, str action):
    if code == MDB_CORRUPTED:
        raise StoreError(
            f"{action}: a row fails its checksum, the store is damaged; 'ownerd verify' says what "
            "is, a copy must be restored"
        )
    if code != MDB_SUCCESS:
        reason = lmdb.strerror(code).decode(errors="replace")
        raise StoreError(f"{action}: {reason}")


cdef Store *store_open(str directory, uint64_t map_bytes, uint64_t reserve_bytes) except NULL:
    """Lock, open or create the store in `directory` and load its catalog.

    Raises:
        StoreInUseError: another process has it.
        StoreError: it cannot be created, read or understood.
    """
    prepare_directory(directory)
    records = os.path.join(directory, "records")
    cdef int lock_fd = take_lock(directory)
    cdef Store *store = new Store()
    store.lock_fd = lock_fd
    try:
        if not os.path.exists(records):
            _create(directory, records)
        _open_environment(store, records, map_bytes)
        store.map_bytes = map_bytes
        store.reserve_bytes = min(reserve_bytes, map_bytes // 4)
        _load(store, directory)
    except BaseException:
        store_close(store)
        raise
    return store


cdef _create(str directory, str records):
    """Make a new store under another name and move it into place once it is on disk.

    LMDB writes the header of a new file without a sync, so a power cut during the very first start
    could leave a file that is not empty and cannot be opened either.
    """
    unfinished = records + ".new"
    shutil.rmtree(unfinished, ignore_errors=True)
    os.mkdir(unfinished, 0o700)
    cdef Store *store = new Store()
    store.lock_fd = -1
    try:
        _open_environment(store, unfinished, NEW_MAP_BYTES)
        _open_tables(store, directory)
        _write_first_commit(store)
    finally:
        store_close(store)
    sync_directory(unfinished)
    os.rename(unfinished, records)
    sync_directory(directory)


cdef refuse_truncated(MDB_env *env, str records):
    """Raise StoreError if the data file ends before its last page: reading that would be SIGBUS."""
    cdef MDB_envinfo info
    cdef MDB_stat stat
    cdef int fd
    lmdb.env_info(env, &info)
    lmdb.env_stat(env, &stat)
    lmdb.env_get_fd(env, &fd)
    needed = (info.me_last_pgno + 1) * stat.ms_psize
    found = os.fstat(fd).st_size
    if found < needed:
        raise StoreError(
            f"{records}/data.mdb is truncated: {found} of {needed} bytes are there; restore a copy"
        )


cdef _open_environment(Store *store, str records, uint64_t map_bytes):
    cdef MDB_stat stat
    check(lmdb.env_create(&store.env), "cannot set up LMDB")
    check(lmdb.env_set_mapsize(store.env, map_bytes), "cannot reserve the map")
    check(lmdb.env_set_maxdbs(store.env, TABLE_COUNT), "cannot set up LMDB")
    check(lmdb.env_set_maxreaders(store.env, READERS), "cannot set up LMDB")
    # NOTLS: a snapshot is begun by the writer thread and read by another.
    # NORDAHEAD: look-ups are random, read-ahead would fill the page cache with strangers.
    check(
        lmdb.env_open(store.env, os.fsencode(records), MDB_NOTLS | MDB_NORDAHEAD, 0o600),
        f"cannot open the store in {records}",
    )
    refuse_truncated(store.env, records)
    lmdb.reader_check(store.env, NULL)
    lmdb.env_get_fd(store.env, &store.data_fd)
    lmdb.env_stat(store.env, &stat)
    store.page_bytes = stat.ms_psize
    store.allocated_bytes = os.fstat(store.data_fd).st_size
    store.can_allocate = True


cdef _load(Store *store, str directory):
    cdef Slice value
    cdef bint found
    _open_tables(store, directory)
    check(store_begin(store), "cannot begin a transaction")
    found = get_row(store, META, slice_of(b"state", 5), &value)
    if found:
        memcpy(&store.state, value.data, min(value.size, sizeof(StateRow)))
    code = store.error
    store_abort(store)
    check(code, f"cannot read the store in {directory}")
    if not found:
        raise StoreError(f"{directory}/records is no store of this program: its state is missing")
    if value.size != sizeof(StateRow) or store.state.format != FORMAT:
        raise StoreError(
            f"the store in {directory} has format {store.state.format}, this program reads "
            f"{FORMAT}; open it with the version that wrote it"
        )
    for code in (load_lists(store), load_campaigns(store), load_codes(store), load_graves(store)):
        check(code, f"cannot read the catalog in {directory}")


cdef _open_tables(Store *store, str directory):
    cdef int i
    check(store_begin(store), "cannot begin a transaction")
    for i in range(TABLE_COUNT):
        check(
            lmdb.dbi_open(store.txn, TABLE_NAMES[i], MDB_CREATE, &store.tables[i]),
            f"cannot open table {TABLE_NAMES[i].decode()} in {directory}",
        )
    check(lmdb.txn_commit(store.txn), "cannot create the tables")
    store.txn = NULL


cdef _write_first_commit(Store *store):
    """Write the first commit of a new store: its format, the wrap-up codes."""
    cdef char flags[2]
    memset(&store.state, 0, sizeof(StateRow))
    check(store_begin(store), "cannot begin a transaction")
    store.state.format = FORMAT
    store.next_entry = store.next_list = 1
    for code, counts, success in DEFAULT_CODES:
        encoded = code.encode()
        flags[0], flags[1] = counts, success
        put_row(
            store, CODES, slice_of(<const char *> encoded, len(encoded)), slice_of(flags, 2),
            slice_of(<const char *> encoded, len(encoded)),
        )
    check(store_commit(store, 1, 0), "cannot write the new store")


cdef void store_close(Store *store) noexcept:
    """Close the environment, free the catalog and let go of the lock."""
    cdef unordered_map[string, List *].iterator lst
    cdef size_t i
    if store.env != NULL:
        lmdb.env_close(store.env)
    if store.lock_fd >= 0:
        os.close(store.lock_fd)
    lst = store.lists.begin()
    while lst != store.lists.end():
        del dereference(lst).second
        preincrement(lst)
    for i in range(store.campaigns.size()):
        del store.campaigns[i]
    del store
