"""Reads a whole store that no server has open, and says what is damaged.

Checks that every table can be read to its end, in key order and with as many rows as LMDB counts;
that every row carries the checksum it was written with; that flushed records belong to a list and a
campaign that exist; that the journal can be replayed and has no gap; and that no page of the files
is in use twice, free twice, or both (`pages`). Read-only.

LMDB trusts its pages: a torn file can end the process with SIGBUS or SIGSEGV while it is read.
Run this in a process of its own (`ownerd verify` does).
"""

import os

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ownerd.base.bytes cimport Slice, get_be32, same, slice_of
from ownerd.base.containers cimport string, unordered_map, vector
from ownerd.base.lmdb cimport (
    MDB_NEXT, MDB_NOTFOUND, MDB_NOTLS, MDB_RDONLY, MDB_SUCCESS, MDB_cursor, MDB_dbi, MDB_env,
    MDB_stat, MDB_txn, MDB_val, lmdb,
)
from ownerd.rules.ownership cimport Hold
from ownerd.storage.codec cimport hold_decode, row_verify
from ownerd.storage.directory cimport DirectoryLock, lock_directory, lock_init, unlock_directory
from ownerd.storage.environment cimport check, check_opened, refuse_truncated
from ownerd.storage.log cimport LogPosition, log_follows, log_follows_revision, log_replay
from ownerd.storage.memtable cimport compare_keys
from ownerd.storage.meta_pages cimport meta_fault
from ownerd.storage.pages cimport page_faults
from ownerd.storage.record_tree cimport (
    TREE_RECORDS, TREE_TABLE_COUNT, TREE_TABLE_NAMES, TreeState, tree_state_read,
)
from ownerd.storage.tables cimport (
    CAMPAIGNS, DIALERS, DROPPED_LISTS, GIVE_BACKS, HOLDERS, LISTS, LOG, META, OLD_LIST_BYTES,
    PRINCIPALS, TABLE_COUNT, TABLE_NAMES, DialerRow, ListRow, SessionRow, SettingsRow, StateRow,
    state_known, state_read,
)

from ownerd.storage.directory import StoreError

cdef enum:
    SHOWN_ROWS = 20                   # damaged rows that are named; all are counted
    MOST_TABLES = 16
    LEAST_MAP_BYTES = 0x100000


_LATER_TABLES = tuple([TABLE_NAMES[i] for i in range(<int> PRINCIPALS, <int> TABLE_COUNT)])


cdef cppclass Finding:
    uint64_t rows
    uint64_t damaged
    vector[string] keys               # of the first damaged rows
    int error                         # what ended the scan, or MDB_NOTFOUND at its proper end


# What the catalog says, for the tables that refer to it.
cdef cppclass Known:
    unordered_map[uint32_t, char] lists  # numbers, those of deleted lists too
    uint64_t campaign_count
    StateRow state
    SessionRow session
    TreeState tree_state
    uint64_t log_first                # the revision that the journal begins with; 0: it is empty
    LogPosition journal               # where it ends


ctypedef bint (*RowCheck)(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil


# --- rows, each without its checksum --------------------------------------------------------------

cdef bint any_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    return True


cdef bint state_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    if same(<const char *> key.mv_data, key.mv_size, "session"):
        if value.mv_size != sizeof(SessionRow):
            return False
        memcpy(&known.session, value.mv_data, sizeof(SessionRow))
        return True
    if same(<const char *> key.mv_data, key.mv_size, "settings"):
        return value.mv_size == sizeof(SettingsRow)
    state_read(&known.state, slice_of(value.mv_data, value.mv_size))
    return state_known(&known.state, value.mv_size)


cdef bint tree_state_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    if not tree_state_read(&known.tree_state, value):
        return False
    return known.tree_state.store_id == known.state.store_id


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
    known.campaign_count += 1
    return key.mv_size == 4


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


cdef bint log_row(Known *known, const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Tell whether a row can be replayed and follows the one before it."""
    cdef bint follows
    if known.log_first == 0:
        known.journal.revision = log_follows_revision(key, value)
        known.log_first = known.journal.revision + 1
    follows = log_follows(&known.journal, key, value)
    return follows and log_replay(value, NULL)


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


cdef RowCheck check_of(bytes name, bint in_tree):
    """Return the check for a table's rows."""
    if in_tree:
        return record_row if name == TREE_TABLE_NAMES[<int> TREE_RECORDS] else tree_state_row
    if name == TABLE_NAMES[<int> META]:
        return state_row
    if name == TABLE_NAMES[<int> LISTS]:
        return list_row
    if name == TABLE_NAMES[<int> DROPPED_LISTS]:
        return dropped_row
    if name == TABLE_NAMES[<int> CAMPAIGNS]:
        return campaign_row
    if name == TABLE_NAMES[<int> HOLDERS]:
        return holder_row
    if name == TABLE_NAMES[<int> DIALERS]:
        return dialer_row
    if name == TABLE_NAMES[<int> GIVE_BACKS]:
        return give_back_row
    return log_row if name == TABLE_NAMES[<int> LOG] else any_row


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


cdef list scan_environment(str path, names, bint in_tree, Known *known):
    """Check an environment's tables, in an order in which what is referred to comes first."""
    cdef MDB_env *env = open_environment(path)
    cdef MDB_txn *txn
    cdef MDB_dbi table
    cdef RowCheck row_right
    cdef Finding finding
    cdef int code
    report = []
    try:
        check(lmdb.txn_begin(env, NULL, MDB_RDONLY, &txn), "cannot begin reading")
        for name in names:
            shown = f"{os.path.basename(path)}/{name.decode()}"
            code = lmdb.dbi_open(txn, name, 0, &table)
            if code == MDB_NOTFOUND and not in_tree and name in _LATER_TABLES:
                continue              # of a store that no later server has opened yet
            if code != MDB_SUCCESS:
                report.append((shown, 0, 0, [], lmdb.strerror(code).decode()))
                continue
            row_right = check_of(name, in_tree)
            with nogil:
                scan_table(txn, table, row_right, known, &finding)
            report.append((shown, finding.rows, finding.damaged, *_details(&finding)))
        lmdb.txn_abort(txn)
    finally:
        lmdb.env_close(env)
    return report


cdef tuple _details(Finding *finding):
    """Return the keys of the first damaged rows, and what ended the scan early, or None."""
    keys = [finding.keys[i].data()[:finding.keys[i].size()] for i in range(finding.keys.size())]
    ended = None if finding.error == MDB_NOTFOUND else lmdb.strerror(finding.error).decode()
    return keys, ended


cdef object pair_fault(Known *known):
    """Say why journal and records do not make one store, or None."""
    cdef uint64_t flushed = known.tree_state.flushed_revision
    cdef uint64_t session = known.tree_state.session
    if known.tree_state.store_id != known.state.store_id:
        return "journal and records are of two stores"
    if session != known.session.session and session != known.session.before:
        return "journal and records are of one store, but not of one day"
    if flushed > known.state.revision:
        return f"the records are at revision {flushed}, the journal ends at {known.state.revision}"
    if flushed < known.state.revision and (
        known.log_first > flushed + 1 or known.journal.revision != known.state.revision
        or known.journal.more
    ):
        return f"the journal does not hold revisions {flushed + 1} to {known.state.revision}"
    return None


def verify(directory):
    """Check the store in `directory`; return a list of (table, rows, damaged, keys, error).

    `keys` are those of the first damaged rows, `error` says what ended a scan before its end or
    what is wrong with the whole, or is None. Nothing is changed.

    Raises:
        StoreInUseError: a server has it open.
        StoreError: there is no store, or it cannot be opened at all.
    """
    cdef Known known
    cdef int i
    known.campaign_count = known.log_first = known.journal.revision = 0
    known.journal.more = False
    known.state.revision = known.state.store_id = 0
    known.tree_state.flushed_revision = known.tree_state.store_id = 0
    memset(&known.session, 0, sizeof(known.session))
    cdef DirectoryLock lock
    lock_init(&lock)
    names = [TABLE_NAMES[i] for i in range(TABLE_COUNT)]
    tree_names = [TREE_TABLE_NAMES[i] for i in range(TREE_TABLE_COUNT)]
    journal, records = _parts(directory)
    try:
        lock_directory(&lock, directory)
        report = _meta_findings(journal, sizeof(StateRow))
        report += _meta_findings(records, sizeof(TreeState))
        report += scan_environment(journal, names, False, &known)
        report += scan_environment(records, tree_names, True, &known)
        report += [_page_findings(path) for path in (journal, records)]
    finally:
        unlock_directory(&lock)
    fault = pair_fault(&known)
    if fault is not None:
        report.append(("journal and records", 0, 0, [], fault))
    return report


def _parts(directory):
    """Return the places of both environments, which are there.

    Raises:
        StoreError: there is no store.
    """
    parts = [os.path.join(directory, name) for name in ("journal", "records")]
    if not os.path.isdir(directory):
        raise StoreError(f"there is no store in {directory}: there is no such directory")
    for part in parts:
        if not os.path.exists(os.path.join(part, "data.mdb")):
            raise StoreError(f"there is no store here: {part}/data.mdb is missing")
    return parts


def _meta_findings(path, state_bytes):
    try:
        fault = meta_fault(path, state_bytes)
    except OSError as error:
        raise StoreError(f"cannot read {path}/data.mdb: {error.strerror}") from error
    name = f"{os.path.basename(path)}/data.mdb"
    return [] if fault is None else [(name, 0, 1, [], fault)]


def _page_findings(path):
    try:
        free_count, fault_count, fault = page_faults(path)
    except OSError as error:
        raise StoreError(f"cannot read {path}/data.mdb: {error.strerror}") from error
    return f"{os.path.basename(path)}/free pages", free_count, fault_count, [], fault
