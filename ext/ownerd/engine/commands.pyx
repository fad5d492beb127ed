"""The control plane's commands: each is decided and written in one commit of its own.

A command writes its rows, its records, its audit entry (R21) and its request id (R20) in the same
transaction; the catalog in memory is brought up to date after the commit. A refused command leaves
no trace.
Runs on the writer thread only.

It does not queue, wait or answer (engine), and does not judge records (rules).
"""

from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset

from ownerd.api.reasons cimport (
    CAMPAIGN_NOT_FOUND, CODE_NOT_FOUND, IMPORT_CONFLICT, LIST_DIALED, LIST_EXISTS,
    LIST_NOT_FOUND, LIST_UNCOUNTED, STALE_ETAG, STORE_FULL, Value, quoted, refuse_about,
    refuse_with, words,
)
from ownerd.api.task cimport OK, Task
from ownerd.base.bytes cimport Slice, empty_slice, put_be64, slice_of, text_slice
from ownerd.base.containers cimport string, vector
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.rules.ownership cimport (
    ALL_CAMPAIGNS, EVENT_DURATION, EVENT_RELEASE, EVENT_RESERVATIONS_END, Code, Event,
    rules_import, rules_import_end, rules_release,
)
from ownerd.rules.ownership cimport ImportRow as RuleRow
from ownerd.storage.capacity cimport CAPACITY_FOR_GRANTS, is_full
from ownerd.storage.catalog cimport (
    Catalog, List, add_campaign, all_lists, campaign_known, campaign_of, delete_code_row,
    drop_list, find_campaign, find_code, find_list, find_list_number, list_acquired,
    list_appended, list_draft, load_codes, load_list, put_campaign, put_code, put_dropped_list,
    put_event, put_list, rename_campaign,
)
from ownerd.storage.events cimport find_uncounted
from ownerd.storage.records cimport Record, record_load, record_store
from ownerd.storage.store cimport (
    Store, next_entry_id, store_abort, store_begin, store_capacity, store_commit,
    store_disk_full, store_revision, take_entry_id, take_list_number,
)
from ownerd.storage.tables cimport (
    AUDIT, COUNT_PENDING, PRINCIPALS, REQUESTS, REQUEST_MEMORY_NS, AuditRow, RequestRow,
)
from ownerd.storage.transaction cimport delete_row, get_row, put_row

cdef enum:
    ETAG_BYTES = 48                   # as `server/admin/policies` spells them
    PLACE_BYTES = 32


# --- refusals -------------------------------------------------------------------------------------

cdef void refuse_full(Store *store, Task *task) noexcept nogil:
    cdef Value why = words(
        "no disk space is left" if store_disk_full(store) else "its map has reached map_bytes"
    )
    refuse_with(task, STORE_FULL, &why)


cdef void etag_text(char *text, const Store *store, uint64_t revision) noexcept nogil:
    snprintf(
        text, ETAG_BYTES, "'%llu-%016llx'", <unsigned long long> revision,
        <unsigned long long> store.state.incarnation,
    )


cdef void refuse_stale(const Store *store, Command *command) noexcept nogil:
    cdef char etag[ETAG_BYTES]
    cdef char current[ETAG_BYTES]
    cdef Value values[2]
    etag_text(etag, store, command.expected_revision)
    etag_text(current, store, command.list.update_revision)
    values[0], values[1] = words(etag), words(current)
    refuse_with(&command.task, STALE_ETAG, values)


cdef bint known_list(Store *store, Command *command) noexcept nogil:
    """Set `command.list`; check the expected revision of its policy, if one was given."""
    command.list = find_list(&store.catalog, text_slice(command.list_id))
    if command.list == NULL:
        refuse_about(&command.task, LIST_NOT_FOUND, text_slice(command.list_id))
        return False
    if command.expected_revision not in (0, command.list.update_revision):
        refuse_stale(store, command)
        return False
    return True


cdef bint known_campaign(
    Store *store, Command *command, const string &campaign_id, uint32_t *number
) noexcept nogil:
    cdef Value values[2]
    number[0] = find_campaign(&store.catalog, text_slice(campaign_id))
    if campaign_known(&store.catalog, number[0]):
        return True
    values[0], values[1] = words("campaign_id"), quoted(text_slice(campaign_id))
    refuse_with(&command.task, CAMPAIGN_NOT_FOUND, values)
    return False


# --- lists and policies ---------------------------------------------------------------------------

cdef void create_list(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    cdef List draft
    if find_list(&store.catalog, text_slice(command.list_id)) != NULL:
        refuse_about(&command.task, LIST_EXISTS, text_slice(command.list_id))
        return
    draft.id = command.list_id
    draft.number = take_list_number(store)
    draft.head_seq = 0
    draft.policy = command.policy
    draft.create_ns = draft.update_ns = now_ns
    draft.update_revision = command.revision
    put_list(&store.catalog, &draft)


cdef Event event_of(uint8_t kind, uint32_t campaign, int64_t now_ns) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(event))
    event.kind = kind
    event.campaign = campaign
    event.time_ns = now_ns
    return event


cdef void append_event(
    Store *store, Command *command, List *draft, Event event, bint counted
) noexcept nogil:
    """Add an event to the list's log; from its commit on every record is judged by it."""
    cdef Appended appended
    memset(&appended.row, 0, sizeof(appended.row))
    draft.head_seq += 1
    appended.number = draft.number
    appended.row.event = event
    appended.row.event.seq = draft.head_seq
    appended.row.entry_id = command.entry_id
    appended.row.counted = counted
    command.appended.push_back(appended)
    put_event(&store.catalog, draft.number, &appended.row)


cdef void update_policy(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """R12-R14: a changed duration becomes an event; any other change moves no expiration."""
    cdef List draft
    cdef Event event
    if not known_list(store, command):
        return
    list_draft(command.list, &draft)
    if draft.policy.duration_ns != command.policy.duration_ns:
        event = event_of(EVENT_DURATION, ALL_CAMPAIGNS, now_ns)
        event.duration_ns = command.policy.duration_ns
        append_event(store, command, &draft, event, True)
    draft.policy = command.policy
    draft.update_ns = now_ns
    draft.update_revision = command.revision
    put_list(&store.catalog, &draft)


cdef void delete_list(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """Remove the list at once; its records are purged by maintenance.

    Whether ownership is alive was looked up at `acquire_revision`; if any was acquired since, the
    caller looks again. The caller has had every release counted (R15), which needs the records.
    """
    if not known_list(store, command):
        return
    if not command.force and command.list.acquire_revision > command.acquire_revision:
        refuse_about(&command.task, LIST_DIALED, text_slice(command.list_id))
        return
    if find_uncounted(&command.list.events) != NULL:
        refuse_about(&command.task, LIST_UNCOUNTED, text_slice(command.list_id))
        return
    put_dropped_list(&store.catalog, command.list)


# --- release --------------------------------------------------------------------------------------

cdef void release(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """R15: one event per campaign, or one for all; in force with this commit."""
    cdef List draft
    cdef Event event = event_of(EVENT_RELEASE, ALL_CAMPAIGNS, now_ns)
    cdef size_t i
    event.include_reservations = command.include_reservations
    if not known_list(store, command):
        return
    list_draft(command.list, &draft)
    command.count = COUNT_PENDING
    if command.all_campaigns:
        append_event(store, command, &draft, event, False)
    for i in range(command.campaign_ids.size()):
        if not known_campaign(store, command, command.campaign_ids[i], &event.campaign):
            return
        append_event(store, command, &draft, event, False)
    put_list(&store.catalog, &draft)


cdef void release_records(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """R15 for single records, each written at once; those that nobody owns are left alone."""
    cdef size_t i
    cdef Record record
    if not known_list(store, command):
        return
    for i in range(command.record_ids.size()):
        record_load(store, command.list, text_slice(command.record_ids[i]), NULL, &record)
        if rules_release(&record.hold, now_ns):
            record_store(store, command.list, &record, now_ns)
            command.count += 1


cdef bint read_audit(Store *store, uint64_t entry_id, AuditRow *row, string *note) noexcept nogil:
    cdef char key[8]
    cdef Slice value
    put_be64(key, entry_id)
    if not get_row(&store.txn, AUDIT, slice_of(key, 8), &value):
        return False
    memcpy(row, value.data, sizeof(AuditRow))
    note.assign(value.data + sizeof(AuditRow), value.size - sizeof(AuditRow))
    return True


cdef void put_audit(
    Store *store, uint64_t entry_id, AuditRow *row, const string &note
) noexcept nogil:
    cdef char key[8]
    put_be64(key, entry_id)
    put_row(&store.txn, AUDIT, slice_of(key, 8), slice_of(row, sizeof(AuditRow)), text_slice(note))


# --- campaigns and codes --------------------------------------------------------------------------

cdef uint32_t ensure_campaign(
    Store *store, Command *command, const string &campaign_id, const string &name
) noexcept nogil:
    """Return the campaign's number, registered and renamed as needed; "" leaves the name."""
    cdef uint32_t number = find_campaign(&store.catalog, text_slice(campaign_id))
    cdef Rename rename
    if not campaign_known(&store.catalog, number):
        add_campaign(&store.catalog, text_slice(campaign_id))
    if name.empty() or name_to_be(store, command, number)[0] == name:
        return number
    rename.number = number
    rename.name = name
    command.renames.push_back(rename)
    put_campaign(&store.catalog, number, text_slice(campaign_id), text_slice(name))
    return number


cdef const string *name_to_be(Store *store, Command *command, uint32_t number) noexcept nogil:
    """Return a campaign's name as the command leaves it so far."""
    cdef size_t i = command.renames.size()
    while i > 0:
        i -= 1
        if command.renames[i].number == number:
            return &command.renames[i].name
    return &campaign_of(&store.catalog, number).name


cdef void signal_campaign(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """R16: reservations end where that is asked for; else a signal changes nothing."""
    cdef uint32_t number
    cdef vector[List *] lists
    cdef size_t i
    if not command.list_id.empty() and not known_list(store, command):
        return
    if not known_campaign(store, command, command.campaign_ids[0], &number) \
            or not command.include_reservations:
        return
    command.count = COUNT_PENDING
    if command.list != NULL:
        stop_on_list(store, command, command.list, number, now_ns)
        return
    all_lists(&store.catalog, &lists)
    for i in range(lists.size()):
        stop_on_list(store, command, lists[i], number, now_ns)


cdef void stop_on_list(
    Store *store, Command *command, List *lst, uint32_t campaign, int64_t now_ns
) noexcept nogil:
    cdef List draft
    list_draft(lst, &draft)
    append_event(store, command, &draft, event_of(EVENT_RESERVATIONS_END, campaign, now_ns), False)
    put_list(&store.catalog, &draft)


cdef void upsert_code(Store *store, Command *command) noexcept nogil:
    cdef Code code
    code.counts_as_attempt, code.success = command.counts_as_attempt, command.success
    put_code(&store.catalog, text_slice(command.code), &code, text_slice(command.category))


cdef void delete_code(Store *store, Command *command) noexcept nogil:
    cdef Code code
    if not find_code(&store.catalog, text_slice(command.code), &code):
        refuse_about(&command.task, CODE_NOT_FOUND, text_slice(command.code))
        return
    delete_code_row(&store.catalog, text_slice(command.code))


# --- principals -----------------------------------------------------------------------------------

cdef void put_principal(Store *store, Command *command) noexcept nogil:
    """Write what the server keeps of a principal; it means nothing here."""
    put_row(
        &store.txn, PRINCIPALS, text_slice(command.name), empty_slice(),
        text_slice(command.principal),
    )


cdef void note_refusals(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """Leave an audit entry only; not out of what is kept for releases."""
    if store_capacity(store, now_ns) < CAPACITY_FOR_GRANTS:
        refuse_full(store, &command.task)


# --- import ---------------------------------------------------------------------------------------

cdef void import_rows(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    cdef size_t i
    if not known_list(store, command):
        return
    if store_capacity(store, now_ns) < CAPACITY_FOR_GRANTS:
        refuse_full(store, &command.task)
        return
    for i in range(command.rows.size()):
        command.rows[i].until_ns = rules_import_end(
            command.rows[i].until_ns, command.expire_by_policy, &command.list.policy, now_ns
        )
        if command.rows[i].until_ns <= now_ns:
            command.tally[<int> TALLY_EXPIRED] += 1
        elif not import_row(store, command, &command.rows[i], now_ns):
            if command.strategy == IMPORT_FAIL:
                refuse_conflict(store, command, i)
                return
            command.tally[<int> TALLY_SKIPPED] += 1
    command.count = command.tally[<int> TALLY_IMPORTED] + command.tally[<int> TALLY_OVERWRITTEN]


cdef bint import_row(Store *store, Command *command, ImportRow *row, int64_t now_ns) noexcept nogil:
    """Write one row; False if another campaign's hold is in the way (R32)."""
    cdef Record record
    cdef RuleRow given
    cdef TallyIndex counted_as
    given.campaign = find_campaign(&store.catalog, text_slice(row.campaign_id))
    given.since_ns, given.until_ns = row.since_ns, row.until_ns
    given.overwrite, given.exact = command.strategy == IMPORT_OVERWRITE, command.exact
    record_load(store, command.list, text_slice(row.record_id), NULL, &record)
    counted_as = tally_of(rules_import(&record.hold, &given, now_ns))
    if counted_as == TALLY_SKIPPED:
        return False
    name_campaign(store, command, row)
    record_store(store, command.list, &record, now_ns)
    command.tally[<int> counted_as] += 1
    return True


cdef void name_campaign(Store *store, Command *command, ImportRow *row) noexcept nogil:
    """Register the row's campaign; give it the row's name if it has none, or if that was asked."""
    cdef string no_name
    cdef uint32_t number = ensure_campaign(store, command, row.campaign_id, no_name)
    if command.rename_campaigns or name_to_be(store, command, number)[0] == row.campaign_id:
        ensure_campaign(store, command, row.campaign_id, row.campaign_name)


cdef void refuse_conflict(Store *store, Command *command, size_t index) noexcept nogil:
    cdef char place[PLACE_BYTES]
    cdef Value values[2]
    snprintf(place, sizeof(place), "rows[%zu]", index)
    values[0], values[1] = words(place), quoted(text_slice(command.rows[index].record_id))
    refuse_with(&command.task, IMPORT_CONFLICT, values)


# --- one command, whole ---------------------------------------------------------------------------

cdef void apply(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    if command.kind == CREATE_LIST:
        create_list(store, command, now_ns)
    elif command.kind == UPDATE_POLICY:
        update_policy(store, command, now_ns)
    elif command.kind == DELETE_LIST:
        delete_list(store, command, now_ns)
    elif command.kind == RELEASE:
        release(store, command, now_ns)
    elif command.kind == RELEASE_RECORDS:
        release_records(store, command, now_ns)
    elif command.kind == UPSERT_CAMPAIGN:
        ensure_campaign(store, command, command.campaign_ids[0], command.name)
    elif command.kind == SIGNAL_CAMPAIGN:
        signal_campaign(store, command, now_ns)
    elif command.kind == UPSERT_CODE:
        upsert_code(store, command)
    elif command.kind == DELETE_CODE:
        delete_code(store, command)
    elif command.kind == IMPORT_ROWS:
        import_rows(store, command, now_ns)
    elif command.kind == PUT_PRINCIPAL:
        put_principal(store, command)
    elif command.kind == DELETE_PRINCIPAL:
        delete_row(&store.txn, PRINCIPALS, text_slice(command.name))
    elif command.kind == NOTE_REFUSALS:
        note_refusals(store, command, now_ns)


cdef bint replay(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """Fill in the first answer if this request id was answered within 24 h (R20)."""
    cdef RequestRow row
    cdef AuditRow entry
    cdef Slice value
    cdef string note
    if command.request_key.empty() or not get_row(
        &store.txn, REQUESTS, text_slice(command.request_key), &value
    ):
        return False
    memcpy(&row, value.data, sizeof(row))
    if now_ns - row.time_ns >= REQUEST_MEMORY_NS:
        return False
    command.memo.assign(value.data + sizeof(row), value.size - sizeof(row))
    command.replayed = True
    command.revision = row.revision
    command.time_ns = row.time_ns
    command.entry_id = row.entry_id
    memcpy(command.tally, row.tally, sizeof(row.tally))
    command.count = 0
    if read_audit(store, row.entry_id, &entry, &note):
        command.count = entry.count
    return True


cdef void record_command(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """Write the audit entry (or add to it) and the request's answer."""
    cdef AuditRow entry
    cdef RequestRow request
    cdef string note
    if command.entry_id != next_entry_id(store):
        if read_audit(store, command.entry_id, &entry, &note):
            entry.count += command.count
            put_audit(store, command.entry_id, &entry, note)
    else:
        take_entry_id(store)
        entry.time_ns = now_ns
        entry.revision = command.revision
        entry.count = command.count
        put_audit(store, command.entry_id, &entry, command.note)
    if command.request_key.empty():
        return
    request.time_ns = now_ns
    request.revision = command.revision
    request.entry_id = command.entry_id
    memcpy(request.tally, command.tally, sizeof(request.tally))
    put_row(
        &store.txn, REQUESTS, text_slice(command.request_key), slice_of(&request, sizeof(request)),
        text_slice(command.memo),
    )


cdef int refresh_catalog(Store *store, Command *command) noexcept nogil:
    """Bring the catalog up to a command that is committed; an LMDB error code, or 0.

    A catalog that could not be refreshed would decide by a policy or a log that is not in force any
    more, so an error here stops the store like a failed commit.
    """
    cdef Catalog *catalog = &store.catalog
    cdef Appended *appended
    cdef size_t i
    for i in range(command.renames.size()):
        rename_campaign(catalog, command.renames[i].number, command.renames[i].name)
    for i in range(command.appended.size()):
        appended = &command.appended[i]
        list_appended(catalog, find_list_number(catalog, appended.number), &appended.row)
    if command.kind == UPSERT_CODE or command.kind == DELETE_CODE:
        return load_codes(catalog)
    if command.kind == DELETE_LIST:
        drop_list(catalog, text_slice(command.list_id))
    elif command.kind == IMPORT_ROWS:
        list_acquired(command.list, command.revision)
    elif command.kind == CREATE_LIST or command.kind == UPDATE_POLICY:
        return load_list(catalog, text_slice(command.list_id))
    return MDB_SUCCESS


cdef bint is_revision(const Command *command) noexcept nogil:
    """Tell whether the command makes a revision: a note of refusals only says what was."""
    return command.kind != NOTE_REFUSALS


cdef int command_run(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """Decide and commit one command; 0 unless the store has failed and must stop.

    The outcome is in `command`: a refusal with code and message, a replayed answer, or the
    command's own, durable by then.
    """
    cdef int code
    store_begin(store)
    if replay(store, command, now_ns):
        store_abort(store)
        return MDB_SUCCESS
    command.revision = store_revision(store) + is_revision(command)
    command.time_ns = now_ns
    if command.entry_id == 0:
        command.entry_id = next_entry_id(store)
    apply(store, command, now_ns)
    if command.task.code != OK:
        store_abort(store)
        return MDB_SUCCESS
    record_command(store, command, now_ns)
    code = store_commit(store, command.revision, now_ns)
    if code == MDB_SUCCESS:
        return refresh_catalog(store, command)
    if is_full(code):
        refuse_full(store, &command.task)
        code = MDB_SUCCESS
    return code
