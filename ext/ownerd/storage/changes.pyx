"""Follows the log and says what each revision changed: records, list-wide events, names.

A record is told once a revision, as that left it, however often it changed in it. List-wide events
are told as such: who follows applies them to all that it has of the list. Give-backs come before
the records of the same revision, which are brought past them.

It shows nothing above the revision that it is told, reads what is on disk, never the memtables, and
keeps nothing but names. Whoever shows changes turns numbers into names by `names`.
"""

from libc.string cimport memcmp, memcpy, memset

from ownerd.base.bytes cimport Slice, get_be32, slice_of, text_slice, val_of
from ownerd.base.lmdb cimport MDB_SUCCESS, MDB_val
from ownerd.rules.ownership cimport (
    ALL_CAMPAIGNS, EVENT_DURATION, EVENT_RELEASE, EVENT_TIME_SET_BACK, EVENT_TRANSFER,
    rules_apply_give_back,
)
from ownerd.storage.catalog cimport List, list_from_row, list_row
from ownerd.storage.codec cimport KEY_BYTES, hold_decode, record_id_text
from ownerd.storage.file_log cimport file_log_oldest_told
from ownerd.storage.give_backs cimport EVERY_LIST
from ownerd.storage.known_names cimport (
    names_add_list, names_drop_list, names_load, names_take,
)
from ownerd.storage.log_entry cimport ROW_FOUND, ROWS_DAMAGED, LogRow, RowCursor, RowFound, row_next
from ownerd.storage.log_reader cimport (
    READ_AHEAD, READ_DAMAGED, READ_ENTRY, READ_TAIL, READ_TRIMMED, file_log_read, log_reader_next,
)
from ownerd.storage.notes cimport (
    HELD_BY_NOBODY, NOTE_EVENT, NOTE_GIVEN_BACK, NOTE_HELD_BEFORE, NOTE_LIST_CREATED,
    NOTE_LIST_DELETED, NOTE_POLICY, NOTE_REJECTED, NOTE_RENAMED, GivenBackNote, Note, RecordRow,
    RejectedNote, is_note, note_of, read_record,
)
from ownerd.storage.store cimport store_revision
from ownerd.storage.tables cimport EVENTS, LISTS, EventRow, StoredEventRow, event_read

# What an entry has beside its records.
cdef cppclass Others:
    vector[Note] notes
    vector[LogRow] lists              # rows of LISTS
    vector[LogRow] events             # rows of EVENTS


cdef ReadStatus changes_begin(
    Changes *changes, Store *store, uint64_t after_revision, bint with_reservations, int *code
) noexcept nogil:
    cdef ReadStatus status
    changes.store, changes.with_reservations = store, with_reservations
    changes.revision, changes.time_ns = after_revision, 0
    changes.has_entry = False
    code[0] = MDB_SUCCESS
    if after_revision > store_revision(store):
        return READ_AHEAD
    if after_revision < file_log_oldest_told(store.log):
        return READ_TRIMMED
    # First: so the segment that it begins in stays while names are looked up.
    status = file_log_read(store.log, after_revision, &changes.log)
    if status != READ_TAIL:
        return status
    return names_load(
        &changes.names, &store.tables, store.log, after_revision, with_reservations, code
    )


cdef ReadStatus changes_next(Changes *changes, uint64_t newest) noexcept nogil:
    cdef ReadStatus status
    if not changes.has_entry:
        status = log_reader_next(&changes.log, &changes.entry)
        if status != READ_ENTRY:
            return status
        changes.has_entry = True
    if changes.entry.revision > newest:
        return READ_TAIL
    changes.has_entry = False
    if not take(changes, &changes.entry):
        return READ_DAMAGED
    changes.revision, changes.time_ns = changes.entry.revision, changes.entry.time_ns
    return READ_ENTRY


cdef bint take(Changes *changes, ReadEntry *entry) noexcept nogil:
    """Find out what an entry changed; False if it cannot be right."""
    cdef Others others
    cdef vector[Change] records, rejected
    cdef size_t i
    forget_dropped(changes)
    changes.all.clear()
    changes.places.clear()
    if not sort_rows(changes, entry.rows, &others, &records, &rejected):
        return False
    take_notes(changes, &others, NOTE_LIST_CREATED)
    take_notes(changes, &others, NOTE_RENAMED)
    take_notes(changes, &others, NOTE_POLICY)
    take_notes(changes, &others, NOTE_EVENT)
    if changes.with_reservations:
        take_notes(changes, &others, NOTE_GIVEN_BACK)
        give_back(&others, &records)
    for i in range(records.size()):
        changes.all.push_back(records[i])
    for i in range(rejected.size()):
        changes.all.push_back(rejected[i])
    take_notes(changes, &others, NOTE_LIST_DELETED)
    return True


cdef void forget_dropped(Changes *changes) noexcept nogil:
    """Forget the names that were still needed to tell that they are gone."""
    cdef size_t i
    for i in range(changes.dropped.size()):
        names_drop_list(
            &changes.names, changes.dropped_numbers[i], text_slice(changes.dropped[i])
        )
    changes.dropped.clear()
    changes.dropped_numbers.clear()


# --- rows -----------------------------------------------------------------------------------------

cdef bint sort_rows(
    Changes *changes, RowCursor rows, Others *others, vector[Change] *records,
    vector[Change] *rejected
) noexcept nogil:
    cdef LogRow row
    cdef RecordRow record
    cdef Note note
    cdef RowFound found = row_next(&rows, &row)
    while found == ROW_FOUND:
        if read_record(&row, &record):
            if not take_record(changes, &record, records):
                return False
        elif is_note(&row):
            note = note_of(&row)
            if note.kind == NOTE_HELD_BEFORE:
                take_held_before(changes, &note, records)
            elif note.kind == NOTE_REJECTED:
                take_rejected(&note, rejected)
            else:
                others.notes.push_back(note)
        elif row.table == LISTS:
            others.lists.push_back(row)
        elif row.table == EVENTS:
            others.events.push_back(row)
        else:
            names_take(&changes.names, &row)
        found = row_next(&rows, &row)
    return found != ROWS_DAMAGED


cdef void begin_change(Change *change, uint8_t kind, uint32_t number) noexcept nogil:
    change.kind, change.list = kind, number
    change.include_reservations = change.owner_changed = False
    change.campaign = change.to_campaign = ALL_CAMPAIGNS
    change.dialer = 0
    memset(&change.hold, 0, sizeof(change.hold))
    memset(&change.policy, 0, sizeof(change.policy))
    change.time_ns = change.length_ns = 0


cdef bint read_key(Change *change, Slice key) noexcept nogil:
    """Take list and record id out of a record's key; False if it is none."""
    cdef char text[KEY_BYTES]
    if key.size <= 5 or key.size > KEY_BYTES:
        return False
    change.list = get_be32(key.data)
    change.id.assign(text, record_id_text(key.data, key.size, text))
    return True


cdef Change *change_of(Changes *changes, Slice key, vector[Change] *records) noexcept nogil:
    """Return what is told of a record in this revision; NULL: nothing yet."""
    cdef string name
    if changes.places.size() == 0:
        return NULL
    name.assign(key.data, key.size)
    if changes.places.count(name) == 0:
        return NULL
    return &records[0][changes.places[name]]


cdef bint take_record(
    Changes *changes, const RecordRow *row, vector[Change] *records
) noexcept nogil:
    """Take a record's row, which is to be told, or was told of already; False: it is none."""
    cdef Change *change = change_of(changes, row.key, records)
    cdef Change added
    cdef MDB_val value = val_of(row.value)
    if change == NULL:
        if not (changes.with_reservations or row.owner_changed):
            return True
        begin_change(&added, CHANGE_RECORD, 0)
        added.campaign = row.held_by
        if not read_key(&added, row.key):
            return False
        changes.places[string(row.key.data, row.key.size)] = records.size()
        records.push_back(added)
        change = &records.back()
    change.owner_changed |= row.owner_changed
    if row.value.size != 0:
        return hold_decode(&value, &change.hold)
    change.hold.owned_until_ns = change.hold.reserved_until_ns = 0
    change.hold.last_attempt_ns = 0
    change.hold.campaign = row.held_by
    return True


cdef void take_held_before(
    Changes *changes, const Note *note, vector[Change] *records
) noexcept nogil:
    """Take who held the record of the row before, unless it was told of in this revision already.
    """
    cdef Change *change = change_of(changes, note.about, records)
    if change != NULL and change.campaign == HELD_BY_NOBODY \
            and note.value.size == sizeof(change.campaign):
        memcpy(&change.campaign, note.value.data, sizeof(change.campaign))


cdef void give_back(const Others *others, vector[Change] *records) noexcept nogil:
    """Bring records past what was given back in the same revision (R23)."""
    cdef GivenBackNote given
    cdef size_t i, j
    for i in range(others.notes.size()):
        if others.notes[i].kind != NOTE_GIVEN_BACK \
                or others.notes[i].value.size != sizeof(given):
            continue
        memcpy(&given, others.notes[i].value.data, sizeof(given))
        for j in range(records.size()):
            if given.list == EVERY_LIST or given.list == records[0][j].list:
                rules_apply_give_back(&records[0][j].hold, given.dialer, given.time_ns)


# --- attempts that were rejected ------------------------------------------------------------------

cdef void take_rejected(const Note *note, vector[Change] *rejected) noexcept nogil:
    """Take an attempt, with whose the record was: its row need not be in the entry."""
    cdef RejectedNote head
    cdef Change change
    cdef const char *at = note.value.data + sizeof(head)
    cdef const char *end = note.value.data + note.value.size
    cdef MDB_val hold
    if note.value.size <= sizeof(head):
        return
    memcpy(&head, note.value.data, sizeof(head))
    begin_change(&change, CHANGE_REJECTED, 0)
    if head.hold_size + head.list_id_size > end - at or not read_key(&change, note.about):
        return
    hold = val_of(slice_of(at, head.hold_size))
    if not hold_decode(&hold, &change.hold):
        return
    at += head.hold_size
    change.time_ns = head.attempt_ns
    change.list_id.assign(at, head.list_id_size)
    at += head.list_id_size
    change.text.assign(at, end - at)
    rejected.push_back(change)


# --- notes ----------------------------------------------------------------------------------------

cdef void take_notes(Changes *changes, const Others *others, uint8_t kind) noexcept nogil:
    cdef size_t i
    for i in range(others.notes.size()):
        if others.notes[i].kind == kind:
            take_note(changes, others, &others.notes[i])


cdef void take_note(Changes *changes, const Others *others, const Note *note) noexcept nogil:
    cdef Change change
    if note.kind == NOTE_LIST_CREATED or note.kind == NOTE_LIST_DELETED:
        take_list(changes, others, note)
    elif note.kind == NOTE_GIVEN_BACK:
        take_given_back(changes, note)
    elif note.about.size < 4:
        return
    elif note.kind == NOTE_RENAMED:
        begin_change(&change, CHANGE_RENAMED, EVERY_LIST)
        change.campaign = get_be32(note.about.data)
        changes.all.push_back(change)
    elif note.kind == NOTE_POLICY:
        begin_change(&change, CHANGE_POLICY, get_be32(note.about.data))
        if find_policy(others, change.list, &change.policy):
            changes.all.push_back(change)
    elif note.kind == NOTE_EVENT:
        take_event(changes, others, note.about)


cdef bint find_policy(const Others *others, uint32_t number, Policy *policy) noexcept nogil:
    """Find a list's policy among the entry's rows; False: there is none."""
    cdef MDB_val value
    cdef List found
    cdef size_t i
    for i in range(others.lists.size()):
        value = val_of(others.lists[i].value)
        if not others.lists[i].is_gone and list_row(&value).number == number:
            list_from_row(&found, others.lists[i].key, others.lists[i].value)
            policy[0] = found.policy
            return True
    return False


cdef void take_list(Changes *changes, const Others *others, const Note *note) noexcept nogil:
    """A list's name came, and is known from now on; or it went, and is forgotten after this."""
    cdef Change change
    cdef uint32_t number
    if note.value.size != sizeof(number):
        return
    memcpy(&number, note.value.data, sizeof(number))
    begin_change(&change, CHANGE_LIST_DELETED, number)
    change.list_id.assign(note.about.data, note.about.size)
    if note.kind == NOTE_LIST_CREATED:
        change.kind = CHANGE_LIST_CREATED
        names_add_list(&changes.names, number, note.about)
        find_policy(others, number, &change.policy)
    else:
        changes.dropped.push_back(change.list_id)
        changes.dropped_numbers.push_back(number)
    changes.all.push_back(change)


cdef void take_given_back(Changes *changes, const Note *note) noexcept nogil:
    cdef Change change
    cdef GivenBackNote given
    if note.value.size != sizeof(given):
        return
    memcpy(&given, note.value.data, sizeof(given))
    begin_change(&change, CHANGE_RESERVATIONS_ENDED, given.list)
    change.time_ns, change.campaign, change.dialer = given.time_ns, given.campaign, given.dialer
    change.text.assign(note.about.data, note.about.size)
    changes.all.push_back(change)


cdef void take_event(Changes *changes, const Others *others, Slice key) noexcept nogil:
    cdef StoredEventRow stored
    cdef EventRow row
    cdef Change change
    cdef size_t i
    for i in range(others.events.size()):
        if not is_same(others.events[i].key, key) or others.events[i].value.size < sizeof(stored):
            continue
        memcpy(&stored, others.events[i].value.data, sizeof(stored))
        event_read(&row, &stored)
        begin_change(&change, change_kind(row.event.kind), get_be32(key.data))
        change.time_ns, change.length_ns = row.event.time_ns, row.event.duration_ns
        change.campaign, change.to_campaign = row.event.campaign, row.event.to_campaign
        change.include_reservations = row.event.include_reservations
        if change.kind != CHANGE_RESERVATIONS_ENDED or changes.with_reservations:
            changes.all.push_back(change)


cdef bint is_same(Slice key, Slice other) noexcept nogil:
    return key.size == other.size and memcmp(key.data, other.data, key.size) == 0


cdef uint8_t change_kind(uint8_t event_kind) noexcept nogil:
    if event_kind == EVENT_DURATION:
        return CHANGE_DURATION
    if event_kind == EVENT_RELEASE:
        return CHANGE_RELEASED
    if event_kind == EVENT_TRANSFER:
        return CHANGE_TRANSFERRED
    return CHANGE_TIME_SET_BACK if event_kind == EVENT_TIME_SET_BACK else CHANGE_RESERVATIONS_ENDED
