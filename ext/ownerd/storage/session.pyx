"""An opening of a store, and whether its files are the ones that it last wrote.

A store that is restored from an older copy, or copied, would give out revisions a second time. So
each opening leaves marks: the tree keeps what the store's files, and the file DIR/SESSION, are
known by (`filesystem`), and the opening's random id, which the log names from then on;
DIR/SESSION is made anew each time, so that a data file that is overwritten in place names another
one.

- Other files, or another DIR/SESSION, than the tree names: the store was copied, and begins a new
  incarnation: another random id, and the revision goes on to the next multiple of 2^44. So does
  one that is being restored from a backup, and one that leaves its cluster: with its last mark it
  forgets where in that log it was.
- A log that ends with an entry of an opening that the tree does not know: they are of two days, and
  do not make one store.

Each step may be the last before a power cut: while a session begins, the tree names both the marks
before and those to come. A store that was never opened has no marks, and gets its first.
"""

import errno
import os
from contextlib import suppress

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from ownerd.base.lmdb cimport MDB_MAP_FULL, MDB_NOTFOUND, MDB_SUCCESS, MDB_val
from ownerd.storage.capacity cimport CAPACITY_FOR_CHANGES, is_full
from ownerd.storage.environment cimport check
from ownerd.storage.file_log cimport (
    LOG_FULL, LOG_OK, LogStatus, file_log_error, file_log_outdated,
)
from ownerd.storage.filesystem cimport FileMark, file_mark, same_mark
from ownerd.storage.log_writer cimport file_log_begin
from ownerd.storage.record_tree cimport (
    Tree, tree_drop_place, tree_get, tree_put_state, tree_rest,
)
from ownerd.storage.store cimport (
    store_begin, store_capacity, store_commit_opening, store_note_failure, store_prepare_log,
    store_reserve_log,
)
from ownerd.storage.tables cimport META, SessionRow

from ownerd.storage.directory import StoreError, sync_directory

cdef enum:
    INCARNATION_BITS = 44             # of the revisions that one incarnation has
    NOT_THERE = -1
    RECORDS_FILE = 1                  # of `_data_files`


_FULL = (errno.ENOSPC, errno.EDQUOT)
_STAMP = "SESSION"
_STAMP_TEXT = (
    "ownerd writes this file anew each time that it opens the store, and knows a copy by it. Do "
    "not delete it, nor put another one in its place.\n"
)


cdef begin_session(Store *store, str directory, object opening):
    """Mark the store as opened; begin a new incarnation if its files are not its own.

    Raises:
        StoreError: log and records are of two days; or the store was copied and has no room to
            begin an incarnation.
        OSError: DIR/SESSION cannot be written.
    """
    cdef SessionRow row
    cdef bint known = session_read(store.tree, directory, &row)
    cdef bint copied
    cdef bint leaves = store.place.log_id != 0   # nodes leave no marks
    if known and not leaves and _log_session(store) not in (row.session, row.log_session):
        raise StoreError(
            f"{directory}/log and {directory}/records are of one store, but not of one day: one of "
            "them was replaced by a copy. Restore both from one copy"
        )
    copied = opening.restored or leaves or (known and not _files_same(directory, &row))
    if copied and store_capacity(store, 0) < CAPACITY_FOR_CHANGES:
        store_reserve_log(store, store.reserve_bytes)   # the next segment was not copied with it
    if store_capacity(store, 0) < CAPACITY_FOR_CHANGES:
        if not copied:
            return                    # the marks of the session before stay
        raise StoreError(
            f"the store in {directory} is a copy, and has no room to begin a new incarnation: "
            "free disk space, or set map_bytes higher"
        )
    try:
        _begin(store, directory, &row, copied, opening)
    except OSError as error:
        if copied or error.errno not in _FULL:
            raise
    if copied:
        opening.tell(
            "new_incarnation",
            _RESTORED if opening.restored else _LEFT if leaves else _COPIED,
        )


_LEFT = "the store left its cluster, and begins a new incarnation"
_RESTORED = "the store was restored from a backup, and begins a new incarnation"
_COPIED = (
    "the store's files are not the ones that it last wrote: it was copied, or restored from a copy."
    " It begins a new incarnation: revisions go on from the next multiple of 2^44, page tokens and"
    " etags of before are refused. What was answered after the copy was made is not in it"
)


cdef bint session_read(Tree *tree, str directory, SessionRow *row) except -1:
    """Read the last session's row; False if there was none."""
    cdef MDB_val value
    cdef int code = tree_get(tree, META, b"session", 7, &value)
    memset(row, 0, sizeof(SessionRow))
    if code == MDB_SUCCESS:
        memcpy(row, value.mv_data, min(value.mv_size, sizeof(SessionRow)))
    tree_rest(tree)
    if code != MDB_NOTFOUND:
        check(code, f"cannot read the store in {directory}")
    return code == MDB_SUCCESS


cdef session_moves_records(SessionRow *row, str former, str new):
    """Name another file as the records', unless the marks name neither: a copy stays one."""
    cdef FileMark mark = file_mark(former)
    if same_mark(&mark, &row.files[RECORDS_FILE]):
        row.files[RECORDS_FILE] = file_mark(new)


def _data_files(directory):
    return [os.path.join(directory, "log"), os.path.join(directory, "records", "data.mdb")]


cdef bint _files_same(str directory, const SessionRow *row) except -1:
    """Tell whether all marks are those that the row names."""
    cdef FileMark mark
    cdef int i
    for i, path in enumerate(_data_files(directory)):
        mark = file_mark(path)
        if not same_mark(&mark, &row.files[i]):
            return False
    mark = _stamp_mark(os.path.join(directory, _STAMP))
    return _same_stamp(&mark, &row.stamp) \
        or (row.before != row.session and _same_stamp(&mark, &row.stamp_before))


cdef FileMark _stamp_mark(str path) except *:
    """Return what DIR/SESSION is known by; `born_ns` is NOT_THERE if there is none."""
    cdef FileMark mark
    if os.path.exists(path):
        return file_mark(path)
    mark.inode = 0
    mark.born_ns = NOT_THERE
    return mark


cdef bint _same_stamp(const FileMark *mark, const FileMark *other) noexcept nogil:
    if mark.born_ns == NOT_THERE or other.born_ns == NOT_THERE:
        return mark.born_ns == other.born_ns
    return same_mark(mark, other)


# --- a new session --------------------------------------------------------------------------------

cdef FileMark _new_stamp(str path) except *:
    """Make a file that has not been there before, durably; return what it is known by."""
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "x", encoding="ascii") as file:
        file.write(_STAMP_TEXT)
        file.flush()
        os.fsync(file.fileno())
    return file_mark(path)


cdef _begin(Store *store, str directory, SessionRow *row, bint copied, object opening):
    """Leave the marks of a new session, in steps of which each may be the last."""
    cdef int i
    stamp = os.path.join(directory, _STAMP)
    if copied:                        # first: with the marks to come it is a copy no more
        _begin_incarnation(store, directory)
    row.before = row.session
    row.log_session = _log_session(store)
    row.session = int.from_bytes(os.urandom(8), "little") | 1
    for i, path in enumerate(_data_files(directory)):
        row.files[i] = file_mark(path)
    row.stamp_before = _stamp_mark(stamp)
    row.stamp = _new_stamp(stamp + ".new")
    _check_written(store, tree_put_state(store.tree, &store.tree.state, row), directory)
    os.rename(stamp + ".new", stamp)
    sync_directory(directory)
    if file_log_outdated(store.log):
        store_prepare_log(store, True)   # without room for one it goes on as it is
    _check_appended(store, file_log_begin(store.log, row.session, store.state.time_ns), directory)
    row.before = row.log_session = row.session
    _check_written(store, tree_put_state(store.tree, &store.tree.state, row), directory)
    store.state.session = row.session
    if store.place.log_id != 0:
        _check_written(store, tree_drop_place(store.tree), directory)
        store.place.log_id = 0
    # What a commit that failed has left in either file was just written over.
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, "FAILED"))


cdef uint64_t _log_session(const Store *store) noexcept nogil:
    """Return whose the log's last entry is: an opening's on the way to it, or as its state says."""
    return store.log.tail.session or store.state.session


cdef _check_appended(Store *store, LogStatus status, str directory):
    cdef int code = MDB_SUCCESS
    if status != LOG_OK:
        code = MDB_MAP_FULL if status == LOG_FULL else file_log_error(store.log)
    _check_written(store, code, directory)


cdef _check_written(Store *store, int code, str directory):
    if code != MDB_SUCCESS and not is_full(code):
        store_note_failure(store)
    check(code, f"cannot write to the store in {directory}")


cdef uint64_t _next_incarnation(uint64_t revision) noexcept nogil:
    """Return the revision that a new incarnation begins at."""
    return (revision >> INCARNATION_BITS) + 1 << INCARNATION_BITS


cdef _begin_incarnation(Store *store, str directory):
    cdef uint64_t incarnation = int.from_bytes(os.urandom(8), "little") | 1
    store_begin(store)
    _check_written(
        store,
        store_commit_opening(store, incarnation, _next_incarnation(store.state.revision), 0),
        directory,
    )
