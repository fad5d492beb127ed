"""Makes a store of a former format (`former`) one of today's, once; each step may be the last.

    DIR/MIGRATING         says to a person which step it is at; there until all are done
    DIR/log.new/          the new log, until it is whole
    DIR/journal.migrated/ the former log, from when it is of no more use until it is removed

1. What the records lack is moved from the journal into them, in its order.
2. The journal's other tables are copied beside the records.
3. An empty log is made.
4. One commit of the records says that they are a store of today's format.
5. The journal gets another name, and goes.

Until the fourth step has been committed the former store is whole: the version that wrote it opens
it, finds it sound, and whatever it changes meanwhile is moved, too, when the migration begins
again. From then on only the fifth step is left. Everything is read, and refused where something is
wrong with it, before anything is written.
"""

import os
import shutil
from typing import NamedTuple

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from ownerd.base.bytes cimport Slice, put_be64, slice_of, val_of
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.failpoints cimport FAIL_IN_MIGRATION, fail_at
from ownerd.base.lmdb cimport (
    MDB_APPEND, MDB_CORRUPTED, MDB_CREATE, MDB_FIRST, MDB_NEXT, MDB_NOTFOUND, MDB_RDONLY,
    MDB_SET_RANGE, MDB_SUCCESS, MDB_cursor, MDB_dbi, MDB_stat, MDB_txn, MDB_val, lmdb,
)
from ownerd.storage.capacity cimport environment_left, is_full
from ownerd.storage.codec cimport row_verify
from ownerd.storage.creation cimport refuse_none, refuse_other
from ownerd.storage.directory cimport (
    DirectoryLock, lock_directory, lock_init, note_failure, unlock_directory,
)
from ownerd.storage.environment cimport Environment, check, used_bytes
from ownerd.storage.file_log cimport LogOptions, default_log_options
from ownerd.storage.filesystem cimport FileMark, file_mark, same_mark
from ownerd.storage.former cimport (
    Former, JournalPlace, JournalRow, former_close, former_findings, former_open, journal_ended,
    journal_follows, journal_next, journal_row,
)
from ownerd.storage.log_opening cimport file_log_create
from ownerd.storage.meta_pages cimport newest_state
from ownerd.storage.record_tree cimport put_checked
from ownerd.storage.tables cimport (
    META, RECORDS, STATE_FORMAT, TABLE_COUNT, TABLE_NAMES, SessionRow, StateRow,
)

from ownerd.storage.creation import is_empty_log, refuse_unfinished
from ownerd.storage.directory import StoreError, lock_file, sync_directory
from ownerd.storage.filesystem import check_filesystems
from ownerd.storage.record_tree import format_of

cdef enum:
    STEP_BYTES = 0x400000             # of rows that one commit copies, about
    STEP_DISK_BYTES = 0x4000000       # more than a commit writes
    SMALL_DISK_BYTES = 0x400000       # of a small store: so much beside what there is
    LEAST_MAP_BYTES = 0x100000

_MARKER = "MIGRATING"
_OVER = "journal.migrated"


class Migrated(NamedTuple):
    """What was done: from which format to which, at which revision, and with how much.

    Args:
        replayed_count: revisions that only the journal had.
        row_count: rows of all tables but the records.
    """

    former_format: int
    format: int
    revision: int
    replayed_count: int
    record_count: int
    row_count: int


# A cursor in the journal's environment, and what was moved from there.
cdef cppclass Moving:
    Former *former
    MDB_cursor *cursor
    MDB_val key, value
    int found                         # what the cursor came to
    JournalPlace place
    MDB_dbi tables[TABLE_COUNT]       # of the records' environment
    uint64_t replayed_count
    uint64_t row_count


def _in(directory, name):
    return os.path.join(directory, name)


def is_former(directory):
    """Tell whether there is a store of a former format, or one whose migration has not ended."""
    return any(os.path.lexists(_in(directory, name)) for name in ("journal", _MARKER))


def migrate(
    str directory, *, uint64_t map_bytes, store_id=None, allowed_filesystems=(),
    uint64_t step_rows=4_096,
):
    """Migrate the store in `directory`; return what was done, None: it is of today's format.

    Args:
        map_bytes: most bytes that it may grow to.
        store_id: that it must have; None for any.
        allowed_filesystems: as an Opening's.
        step_rows: rows that one commit moves, about.

    Raises:
        StoreInUseError: another process has it.
        StoreError: there is none, something is wrong with it, or it has no space; it can be tried
            again.
        OSError: a file of it cannot be written; likewise.
    """
    cdef DirectoryLock lock
    if not os.path.lexists(_in(directory, "records")) and not is_former(directory):
        refuse_none(directory)
    lock_init(&lock)
    journal_fd = -1
    places = [directory, *(_in(directory, name) for name in ("journal", "records"))]
    try:
        check_filesystems(filter(os.path.lexists, places), allowed_filesystems)
        journal_fd = _lock(&lock, directory)
        if not is_former(directory):
            _refuse_unreadable(directory)
            return None
        if format_of(newest_state(_in(directory, "records"))) >= STATE_FORMAT:
            return _finish(directory)
        return _migrate(&lock, directory, map_bytes, store_id, step_rows)
    finally:
        unlock_directory(&lock)
        if journal_fd >= 0:
            os.close(journal_fd)


cdef int _lock(DirectoryLock *lock, str directory) except -2:
    """Lock what every version locks; return the descriptor of the journal's data file, or -1."""
    lock_directory(lock, directory)
    data = os.path.join(directory, "journal", "data.mdb")
    return lock_file(data, directory) if os.path.exists(data) else -1


cdef _refuse_unreadable(str directory):
    """Raise StoreError unless there is a store of today's format."""
    row = newest_state(_in(directory, "records"))
    found = format_of(row)
    if found < STATE_FORMAT:
        raise StoreError(
            f"{directory} is half a store: its records are of an earlier version, or cannot be "
            f"read, and {_in(directory, 'journal')} is missing. Restore both from one copy"
        )
    if found > STATE_FORMAT:
        raise StoreError(
            f"the store in {directory} has format {found}, this program reads {STATE_FORMAT}; "
            "open it with the version that wrote it"
        )


def check_former(str directory):
    """Check a store of a former format; return a list as `verify` does. Nothing is changed.

    Raises:
        StoreInUseError: another process has it.
        StoreError: there is none, or it cannot be opened at all.
    """
    cdef DirectoryLock lock
    cdef Former *former = NULL
    lock_init(&lock)
    journal_fd = -1
    try:
        journal_fd = _lock(&lock, directory)
        if format_of(newest_state(_in(directory, "records"))) >= STATE_FORMAT:
            return []                 # what is left to do reads nothing
        former = former_open(directory, LEAST_MAP_BYTES)   # LMDB maps what is there at least
        return former_findings(former)
    finally:
        if former != NULL:
            former_close(former)
        unlock_directory(&lock)
        if journal_fd >= 0:
            os.close(journal_fd)


cdef _migrate(
    DirectoryLock *lock, str directory, uint64_t map_bytes, object store_id, uint64_t step_rows
):
    cdef Former *former
    cdef Moving moving
    _refuse_clutter(directory)
    former = former_open(directory, map_bytes)
    try:
        refuse_other(directory, former.state.store_id, store_id)
        _refuse_damaged(former, directory)
        moving.former = former
        moving.replayed_count = moving.row_count = 0
        _mark(directory, former, 1, "the log's changes are moved into the records")
        _replay(lock, &moving, step_rows)
        _mark(directory, former, 2, "the other tables are copied beside the records")
        _copy_tables(lock, &moving, step_rows)
        _mark(directory, former, 3, "a new log is made")
        _make_log(directory, former)
        _mark(directory, former, 4, "the records become a store of the new format")
        _commit_format(lock, &moving, directory)
        done = Migrated(
            former.state.format, STATE_FORMAT, former.state.revision, moving.replayed_count,
            _record_count(former), moving.row_count,
        )
    finally:
        former_close(former)
    _remove_journal(directory)
    return done


# --- before anything is written -------------------------------------------------------------------

def _refuse_clutter(directory):
    """Raise StoreError if something is in the place of what is to be made."""
    refuse_unfinished(directory)
    over = _in(directory, _OVER)
    if os.path.lexists(over):
        raise StoreError(
            f"{over} is of a migration that ended, and a store of an earlier version lies beside "
            "it; nothing was changed. Look what it is and move it away"
        )
    for name in ("log", "log.new"):
        log = _in(directory, name)
        if os.path.lexists(log) and not is_empty_log(log):
            raise StoreError(
                f"{log} holds changes that the store of an earlier version beside it does not "
                "know; nothing was changed. Look what it is and move it away"
            )


cdef _refuse_damaged(Former *former, str directory):
    bad = [finding for finding in former_findings(former) if finding[2] or finding[4]]
    if bad:
        said = ", ".join(f"{table}: {error or 'rows are damaged'}" for table, _, _, _, error in bad)
        raise StoreError(
            f"the store in {directory} is damaged ({said}): nothing was changed, a copy must be "
            "restored"
        )


# --- the steps ------------------------------------------------------------------------------------

cdef _mark(str directory, const Former *former, int step, str what):
    """Say in DIR/MIGRATING, durably, which step comes."""
    marker = _in(directory, _MARKER)
    with open(marker + ".new", "w", encoding="ascii") as file:
        file.write(
            f"This store is being migrated from format {former.state.format} to format "
            f"{STATE_FORMAT}. Step {step} of 4: {what}.\nIf this is left, 'ownerd migrate' goes "
            "on; until then nothing of the former store is lost.\n"
        )
        file.flush()
        os.fsync(file.fileno())
    os.rename(marker + ".new", marker)
    sync_directory(directory)
    fail_at(FAIL_IN_MIGRATION)


cdef _check_step(DirectoryLock *lock, int code):
    """Raise StoreError unless a step was committed."""
    reason = lmdb.strerror(code).decode(errors="replace")
    if is_full(code):
        raise StoreError(
            f"the migration has no room in the map: set map_bytes higher and run it again; nothing "
            f"is lost ({reason})"
        )
    if code not in (MDB_SUCCESS, MDB_CORRUPTED):
        note_failure(lock)            # what came of the commit nobody knows
    check(code, "cannot migrate")


cdef _reserve_disk(Former *former):
    """Reserve the blocks that a step may need: LMDB is not to find out that there are none."""
    cdef Environment *records = former.records
    cdef uint64_t needed = min(
        <uint64_t> STEP_DISK_BYTES, used_bytes(records) + <uint64_t> SMALL_DISK_BYTES
    )
    if environment_left(records, needed, clock_elapsed()) < needed and records.disk_full:
        raise StoreError(
            f"the migration has no space on the disk, a step needs {needed:,} bytes: free some and "
            "run it again; nothing is lost"
        )


cdef int commit(Former *former, MDB_txn *txn, int code) noexcept nogil:
    """Commit together with the state of the records, or abort."""
    cdef size_t size = former.tree_bytes
    if code == MDB_SUCCESS:
        former.tree.commit_count += 1
        code = put_checked(
            txn, former.tree_meta, slice_of(b"state", 5), slice_of(&former.tree, size)
        )
    if code != MDB_SUCCESS:
        lmdb.txn_abort(txn)
        return code
    fail_at(FAIL_IN_MIGRATION)
    code = lmdb.txn_commit(txn)
    fail_at(FAIL_IN_MIGRATION)
    return code


cdef int begin(Former *former, MDB_txn **txn) noexcept nogil:
    return lmdb.txn_begin(former.records.env, NULL, 0, txn)


# 1. the log

cdef _replay(DirectoryLock *lock, Moving *moving, uint64_t step_rows):
    cdef Former *former = moving.former
    cdef char first[8]
    cdef int code
    moving.place.revision, moving.place.more = former.tree.flushed_revision, False
    check(
        lmdb.cursor_open(former.reader, former.tables[<int> RECORDS], &moving.cursor),
        "cannot read the journal",
    )
    put_be64(first, former.tree.flushed_revision + 1)
    moving.key = val_of(slice_of(first, 8))
    moving.found = lmdb.cursor_get(moving.cursor, &moving.key, &moving.value, MDB_SET_RANGE)
    code = MDB_SUCCESS
    try:
        while code == MDB_SUCCESS and moving.found == MDB_SUCCESS:
            _reserve_disk(former)
            with nogil:
                code = replay_step(moving, step_rows)
    finally:
        lmdb.cursor_close(moving.cursor)
    _check_step(lock, code)
    if moving.found != MDB_NOTFOUND or moving.place.more \
            or former.tree.flushed_revision != former.state.revision:
        check(MDB_CORRUPTED, "cannot read the journal")


cdef int replay_step(Moving *moving, uint64_t most) noexcept nogil:
    """Move some rows; the records are flushed up to the last revision that is there whole."""
    cdef MDB_txn *txn
    cdef uint64_t moved = 0
    cdef int code = begin(moving.former, &txn)
    if code != MDB_SUCCESS:
        return code
    while code == MDB_SUCCESS and moving.found == MDB_SUCCESS and moved < most:
        code = replay_row(moving, txn, &moved)
        moving.found = lmdb.cursor_get(moving.cursor, &moving.key, &moving.value, MDB_NEXT)
    return commit(moving.former, txn, code)


cdef int replay_row(Moving *moving, MDB_txn *txn, uint64_t *moved) noexcept nogil:
    cdef JournalRow row
    cdef Slice key, value
    cdef int code = MDB_SUCCESS
    if not row_verify(&moving.key, &moving.value) \
            or not journal_follows(&moving.place, &moving.key, &moving.value):
        return MDB_CORRUPTED
    row = journal_row(&moving.value)
    while code == MDB_SUCCESS and journal_next(&row, &key, &value):
        code = put_record(moving.former, txn, key, value)
        moved[0] += 1
    moved[0] += 1
    if code != MDB_SUCCESS:
        return code
    if not moving.place.more:
        moving.former.tree.flushed_revision = moving.place.revision
        moving.replayed_count += 1
    return MDB_SUCCESS if journal_ended(&row) else MDB_CORRUPTED


cdef int put_record(Former *former, MDB_txn *txn, Slice key, Slice value) noexcept nogil:
    cdef MDB_val where = val_of(key)
    cdef int code
    if value.size != 0:
        return put_checked(txn, former.tree_records, key, value)
    code = lmdb.delete(txn, former.tree_records, &where, NULL)
    return MDB_SUCCESS if code == MDB_NOTFOUND else code


# 2. the other tables

cdef _copy_tables(DirectoryLock *lock, Moving *moving, uint64_t step_rows):
    cdef int table, code
    _reserve_disk(moving.former)
    code = empty_tables(moving)
    _check_step(lock, code)
    for table in range(TABLE_COUNT):
        if table != RECORDS and table != META and moving.former.there[table]:
            _copy_table(lock, moving, table, step_rows)


cdef int empty_tables(Moving *moving) noexcept nogil:
    """Make the tables; empty what a migration that was cut off has left in them."""
    cdef Former *former = moving.former
    cdef MDB_txn *txn
    cdef int table, code = begin(former, &txn)
    if code != MDB_SUCCESS:
        return code
    for table in range(TABLE_COUNT):
        if code == MDB_SUCCESS:
            code = lmdb.dbi_open(txn, TABLE_NAMES[table], MDB_CREATE, &moving.tables[table])
        if code == MDB_SUCCESS and table != META and table != RECORDS:
            code = lmdb.drop(txn, moving.tables[table], 0)
    return commit(former, txn, code)


cdef _copy_table(DirectoryLock *lock, Moving *moving, int table, uint64_t step_rows):
    cdef Former *former = moving.former
    cdef int code = MDB_SUCCESS
    check(
        lmdb.cursor_open(former.reader, former.tables[table], &moving.cursor),
        "cannot read the tables",
    )
    moving.found = lmdb.cursor_get(moving.cursor, &moving.key, &moving.value, MDB_FIRST)
    try:
        while code == MDB_SUCCESS and moving.found == MDB_SUCCESS:
            _reserve_disk(former)
            with nogil:
                code = copy_step(moving, table, step_rows)
    finally:
        lmdb.cursor_close(moving.cursor)
    _check_step(lock, code)
    if moving.found != MDB_NOTFOUND:
        check(moving.found, "cannot read the tables")


cdef int copy_step(Moving *moving, int table, uint64_t most) noexcept nogil:
    cdef MDB_txn *txn
    cdef uint64_t copied = 0, copied_bytes = 0
    cdef int code = begin(moving.former, &txn)
    if code != MDB_SUCCESS:
        return code
    while code == MDB_SUCCESS and moving.found == MDB_SUCCESS and copied < most \
            and copied_bytes < STEP_BYTES:
        code = copy_row(moving, txn, table)
        copied += 1
        copied_bytes += moving.key.mv_size + moving.value.mv_size
        moving.found = lmdb.cursor_get(moving.cursor, &moving.key, &moving.value, MDB_NEXT)
    moving.row_count += copied
    return commit(moving.former, txn, code)


cdef int copy_row(Moving *moving, MDB_txn *txn, int table) noexcept nogil:
    """Copy a row with its checksum, which must be right."""
    cdef MDB_val value = moving.value
    if not row_verify(&moving.key, &value):
        return MDB_CORRUPTED
    return lmdb.put(txn, moving.tables[table], &moving.key, &moving.value, MDB_APPEND)


# 3. the new log

cdef _make_log(str directory, const Former *former):
    cdef LogOptions options = default_log_options()
    new, log = _in(directory, "log.new"), _in(directory, "log")
    if os.path.lexists(new):
        shutil.rmtree(new)
    file_log_create(new, former.state.store_id, former.state.revision, &options)
    fail_at(FAIL_IN_MIGRATION)
    if os.path.lexists(log):
        shutil.rmtree(log)
    fail_at(FAIL_IN_MIGRATION)
    os.rename(new, log)
    sync_directory(directory)
    fail_at(FAIL_IN_MIGRATION)


# 4. the commit

cdef _commit_format(DirectoryLock *lock, Moving *moving, str directory):
    cdef Former *former = moving.former
    cdef SessionRow session
    cdef StateRow state
    cdef MDB_txn *txn
    cdef int code
    _reserve_disk(former)
    state = _new_state(former)
    session = _new_session(former, directory)
    code = begin(former, &txn)
    check(code, "cannot begin a transaction")
    code = put_checked(
        txn, former.tree_meta, slice_of(b"state", 5), slice_of(&state, sizeof(state))
    )
    if code == MDB_SUCCESS and former.opened:
        code = put_checked(
            txn, former.tree_meta, slice_of(b"session", 7), slice_of(&session, sizeof(session))
        )
    if code == MDB_SUCCESS:
        code = put_settings(former, txn)
    if code != MDB_SUCCESS:
        lmdb.txn_abort(txn)
    else:
        code = lmdb.txn_commit(txn)
    _check_step(lock, code)
    fail_at(FAIL_IN_MIGRATION)


cdef int put_settings(Former *former, MDB_txn *txn) noexcept nogil:
    """Copy the settings, if any were set: a former version takes no such row beside its state."""
    cdef MDB_val key = val_of(slice_of(b"settings", 8)), value
    cdef int code = lmdb.get(former.reader, former.tables[<int> META], &key, &value)
    if code == MDB_NOTFOUND:
        return MDB_SUCCESS
    if code == MDB_SUCCESS and not row_verify(&key, &value):
        code = MDB_CORRUPTED
    if code != MDB_SUCCESS:
        return code
    return put_checked(
        txn, former.tree_meta, slice_of(b"settings", 8), slice_of(value.mv_data, value.mv_size)
    )


cdef StateRow _new_state(const Former *former) noexcept:
    cdef StateRow state
    memset(&state, 0, sizeof(state))
    state.revision = former.state.revision
    state.store_id = former.state.store_id
    state.time_ns = former.state.time_ns
    state.next_entry = former.state.next_entry
    state.next_list = former.state.next_list
    state.format = STATE_FORMAT
    state.incarnation = former.state.incarnation
    state.first_revision = former.state.first_revision
    state.session = former.session.session
    state.commit_count = former.tree.commit_count + 1
    return state


cdef SessionRow _new_session(const Former *former, str directory) except *:
    """Return the last session's row, by which the next opening knows a copy.

    The new log was made here, so nothing is known of it; but a journal that was a copy makes the
    whole one.
    """
    cdef SessionRow row
    cdef FileMark mark = file_mark(os.path.join(directory, "journal", "data.mdb"))
    memset(&row, 0, sizeof(row))
    row.session = row.log_session = former.session.session
    row.before = former.session.before
    if not same_mark(&mark, &former.session.files[0]):
        row.files[0].inode, row.files[0].born_ns = <uint64_t> -1, 1   # of no file
    row.files[1] = former.session.files[1]
    row.stamp = former.session.stamp
    row.stamp_before = former.session.stamp_before
    return row


cdef int64_t _record_count(Former *former) except -1:
    cdef MDB_txn *txn
    cdef MDB_stat stat
    check(lmdb.txn_begin(former.records.env, NULL, MDB_RDONLY, &txn), "cannot begin reading")
    lmdb.stat(txn, former.tree_records, &stat)
    lmdb.txn_abort(txn)
    return <int64_t> stat.ms_entries


# 5. the former log goes

def _finish(directory):
    """Remove what is left of a migration whose fourth step was committed.

    Raises:
        StoreError: the journal is not the one that was migrated.
    """
    _refuse_unreadable(directory)
    row = newest_state(_in(directory, "records"))
    journal = _in(directory, "journal")
    former_format = STATE_FORMAT
    if os.path.lexists(journal):
        former = newest_state(journal)
        # Revision and id of the store are what both begin with; nothing was committed since.
        if former is None or former[:16] != row[:16] \
                or not os.path.lexists(_in(directory, _MARKER)):
            raise StoreError(
                f"{journal} is of an earlier version, and the records beside it are not: they do "
                "not belong together; nothing was changed. Restore both from one copy, or move "
                f"{journal} away"
            )
        former_format = format_of(former)
    _remove_journal(directory)
    return Migrated(former_format, STATE_FORMAT, int.from_bytes(row[:8], "little"), 0, 0, 0)


def _remove_journal(directory):
    journal, over = _in(directory, "journal"), _in(directory, _OVER)
    if os.path.lexists(journal):
        os.rename(journal, over)
        sync_directory(directory)
    fail_at(FAIL_IN_MIGRATION)
    if os.path.lexists(over):
        shutil.rmtree(over)
        sync_directory(directory)
    fail_at(FAIL_IN_MIGRATION)
    for name in (_MARKER + ".new", _MARKER):
        if os.path.lexists(_in(directory, name)):
            os.unlink(_in(directory, name))
    sync_directory(directory)
