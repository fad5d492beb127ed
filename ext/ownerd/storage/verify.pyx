"""Reads a whole store that no server has open, and says what is damaged.

Checks that every table can be read to its end, in key order and with as many rows as LMDB counts;
that every row carries the checksum it was written with; that flushed records belong to a list and a
campaign that exist; that the log can be replayed and has no gap; and that no page of the tree is in
use twice, free twice, or both (`pages`). Read-only.

LMDB trusts its pages: a torn file can end the process with SIGBUS or SIGSEGV while it is read.
Run this in a process of its own (`ownerd verify` does).
"""

import os

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ownerd.base.bytes cimport Slice, get_be32, same, slice_of, val_of
from ownerd.base.containers cimport string
from ownerd.base.lmdb cimport (
    MDB_NEXT, MDB_NOTFOUND, MDB_NOTLS, MDB_RDONLY, MDB_SUCCESS, MDB_cursor, MDB_dbi, MDB_env,
    MDB_stat, MDB_txn, MDB_val, lmdb,
)
from ownerd.rules.ownership cimport Hold
from ownerd.storage.codec cimport hold_decode, row_verify
from ownerd.storage.directory cimport DirectoryLock, lock_directory, lock_init, unlock_directory
from ownerd.storage.environment cimport check, check_opened, refuse_truncated
from ownerd.storage.file_log cimport FileLog
from ownerd.storage.log_entry cimport ROW_FOUND, ROWS_END, LogRow, RowCursor, RowFound, row_next
from ownerd.storage.log_opening cimport file_log_inspect, file_log_release
from ownerd.storage.log_reader cimport (
    READ_ENTRY, READ_TAIL, LogReader, ReadEntry, ReadStatus, file_log_read, log_reader_next,
)
from ownerd.storage.memtable cimport compare_keys
from ownerd.storage.meta_pages cimport meta_fault
from ownerd.storage.notes cimport RecordRow, is_note, read_record
from ownerd.storage.pages cimport page_faults
from ownerd.storage.tables cimport (
    AUDIT, CAMPAIGNS, CODES, DIALERS, DROPPED_LISTS, EVENTS, GIVE_BACKS, HOLDERS, LISTS, META,
    OLD_LIST_BYTES, PRINCIPALS, RECORDS, REQUESTS, STATE_FORMAT, TABLE_COUNT, TABLE_NAMES,
    ClusterRow, DialerRow, ListRow, SessionRow, SettingsRow, StateRow,
)

from ownerd.storage.creation import refuse_former
from ownerd.storage.directory import StoreError
from ownerd.storage.restoring import is_restored, refuse_unrestored

cdef enum:
    SHOWN_ROWS = 20                   # damaged rows that are named; all are counted
    MOST_TABLES = 16
    LEAST_MAP_BYTES = 0x100000

# What others refer to is known before these are looked at: that of the tree, then that of the log.
_REFERRED_TO = (<int> META, <int> LISTS, <int> DROPPED_LISTS, <int> CAMPAIGNS)
_OTHERS = (
    <int> EVENTS, <int> CODES, <int> AUDIT, <int> REQUESTS, <int> PRINCIPALS, <int> DIALERS,
    <int> GIVE_BACKS, <int> HOLDERS, <int> RECORDS,
)


# --- rows, each without its checksum --------------------------------------------------------------

cdef bint any_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    return True


cdef bint meta_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    if same(<const char *> key.mv_data, key.mv_size, "session"):
        known.opened = value.mv_size == sizeof(SessionRow)
        memcpy(&known.session, value.mv_data, min(value.mv_size, sizeof(SessionRow)))
        return known.opened
    if same(<const char *> key.mv_data, key.mv_size, "settings"):
        return value.mv_size == sizeof(SettingsRow)
    if same(<const char *> key.mv_data, key.mv_size, "cluster"):
        known.in_cluster = value.mv_size == sizeof(ClusterRow)
        return known.in_cluster
    if value.mv_size != sizeof(StateRow):
        return False
    memcpy(&known.state, value.mv_data, sizeof(StateRow))
    return known.state.format == STATE_FORMAT


cdef bint list_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    cdef ListRow row
    if value.mv_size != sizeof(ListRow) and value.mv_size != OLD_LIST_BYTES:
        return False
    memcpy(&row, value.mv_data, OLD_LIST_BYTES)
    known.lists[row.number] = 1
    return True


cdef bint dropped_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    if key.mv_size != 4:
        return False
    known.lists[get_be32(<const char *> key.mv_data)] = 1
    return True


cdef bint holder_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Tell whether a campaign that held a record, and the list that it is in, exist."""
    cdef const char *at = <const char *> key.mv_data
    return key.mv_size == 8 and known.lists.count(get_be32(at)) != 0 \
        and get_be32(at + 4) < known.campaign_count


cdef bint campaign_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    if key.mv_size != 4:
        return False
    known.campaign_count = max(
        known.campaign_count, <uint64_t> get_be32(<const char *> key.mv_data) + 1
    )
    return True


cdef bint dialer_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    cdef DialerRow row
    if key.mv_size != 4 or value.mv_size <= sizeof(row):
        return False
    memcpy(&row, value.mv_data, sizeof(row))
    return row.campaign < known.campaign_count


cdef bint give_back_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    return key.mv_size == 16 and value.mv_size == 8


cdef bint record_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Tell whether a record decodes and belongs to a list and a campaign that exist."""
    cdef Hold hold
    return key.mv_size > 5 and hold_decode(value, &hold) \
        and hold.campaign < known.campaign_count \
        and known.lists.count(get_be32(<const char *> key.mv_data)) != 0


# --- tables ---------------------------------------------------------------------------------------

cdef void note(Finding *finding, Slice key) noexcept nogil:
    finding.damaged += 1
    if finding.keys.size() < SHOWN_ROWS:
        finding.keys.push_back(string(key.data, key.size))


cdef void scan_table(
    MDB_txn *txn, MDB_dbi table, RowCheck row_right, Known *known, Finding *finding
) noexcept nogil:
    cdef MDB_cursor *cursor
    cdef MDB_val key, value
    cdef MDB_stat stat
    cdef string before
    finding.rows = finding.damaged = 0
    finding.keys.clear()
    finding.error = lmdb.cursor_open(txn, table, &cursor)
    if finding.error != MDB_SUCCESS:
        return
    finding.error = lmdb.cursor_get(cursor, &key, &value, MDB_NEXT)
    while finding.error == MDB_SUCCESS:
        finding.rows += 1
        if (finding.rows > 1 and compare_keys(
            before.data(), before.size(), <const char *> key.mv_data, key.mv_size
        ) >= 0) or not row_verify(&key, &value) or not row_right(known, &key, &value):
            note(finding, slice_of(key.mv_data, key.mv_size))
        before.assign(<const char *> key.mv_data, key.mv_size)
        finding.error = lmdb.cursor_get(cursor, &key, &value, MDB_NEXT)
    lmdb.cursor_close(cursor)
    if lmdb.stat(txn, table, &stat) == MDB_SUCCESS and stat.ms_entries > finding.rows:
        finding.damaged += stat.ms_entries - finding.rows   # rows that no scan comes to


cdef RowCheck check_of(uint32_t table) noexcept nogil:
    """Return the check for a table's rows."""
    if table == META:
        return meta_row
    if table == LISTS:
        return list_row
    if table == DROPPED_LISTS:
        return dropped_row
    if table == CAMPAIGNS:
        return campaign_row
    if table == HOLDERS:
        return holder_row
    if table == DIALERS:
        return dialer_row
    if table == GIVE_BACKS:
        return give_back_row
    return record_row if table == RECORDS else any_row


cdef MDB_env *open_environment(str path) except NULL:
    """Open an environment read-only, its map no larger than its file."""
    cdef MDB_env *env = NULL
    size = os.path.getsize(os.path.join(path, "data.mdb"))
    check(lmdb.env_create(&env), "cannot set up LMDB")
    try:
        check(lmdb.env_set_mapsize(env, max(size, LEAST_MAP_BYTES)), "cannot set up LMDB")
        check(lmdb.env_set_maxdbs(env, MOST_TABLES), "cannot set up LMDB")
        check_opened(
            lmdb.env_open(env, os.fsencode(path), MDB_RDONLY | MDB_NOTLS, 0o600),
            path, f"as many bytes as its file has ({size:,})",
        )
        refuse_truncated(env, path)
    except BaseException:
        lmdb.env_close(env)
        raise
    return env


cdef tuple scan_named(MDB_txn *txn, int table, Known *known):
    """Check one table; return its line of the report."""
    cdef MDB_dbi handle
    cdef Finding finding
    cdef RowCheck row_right = check_of(table)
    cdef int code = lmdb.dbi_open(txn, TABLE_NAMES[table], 0, &handle)
    shown = f"records/{TABLE_NAMES[table].decode()}"
    if code != MDB_SUCCESS:
        return shown, 0, 0, [], lmdb.strerror(code).decode()
    with nogil:
        scan_table(txn, handle, row_right, known, &finding)
    return shown, finding.rows, finding.damaged, *details(&finding)


cdef list scan_store(str directory, Known *known):
    """Check tree and log, in an order in which what is referred to comes first."""
    cdef MDB_env *env = open_environment(os.path.join(directory, "records"))
    cdef MDB_txn *txn
    try:
        check(lmdb.txn_begin(env, NULL, MDB_RDONLY, &txn), "cannot begin reading")
        report = [scan_named(txn, table, known) for table in _REFERRED_TO]
        line = scan_log(os.path.join(directory, "log"), known)
        report += [scan_named(txn, table, known) for table in _OTHERS]
        report.append(line)
        lmdb.txn_abort(txn)
    finally:
        lmdb.env_close(env)
    return report


# --- the log --------------------------------------------------------------------------------------

cdef tuple scan_log(str directory, Known *known):
    """Follow the log from the tree's revision on; return its line of the report."""
    cdef FileLog *log
    cdef LogReader reader
    cdef ReadEntry entry
    cdef ReadStatus status
    cdef uint64_t entries = 0, damaged = 0
    cdef StateRow state = known.state
    if known.in_cluster:
        return "log", 0, 0, [], None
    try:
        log = file_log_inspect(directory, known.state.store_id, known.state.revision)
    except (StoreError, OSError) as error:
        return "log", 0, 1, [], str(error)
    try:
        session = log.tail.session
        status = file_log_read(log, known.state.revision, &reader)
        if status == READ_TAIL:
            status = log_reader_next(&reader, &entry)
        while status == READ_ENTRY:
            entries += 1
            damaged += not entry_sound(known, &entry, &state)
            status = log_reader_next(&reader, &entry)
    finally:
        file_log_release(log)
    if status != READ_TAIL:
        error = f"it cannot be read behind revision {reader.revision}"
        return "log", entries, damaged + 1, [], error
    if known.opened and (session or state.session) not in (
        known.session.session, known.session.log_session,
    ):
        return "log", entries, damaged, [], "log and records are of one store, but not of one day"
    return "log", entries, damaged, [], None


cdef bint entry_sound(Known *known, ReadEntry *entry, StateRow *state) noexcept nogil:
    """Tell whether an entry's rows can be replayed, and note what others refer to.

    Its records stand before the rows that they refer to.
    """
    return rows_sound(known, entry.rows, state, False) \
        and rows_sound(known, entry.rows, state, True) and state.revision == entry.revision


cdef bint rows_sound(
    Known *known, RowCursor cursor, StateRow *state, bint records
) noexcept nogil:
    """Tell whether the records among an entry's rows, or all others, are sound."""
    cdef LogRow row
    cdef RecordRow record
    cdef RowFound found = row_next(&cursor, &row)
    cdef bint sound = True
    while found == ROW_FOUND:
        if read_record(&row, &record):
            sound &= not records or record_sound(known, &record)
        elif not records and not is_note(&row):
            sound &= row_sound(known, &row, state)
        found = row_next(&cursor, &row)
    return sound and found == ROWS_END


cdef bint record_sound(Known *known, const RecordRow *record) noexcept nogil:
    cdef MDB_val key = val_of(record.key), value = val_of(record.value)
    return value.mv_size == 0 or check_of(RECORDS)(known, &key, &value)


cdef bint row_sound(Known *known, const LogRow *row, StateRow *state) noexcept nogil:
    cdef MDB_val key = val_of(row.key), value = val_of(row.value)
    if row.table == META and same(row.key.data, row.key.size, "state"):
        memcpy(state, row.value.data, min(row.value.size, sizeof(StateRow)))
        return row.value.size == sizeof(StateRow)
    return row.table < TABLE_COUNT and (
        row.is_gone or check_of(row.table)(known, &key, &value)
    )


cdef tuple details(Finding *finding):
    """Return the keys of the first damaged rows, and what ended the scan early, or None."""
    keys = [finding.keys[i].data()[:finding.keys[i].size()] for i in range(finding.keys.size())]
    ended = None if finding.error == MDB_NOTFOUND else lmdb.strerror(finding.error).decode()
    return keys, ended


def verify(directory):
    """Check the store in `directory`; return a list of (table, rows, damaged, keys, error).

    `keys` are those of the first damaged rows, `error` says what ended a scan before its end or
    what is wrong with the whole, or is None. Nothing is changed.

    Raises:
        StoreInUseError: a server has it open.
        StoreError: there is no store, or it cannot be opened at all.
    """
    cdef Known known
    cdef DirectoryLock lock
    known.campaign_count = 0
    known.opened = known.in_cluster = False
    memset(&known.state, 0, sizeof(known.state))
    memset(&known.session, 0, sizeof(known.session))
    lock_init(&lock)
    records = _records(directory)
    try:
        lock_directory(&lock, directory)
        report = _meta_findings(records) + scan_store(directory, &known)
        report.append(_page_findings(records))
    finally:
        unlock_directory(&lock)
    return report


def _records(directory):
    """Return the place of the records, which are there.

    Raises:
        StoreError: there is no store, or it is of an earlier version.
    """
    records = os.path.join(directory, "records")
    if not os.path.isdir(directory):
        raise StoreError(f"there is no store in {directory}: there is no such directory")
    refuse_former(directory)
    if is_restored(directory):
        raise StoreError(
            f"a restore into {directory} has all but ended: 'ownerd serve' goes on with it"
        )
    if not os.path.lexists(records):
        refuse_unrestored(directory)
    if not os.path.exists(os.path.join(records, "data.mdb")):
        raise StoreError(f"there is no store here: {records}/data.mdb is missing")
    return records


def _meta_findings(records):
    try:
        fault = meta_fault(records, sizeof(StateRow))
    except OSError as error:
        raise StoreError(f"cannot read {records}/data.mdb: {error.strerror}") from error
    return [] if fault is None else [("records/data.mdb", 0, 1, [], fault)]


def _page_findings(records):
    try:
        free_count, fault_count, fault = page_faults(records)
    except OSError as error:
        raise StoreError(f"cannot read {records}/data.mdb: {error.strerror}") from error
    return "records/free pages", free_count, fault_count, [], fault
