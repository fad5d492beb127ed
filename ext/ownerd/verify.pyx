"""Walks a whole store that no server has open, and says what is damaged.

Checks that every table can be walked to its end, that every row carries the checksum it was written
with, and that records belong to a list and a campaign that exist. Read-only.

LMDB trusts its pages: a torn file can end the process with SIGBUS or SIGSEGV while it is walked.
Run this in a process of its own (`ownerd verify` does).
"""

import os

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from ownerd.containers cimport string, unordered_map, vector
from ownerd.directory cimport take_lock
from ownerd.lmdb_api cimport (
    MDB_NEXT, MDB_NOTFOUND, MDB_NOTLS, MDB_RDONLY, MDB_SUCCESS, MDB_cursor, MDB_dbi, MDB_env,
    MDB_txn, MDB_val, lmdb,
)
from ownerd.rows cimport get_be32, hold_decode, open_row
from ownerd.rules cimport Hold
from ownerd.store cimport (
    CAMPAIGNS, GRAVES, LISTS, RECORDS, TABLE_COUNT, TABLE_NAMES, ListRow, refuse_truncated,
)

from ownerd.directory import StoreError

cdef enum:
    SHOWN_ROWS = 20                   # damaged rows that are named; all are counted


cdef cppclass Finding:
    uint64_t rows
    uint64_t damaged
    vector[string] keys               # of the first damaged rows
    int error                         # what ended the walk, or MDB_NOTFOUND at its proper end


cdef void note(Finding *finding, const MDB_val *key) noexcept nogil:
    finding.damaged += 1
    if finding.keys.size() < SHOWN_ROWS:
        finding.keys.push_back(string(<const char *> key.mv_data, key.mv_size))


cdef bint record_right(
    const MDB_val *key, const MDB_val *value, unordered_map[uint32_t, char] *numbers,
    uint64_t campaign_count
) noexcept nogil:
    """Tell whether a record decodes and belongs to a list and a campaign that exist."""
    cdef Hold hold
    return key.mv_size > 5 and hold_decode(value, &hold) and hold.campaign < campaign_count \
        and numbers.count(get_be32(<const char *> key.mv_data)) != 0


cdef void walk_table(
    MDB_txn *txn, MDB_dbi table, int which, unordered_map[uint32_t, char] *numbers,
    uint64_t campaign_count, Finding *finding
) noexcept nogil:
    cdef MDB_cursor *cursor
    cdef MDB_val key, value
    cdef ListRow row
    finding.rows = finding.damaged = 0
    finding.error = lmdb.cursor_open(txn, table, &cursor)
    if finding.error != MDB_SUCCESS:
        return
    finding.error = lmdb.cursor_get(cursor, &key, &value, MDB_NEXT)
    while finding.error == MDB_SUCCESS:
        finding.rows += 1
        if not open_row(&key, &value):
            note(finding, &key)
        elif which == LISTS and value.mv_size == sizeof(ListRow):
            memcpy(&row, value.mv_data, sizeof(row))
            numbers[0][row.number] = 1
        elif which == GRAVES:
            numbers[0][get_be32(<const char *> key.mv_data)] = 1
        elif which == RECORDS and not record_right(&key, &value, numbers, campaign_count):
            note(finding, &key)
        finding.error = lmdb.cursor_get(cursor, &key, &value, MDB_NEXT)
    lmdb.cursor_close(cursor)


cdef check(int code, str action):
    if code != MDB_SUCCESS:
        raise StoreError(f"{action}: {lmdb.strerror(code).decode(errors='replace')}")


def verify(directory):
    """Walk the store in `directory`; return a list of (table, rows, damaged, keys, error).

    `keys` are those of the first damaged rows, `error` says what ended a walk before its end, or is
    None. Nothing is changed.

    Raises:
        StoreInUseError: a server has it open.
        StoreError: there is no store, or it cannot be opened at all.
    """
    records = os.path.join(directory, "records")
    if not os.path.exists(os.path.join(records, "data.mdb")):
        raise StoreError(f"there is no store in {directory}: {records}/data.mdb is missing")
    cdef int lock_fd = take_lock(directory)
    cdef MDB_env *env = NULL
    try:
        check(lmdb.env_create(&env), "cannot set up LMDB")
        check(lmdb.env_set_maxdbs(env, TABLE_COUNT), "cannot set up LMDB")
        check(
            lmdb.env_open(env, os.fsencode(records), MDB_RDONLY | MDB_NOTLS, 0o600),
            f"cannot open the store in {records}",
        )
        refuse_truncated(env, records)
        return _walk(env)
    finally:
        if env != NULL:
            lmdb.env_close(env)
        os.close(lock_fd)


cdef list _walk(MDB_env *env):
    """Walk every table, in an order in which a table's references come before it."""
    cdef MDB_txn *txn
    cdef MDB_dbi table
    cdef int which, code
    cdef unordered_map[uint32_t, char] numbers
    cdef uint64_t campaign_count = 0
    cdef Finding finding
    report = []
    check(lmdb.txn_begin(env, NULL, MDB_RDONLY, &txn), "cannot begin reading")
    for which in range(TABLE_COUNT):
        name = TABLE_NAMES[which].decode()
        code = lmdb.dbi_open(txn, TABLE_NAMES[which], 0, &table)
        if code != MDB_SUCCESS:
            report.append((name, 0, 0, [], lmdb.strerror(code).decode()))
            continue
        finding.keys.clear()
        with nogil:
            walk_table(txn, table, which, &numbers, campaign_count, &finding)
        if which == CAMPAIGNS:
            campaign_count = finding.rows
        keys = [finding.keys[i].data()[:finding.keys[i].size()] for i in range(finding.keys.size())]
        ended = None if finding.error == MDB_NOTFOUND else lmdb.strerror(finding.error).decode()
        report.append((name, finding.rows, finding.damaged, keys, ended))
    lmdb.txn_abort(txn)
    return report
