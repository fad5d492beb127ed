"""Makes a new store, and tells a directory that has one from one that has none.

    DIR/CREATING/  there while a new store is being made: in it are its log and its records, which
                   get their places when they are whole, records last

What holds a commit of a server or a record is never removed, whatever lies beside it.
"""

import os
import shutil

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from ownerd.base.bytes cimport Slice, slice_of
from ownerd.rules.ownership cimport Code
from ownerd.storage.catalog cimport Catalog, catalog_init, put_code
from ownerd.storage.file_log cimport LogOptions, default_log_options
from ownerd.storage.log_entry cimport LOG_BLOCK_BYTES
from ownerd.storage.log_opening cimport file_log_create
from ownerd.storage.meta_pages cimport newest_state
from ownerd.storage.record_tree cimport tree_create
from ownerd.storage.segment cimport (
    ENTRIES_FROM, SEGMENT_NAME_BYTES, SegmentHeader, segment_file_name,
)
from ownerd.storage.tables cimport STATE_FORMAT, StateRow
from ownerd.storage.transaction cimport Transaction, transaction_init

from ownerd.storage.catalog import DEFAULT_CODES
from ownerd.storage.directory import StoreError, sync_directory
from ownerd.storage.restoring import finish_restore, refuse_unrestored

cdef enum:
    MOST_UNFINISHED_BYTES = 1 << 20   # a new tree has no more

_FILES = {"data.mdb", "lock.mdb"}
_OR_OF_FORMAT_1 = (
    "; or, if it is whole, it is of format 1, which had no log: this version neither opens nor "
    "migrates it. Export its ownership with the version that wrote it, and import that"
)


def _places(directory):
    return [os.path.join(directory, name) for name in ("CREATING", "log", "records")]


cdef bint find_store(str directory) except -1:
    """Tell whether there is a store in the directory; finish one that was all but made or restored.

    Raises:
        StoreError: half of a store is there, or what says that one is being made beside a store; or
            there is none, but a restore that was cut off.
    """
    creating, log, records = _places(directory)
    finish_restore(directory)
    refuse_former(directory)
    if not os.path.lexists(records) and _are_pair(log, _inside(creating)[1]):
        _finish(directory)
    there = [path for path in (log, records) if os.path.lexists(path)]
    if there and os.path.lexists(creating):
        _remove_marker(directory, there)
    if len(there) == 1:
        raise StoreError(
            f"{directory} is half a store: {log} and {records} belong together. Restore both from "
            "one copy" + _OR_OF_FORMAT_1 * (there == [records])
        )
    if not there:
        refuse_unrestored(directory)
    return len(there) == 2


cdef refuse_none(str directory):
    raise StoreError(
        f"there is no store in {directory}, and none is to be made: see that the directory is the "
        f"right one and its volume is mounted; 'ownerd init --data {directory}' makes a new store"
    )


cdef refuse_other(str directory, uint64_t store_id, object wanted):
    """Raise StoreError if another store than this one is wanted; None: any is."""
    if wanted is not None and wanted != store_id:
        raise StoreError(
            f"the store in {directory} has the id {store_id:016x}, and store_id says that it must "
            f"be {wanted:016x}: it is another store. Mount or restore the right one, or change "
            "store_id"
        )


def refuse_former(directory):
    """Raise StoreError if there is a store of a version that kept its log in an environment."""
    if os.path.lexists(os.path.join(directory, "MIGRATING")):
        raise StoreError(
            f"the migration of the store in {directory} has not ended: 'ownerd migrate --data "
            f"{directory}' goes on with it, as 'ownerd serve --migrate' does"
        )
    if os.path.lexists(os.path.join(directory, "journal")):
        raise StoreError(
            f"the store in {directory} was written by an earlier version: keep a copy, and run "
            f"'ownerd migrate --data {directory}' once, or start with 'ownerd serve --migrate'"
        )


def refuse_unfinished(directory):
    """Raise StoreError if what says that a store is being made holds something."""
    creating, _, records = _places(directory)
    if os.path.lexists(creating):
        _remove_marker(directory, [os.path.join(directory, "journal"), records])


def _are_pair(log, records):
    """Tell whether a log and records are of one store: each has its id second."""
    row = newest_state(records)
    return row is not None and row[8:16] == _store_id(log)


def _store_id(log):
    """Return whose log it is, as its first segment says; None if that cannot be read."""
    cdef char name[SEGMENT_NAME_BYTES]
    cdef SegmentHeader header
    segment_file_name(name, 1)
    try:
        with open(os.path.join(log, name.decode()), "rb") as file:
            head = file.read(sizeof(header))
    except OSError:
        return None
    if len(head) < <Py_ssize_t> sizeof(header):
        return None
    memcpy(&header, <const char *> head, sizeof(header))
    return header.store_id.to_bytes(8, "little")


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


cdef create_store(str directory, uint64_t segment_bytes):
    """Make an empty store in a directory that has none; a power cut meanwhile leaves no half."""
    cdef StateRow state
    cdef LogOptions options = default_log_options()
    options.segment_bytes = segment_bytes
    options.first_bytes = min(options.first_bytes, segment_bytes)
    creating, log, _ = _places(directory)
    _remove_unfinished(creating)
    new_log, new_records = _inside(creating)
    for path in (creating, new_records):
        os.mkdir(path, 0o700)
    memset(&state, 0, sizeof(state))
    state.store_id = state.incarnation = int.from_bytes(os.urandom(8), "little")
    state.format = STATE_FORMAT
    state.next_entry = state.next_list = 1
    file_log_create(new_log, state.store_id, 0, &options)
    _create_tree(new_records, &state)
    for path in (new_records, creating, directory):
        sync_directory(path)
    os.rename(new_log, log)
    sync_directory(directory)
    _finish(directory)


def _inside(creating):
    """Return the places of log and records while they are made."""
    return [os.path.join(creating, name) for name in ("log", "records")]


def _finish(directory):
    """Give the records their place, which makes the new store one."""
    creating, _, records = _places(directory)
    os.rename(_inside(creating)[1], records)
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
    """Tell whether `path` is a part that holds no commit of a server."""
    if not os.path.isdir(path):
        return False
    if os.path.basename(path) == "log":
        return is_empty_log(path)
    if os.path.basename(path) != "records" or not _FILES.issuperset(os.listdir(path)):
        return False
    data = os.path.join(path, "data.mdb")
    if os.path.exists(data) and os.path.getsize(data) > MOST_UNFINISHED_BYTES:
        return False
    # A state row begins with a revision; a new store is at 0.
    return not any((newest_state(path) or b"")[:8])


def is_empty_log(path):
    """Tell whether a directory is a log, or a part of one, that holds no commit of a server."""
    return os.path.isdir(path) and all(_is_empty_segment(file) for file in _entries(path))


def _is_empty_segment(path):
    """Tell whether a file is one of the log's, without an entry."""
    cdef char name[SEGMENT_NAME_BYTES]
    segment_file_name(name, 1)
    if os.path.basename(path) not in (name.decode(), "next.new") or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        file.seek(<int> ENTRIES_FROM)
        return not any(file.read(<int> LOG_BLOCK_BYTES))


cdef _create_tree(str path, const StateRow *state):
    """Make the records with their first commit: the state and the wrap-up codes."""
    cdef Transaction txn
    cdef Catalog catalog
    cdef Code flags
    cdef Slice code
    transaction_init(&txn, NULL)
    catalog_init(&catalog, &txn)
    for name, counts, success in DEFAULT_CODES:
        encoded = name.encode()
        code = slice_of(<const char *> encoded, len(encoded))
        flags.counts_as_attempt, flags.success = counts, success
        put_code(&catalog, code, &flags, code)
    tree_create(path, state, &txn.rows)
