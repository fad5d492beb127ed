"""Compaction: a store's records without the pages that LMDB keeps for later; nobody has it open.

    DIR/records.compact/  the new data file, until it is whole and on the disk; then it gets the
                          place of the old one in one step

Cut off at any moment, the old file or the new one is the store's. What is in the log stays there.
The new file is as if it had been committed to twice: LMDB's copy has heads that no commit of two
trees leaves behind (`meta_pages`). It is no copy that begins an incarnation (`session`), unless
the old one was.
"""

import os
import shutil
from typing import NamedTuple

from libc.stdint cimport uint64_t

from ownerd.base.lmdb cimport MDB_CP_COMPACT, lmdb
from ownerd.storage.creation cimport refuse_none, refuse_other
from ownerd.storage.directory cimport (
    DirectoryLock, lock_directory, lock_init, unlock_directory,
)
from ownerd.storage.environment cimport (
    check, environment_close, environment_of_copy, open_tables,
)
from ownerd.storage.meta_pages cimport meta_fault
from ownerd.storage.record_tree cimport Tree, tree_close, tree_open, tree_put_state
from ownerd.storage.session cimport session_moves_records, session_read
from ownerd.storage.tables cimport TABLE_COUNT, TABLE_NAMES, SessionRow, StateRow

from ownerd.storage.creation import refuse_former, refuse_unfinished
from ownerd.storage.directory import StoreError, sync_directory
from ownerd.storage.filesystem import check_filesystems
from ownerd.storage.restoring import is_restored

cdef enum:
    COMMITS = 2                       # as many as a file has heads


class Compacted(NamedTuple):
    """What came of it: the bytes of the disk that the records took and take."""

    bytes_before: int
    bytes_after: int


def compact(str directory, *, uint64_t map_bytes, store_id=None, allowed_filesystems=()):
    """Compact the store in `directory`; return Compacted.

    Args:
        map_bytes: most bytes that it may grow to.
        store_id: that it must have; None for any.
        allowed_filesystems: as an Opening's.

    Raises:
        StoreInUseError: another process has it.
        StoreError: there is none, something is wrong with it, or there is no space for a second
            file; nothing is changed.
        OSError: a file cannot be written; the store is as it was, or is compacted where the last
            step failed, which syncs the directory.
    """
    cdef DirectoryLock lock
    records = os.path.join(directory, "records")
    if not os.path.lexists(records):
        refuse_none(directory)
    refuse_former(directory)
    refuse_unfinished(directory)
    if is_restored(directory):
        raise StoreError(
            f"the restore into {directory} has all but ended, and has to end first: 'ownerd serve'"
        )
    lock_init(&lock)
    place = os.path.join(directory, "records.compact")
    try:
        check_filesystems([directory, records], allowed_filesystems)
        lock_directory(&lock, directory)
        try:
            return _compact(directory, records, place, map_bytes, store_id)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    finally:
        unlock_directory(&lock)


cdef _compact(str directory, str records, str place, uint64_t map_bytes, object store_id):
    cdef StateRow state
    cdef SessionRow session
    cdef Tree *tree
    cdef bint known
    cdef int code
    cdef bytes path = os.fsencode(place)
    cdef const char *to = path
    shutil.rmtree(place, ignore_errors=True)
    os.mkdir(place, 0o700)
    tree = tree_open(records, map_bytes)
    try:
        refuse_other(directory, tree.state.store_id, store_id)
        known = session_read(tree, directory, &session)
        state = tree.state
        with nogil:
            code = lmdb.env_copy2(tree.environment.env, to, MDB_CP_COMPACT)
        check(code, f"cannot compact the store in {directory}, nothing was changed")
    finally:
        tree_close(tree)
    former, new = (os.path.join(each, "data.mdb") for each in (records, place))
    if known:
        session_moves_records(&session, former, new)
    _settle(place, map_bytes, &state, &session if known else NULL)
    with open(new, "rb") as file:
        os.fsync(file.fileno())
    done = Compacted(os.path.getsize(former), os.path.getsize(new))
    os.rename(new, former)
    sync_directory(records)
    return done


cdef _settle(
    str place, uint64_t map_bytes, const StateRow *state, const SessionRow *session
):
    """Commit to the new file until its heads are two commits'."""
    cdef Tree fresh
    fresh.environment = environment_of_copy(place, map_bytes)
    fresh.state = state[0]
    try:
        open_tables(fresh.environment, TABLE_NAMES, fresh.tables, TABLE_COUNT)
        while fresh.state.commit_count < state.commit_count + COMMITS:
            check(tree_put_state(&fresh, state, session), "cannot compact, nothing was changed")
    finally:
        environment_close(fresh.environment)
    fault = meta_fault(place, sizeof(StateRow))
    if fault is not None:
        raise StoreError(f"cannot compact, nothing was changed: {fault}")
