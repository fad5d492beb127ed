"""Makes a new store, and tells a directory that has one from one that has none.

    DIR/CREATING/  there while a new store is being made: in it are its two environments, which get
                   their places when they are whole, journal last

What holds a commit of a server or a record is never removed, whatever lies beside it.
"""

import os
import shutil

from libc.stdint cimport uint64_t
from libc.string cimport memset

from ownerd.base.bytes cimport Slice, empty_slice, slice_of
from ownerd.base.lmdb cimport lmdb
from ownerd.rules.ownership cimport Code
from ownerd.storage.catalog cimport Catalog, catalog_init, put_code
from ownerd.storage.environment cimport check, environment_close, environment_create, open_tables
from ownerd.storage.meta_pages cimport newest_state
from ownerd.storage.record_tree cimport tree_create
from ownerd.storage.tables cimport META, STATE_FORMAT, TABLE_COUNT, TABLE_NAMES, StateRow, Tables
from ownerd.storage.transaction cimport (
    Transaction, put_row, transaction_begin, transaction_error, transaction_init,
)

from ownerd.storage.catalog import DEFAULT_CODES
from ownerd.storage.directory import StoreError, sync_directory

cdef enum:
    MOST_UNFINISHED_BYTES = 1 << 20   # a new environment has no more

_FILES = {"data.mdb", "lock.mdb"}


def _places(directory):
    return [os.path.join(directory, name) for name in ("CREATING", "journal", "records")]


cdef bint find_store(str directory) except -1:
    """Tell whether there is a store in the directory; finish one that was all but made.

    Raises:
        StoreError: half of a store is there, or what says that one is being made beside a store.
    """
    creating, journal, records = _places(directory)
    if not os.path.lexists(journal) and _are_pair(_inside(creating)[0], records):
        _finish(directory)
    there = [path for path in (journal, records) if os.path.lexists(path)]
    if there and os.path.lexists(creating):
        _remove_marker(directory, there)
    if len(there) == 1:
        raise StoreError(
            f"{directory} is half a store: {journal} and {records} belong together. Restore "
            "both from one copy; a store of format 1 has to be exported with its own version"
        )
    return len(there) == 2


def _are_pair(journal, records):
    """Tell whether two environments are of one store: both state rows have its id second."""
    rows = [newest_state(path) for path in (journal, records)]
    return None not in rows and rows[0][8:16] == rows[1][8:16]


def _remove_marker(directory, there):
    """Remove an empty CREATING, which is left when a new store has got its place."""
    creating, _, _ = _places(directory)
    try:
        os.rmdir(creating)
        sync_directory(directory)
    except OSError:
        raise StoreError(
            f"{creating} says that the store in {directory} was never made to its end, and "
            f"{' and '.join(there)} may hold one that was; nothing was deleted. If it is the store "
            f"that you want, move {creating} away and start again; if it never was in use, move "
            "all of them away"
        ) from None


cdef create_store(str directory):
    """Make an empty store in a directory that has none; a power cut meanwhile leaves no half."""
    creating, _, records = _places(directory)
    _remove_unfinished(creating)
    for path in (creating, *_inside(creating)):
        os.mkdir(path, 0o700)
    store_id = int.from_bytes(os.urandom(8), "little")
    new_journal, new_records = _inside(creating)
    tree_create(new_records, store_id)
    _create_log(new_journal, store_id)
    for path in (new_journal, new_records, creating, directory):
        sync_directory(path)
    os.rename(new_records, records)
    sync_directory(directory)
    _finish(directory)


def _inside(creating):
    """Return the places of journal and records while they are made."""
    return [os.path.join(creating, name) for name in ("journal", "records")]


def _finish(directory):
    """Give the journal its place, which makes the new store one."""
    creating, journal, _ = _places(directory)
    os.rename(_inside(creating)[0], journal)
    for path in (directory, creating):
        sync_directory(path)
    os.rmdir(creating)
    sync_directory(directory)


def _remove_unfinished(creating):
    """Remove what the making of a store has left behind.

    Raises:
        StoreError: it is more than that.
    """
    if not os.path.lexists(creating):
        return
    if os.path.isfile(creating):      # as a version of before left it, before anything was made
        os.unlink(creating)
        return
    if not all(_is_unfinished(path) for path in _entries(creating)):
        raise StoreError(
            f"{creating} holds more than a store that was never made to its end; nothing was "
            "deleted. Look what it is and move it away, or name another data directory"
        )
    shutil.rmtree(creating)


def _entries(path):
    return [os.path.join(path, name) for name in os.listdir(path)]


def _is_unfinished(path):
    """Tell whether `path` is an environment that holds no commit of a server."""
    if os.path.basename(path) not in ("journal", "records") or not os.path.isdir(path) \
            or not _FILES.issuperset(os.listdir(path)):
        return False
    data = os.path.join(path, "data.mdb")
    if os.path.exists(data) and os.path.getsize(data) > MOST_UNFINISHED_BYTES:
        return False
    # Both state rows begin with a revision; a new store is at 0.
    return not any((newest_state(path) or b"")[:8])


cdef _create_log(str path, uint64_t store_id):
    """Make the journal's environment with its first commit: the format and the wrap-up codes."""
    cdef Tables tables
    cdef Transaction txn
    tables.environment = environment_create(path)
    try:
        open_tables(tables.environment, TABLE_NAMES, tables.handles, TABLE_COUNT)
        transaction_init(&txn, &tables)
        transaction_begin(&txn)
        _put_codes(&txn)
        _put_first_state(&txn, store_id)
        check(transaction_error(&txn), "cannot write the new store")
        check(lmdb.txn_commit(txn.txn), "cannot write the new store")
    finally:
        environment_close(tables.environment)


cdef _put_codes(Transaction *txn):
    cdef Catalog catalog
    cdef Code flags
    cdef Slice code
    catalog_init(&catalog, txn)
    for name, counts, success in DEFAULT_CODES:
        encoded = name.encode()
        code = slice_of(<const char *> encoded, len(encoded))
        flags.counts_as_attempt, flags.success = counts, success
        put_code(&catalog, code, &flags, code)


cdef _put_first_state(Transaction *txn, uint64_t store_id):
    cdef StateRow state
    memset(&state, 0, sizeof(state))
    state.store_id = store_id
    state.incarnation = store_id
    state.format = STATE_FORMAT
    state.commit_count = 1
    state.next_entry = state.next_list = 1
    put_row(txn, META, slice_of(b"state", 5), slice_of(&state, sizeof(state)), empty_slice())
