"""Reads a store of formats 2 to 4, which kept their log in an LMDB environment, `journal/`.

    DIR/journal/   LMDB: the log (table "journal"), and every other small table
    DIR/records/   LMDB: the records as of a flushed revision

A row of the log has the revision as its key, big-endian, with a part's number behind it from the
second part on. Its value is a head (version, number of records, whether another part follows,
server time), the records (size of key, size of value, key, value; no value: nothing is left of
it) and a checksum. The revision goes on by one, but where an incarnation begins: its row names the
revision that it follows. Revisions up to the flushed one may have been trimmed.

The tables' rows are those of today (`tables`), but for the state's and the session's. It writes
nothing; `migration` does.
"""

import os

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset, strlen

from ownerd.base.bytes cimport get_be64, same, slice_of, val_of
from ownerd.base.lmdb cimport (
    MDB_CORRUPTED, MDB_NEXT, MDB_NOTFOUND, MDB_RDONLY, MDB_SUCCESS, MDB_cursor, lmdb,
)
from ownerd.rules.ownership cimport Hold
from ownerd.storage.codec cimport KEY_BYTES, VALUE_BYTES, hold_decode, row_verify
from ownerd.storage.environment cimport check, environment_close, environment_open
from ownerd.storage.tables cimport META, PRINCIPALS, RECORDS, TABLE_NAMES, SettingsRow
from ownerd.storage.verify cimport Finding, Known, RowCheck, check_of, details, scan_table

from ownerd.storage.directory import StoreError

cdef enum:
    OLD_STATE_BYTES = 40
    OLD_TREE_BYTES = 24
    OLD_TREE_FORMAT = 2
    TREE_FORMAT = 3
    KEY_HEAD_BYTES = 8                # the revision
    PART_KEY_BYTES = 10
    VERSION = 1
    JUMP_VERSION = 2                  # of a row that only says which revision it follows
    JUMP_BYTES = 32                   # a head, and the revision before

cdef struct Head:
    uint32_t version
    uint32_t count
    uint32_t more
    uint32_t unused
    int64_t time_ns

cdef const char *JOURNAL_TABLE = "journal"


# --- opening --------------------------------------------------------------------------------------

cdef Former *former_open(str directory, uint64_t map_bytes) except NULL:
    """Open both environments, and see that they are one store's; see `former_findings`.

    Raises:
        StoreError: they are no store of these formats, or of two stores, or of two days.
    """
    cdef Former *former = new Former()
    former.journal = former.records = NULL
    former.reader = NULL
    try:
        former.journal = environment_open(
            os.path.join(directory, "journal"), map_bytes, sizeof(FormerState)
        )
        former.records = environment_open(
            os.path.join(directory, "records"), map_bytes, sizeof(FormerTree)
        )
        _open_journal(former)
        _open_records(former)
        _read_states(former, directory)
        _refuse_strangers(former, directory)
    except BaseException:
        former_close(former)
        raise
    return former


cdef void former_close(Former *former) noexcept:
    if former.reader != NULL:
        lmdb.txn_abort(former.reader)
    if former.journal != NULL:
        environment_close(former.journal)
    if former.records != NULL:
        environment_close(former.records)
    del former


cdef const char *table_name(int table) noexcept nogil:
    return JOURNAL_TABLE if table == RECORDS else TABLE_NAMES[table]


cdef _open_journal(Former *former):
    """Open the tables of the journal's environment; one that is not known would be lost."""
    cdef int table, code
    check(
        lmdb.txn_begin(former.journal.env, NULL, MDB_RDONLY, &former.reader), "cannot begin reading"
    )
    for table in range(TABLE_COUNT):
        code = lmdb.dbi_open(former.reader, table_name(table), 0, &former.tables[table])
        former.there[table] = code == MDB_SUCCESS
        # Later ones may be missing: of a store that no later server of its format has opened.
        if code != MDB_NOTFOUND or table < <int> PRINCIPALS:
            check(code, f"cannot open table {table_name(table).decode()} of the journal")
    known = {table_name(table) for table in range(TABLE_COUNT)}
    strange = [name for name in _all_tables(former.reader) if name not in known]
    if strange:
        raise StoreError(
            f"the journal has a table that no version before had ({strange[0]!r}): this program "
            "does not know what is in it"
        )


cdef list _all_tables(MDB_txn *txn):
    cdef MDB_cursor *cursor
    cdef MDB_dbi tables
    cdef MDB_val key, value
    check(lmdb.dbi_open(txn, NULL, 0, &tables), "cannot read the tables")
    check(lmdb.cursor_open(txn, tables, &cursor), "cannot read the tables")
    names = []
    code = lmdb.cursor_get(cursor, &key, &value, MDB_NEXT)
    while code == MDB_SUCCESS:
        names.append((<const char *> key.mv_data)[:key.mv_size])
        code = lmdb.cursor_get(cursor, &key, &value, MDB_NEXT)
    lmdb.cursor_close(cursor)
    if code != MDB_NOTFOUND:
        check(code, "cannot read the tables")
    return names


cdef _open_records(Former *former):
    cdef MDB_txn *txn
    cdef int code
    check(lmdb.txn_begin(former.records.env, NULL, MDB_RDONLY, &txn), "cannot begin reading")
    code = lmdb.dbi_open(txn, TABLE_NAMES[<int> META], 0, &former.tree_meta)
    if code == MDB_SUCCESS:
        code = lmdb.dbi_open(txn, TABLE_NAMES[<int> RECORDS], 0, &former.tree_records)
    if code != MDB_SUCCESS:
        lmdb.txn_abort(txn)
        check(code, "cannot open the tables of the records")
    check(lmdb.txn_commit(txn), "cannot open the tables of the records")   # keeps the handles


cdef int read_row(
    MDB_txn *txn, MDB_dbi table, const char *name, void *row, size_t size, size_t *found
) noexcept nogil:
    """Read a row of META; what it lacks is 0."""
    cdef MDB_val key, value
    cdef int code
    memset(row, 0, size)
    key.mv_data, key.mv_size = <void *> name, strlen(name)
    code = lmdb.get(txn, table, &key, &value)
    if code != MDB_SUCCESS:
        return code
    if not row_verify(&key, &value):
        return MDB_CORRUPTED
    found[0] = value.mv_size
    memcpy(row, value.mv_data, min(size, value.mv_size))
    return MDB_SUCCESS


cdef _read_states(Former *former, str directory):
    cdef MDB_txn *txn
    cdef size_t size
    cdef int code = read_row(
        former.reader, former.tables[<int> META], "state", &former.state, sizeof(FormerState),
        &size,
    )
    check(code, f"cannot read the state in {directory}/journal")
    if not _known(&former.state, size):
        raise StoreError(
            f"the journal in {directory} has format {former.state.format}, this program migrates "
            f"{OLDEST_FORMAT} to {NEWEST_FORMER_FORMAT}; open it with the version that wrote it"
        )
    if former.state.format == OLDEST_FORMAT:
        former.state.incarnation = former.state.store_id   # it was in its first
    code = read_row(
        former.reader, former.tables[<int> META], "session", &former.session,
        sizeof(FormerSession), &size,
    )
    former.opened = code == MDB_SUCCESS
    if code != MDB_NOTFOUND:
        check(code, f"cannot read the session in {directory}/journal")
    check(lmdb.txn_begin(former.records.env, NULL, MDB_RDONLY, &txn), "cannot begin reading")
    code = read_row(
        txn, former.tree_meta, "state", &former.tree, sizeof(FormerTree), &former.tree_bytes
    )
    lmdb.txn_abort(txn)
    check(code, f"cannot read the state in {directory}/records")


cdef bint _known(const FormerState *state, size_t size) noexcept:
    if state.format == OLDEST_FORMAT:
        return size == OLD_STATE_BYTES
    return OLDEST_FORMAT < state.format <= NEWEST_FORMER_FORMAT and size == sizeof(FormerState)


cdef _refuse_strangers(Former *former, str directory):
    """Raise StoreError unless both environments are of one store, one day, and a known format."""
    cdef FormerTree *tree = &former.tree
    expected = {OLD_TREE_BYTES: OLD_TREE_FORMAT, sizeof(FormerTree): TREE_FORMAT}
    if expected.get(former.tree_bytes) != tree.format:
        raise StoreError(
            f"{directory}/records has format {tree.format}, and {directory}/journal is of format "
            f"{former.state.format}; restore both from one copy"
        )
    if tree.store_id != former.state.store_id:
        raise StoreError(
            f"{directory}/journal and {directory}/records are of two stores; restore both from "
            "one copy"
        )
    if tree.session != former.session.session and tree.session != former.session.before:
        raise StoreError(
            f"{directory}/journal and {directory}/records are of one store, but not of one day: "
            "one of them was replaced by a copy. Restore both from one copy"
        )
    if tree.flushed_revision > former.state.revision:
        raise StoreError(
            f"the journal in {directory} ends at revision {former.state.revision}, the records are "
            f"at {tree.flushed_revision}: changes that were answered would be missing; a copy must "
            "be restored"
        )


# --- all of it ------------------------------------------------------------------------------------

cdef cppclass FormerKnown(Known):
    JournalPlace place
    uint64_t first                    # the revision that the journal begins with; 0: it is empty
    uint64_t flushed


cdef bint meta_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    cdef const char *name = <const char *> key.mv_data
    if same(name, key.mv_size, "state"):
        return value.mv_size == sizeof(FormerState) or value.mv_size == OLD_STATE_BYTES
    if same(name, key.mv_size, "session"):
        return value.mv_size == sizeof(FormerSession)
    return same(name, key.mv_size, "settings") and value.mv_size == sizeof(SettingsRow)


cdef bint tree_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    return same(<const char *> key.mv_data, key.mv_size, "state") and (
        value.mv_size == sizeof(FormerTree) or value.mv_size == OLD_TREE_BYTES
    )


cdef bint log_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Tell whether a row follows the one before it, and can be moved into the records."""
    cdef FormerKnown *former = <FormerKnown *> known
    cdef JournalRow row
    cdef Slice record_key, record
    cdef MDB_val held
    cdef Hold hold
    cdef bint right = True
    if former.first == 0:
        former.place.revision = revision_before(key, value)
        former.first = former.place.revision + 1
    if not journal_follows(&former.place, key, value):
        return False
    row = journal_row(value)
    while journal_next(&row, &record_key, &record):
        held = val_of(record)
        right &= record_key.size > 5 and (record.size == 0 or hold_decode(&held, &hold))
    return right and journal_ended(&row)


cdef list former_findings(Former *former):
    """Check every row of both environments, and that the journal has no gap."""
    cdef FormerKnown known
    cdef MDB_txn *txn
    cdef RowCheck row_right
    cdef int table
    known.campaign_count = 0
    known.opened = known.in_cluster = False
    known.first = known.place.revision = 0
    known.place.more = False
    report = []
    for table in range(TABLE_COUNT):
        if former.there[table]:
            row_right = meta_row if table == META else \
                log_row if table == RECORDS else check_of(table)
            report.append(_scan(
                former.reader, former.tables[table], row_right, &known,
                f"journal/{table_name(table).decode()}",
            ))
    check(lmdb.txn_begin(former.records.env, NULL, MDB_RDONLY, &txn), "cannot begin reading")
    report.append(_scan(txn, former.tree_meta, tree_row, &known, "records/meta"))
    report.append(_scan(txn, former.tree_records, check_of(RECORDS), &known, "records/records"))
    lmdb.txn_abort(txn)
    gap = _gap(former, &known)
    return report if gap is None else [*report, ("journal and records", 0, 0, [], gap)]


cdef tuple _scan(
    MDB_txn *txn, MDB_dbi table, RowCheck row_right, FormerKnown *known, str shown
):
    cdef Finding finding
    with nogil:
        scan_table(txn, table, row_right, known, &finding)
    return shown, finding.rows, finding.damaged, *details(&finding)


cdef object _gap(const Former *former, const FormerKnown *known):
    """Say what the journal lacks, or None."""
    cdef uint64_t flushed = former.tree.flushed_revision
    if known.first != 0 and known.place.revision > former.state.revision:
        return f"the journal goes on behind its own revision {former.state.revision}"
    if flushed < former.state.revision and (
        known.first > flushed + 1 or known.place.more
        or known.place.revision != former.state.revision
    ):
        return f"the journal does not hold revisions {flushed + 1} to {former.state.revision}"
    return None


# --- rows of the journal --------------------------------------------------------------------------

cdef uint64_t revision_of(const MDB_val *key) noexcept nogil:
    """Return a row's revision; 0 if its key cannot be right."""
    if key.mv_size != KEY_HEAD_BYTES and key.mv_size != PART_KEY_BYTES:
        return 0
    return get_be64(<const char *> key.mv_data)


cdef bint read_head(const MDB_val *value, Head *head) noexcept nogil:
    """Read a row's head; False if it is none of ours."""
    if value.mv_size < sizeof(Head):
        return False
    memcpy(head, value.mv_data, sizeof(Head))
    return head.version == VERSION \
        or (head.version == JUMP_VERSION and value.mv_size == JUMP_BYTES)


cdef uint64_t revision_before(const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Return the revision before the one that a row is of; 0 also if it cannot be right."""
    cdef uint64_t revision = revision_of(key), before
    cdef Head head
    if revision == 0 or not read_head(value, &head):
        return 0
    if head.version == VERSION:
        return revision - 1
    memcpy(&before, <const char *> value.mv_data + sizeof(Head), sizeof(before))
    return before


cdef bint journal_follows(
    JournalPlace *place, const MDB_val *key, const MDB_val *value
) noexcept nogil:
    """Move on to a row; False if another one should have come before it."""
    cdef const unsigned char *at = <const unsigned char *> key.mv_data
    cdef uint64_t revision = revision_of(key)
    cdef uint32_t part
    cdef bint right
    cdef Head head
    if revision == 0 or not read_head(value, &head):
        return False
    part = 0 if key.mv_size == KEY_HEAD_BYTES else <uint32_t> at[8] << 8 | at[9]
    if place.more:
        right = revision == place.revision and part == place.part + 1
    else:
        right = part == 0 and revision > place.revision \
            and revision_before(key, value) == place.revision
    place.revision, place.part, place.more = revision, part, head.more != 0
    return right


cdef JournalRow journal_row(const MDB_val *value) noexcept nogil:
    """Begin with a row's records; the row is one of ours (`journal_follows`)."""
    cdef JournalRow row
    cdef Head head
    row.end = <const char *> value.mv_data + value.mv_size
    row.at, row.left = row.end, 0
    if read_head(value, &head) and head.version == VERSION:
        row.at = <const char *> value.mv_data + sizeof(Head)
        row.left = head.count
    return row


cdef bint journal_next(JournalRow *row, Slice *key, Slice *value) noexcept nogil:
    cdef size_t key_size, value_size
    if row.left == 0 or row.end - row.at < 2:
        return False
    key_size, value_size = <uint8_t> row.at[0], <uint8_t> row.at[1]
    if key_size == 0 or key_size > KEY_BYTES or value_size > VALUE_BYTES \
            or row.end - row.at - 2 < <int64_t> (key_size + value_size):
        return False
    key[0] = slice_of(row.at + 2, key_size)
    value[0] = slice_of(row.at + 2 + key_size, value_size)
    row.at += 2 + key_size + value_size
    row.left -= 1
    return True


cdef bint journal_ended(const JournalRow *row) noexcept nogil:
    return row.left == 0 and row.at == row.end
