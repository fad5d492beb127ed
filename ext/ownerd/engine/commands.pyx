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
    CAMPAIGN_DIALS, CAMPAIGN_NOT_FOUND, CODE_EXISTS, CODE_NOT_FOUND, IMPORT_CONFLICT,
    LIST_DIALED, LIST_EXISTS, LIST_NOT_FOUND, LIST_UNCOUNTED, REQUEST_OF_BEFORE, STALE_ETAG,
    STORE_FULL, Value, quoted, refuse, refuse_about, refuse_with, words,
)
from ownerd.api.task cimport OK, Task
from ownerd.base.bytes cimport Slice, empty_slice, put_be64, slice_of, text_slice
from ownerd.base.containers cimport string, vector
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.rules.ownership cimport (
    ALL_CAMPAIGNS, EVENT_DURATION, EVENT_RELEASE, EVENT_RESERVATIONS_END, EVENT_TRANSFER, Code,
    Event, hold_owned, rules_end_reservation, rules_import, rules_import_end, rules_release,
)
from ownerd.rules.ownership cimport ImportRow as RuleRow
from ownerd.rules.wrap_up_codes cimport UnknownCode
from ownerd.storage.capacity cimport CAPACITY_FOR_GRANTS, is_full
from ownerd.storage.catalog cimport (
    Catalog, List, ListName, add_campaign, all_lists, campaign_known, campaign_of,
    delete_code_row, delete_list_name, drop_list, find_campaign, find_code, find_code_folded,
    find_list, find_list_number, forget_campaign, list_appended, list_draft, list_ever_held,
    list_may_be_held_by, load_codes, load_list, load_settings, note_hold, put_code,
    put_deleted_campaign, put_dropped_list, put_list, put_new_event, put_new_list, put_policy,
    put_renamed, put_settings, rename_campaign,
)
from ownerd.storage.events cimport find_uncounted
from ownerd.storage.records cimport Record, record_load, record_store
from ownerd.storage.store cimport (
    Store, next_entry_id, store_abort, store_begin, store_capacity, store_commit,
    store_disk_full, store_instant, store_revision, take_entry_id, take_list_number,
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
    cdef Value why = words("its map has reached map_bytes")
    if store_disk_full(store):
        why = words("no disk space is left")
    elif store.shared != NULL:
        why = words("etcd has no room, or this node is behind with flushing, or its map is full")
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
    cdef ListName name
    if find_list(&store.catalog, text_slice(command.list_id)) != NULL:
        refuse_about(&command.task, LIST_EXISTS, text_slice(command.list_id))
        return
    if not command.shares_with.empty():
        if not find_shared(store, command, &draft):
            return
    else:
        draft.number = take_list_number(store)
        draft.head_seq = 0
        draft.policy = command.policy
        draft.policy.enabled_since_ns = now_ns
        draft.update_ns = now_ns
        draft.update_revision = command.revision
        draft.tells_holders = True
    name.id, name.create_ns = command.list_id, now_ns
    draft.names.push_back(name)
    put_new_list(&store.catalog, &draft, text_slice(command.list_id))


cdef bint find_shared(Store *store, Command *command, List *draft) noexcept nogil:
    """R28: a list that shares another one's ownership is one more name of it."""
    cdef List *shared = find_list(&store.catalog, text_slice(command.shares_with))
    if shared == NULL:
        refuse_about(&command.task, LIST_NOT_FOUND, text_slice(command.shares_with))
        return False
    list_draft(shared, draft)
    return True


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
    put_new_event(&store.catalog, draft.number, &appended.row)


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
    command.policy.enabled_since_ns = draft.policy.enabled_since_ns
    if command.policy.enabled and not draft.policy.enabled:
        command.policy.enabled_since_ns = now_ns
    draft.policy = command.policy
    draft.update_ns = now_ns
    draft.update_revision = command.revision
    put_policy(&store.catalog, &draft)


cdef void delete_list(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """Remove the list at once; its records are purged by maintenance.

    Of several names only this one goes (R28). Whether anything is held was looked up at
    `checked_revision`; if a hold was made since, the caller looks again. The caller has had every
    release counted (R15), which needs the records.
    """
    if not known_list(store, command):
        return
    if command.list.names.size() > 1:
        command.count = 0
        delete_list_name(&store.catalog, command.list, text_slice(command.list_id))
        return
    if held_since(command, command.list.hold_revision):
        refuse_about(&command.task, LIST_DIALED, text_slice(command.list_id))
        return
    if find_uncounted(&command.list.events) != NULL:
        refuse_about(&command.task, LIST_UNCOUNTED, text_slice(command.list_id))
        return
    put_dropped_list(&store.catalog, command.list)


cdef bint held_since(const Command *command, uint64_t hold_revision) noexcept nogil:
    """Tell whether what is to be deleted without force may hold something by now."""
    if command.force:
        return False
    return not command.checked or hold_revision > command.checked_revision


# --- release --------------------------------------------------------------------------------------

cdef void release(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """R15: one event per campaign, or one for all, of each list; in force with this commit."""
    cdef Event event = event_of(EVENT_RELEASE, ALL_CAMPAIGNS, now_ns)
    cdef vector[List *] lists
    cdef vector[uint32_t] campaigns
    cdef size_t i
    event.include_reservations = command.include_reservations
    if not lists_meant(store, command, &lists):
        return
    if command.all_campaigns:
        campaigns.push_back(ALL_CAMPAIGNS)
    for i in range(command.campaign_ids.size()):
        if not known_campaign(store, command, command.campaign_ids[i], &event.campaign):
            return
        campaigns.push_back(event.campaign)
    end_holds(store, command, &lists, &campaigns, event)


cdef bint lists_meant(Store *store, Command *command, vector[List *] *lists) noexcept nogil:
    """Find the list that a command names, or every one; False: it is refused."""
    if command.list_id.empty():
        all_lists(&store.catalog, lists)
        return True
    if not known_list(store, command):
        return False
    lists.push_back(command.list)
    return True


cdef void end_holds(
    Store *store, Command *command, vector[List *] *lists, const vector[uint32_t] *campaigns,
    Event event
) noexcept nogil:
    """Append the event for each campaign to each list in which it ever held a record."""
    cdef size_t i
    for i in range(lists.size()):
        end_holds_in(store, command, lists[0][i], campaigns, event)
    command.count = 0 if command.appended.empty() else <int64_t> COUNT_PENDING


cdef void end_holds_in(
    Store *store, Command *command, List *lst, const vector[uint32_t] *campaigns, Event event
) noexcept nogil:
    cdef List draft
    cdef size_t i
    list_draft(lst, &draft)
    for i in range(campaigns.size()):
        event.campaign = campaigns[0][i]
        if list_ever_held(lst) if event.campaign == ALL_CAMPAIGNS \
                else list_may_be_held_by(lst, event.campaign):
            append_event(store, command, &draft, event, False)
    if draft.head_seq != lst.head_seq:
        put_list(&store.catalog, &draft)


cdef void transfer(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """R27: an event of the list, or of each; the receiver becomes known."""
    cdef Event event = event_of(EVENT_TRANSFER, ALL_CAMPAIGNS, now_ns)
    cdef vector[List *] lists
    cdef vector[uint32_t] givers
    cdef size_t i
    givers.resize(1)
    if not lists_meant(store, command, &lists) \
            or not known_campaign(store, command, command.campaign_ids[0], &givers[0]):
        return
    event.to_campaign = ensure_campaign(store, command, command.to_campaign_id, string())
    for i in range(lists.size()):
        if list_may_be_held_by(lists[i], givers[0]):
            note_hold(&store.catalog, lists[i], event.to_campaign, command.revision)
    end_holds(store, command, &lists, &givers, event)


cdef void release_records(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """R15 for single records, each written at once; those that nobody owns are left alone."""
    cdef uint32_t only = ALL_CAMPAIGNS
    cdef uint32_t i
    if not known_list(store, command):
        return
    if not command.only_campaign.empty() \
            and not known_campaign(store, command, command.only_campaign, &only):
        return
    for i in range(<uint32_t> command.record_ids.size()):
        release_record(store, command, i, only, now_ns)
    command.tally[<int> TALLY_LEFT_OUT] = -<int64_t> command.left_out.size()


cdef void release_record(
    Store *store, Command *command, uint32_t index, uint32_t only, int64_t now_ns
) noexcept nogil:
    """Release a record, unless another campaign owns it than the only one that is meant."""
    cdef Record record
    cdef bint released, ended = False
    record_load(store, command.list, text_slice(command.record_ids[index]), NULL, &record)
    if only != ALL_CAMPAIGNS and record.hold.campaign != only:
        if hold_owned(&record.hold, now_ns):
            command.left_out.push_back(index)
        return
    released = rules_release(&record.hold, now_ns)
    if command.include_reservations:
        ended = rules_end_reservation(&record.hold, now_ns)
    if released or ended:
        record_store(store, command.list, &record, now_ns)
    command.count += released


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


cdef void cut_audit(Store *store, Command *command) noexcept nogil:
    """Delete audit entries; one whose records are still to be counted stays."""
    cdef char key[8]
    cdef AuditRow row
    cdef string note
    cdef uint64_t entry_id = command.first_entry
    while entry_id <= command.last_entry:
        if read_audit(store, entry_id, &row, &note) and row.count != COUNT_PENDING:
            put_be64(key, entry_id)
            delete_row(&store.txn, AUDIT, slice_of(key, 8))
            command.count += 1
        entry_id += 1


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
    put_renamed(&store.catalog, number, text_slice(campaign_id), text_slice(name))
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
    cdef vector[uint32_t] campaigns
    cdef vector[List *] lists
    campaigns.resize(1)
    if lists_meant(store, command, &lists) \
            and known_campaign(store, command, command.campaign_ids[0], &campaigns[0]) \
            and command.include_reservations:
        end_holds(
            store, command, &lists, &campaigns,
            event_of(EVENT_RESERVATIONS_END, campaigns[0], now_ns),
        )


cdef void delete_campaign(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """Know a campaign no more; what it holds ends with the same commit, if that is forced.

    Whether it holds anything was looked up at `checked_revision`, as of a list.
    """
    cdef vector[uint32_t] campaigns
    cdef vector[List *] lists
    cdef Event event
    if not known_campaign(store, command, command.campaign_ids[0], &command.campaign):
        return
    if held_since(command, campaign_of(&store.catalog, command.campaign).hold_revision):
        refuse_about(&command.task, CAMPAIGN_DIALS, text_slice(command.campaign_ids[0]))
        return
    if command.force:
        event = event_of(EVENT_RELEASE, command.campaign, now_ns)
        event.include_reservations = True
        campaigns.push_back(command.campaign)
        all_lists(&store.catalog, &lists)
        end_holds(store, command, &lists, &campaigns, event)
    put_deleted_campaign(&store.catalog, command.campaign)


cdef void upsert_code(Store *store, Command *command) noexcept nogil:
    """R26: one spelling of a code is enough, but those that a store had before stay."""
    cdef Code code
    cdef Slice text = text_slice(command.code)
    cdef Slice taken = find_code_folded(&store.catalog, text)
    cdef Value values[2]
    if taken.size != 0 and not find_code(&store.catalog, text, &code):
        values[0], values[1] = quoted(text), quoted(taken)
        refuse_with(&command.task, CODE_EXISTS, values)
        return
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
    elif command.kind == TRANSFER:
        transfer(store, command, now_ns)
    elif command.kind == RELEASE_RECORDS:
        release_records(store, command, now_ns)
    elif command.kind == UPSERT_CAMPAIGN:
        ensure_campaign(store, command, command.campaign_ids[0], command.name)
    elif command.kind == DELETE_CAMPAIGN:
        delete_campaign(store, command, now_ns)
    elif command.kind == SIGNAL_CAMPAIGN:
        signal_campaign(store, command, now_ns)
    elif command.kind == UPSERT_CODE:
        upsert_code(store, command)
    elif command.kind == DELETE_CODE:
        delete_code(store, command)
    elif command.kind == UPDATE_SETTINGS:
        put_settings(&store.catalog, <UnknownCode> command.unknown_code)
    elif command.kind == IMPORT_ROWS:
        import_rows(store, command, now_ns)
    elif command.kind == PUT_PRINCIPAL:
        put_principal(store, command)
    elif command.kind == DELETE_PRINCIPAL:
        delete_row(&store.txn, PRINCIPALS, text_slice(command.name))
    elif command.kind == NOTE_REFUSALS:
        note_refusals(store, command, now_ns)
    elif command.kind == CUT_AUDIT:
        cut_audit(store, command)


cdef bint replay(Store *store, Command *command, int64_t now_ns) noexcept nogil:
    """Fill in the first answer if this request id was answered within 24 h (R20).

    What was answered in a former incarnation is refused: its revision means nothing any more.
    """
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
    if request_of_before(store, &row):
        refuse(&command.task, REQUEST_OF_BEFORE)
        return True
    command.memo.assign(value.data + sizeof(row), value.size - sizeof(row))
    command.replayed = True
    command.revision = row.revision
    command.time_ns = row.time_ns
    command.entry_id = row.entry_id
    memcpy(command.tally, row.tally, sizeof(row.tally))
    take_left_out(command)
    command.count = 0
    if read_audit(store, row.entry_id, &entry, &note):
        command.count = entry.count
    return True


cdef void keep_left_out(Command *command) noexcept nogil:
    """Put the indexes behind what is kept of the answer, for a repeat."""
    if not command.left_out.empty():
        command.memo.append(
            <const char *> &command.left_out[0], command.left_out.size() * sizeof(uint32_t)
        )


cdef void take_left_out(Command *command) noexcept nogil:
    """Take them from there."""
    cdef int64_t count = -command.tally[<int> TALLY_LEFT_OUT]
    cdef size_t size = command.memo.size()
    if count <= 0 or size < count * sizeof(uint32_t):
        return
    size -= count * sizeof(uint32_t)
    command.left_out.resize(count)
    memcpy(&command.left_out[0], command.memo.data() + size, count * sizeof(uint32_t))
    command.memo.resize(size)


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
    keep_left_out(command)
    put_row(
        &store.txn, REQUESTS, text_slice(command.request_key), slice_of(&request, sizeof(request)),
        text_slice(command.memo),
    )
    take_left_out(command)


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
    if command.kind == UPDATE_SETTINGS:
        return load_settings(catalog)
    if command.kind == DELETE_LIST:
        drop_list(catalog, text_slice(command.list_id))
    elif command.kind == DELETE_CAMPAIGN:
        forget_campaign(catalog, command.campaign)
    elif command.kind == CREATE_LIST or command.kind == UPDATE_POLICY:
        return load_list(catalog, text_slice(command.list_id))
    return MDB_SUCCESS


cdef int command_run(Store *store, Command *command, int64_t clock_ns) noexcept nogil:
    """Decide and commit one command; 0 unless the store has failed and must stop.

    The outcome is in `command`: a refusal with code and message, a replayed answer, or the
    command's own, durable by then. One that is refused takes no instant.
    """
    cdef int code
    cdef int64_t before_ns = store.instant_ns
    cdef int64_t now_ns = store_instant(store, clock_ns)
    store_begin(store)
    if replay(store, command, now_ns):
        store_abort(store)
        store.instant_ns = before_ns
        return MDB_SUCCESS
    command.revision = store_revision(store) + 1
    command.time_ns = now_ns
    if command.entry_id == 0:
        command.entry_id = next_entry_id(store)
    apply(store, command, now_ns)
    if command.task.code != OK:
        store_abort(store)
        store.instant_ns = before_ns
        return MDB_SUCCESS
    record_command(store, command, now_ns)
    code = store_commit(store, now_ns)
    if code == MDB_SUCCESS:
        return refresh_catalog(store, command)
    if is_full(code):
        store.instant_ns = before_ns
        refuse_full(store, &command.task)
        code = MDB_SUCCESS
    return code
