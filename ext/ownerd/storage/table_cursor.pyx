"""Reads the catalog's tables as committed: row by row, and into the catalog in memory.

A scan is a read transaction of its own, so any thread may make one; while it is open LMDB cannot
reuse freed pages, so it is short. The `load_` functions bring the catalog in memory to what is
committed; they belong to the writer thread.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from ownerd.base.bytes cimport get_be32, put_be32, slice_of, val_of
from ownerd.base.containers cimport string
from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_NEXT, MDB_RDONLY, MDB_SET_RANGE, MDB_SUCCESS, lmdb
from ownerd.rules.ownership cimport Code
from ownerd.storage.codec cimport row_verify
from ownerd.storage.store cimport (
    CAMPAIGNS, CODES, DROPPED_LISTS, EVENTS, LISTS, Campaign, EventRow, ListRow, find_list,
)


cdef int cursor_open(Store *store, Table table, TableCursor *scan) noexcept nogil:
    cdef int code
    scan.damaged = False
    code = lmdb.txn_begin(store.environment.env, NULL, MDB_RDONLY, &scan.txn)
    if code != MDB_SUCCESS:
        return code
    code = lmdb.cursor_open(scan.txn, store.tables[<int> table], &scan.cursor)
    if code != MDB_SUCCESS:
        lmdb.txn_abort(scan.txn)
    return code


cdef int cursor_close(TableCursor *scan) noexcept nogil:
    """End the scan; MDB_CORRUPTED if it was ended by a damaged row, else 0."""
    lmdb.cursor_close(scan.cursor)
    lmdb.txn_abort(scan.txn)
    return MDB_CORRUPTED if scan.damaged else MDB_SUCCESS


cdef bint cursor_step(TableCursor *scan, int operation) noexcept nogil:
    """Move the cursor; False at the end, and at a damaged row."""
    if lmdb.cursor_get(scan.cursor, &scan.key, &scan.value, operation) != MDB_SUCCESS:
        return False
    scan.damaged = not row_verify(&scan.key, &scan.value)
    return not scan.damaged


cdef bint cursor_seek(TableCursor *scan, Slice first) noexcept nogil:
    scan.key = val_of(first)
    return cursor_step(scan, MDB_SET_RANGE)


cdef bint cursor_next(TableCursor *scan) noexcept nogil:
    return cursor_step(scan, MDB_NEXT)


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


# --- into the catalog -----------------------------------------------------------------------------

cdef List *keep_list(Store *store, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Put a list's row into the catalog, in place if it is there (its events stay)."""
    cdef List *lst = find_list(store, slice_of(key.mv_data, key.mv_size))
    if lst == NULL:
        lst = new List()
        lst.acquire_revision = 0
        lst.vacuumed_round = 0
        list_from_row(lst, key, value)
        store.lists[lst.id] = lst
        store.lists_by_number[lst.number] = lst
    else:
        list_from_row(lst, key, value)
    return lst


cdef void load_events(Store *store, List *lst, TableCursor *scan) noexcept nogil:
    cdef EventRow row
    cdef char prefix[4]
    cdef bint more
    put_be32(prefix, lst.number)
    lst.events.clear()
    more = cursor_seek(scan, slice_of(prefix, 4))
    while more and get_be32(<const char *> scan.key.mv_data) == lst.number:
        memcpy(&row, scan.value.mv_data, sizeof(row))
        lst.events.push_back(row)
        more = cursor_next(scan)


cdef int load_list(Store *store, Slice list_id) noexcept nogil:
    """Bring one list of the catalog, with its events, to what was committed."""
    cdef TableCursor scan
    cdef MDB_val key = val_of(list_id), value
    cdef int code = cursor_open(store, EVENTS, &scan)
    if code != MDB_SUCCESS:
        return code
    code = lmdb.get(scan.txn, store.tables[<int> LISTS], &key, &value)
    scan.damaged = code == MDB_SUCCESS and not row_verify(&key, &value)
    if code == MDB_SUCCESS and not scan.damaged:
        load_events(store, keep_list(store, &key, &value), &scan)
    return cursor_close(&scan) or code


cdef int load_lists(Store *store) noexcept nogil:
    cdef TableCursor lists, events
    cdef int code = cursor_open(store, LISTS, &lists)
    if code != MDB_SUCCESS:
        return code
    code = cursor_open(store, EVENTS, &events)
    if code == MDB_SUCCESS:
        while not events.damaged and cursor_next(&lists):
            load_events(store, keep_list(store, &lists.key, &lists.value), &events)
        code = cursor_close(&events)
    return cursor_close(&lists) or code


cdef int load_campaigns(Store *store) noexcept nogil:
    """Read the campaigns, which are never deleted."""
    cdef TableCursor scan
    cdef const unsigned char *value
    cdef Campaign *campaign
    cdef uint32_t number
    cdef int code = cursor_open(store, CAMPAIGNS, &scan)
    if code != MDB_SUCCESS:
        return code
    while cursor_next(&scan):
        number = get_be32(<const char *> scan.key.mv_data)
        value = <const unsigned char *> scan.value.mv_data
        campaign = new Campaign()
        store.campaigns.push_back(campaign)
        campaign.id.assign(<const char *> value + 1, value[0])
        campaign.name.assign(
            <const char *> value + 1 + value[0], scan.value.mv_size - 1 - value[0]
        )
        store.campaign_numbers[campaign.id] = number
    return cursor_close(&scan)


cdef int load_codes(Store *store) noexcept nogil:
    cdef TableCursor scan
    cdef Code code
    cdef int status = cursor_open(store, CODES, &scan)
    if status != MDB_SUCCESS:
        return status
    store.codes.clear()
    while cursor_next(&scan):
        code.counts_as_attempt = (<const char *> scan.value.mv_data)[0]
        code.success = (<const char *> scan.value.mv_data)[1]
        store.codes[string(<const char *> scan.key.mv_data, scan.key.mv_size)] = code
    return cursor_close(&scan)


cdef int load_dropped_lists(Store *store) noexcept nogil:
    cdef TableCursor scan
    cdef int code = cursor_open(store, DROPPED_LISTS, &scan)
    if code != MDB_SUCCESS:
        return code
    while cursor_next(&scan):
        store.dropped_lists.push_back(get_be32(<const char *> scan.key.mv_data))
    return cursor_close(&scan)
