"""What lists, campaigns and dialers are called, for one who follows the log from some revision.

Rows of the log name them by number. What a number stands for is in the tables as they are now; a
list or a dialer that has gone since is not. So the log is read once before it is followed, from
that revision to now, for the names that came and went: undone in reverse, they give the names of
then. Later rows bring them on. So nothing has to be kept of what is deleted but the log itself.

Numbers of lists and campaigns are never used again; a deleted campaign's row keeps its id. That of
a dialer may be; of one that was forgotten meanwhile nothing is known, and its reservations are
over.
"""

from cython.operator cimport dereference, preincrement
from libc.string cimport memcmp, memcpy

from ownerd.base.bytes cimport empty_slice, get_be32, slice_of, text_slice
from ownerd.base.containers cimport string
from ownerd.base.lmdb cimport MDB_SUCCESS, MDB_val
from ownerd.storage.catalog cimport list_row
from ownerd.storage.log_entry cimport ROW_FOUND, row_next
from ownerd.storage.log_reader cimport (
    READ_ENTRY, READ_TAIL, LogReader, ReadEntry, file_log_read, log_reader_next,
)
from ownerd.storage.notes cimport (
    NOTE_LIST_CREATED, NOTE_LIST_DELETED, Note, is_note, note_of,
)
from ownerd.storage.table_cursor cimport TableCursor, cursor_close, cursor_next, cursor_open
from ownerd.storage.tables cimport CAMPAIGNS, DIALERS, LISTS, DialerRow, Table

# A list's name that came or went.
cdef cppclass Renaming:
    bint came
    uint32_t number
    string list_id


# --- names, one by one ----------------------------------------------------------------------------

cdef int order_of(const string *text, Slice other) noexcept nogil:
    cdef size_t shorter = min((<string *> text).size(), other.size)
    cdef int order = memcmp((<string *> text).data(), other.data, shorter)
    if order == 0:
        order = ((<string *> text).size() > other.size) - ((<string *> text).size() < other.size)
    return order


cdef size_t place_of(const vector[string] *texts, Slice text) noexcept nogil:
    """Return the index of the first text that does not sort before this one."""
    cdef size_t i = 0
    while i < texts.size() and order_of(&(<vector[string] *> texts)[0][i], text) < 0:
        i += 1
    return i


cdef bint is_at(const vector[string] *texts, size_t i, Slice text) noexcept nogil:
    return i < texts.size() and order_of(&(<vector[string] *> texts)[0][i], text) == 0


cdef void names_add_list(KnownNames *names, uint32_t number, Slice list_id) noexcept nogil:
    cdef vector[string] *known = &names.lists[number]
    cdef vector[string] after
    cdef string name = string(list_id.data, list_id.size)
    cdef size_t i, place = place_of(known, list_id)
    names.listed[name] = number
    if is_at(known, place, list_id):
        return
    for i in range(place):
        after.push_back(known[0][i])
    after.push_back(name)
    for i in range(place, known.size()):
        after.push_back(known[0][i])
    known.swap(after)
    names.list_changes += 1


cdef void names_drop_list(KnownNames *names, uint32_t number, Slice list_id) noexcept nogil:
    cdef vector[string] *known = &names.lists[number]
    cdef vector[string] after
    cdef size_t i, place = place_of(known, list_id)
    for i in range(known.size()):
        if i != place or not is_at(known, place, list_id):
            after.push_back(known[0][i])
    names.list_changes += after.size() != known.size()
    known.swap(after)
    if known.empty():
        names.lists.erase(number)


cdef void keep_campaign(KnownNames *names, Slice key, Slice value) noexcept nogil:
    """Take a campaign's row; one that is deleted has its id in the name's place."""
    cdef uint32_t number = get_be32(key.data)
    cdef size_t size
    cdef KnownCampaign *campaign
    if value.size == 0:
        return
    if names.campaigns.size() <= number:
        names.campaigns.resize(number + 1)
    size = <unsigned char> value.data[0]
    campaign = &names.campaigns[number]
    if size != 0:
        campaign.id.assign(value.data + 1, size)
        campaign.name.assign(value.data + 1 + size, value.size - 1 - size)
    elif campaign.id.empty():
        campaign.id.assign(value.data + 1, value.size - 1)
        campaign.name = campaign.id


cdef void keep_dialer(KnownNames *names, Slice key, Slice value) noexcept nogil:
    if value.size > sizeof(DialerRow):
        names.dialers[get_be32(key.data)].assign(
            value.data + sizeof(DialerRow), value.size - sizeof(DialerRow)
        )


cdef void names_take(KnownNames *names, const LogRow *row) noexcept nogil:
    if row.is_gone or row.key.size != 4:
        return
    if row.table == CAMPAIGNS:
        keep_campaign(names, row.key, row.value)
    elif row.table == DIALERS:
        keep_dialer(names, row.key, row.value)


# --- asked for ------------------------------------------------------------------------------------

cdef const vector[string] *names_of_list(KnownNames *names, uint32_t number) noexcept nogil:
    cdef unordered_map[uint32_t, vector[string]].iterator found = names.lists.find(number)
    if found == names.lists.end():
        return NULL
    return &dereference(found).second


cdef const KnownCampaign *named_campaign(KnownNames *names, uint32_t number) noexcept nogil:
    if number >= names.campaigns.size():
        return NULL
    return &names.campaigns[number]


cdef Slice named_dialer(KnownNames *names, uint32_t number) noexcept nogil:
    cdef unordered_map[uint32_t, string].iterator found = names.dialers.find(number)
    if found == names.dialers.end():
        return empty_slice()
    return text_slice(dereference(found).second)


# --- from what is committed -----------------------------------------------------------------------

cdef Slice slice_from(const MDB_val *value) noexcept nogil:
    return slice_of(value.mv_data, value.mv_size)


cdef int load_table(
    KnownNames *names, const Tables *tables, Table table, uint64_t *revision
) noexcept nogil:
    """Take every row of a table; `revision`: as of which."""
    cdef TableCursor scan
    cdef int code = cursor_open(tables, table, &scan)
    if code != MDB_SUCCESS:
        return code
    revision[0] = scan.revision
    while cursor_next(&scan):
        if table == LISTS:
            names_add_list(names, list_row(&scan.value).number, slice_from(&scan.key))
        elif table == CAMPAIGNS:
            keep_campaign(names, slice_from(&scan.key), slice_from(&scan.value))
        else:
            keep_dialer(names, slice_from(&scan.key), slice_from(&scan.value))
    return cursor_close(&scan)


cdef ReadStatus names_load(
    KnownNames *names, const Tables *tables, FileLog *log, uint64_t after_revision,
    bint with_dialers, int *code
) noexcept nogil:
    cdef uint64_t lists_revision = 0, revision = 0, newest
    names.list_changes = 0
    code[0] = load_table(names, tables, LISTS, &lists_revision)
    newest = lists_revision
    if code[0] == MDB_SUCCESS:
        code[0] = load_table(names, tables, CAMPAIGNS, &revision)
    if code[0] == MDB_SUCCESS and with_dialers:
        code[0] = load_table(names, tables, DIALERS, &revision)
        newest = max(newest, revision)
    if code[0] != MDB_SUCCESS:
        return READ_TAIL
    return go_back(names, log, after_revision, lists_revision, newest)


# --- back to then ---------------------------------------------------------------------------------

cdef void collect(
    KnownNames *names, ReadEntry *entry, bint with_lists, vector[Renaming] *renamings,
    unordered_map[uint32_t, string] *dialers
) noexcept nogil:
    """Note which names came and went, and what each dialer's number first stood for."""
    cdef LogRow row
    cdef Note note
    cdef Renaming renaming
    while row_next(&entry.rows, &row) == ROW_FOUND:
        if row.table == DIALERS and row.key.size == 4 \
                and dialers.count(get_be32(row.key.data)) == 0:
            dialers[0][get_be32(row.key.data)] = string()
            if row.value.size > sizeof(DialerRow):
                dialers[0][get_be32(row.key.data)].assign(
                    row.value.data + sizeof(DialerRow), row.value.size - sizeof(DialerRow)
                )
        if not with_lists or not is_note(&row):
            continue
        note = note_of(&row)
        if note.kind != NOTE_LIST_CREATED and note.kind != NOTE_LIST_DELETED \
                or note.value.size != sizeof(renaming.number):
            continue
        renaming.came = note.kind == NOTE_LIST_CREATED
        memcpy(&renaming.number, note.value.data, sizeof(renaming.number))
        renaming.list_id.assign(note.about.data, note.about.size)
        renamings.push_back(renaming)


cdef ReadStatus go_back(
    KnownNames *names, FileLog *log, uint64_t after_revision, uint64_t lists_revision,
    uint64_t newest
) noexcept nogil:
    """Undo what came and went since a revision."""
    cdef LogReader reader
    cdef ReadEntry entry
    cdef ReadStatus status = file_log_read(log, after_revision, &reader)
    cdef vector[Renaming] renamings
    cdef unordered_map[uint32_t, string] dialers
    cdef size_t i
    while status == READ_TAIL and reader.revision < newest:
        status = log_reader_next(&reader, &entry)
        if status != READ_ENTRY:
            break
        collect(names, &entry, entry.revision <= lists_revision, &renamings, &dialers)
        status = READ_TAIL
    for i in range(renamings.size(), 0, -1):
        undo(names, &renamings[i - 1])
    at = dialers.begin()
    while at != dialers.end():
        names.dialers[dereference(at).first] = dereference(at).second
        preincrement(at)
    return status


cdef void undo(KnownNames *names, const Renaming *renaming) noexcept nogil:
    if renaming.came:
        names.listed[renaming.list_id] = renaming.number
        names_drop_list(names, renaming.number, text_slice(renaming.list_id))
    else:
        names_add_list(names, renaming.number, text_slice(renaming.list_id))
