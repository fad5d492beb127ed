"""The control plane's changes: each is decided and written in one commit of its own.

A change writes its rows, its records, its audit entry (R21) and its request id (R20) in the same
transaction; the catalog in memory is brought up to date after the commit. A refused change leaves
no trace.
Runs on the writer thread only.

It does not queue, wait or answer (engine), and does not judge records (rules).
"""

from cython.operator cimport dereference, preincrement
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset

from ownerd.api.calls cimport (
    ABORTED, ALREADY_EXISTS, FAILED_PRECONDITION, MESSAGE_BYTES, NOT_FOUND, OK,
    RESOURCE_EXHAUSTED, Task, printable, task_refuse,
)
from ownerd.base.bytes cimport Slice, empty_slice, put_be32, put_be64, slice_of, text_slice
from ownerd.base.lmdb cimport MDB_MAP_FULL, MDB_SUCCESS, MDB_TXN_FULL
from ownerd.rules.ownership cimport (
    ALL_CAMPAIGNS, EVENT_DURATION, EVENT_RELEASE, EVENT_RESERVATIONS_END, Event, hold_alive,
    hold_owned, rules_import,
)
from ownerd.storage.capacity cimport CAPACITY_FOR_GRANTS
from ownerd.storage.store cimport (
    AUDIT, CODES, COUNT_PENDING, DROPPED_LISTS, EVENTS, LISTS, PRINCIPALS, REQUESTS,
    REQUEST_MEMORY_NS, AuditRow, EventRow, List, Record, RequestRow, Store, add_campaign,
    delete_row, find_campaign, find_list, forget_list, get_row, put_campaign, put_event,
    put_list, put_row, record_load, record_store, rename_campaign, store_abort, store_begin,
    store_capacity, store_commit,
)
from ownerd.storage.table_cursor cimport load_codes, load_list


# --- refusals -------------------------------------------------------------------------------------

cdef bint is_full(int code) noexcept nogil:
    """Tell whether an LMDB error means that nothing was written for want of room."""
    return code == MDB_MAP_FULL or code == MDB_TXN_FULL


cdef bint disk_full(Store *store) noexcept nogil:
    return store.environment.disk_full or store.tree.environment.disk_full


cdef void refuse_full(Store *store, Task *task) noexcept nogil:
    snprintf(
        task_refuse(task, RESOURCE_EXHAUSTED), MESSAGE_BYTES,
        "the store is full (%s); nothing was changed: release ownership, delete lists, or give it "
        "more room, then try again",
        b"no disk space is left" if disk_full(store) else b"its map has reached map_bytes",
    )


cdef void refuse_unknown_list(Task *task, const char *list_id, size_t size) noexcept nogil:
    snprintf(
        task_refuse(task, NOT_FOUND), MESSAGE_BYTES,
        "list_id: there is no contact list \"%.*s\"; create it first (CreateContactList)",
        printable(list_id, size), list_id,
    )


cdef void refuse_unknown_campaign(Change *change, const string &campaign_id) noexcept nogil:
    snprintf(
        task_refuse(&change.task, NOT_FOUND), MESSAGE_BYTES,
        "campaign_id: there is no campaign \"%.*s\"; ListCampaigns shows those that are known",
        printable(campaign_id.data(), campaign_id.size()), campaign_id.data(),
    )


cdef bint known_list(Store *store, Change *change) noexcept nogil:
    """Set `change.list`; check the expected revision of its policy, if one was given."""
    change.list = find_list(store, text_slice(change.list_id))
    if change.list == NULL:
        refuse_unknown_list(&change.task, change.list_id.data(), change.list_id.size())
        return False
    if change.expected_revision not in (0, change.list.update_revision):
        snprintf(
            task_refuse(&change.task, ABORTED), MESSAGE_BYTES,
            "etag: \"%llu\" is stale, the list's policy is at \"%llu\"; read it again and retry",
            <unsigned long long> change.expected_revision,
            <unsigned long long> change.list.update_revision,
        )
        return False
    return True


cdef bint known_campaign(
    Store *store, Change *change, const string &campaign_id, uint32_t *number
) noexcept nogil:
    number[0] = find_campaign(store, text_slice(campaign_id))
    if number[0] < store.campaigns.size():
        return True
    refuse_unknown_campaign(change, campaign_id)
    return False


# --- lists and policies ---------------------------------------------------------------------------

cdef void create_list(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    cdef List draft
    if find_list(store, text_slice(change.list_id)) != NULL:
        snprintf(
            task_refuse(&change.task, ALREADY_EXISTS), MESSAGE_BYTES,
            "list_id: contact list \"%.*s\" exists already",
            printable(change.list_id.data(), change.list_id.size()), change.list_id.data(),
        )
        return
    draft.id = change.list_id
    draft.number = store.next_list
    draft.head_seq = 0
    draft.policy = change.policy
    draft.create_ns = draft.update_ns = now_ns
    draft.update_revision = change.revision
    store.next_list += 1
    put_list(store, &draft)


cdef Event event_of(uint8_t kind, uint32_t campaign, int64_t now_ns) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(event))
    event.kind = kind
    event.campaign = campaign
    event.time_ns = now_ns
    return event


cdef void append_event(
    Store *store, Change *change, List *draft, Event event, bint counted
) noexcept nogil:
    """Add an event to the list's log; from its commit on every record is judged by it."""
    cdef EventRow row
    memset(&row, 0, sizeof(row))
    draft.head_seq += 1
    row.event = event
    row.event.seq = draft.head_seq
    row.entry_id = change.entry_id
    row.counted = counted
    put_event(store, draft.number, &row)


cdef void update_policy(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    """R12-R14: a changed duration becomes an event; any other change moves no expiration."""
    cdef List draft
    cdef Event event
    if not known_list(store, change):
        return
    draft = change.list[0]
    if draft.policy.duration_ns != change.policy.duration_ns:
        event = event_of(EVENT_DURATION, ALL_CAMPAIGNS, now_ns)
        event.duration_ns = change.policy.duration_ns
        append_event(store, change, &draft, event, True)
    draft.policy = change.policy
    draft.update_ns = now_ns
    draft.update_revision = change.revision
    put_list(store, &draft)


cdef void delete_list(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    """Remove the list at once; its records are purged by the settler.

    Whether ownership is alive was looked up at `acquire_revision`; if any was acquired since, the
    caller looks again. The caller has had every release counted (R15), which needs the records.
    """
    cdef char key[8]
    cdef size_t i
    if not known_list(store, change):
        return
    if not change.force and change.list.acquire_revision > change.acquire_revision:
        snprintf(
            task_refuse(&change.task, FAILED_PRECONDITION), MESSAGE_BYTES,
            "contact list \"%.*s\" is being dialed: ownership was acquired a moment ago",
            printable(change.list_id.data(), change.list_id.size()), change.list_id.data(),
        )
        return
    if counts_pending(change.list):
        snprintf(
            task_refuse(&change.task, FAILED_PRECONDITION), MESSAGE_BYTES,
            "contact list \"%.*s\" was released a moment ago and is still counted; try again",
            printable(change.list_id.data(), change.list_id.size()), change.list_id.data(),
        )
        return
    put_be32(key, change.list.number)
    for i in range(change.list.events.size()):
        put_be32(key + 4, change.list.events[i].event.seq)
        delete_row(store, EVENTS, slice_of(key, 8))
    put_row(store, DROPPED_LISTS, slice_of(key, 4), empty_slice(), empty_slice())
    delete_row(store, LISTS, text_slice(change.list_id))


# --- release --------------------------------------------------------------------------------------

cdef void release(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    """R15: one event per campaign, or one for all; in force with this commit."""
    cdef List draft
    cdef Event event = event_of(EVENT_RELEASE, ALL_CAMPAIGNS, now_ns)
    cdef size_t i
    event.include_reservations = change.include_reservations
    if not known_list(store, change):
        return
    draft = change.list[0]
    change.count = COUNT_PENDING
    if change.all_campaigns:
        append_event(store, change, &draft, event, False)
    for i in range(change.campaign_ids.size()):
        if not known_campaign(store, change, change.campaign_ids[i], &event.campaign):
            return
        append_event(store, change, &draft, event, False)
    put_list(store, &draft)


cdef void release_records(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    """R15 for single records, each written at once; those that nobody owns are left alone."""
    cdef size_t i
    cdef Record record
    if not known_list(store, change):
        return
    for i in range(change.record_ids.size()):
        record_load(store, change.list, text_slice(change.record_ids[i]), NULL, &record)
        if hold_owned(&record.hold, now_ns):
            record.hold.owned_since_ns = record.hold.owned_until_ns = 0
            record_store(store, change.list, &record, now_ns)
            change.count += 1


cdef bint read_audit(Store *store, uint64_t entry_id, AuditRow *row, string *note) noexcept nogil:
    cdef char key[8]
    cdef Slice value
    put_be64(key, entry_id)
    if not get_row(store, AUDIT, slice_of(key, 8), &value):
        return False
    memcpy(row, value.data, sizeof(AuditRow))
    note.assign(value.data + sizeof(AuditRow), value.size - sizeof(AuditRow))
    return True


cdef void put_audit(
    Store *store, uint64_t entry_id, AuditRow *row, const string &note
) noexcept nogil:
    cdef char key[8]
    put_be64(key, entry_id)
    put_row(store, AUDIT, slice_of(key, 8), slice_of(row, sizeof(AuditRow)), text_slice(note))


cdef void set_count(Store *store, uint64_t entry_id, int64_t count) noexcept nogil:
    """Give an audit entry its final count, unless it has one."""
    cdef AuditRow row
    cdef string note
    if read_audit(store, entry_id, &row, &note) and row.count == COUNT_PENDING:
        row.count = count
        put_audit(store, entry_id, &row, note)


cdef bint counts_pending(const List *lst) noexcept nogil:
    """Tell whether a release of the list is still to be counted."""
    cdef size_t i
    for i in range(lst.events.size()):
        if lst.events[i].event.kind == EVENT_RELEASE and not lst.events[i].counted:
            return True
    return False


cdef void finish_count(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    """Store the count of one release, found by a scan."""
    cdef size_t i
    cdef EventRow row
    change.list = find_list(store, text_slice(change.list_id))
    set_count(store, change.entry_id, change.count)
    if change.list == NULL:
        return
    for i in range(change.list.events.size()):
        row = change.list.events[i]
        if row.entry_id == change.entry_id:
            row.counted = True
            put_event(store, change.list.number, &row)


# --- campaigns and codes --------------------------------------------------------------------------

cdef uint32_t ensure_campaign(
    Store *store, Change *change, const string &campaign_id, const string &name
) noexcept nogil:
    """Return the campaign's number, registered and renamed as needed; "" leaves the name."""
    cdef uint32_t number = find_campaign(store, text_slice(campaign_id))
    cdef Rename rename
    if number == store.campaigns.size():
        add_campaign(store, text_slice(campaign_id))
    if name.empty() or store.campaigns[number].name == name:
        return number
    rename.number = number
    rename.name = name
    change.renames.push_back(rename)
    put_campaign(store, number, text_slice(campaign_id), text_slice(name))
    return number


cdef void signal_campaign(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    """R16: a stop ends the campaign's reservations; recycle and reset change nothing."""
    cdef uint32_t number
    if not change.list_id.empty() and not known_list(store, change):
        return
    if not known_campaign(store, change, change.campaign_ids[0], &number) or not change.stopped:
        return
    if change.list != NULL:
        stop_on_list(store, change, change.list, number, now_ns)
        return
    it = store.lists.begin()
    while it != store.lists.end():
        stop_on_list(store, change, dereference(it).second, number, now_ns)
        preincrement(it)


cdef void stop_on_list(
    Store *store, Change *change, List *lst, uint32_t campaign, int64_t now_ns
) noexcept nogil:
    cdef List draft = lst[0]
    append_event(store, change, &draft, event_of(EVENT_RESERVATIONS_END, campaign, now_ns), True)
    put_list(store, &draft)


cdef void upsert_code(Store *store, Change *change) noexcept nogil:
    cdef char flags[2]
    flags[0], flags[1] = change.counts_as_attempt, change.success
    put_row(
        store, CODES, text_slice(change.code), slice_of(flags, 2), text_slice(change.category)
    )


cdef void delete_code(Store *store, Change *change) noexcept nogil:
    if store.codes.count(change.code) == 0:
        snprintf(
            task_refuse(&change.task, NOT_FOUND), MESSAGE_BYTES,
            "code: there is no wrap-up code \"%.*s\"; ListWrapUpCodes shows those that are known",
            printable(change.code.data(), change.code.size()), change.code.data(),
        )
        return
    delete_row(store, CODES, text_slice(change.code))


# --- principals -----------------------------------------------------------------------------------

cdef void put_principal(Store *store, Change *change) noexcept nogil:
    """Write what the server keeps of a principal; it means nothing here."""
    put_row(
        store, PRINCIPALS, text_slice(change.name), empty_slice(), text_slice(change.principal)
    )


cdef void note_refusals(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    """Leave an audit entry only; not out of what is kept for releases."""
    if store_capacity(store, now_ns) < CAPACITY_FOR_GRANTS:
        refuse_full(store, &change.task)


# --- import ---------------------------------------------------------------------------------------

cdef void import_rows(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    cdef size_t i
    if not known_list(store, change):
        return
    if store_capacity(store, now_ns) < CAPACITY_FOR_GRANTS:
        refuse_full(store, &change.task)
        return
    for i in range(change.rows.size()):
        if change.rows[i].until_ns <= now_ns:
            change.tally[<int> TALLY_EXPIRED] += 1
        elif not import_row(store, change, &change.rows[i], now_ns):
            if change.strategy == IMPORT_FAIL:
                refuse_conflict(store, change, i)
                return
            change.tally[<int> TALLY_SKIPPED] += 1
    change.count = change.tally[<int> TALLY_IMPORTED] + change.tally[<int> TALLY_OVERWRITTEN]


cdef bint import_row(Store *store, Change *change, ImportRow *row, int64_t now_ns) noexcept nogil:
    """Write one row; False if another campaign's hold forbids it."""
    cdef Record record
    cdef uint32_t number = find_campaign(store, text_slice(row.campaign_id))
    cdef bint taken
    record_load(store, change.list, text_slice(row.record_id), NULL, &record)
    taken = hold_alive(&record.hold, now_ns) and record.hold.campaign != number
    if not rules_import(
        &record.hold, number, row.until_ns, change.strategy == IMPORT_OVERWRITE, now_ns
    ):
        return False
    ensure_campaign(store, change, row.campaign_id, row.campaign_name)
    record_store(store, change.list, &record, now_ns)
    change.tally[<int> TALLY_OVERWRITTEN if taken else <int> TALLY_IMPORTED] += 1
    return True


cdef void refuse_conflict(Store *store, Change *change, size_t index) noexcept nogil:
    cdef string *record_id = &change.rows[index].record_id
    snprintf(
        task_refuse(&change.task, FAILED_PRECONDITION), MESSAGE_BYTES,
        "rows[%zu]: record \"%.*s\" is held by another campaign; import with strategy skip or "
        "overwrite, or release it first",
        index, printable(record_id.data(), record_id.size()), record_id.data(),
    )


# --- one change, whole ----------------------------------------------------------------------------

cdef void apply(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    if change.kind == CREATE_LIST:
        create_list(store, change, now_ns)
    elif change.kind == UPDATE_POLICY:
        update_policy(store, change, now_ns)
    elif change.kind == DELETE_LIST:
        delete_list(store, change, now_ns)
    elif change.kind == RELEASE:
        release(store, change, now_ns)
    elif change.kind == RELEASE_RECORDS:
        release_records(store, change, now_ns)
    elif change.kind == UPSERT_CAMPAIGN:
        ensure_campaign(store, change, change.campaign_ids[0], change.name)
    elif change.kind == SIGNAL_CAMPAIGN:
        signal_campaign(store, change, now_ns)
    elif change.kind == UPSERT_CODE:
        upsert_code(store, change)
    elif change.kind == DELETE_CODE:
        delete_code(store, change)
    elif change.kind == IMPORT_ROWS:
        import_rows(store, change, now_ns)
    elif change.kind == FINISH_COUNT:
        finish_count(store, change, now_ns)
    elif change.kind == PUT_PRINCIPAL:
        put_principal(store, change)
    elif change.kind == DELETE_PRINCIPAL:
        delete_row(store, PRINCIPALS, text_slice(change.name))
    elif change.kind == NOTE_REFUSALS:
        note_refusals(store, change, now_ns)


cdef bint replay(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    """Fill in the first answer if this request id was answered within 24 h (R20)."""
    cdef RequestRow row
    cdef AuditRow entry
    cdef Slice value
    cdef string note
    if change.request_id.empty() or not get_row(
        store, REQUESTS, text_slice(change.request_id), &value
    ):
        return False
    memcpy(&row, value.data, sizeof(row))
    if now_ns - row.time_ns >= REQUEST_MEMORY_NS:
        return False
    change.memo.assign(value.data + sizeof(row), value.size - sizeof(row))
    change.replayed = True
    change.revision = row.revision
    change.time_ns = row.time_ns
    change.entry_id = row.entry_id
    memcpy(change.tally, row.tally, sizeof(row.tally))
    change.count = 0
    if read_audit(store, row.entry_id, &entry, &note):
        change.count = entry.count
    return True


cdef void record_change(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    """Write the audit entry (or add to it) and the request's answer."""
    cdef AuditRow entry
    cdef RequestRow request
    cdef string note
    if change.kind == FINISH_COUNT:
        return
    if change.entry_id != store.next_entry:
        if read_audit(store, change.entry_id, &entry, &note):
            entry.count += change.count
            put_audit(store, change.entry_id, &entry, note)
    else:
        store.next_entry += 1
        entry.time_ns = now_ns
        entry.revision = change.revision
        entry.count = change.count
        put_audit(store, change.entry_id, &entry, change.note)
    if change.request_id.empty():
        return
    request.time_ns = now_ns
    request.revision = change.revision
    request.entry_id = change.entry_id
    memcpy(request.tally, change.tally, sizeof(request.tally))
    put_row(
        store, REQUESTS, text_slice(change.request_id), slice_of(&request, sizeof(request)),
        text_slice(change.memo),
    )


cdef int refresh_catalog(Store *store, Change *change) noexcept nogil:
    """Bring the catalog up to a change that is committed; an LMDB error code, or 0.

    A catalog that could not be refreshed would decide by a policy or a log that is not in force any
    more, so an error here stops the store like a failed commit.
    """
    cdef size_t i
    cdef uint32_t number
    cdef int code = MDB_SUCCESS
    for i in range(change.renames.size()):
        rename_campaign(store, change.renames[i].number, change.renames[i].name)
    if change.kind == UPSERT_CODE or change.kind == DELETE_CODE:
        return load_codes(store)
    elif change.kind == DELETE_LIST:
        number = change.list.number
        forget_list(store, text_slice(change.list_id))
        store.dropped_lists.push_back(number)
    elif change.kind == SIGNAL_CAMPAIGN and change.list == NULL:
        it = store.lists.begin()
        while it != store.lists.end() and code == MDB_SUCCESS:
            code = load_list(store, text_slice(dereference(it).second.id))
            preincrement(it)
    elif change.kind == IMPORT_ROWS:
        change.list.acquire_revision = change.revision
    elif change.kind == CREATE_LIST or change.list != NULL:
        return load_list(store, text_slice(change.list_id))
    return code


cdef bint is_revision(const Change *change) noexcept nogil:
    """Tell whether the change makes a revision: a count and a refusal say what was, like settling.
    """
    return change.kind != FINISH_COUNT and change.kind != NOTE_REFUSALS


cdef int change_run(Store *store, Change *change, int64_t now_ns) noexcept nogil:
    """Decide and commit one change; 0 unless the store has failed and must stop.

    The outcome is in `change`: a refusal with code and message, a replayed answer, or the change's
    own, durable by then.
    """
    cdef int code
    store_begin(store)
    if replay(store, change, now_ns):
        store_abort(store)
        return MDB_SUCCESS
    change.revision = store.state.revision + is_revision(change)
    change.time_ns = now_ns
    if change.entry_id == 0:
        change.entry_id = store.next_entry
    apply(store, change, now_ns)
    if change.task.code != OK:
        store_abort(store)
        return MDB_SUCCESS
    record_change(store, change, now_ns)
    code = store_commit(store, change.revision, now_ns)
    if code == MDB_SUCCESS:
        return refresh_catalog(store, change)
    if is_full(code):
        refuse_full(store, &change.task)
        code = MDB_SUCCESS
    return code
