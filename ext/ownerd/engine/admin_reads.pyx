"""The administrator's reads of the small tables: lists, campaigns, codes, audit, answered requests.

Each function opens a short read transaction of its own, so it shows committed state only, and
copies everything out before it ends. Called with the GIL, from any thread.

It does not read records (snapshot) and changes nothing.
"""

from collections import namedtuple
from struct import unpack

from libc.string cimport memcmp, memcpy

from ownerd.api.reasons cimport REQUEST_OF_BEFORE
from ownerd.base.bytes cimport get_be32, get_be64, put_be32, put_be64, slice_of
from ownerd.base.lmdb cimport MDB_SUCCESS, MDB_val
from ownerd.engine.commands cimport TALLY_LEFT_OUT, request_of_before
from ownerd.rules.ownership cimport DEFAULT_WINDOW, NEVER_NS
from ownerd.rules.wrap_up_codes cimport UNKNOWN_CODE_REFUSE
from ownerd.storage.catalog cimport List, list_from_row, list_row
from ownerd.storage.table_cursor cimport (
    TableCursor, cursor_close, cursor_count, cursor_last, cursor_next, cursor_open,
    cursor_previous, cursor_seek,
)
from ownerd.storage.tables cimport (
    AUDIT, CAMPAIGNS, CODES, COUNT_PENDING, EVENTS, HOLDERS, LISTS, META, PRINCIPALS, REQUESTS,
    REQUEST_MEMORY_NS, AuditRow, ListRow, RequestRow, SettingsRow, Table,
)

from ownerd.api.reasons import refused
from ownerd.storage.directory import StoreError

PolicyTuple = namedtuple("Policy", "enabled duration_ns renewal_window_ns reservation_ttl_ns")
PolicyTuple.__doc__ = """A list's policy; nanoseconds. `duration_ns` None: no expiration;
`renewal_window_ns` None: the default, a tenth of the duration."""

ListInfo = namedtuple(
    "ListInfo", "list_id policy create_ns update_ns update_revision number shares_with"
)
ListInfo.__doc__ = """A contact list; `update_revision` is that of its last policy
command, `number` its own in the store, never used twice but by those of `shares_with`, the ids
of the other lists that share its ownership (R28)."""

Outcome = namedtuple(
    "Outcome", "revision time_ns count entry_id replayed memo tally left_out", defaults=((),)
)
Outcome.__doc__ = """What a command did. `count` None: records are still being counted.
`replayed`: the request id was answered before; nothing changed, this is the first answer.
`tally`: (imported, skipped, overwritten, expired). `left_out`: of a release of records, the indexes
of those that another campaign owns."""


cdef Policy policy_from(values) except *:
    """Return the native form of a Policy tuple."""
    cdef Policy policy
    enabled, duration_ns, window_ns, ttl_ns = values
    policy.enabled = enabled
    policy.duration_ns = NEVER_NS if duration_ns is None else <int64_t> duration_ns
    policy.renewal_window_ns = DEFAULT_WINDOW if window_ns is None else <int64_t> window_ns
    policy.reservation_ttl_ns = ttl_ns
    return policy


cdef _policy_tuple(const Policy *policy):
    return PolicyTuple(
        bool(policy.enabled),
        None if policy.duration_ns == NEVER_NS else policy.duration_ns,
        None if policy.renewal_window_ns == DEFAULT_WINDOW else policy.renewal_window_ns,
        policy.reservation_ttl_ns,
    )


cdef bytes _bytes(const MDB_val *value):
    return (<const char *> value.mv_data)[:value.mv_size]


cdef _begin(Store *store, Table table, TableCursor *scan):
    if cursor_open(&store.tables, table, scan) != MDB_SUCCESS:
        raise StoreError("too many reads are in progress; try again")


cdef _end(TableCursor *scan):
    if cursor_close(scan) != MDB_SUCCESS:
        raise StoreError("a row fails its checksum: the store is damaged")


cdef bint _first_after(TableCursor *scan, bytes after):
    """Move to the first row whose key sorts after `after`; b"" is before all."""
    if not after:
        return cursor_next(scan)
    if not cursor_seek(scan, slice_of(<const char *> after, len(after))):
        return False
    return cursor_next(scan) if _bytes(&scan.key) == after else True


cdef bint _find(TableCursor *scan, bytes key):
    return cursor_seek(scan, slice_of(<const char *> key, len(key))) and _bytes(&scan.key) == key


cdef _info(TableCursor *scan):
    """Return a list, with whether it shares its ownership in place of whom with."""
    cdef List row
    list_from_row(
        &row, slice_of(scan.key.mv_data, scan.key.mv_size),
        slice_of(scan.value.mv_data, scan.value.mv_size),
    )
    return ListInfo(
        _bytes(&scan.key).decode(), _policy_tuple(&row.policy), row.names[0].create_ns,
        row.update_ns, row.update_revision, row.number,
        list_row(&scan.value).name_count > 1,
    )


cdef list _with_groups(Store *store, list infos):
    """Fill in whom the lists share their ownership with; one more scan if any does."""
    cdef TableCursor scan
    groups = {info.number: [] for info in infos if info.shares_with}
    if groups:
        _begin(store, LISTS, &scan)
        while cursor_next(&scan):
            names = groups.get(list_row(&scan.value).number)
            if names is not None:
                names.append(_bytes(&scan.key).decode())
        _end(&scan)
    return [
        info._replace(shares_with=tuple(
            [name for name in groups.get(info.number, ()) if name != info.list_id]
        ))
        for info in infos
    ]


cdef object list_info(Store *store, str list_id):
    cdef TableCursor scan
    _begin(store, LISTS, &scan)
    found = [_info(&scan)] if _find(&scan, list_id.encode()) else []
    _end(&scan)
    return _with_groups(store, found)[0] if found else None


cdef list lists_held(Store *store, object campaign_id):
    """Return the first name of each list in which a campaign may ever have held a record."""
    cdef TableCursor scan
    cdef ListRow row
    cdef char key[8]
    numbers = {}
    number = None if campaign_id is None else _campaign_number(store, campaign_id.encode())
    if campaign_id is not None and number is None:
        return []
    _begin(store, LISTS, &scan)
    while cursor_next(&scan):
        row = list_row(&scan.value)
        numbers.setdefault(row.number, (_bytes(&scan.key).decode(), row.tells_holders))
    _end(&scan)
    _begin(store, HOLDERS, &scan)
    found = []
    for list_number, (list_id, tells_holders) in numbers.items():
        put_be32(key, list_number)
        put_be32(key + 4, number or 0)
        held = cursor_seek(&scan, slice_of(key, 8)) and (
            _bytes(&scan.key) == key[:8] if number is not None
            else _bytes(&scan.key)[:4] == key[:4]
        )
        if held or not tells_holders:
            found.append(list_id)
    _end(&scan)
    return found


cdef list list_page(Store *store, str after, Py_ssize_t limit):
    cdef TableCursor scan
    cdef bint more
    page = []
    _begin(store, LISTS, &scan)
    more = _first_after(&scan, after.encode())
    while more and len(page) < limit:
        page.append(_info(&scan))
        more = cursor_next(&scan)
    _end(&scan)
    return _with_groups(store, page)


cdef list campaign_page(Store *store, str after, Py_ssize_t limit):
    """Return (id, name) by id; the table is by number, and small."""
    cdef TableCursor scan
    campaigns = []
    _begin(store, CAMPAIGNS, &scan)
    while cursor_next(&scan):
        row = _bytes(&scan.value)
        if row[0]:                    # one without an id is deleted
            campaigns.append((row[1:1 + row[0]], row[1 + row[0]:]))
    _end(&scan)
    start = after.encode()
    chosen = sorted(row for row in campaigns if not start or row[0] > start)[:limit]
    return [(campaign_id.decode(), name.decode()) for campaign_id, name in chosen]


cdef bint _seek_campaign(TableCursor *scan, bytes campaign_id):
    """Move to a campaign's row, from the begin of the table, which is by number."""
    cdef const unsigned char *row
    cdef const char *wanted = campaign_id
    cdef size_t size = len(campaign_id)
    while cursor_next(scan):
        row = <const unsigned char *> scan.value.mv_data
        if row[0] == size and memcmp(row + 1, wanted, size) == 0:
            return True
    return False


cdef object _campaign_number(Store *store, bytes campaign_id):
    cdef TableCursor scan
    _begin(store, CAMPAIGNS, &scan)
    found = None
    if _seek_campaign(&scan, campaign_id):
        found = get_be32(<const char *> scan.key.mv_data)
    _end(&scan)
    return found


cdef object campaign_name(Store *store, str campaign_id):
    """Return a campaign's name, or None if it is unknown."""
    cdef TableCursor scan
    encoded = campaign_id.encode()
    _begin(store, CAMPAIGNS, &scan)
    found = None
    if _seek_campaign(&scan, encoded):
        found = _bytes(&scan.value)[1 + len(encoded):].decode()
    _end(&scan)
    return found


cdef object code_row(Store *store, str code):
    """Return (category, counts_as_attempt, success) of a code, or None."""
    cdef TableCursor scan
    _begin(store, CODES, &scan)
    row = _bytes(&scan.value) if _find(&scan, code.encode()) else None
    _end(&scan)
    return None if row is None else (row[2:].decode(), bool(row[0]), bool(row[1]))


cdef list code_page(Store *store, str after, Py_ssize_t limit):
    """Return (code, category, counts_as_attempt, success) by code."""
    cdef TableCursor scan
    cdef bint more
    page = []
    _begin(store, CODES, &scan)
    more = _first_after(&scan, after.encode())
    while more and len(page) < limit:
        row = _bytes(&scan.value)
        page.append((_bytes(&scan.key).decode(), row[2:].decode(), bool(row[0]), bool(row[1])))
        more = cursor_next(&scan)
    _end(&scan)
    return page


cdef int settings_row(Store *store) except -1:
    """Return the store's setting of what an unknown code means."""
    cdef TableCursor scan
    cdef SettingsRow row
    _begin(store, META, &scan)
    row.unknown_code = UNKNOWN_CODE_REFUSE
    if _find(&scan, b"settings"):
        memcpy(&row, scan.value.mv_data, sizeof(row))
    _end(&scan)
    return row.unknown_code


cdef list principal_rows(Store *store):
    """Return (principal_id, what the server keeps of it) of every principal, by id."""
    cdef TableCursor scan
    found = []
    _begin(store, PRINCIPALS, &scan)
    while cursor_next(&scan):
        found.append((_bytes(&scan.key).decode(), _bytes(&scan.value)))
    _end(&scan)
    return found


cdef tuple _audit_entry(TableCursor *scan):
    cdef AuditRow row
    value = _bytes(&scan.value)
    memcpy(&row, <const char *> value, sizeof(row))
    return (
        get_be64(<const char *> scan.key.mv_data), row.time_ns, row.revision,
        None if row.count == COUNT_PENDING else row.count, value[sizeof(row):],
    )


cdef list audit_page(Store *store, uint64_t before, Py_ssize_t limit):
    """Return entries (id, time_ns, revision, count or None, note), newest first, below `before`."""
    cdef TableCursor scan
    cdef char key[8]
    cdef bint more
    page = []
    _begin(store, AUDIT, &scan)
    put_be64(key, before)
    if before != 0 and cursor_seek(&scan, slice_of(key, 8)):
        more = cursor_previous(&scan)
    else:
        more = cursor_last(&scan)
    while more and len(page) < limit:
        page.append(_audit_entry(&scan))
        more = cursor_previous(&scan)
    _end(&scan)
    return page


cdef list audit_oldest(Store *store, Py_ssize_t limit):
    """Return entries as `audit_page` does, but from the oldest on."""
    cdef TableCursor scan
    page = []
    _begin(store, AUDIT, &scan)
    while len(page) < limit and cursor_next(&scan):
        page.append(_audit_entry(&scan))
    _end(&scan)
    return page


cdef object audit_count(Store *store, uint64_t entry_id):
    """Return an entry's count, None while it is pending; raise KeyError if there is no entry."""
    cdef TableCursor scan
    cdef char key[8]
    put_be64(key, entry_id)
    _begin(store, AUDIT, &scan)
    entry = _audit_entry(&scan) if _find(&scan, key[:8]) else None
    _end(&scan)
    if entry is None:
        raise KeyError(entry_id)
    return entry[3]


cdef bytes request_key(str request_id, str requester):
    """Return what a request is found by: ids belong to who sends them, however both are chosen.

    A byte that no id begins with (it is not UTF-8), the length of who asks, who, and the id. The id
    alone, for nobody, was the key of requests before they belonged to somebody.
    """
    who = requester.encode()
    return (b"\xff" + bytes([len(who)]) + who if who else b"") + request_id.encode()


cdef object answered_request(Store *store, bytes key, int64_t now_ns):
    """Return the Outcome stored under a request's key within the last 24 h, or None.

    Refused: FAILED_PRECONDITION, it is of a former incarnation.
    """
    cdef TableCursor scan
    cdef RequestRow row
    _begin(store, REQUESTS, &scan)
    value = _bytes(&scan.value) if _find(&scan, key) else None
    _end(&scan)
    if value is None:
        return None
    memcpy(&row, <const char *> value, sizeof(row))
    if now_ns - row.time_ns >= REQUEST_MEMORY_NS:
        return None
    if request_of_before(store, &row):
        raise refused(REQUEST_OF_BEFORE)
    left_out = max(0, -row.tally[<int> TALLY_LEFT_OUT])
    memo = value[sizeof(row):len(value) - 4 * left_out]
    return Outcome(
        row.revision, row.time_ns, audit_count(store, row.entry_id), row.entry_id, True,
        memo, tuple(row.tally), unpack(f"={left_out}I", value[len(value) - 4 * left_out:]),
    )


cdef list entry_count(Store *store):
    """Return the number of lists (a group of R28 once), campaigns, events and requests."""
    cdef TableCursor scan
    cdef ListRow row
    cdef int64_t list_count = 0, campaign_count = 0
    shared = set()
    _begin(store, LISTS, &scan)
    while cursor_next(&scan):
        row = list_row(&scan.value)
        if row.name_count > 1:
            shared.add(row.number)
        else:
            list_count += 1
    events = cursor_count(&scan, EVENTS)
    requests = cursor_count(&scan, REQUESTS)
    _end(&scan)
    _begin(store, CAMPAIGNS, &scan)
    while cursor_next(&scan):
        campaign_count += (<const char *> scan.value.mv_data)[0] != 0
    _end(&scan)
    return [list_count + len(shared), campaign_count, events, requests]
