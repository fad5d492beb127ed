"""The record tree: every record and every row of the small tables as of the flushed revision.

It is the store's one LMDB environment, written in steps that are one transaction each: `flush`
brings an immutable memtable in, `vacuum` folds a list's old events into its records and drops what
nobody holds. The writer thread looks up single records and rows; snapshots and scans read with
transactions of their own.

Invariants:
- What is in the tree is the newest that was ever flushed; whatever is newer is in the memtables,
  and in the log, which is replayed after `flushed_revision`. So a flush may stop after any step, or
  be cut off by a crash: what it has written already is only written again.
- Only one thread writes at a time (`tree_step_begin` to `tree_step_end`), and no write changes what
  anybody is answered.
- A step writes no more than there is capacity for, nor more than the reserve takes.
"""

import os
import sys

from libc.string cimport memcpy

from ownerd.base.bytes cimport slice_of, text_slice, val_of
from ownerd.base.clock cimport clock_elapsed
from cython.operator cimport dereference, preincrement

from ownerd.base.lmdb cimport (
    MDB_CORRUPTED, MDB_NOTFOUND, MDB_RDONLY, MDB_SUCCESS, MDB_stat, lmdb,
)
from ownerd.storage.capacity cimport environment_left, is_full
from ownerd.storage.codec cimport CHECKSUM_BYTES, row_add_checksum, row_verify
from ownerd.storage.meta_pages cimport newest_state
from ownerd.storage.environment cimport (
    check, environment_close, environment_create, environment_open, open_tables,
)
from ownerd.storage.rows cimport placed_key
from ownerd.storage.tables cimport META, RECORDS, STATE_FORMAT, TABLE_NAMES
from ownerd.storage.walker cimport walker_begin, walker_init
from ownerd.storage.walker_proof cimport walker_trusted

from ownerd.storage.directory import StoreError

cdef enum:
    FORMAT_AT = 36                    # of a StateRow
    FORMER_BYTES = 40                 # of state rows of before (`former`)
    OLDEST_FORMER_BYTES = 24
    FIRST_STEP_RECORDS = 4_096        # while nobody else uses the store
    STEP_RECORDS = 8_192              # 32 MiB of dirty pages at most
    PAGES_PER_RECORD = 4              # a generous bound on what one random record dirties


# --- opening --------------------------------------------------------------------------------------

cdef Tree *tree_open(str path, uint64_t map_bytes) except NULL:
    """Open the tree in the directory `path` and read its state.

    Raises:
        StoreError: it cannot be opened, or is no tree of this format.
    """
    cdef Tree *tree = new Tree()
    tree.environment = NULL
    tree.reader = NULL
    tree.reading = False
    tree.view_counts[0].store(0)
    tree.view_counts[1].store(0)
    tree.view_epoch.store(0)
    tree.flushing_delta.store(0)
    tree.out_of_space.store(False)
    tree.step_records = FIRST_STEP_RECORDS
    tree.step_bytes = tree.reserve_bytes = 0
    walker_init(
        &tree.walker, walker_trusted(), int.from_bytes(os.urandom(8), sys.byteorder)
    )
    try:
        tree.environment = environment_open(path, map_bytes, sizeof(StateRow))
        refuse_format(path)
        open_tables(tree.environment, TABLE_NAMES, tree.tables, TABLE_COUNT)
        _read_state(tree, path)
        check(
            lmdb.txn_begin(tree.environment.env, NULL, MDB_RDONLY, &tree.reader),
            "cannot begin reading",
        )
        lmdb.txn_reset(tree.reader)
    except BaseException:
        tree_close(tree)
        raise
    return tree


def format_of(row):
    """Return the format that a state row says; 0: there is none, or it is of a former version."""
    if row is None or len(row) in (FORMER_BYTES, OLDEST_FORMER_BYTES):
        return 0
    return int.from_bytes(row[FORMAT_AT:FORMAT_AT + 4], "little")


cdef refuse_format(str path):
    """Raise StoreError unless the newest state row is one of ours; before anything is written."""
    row = newest_state(path)
    directory = os.path.dirname(path)
    found = format_of(row)
    if row is not None and found == 0:
        raise StoreError(
            f"the records in {directory} were written by an earlier version, and its journal is "
            "missing: restore both from one copy"
        )
    if row is not None and (found != STATE_FORMAT or len(row) != <Py_ssize_t> sizeof(StateRow)):
        raise StoreError(
            f"the store in {directory} has format {found}, this program reads {STATE_FORMAT}; open "
            "it with the version that wrote it"
        )


cdef _read_state(Tree *tree, str path):
    cdef MDB_txn *txn
    cdef MDB_val key = val_of(slice_of(b"state", 5)), value
    cdef int code
    check(lmdb.txn_begin(tree.environment.env, NULL, MDB_RDONLY, &txn), "cannot begin reading")
    code = lmdb.get(txn, tree.tables[<int> META], &key, &value)
    if code == MDB_SUCCESS and not row_verify(&key, &value):
        code = MDB_CORRUPTED
    known = code == MDB_SUCCESS and value.mv_size == sizeof(StateRow)
    if known:
        memcpy(&tree.state, value.mv_data, sizeof(StateRow))
    lmdb.txn_abort(txn)
    if code == MDB_NOTFOUND:
        raise StoreError(f"{path} is no store of this program: its state is missing")
    check(code, f"cannot read the store in {path}")
    if not known or tree.state.format != STATE_FORMAT:
        raise StoreError(
            f"the store in {os.path.dirname(path)} has format {tree.state.format}, this program "
            f"reads {STATE_FORMAT}; open it with the version that wrote it"
        )
    tree.flushed_revision.store(tree.state.revision)


cdef tree_create(str path, const StateRow *state, map[string, RowVersion] *rows):
    """Make a tree in the directory `path` with some rows of the small tables."""
    cdef Tree tree
    cdef MDB_txn *txn
    cdef map[string, RowVersion].iterator at = rows.begin()
    cdef int code = MDB_SUCCESS
    tree.environment = environment_create(path)
    tree.state.commit_count = 0
    try:
        open_tables(tree.environment, TABLE_NAMES, tree.tables, TABLE_COUNT)
        check(lmdb.txn_begin(tree.environment.env, NULL, 0, &txn), "cannot begin a transaction")
        while code == MDB_SUCCESS and at != rows.end():
            code = tree_put_row(
                &tree, txn, <Table> <int> dereference(at).first.data()[0],
                placed_key(&dereference(at).first), &dereference(at).second,
            )
            preincrement(at)
        if code == MDB_SUCCESS:
            code = tree_commit(&tree, txn, state)
        else:
            lmdb.txn_abort(txn)
        check(code, "cannot write the new store")
    finally:
        environment_close(tree.environment)


cdef void tree_close(Tree *tree) noexcept:
    if tree.reader != NULL:
        lmdb.txn_abort(tree.reader)
    if tree.environment != NULL:
        environment_close(tree.environment)
    del tree


# --- look-ups of the writer thread ----------------------------------------------------------------

cdef int tree_read(Tree *tree) noexcept nogil:
    """Begin the writer's reading, unless it has begun; an LMDB error code, or 0."""
    cdef int code = MDB_SUCCESS
    if not tree.reading:
        code = lmdb.txn_renew(tree.reader)
        tree.reading = code == MDB_SUCCESS
    return code


cdef bint tree_walk(Tree *tree) noexcept nogil:
    return walker_begin(
        &tree.walker, tree.environment.env, tree.reader, TABLE_NAMES[<int> RECORDS],
        tree.tables[<int> META], "state",
    )


cdef int tree_get(
    Tree *tree, Table table, const char *key, size_t key_size, MDB_val *value
) noexcept nogil:
    """Look a row up; MDB_NOTFOUND if it is not there. The value is valid until `tree_rest`."""
    cdef MDB_val where = val_of(slice_of(key, key_size))
    cdef int code = tree_read(tree)
    if code != MDB_SUCCESS:
        return code
    code = lmdb.get(tree.reader, tree.tables[<int> table], &where, value)
    if code == MDB_SUCCESS and not row_verify(&where, value):
        return MDB_CORRUPTED
    return code


cdef void tree_rest(Tree *tree) noexcept nogil:
    """End the writer's reading, so that maintenance can use pages again that nobody sees."""
    if tree.reading:
        lmdb.txn_reset(tree.reader)
        tree.reading = False


cdef uint64_t tree_count(Tree *tree) noexcept nogil:
    """Return how many records the tree holds; 0 if it cannot be read now."""
    cdef MDB_txn *txn
    cdef int64_t count
    if lmdb.txn_begin(tree.environment.env, NULL, MDB_RDONLY, &txn) != MDB_SUCCESS:
        return 0
    count = tree_rows(tree, txn)
    lmdb.txn_abort(txn)
    return <uint64_t> count


cdef int64_t tree_rows(Tree *tree, MDB_txn *txn) noexcept nogil:
    cdef MDB_stat stat
    lmdb.stat(txn, tree.tables[<int> RECORDS], &stat)
    return <int64_t> stat.ms_entries


# --- the steps that write, of flush and vacuum ----------------------------------------------------

cdef int put_checked(MDB_txn *txn, MDB_dbi table, Slice key, Slice row) noexcept nogil:
    """Put a row with its checksum; an LMDB error code, or 0."""
    cdef MDB_val where = val_of(key), value
    cdef string whole
    whole.resize(row.size + CHECKSUM_BYTES)
    if row.size != 0:
        memcpy(&whole[0], row.data, row.size)
    row_add_checksum(key, &whole[0], row.size)
    value = val_of(text_slice(whole))
    return lmdb.put(txn, table, &where, &value, 0)


cdef int tree_put_row(
    Tree *tree, MDB_txn *txn, Table table, Slice key, const RowVersion *row
) noexcept nogil:
    cdef MDB_val where = val_of(key)
    cdef int code
    if not row.is_gone:
        return put_checked(txn, tree.tables[<int> table], key, text_slice(row.value))
    code = lmdb.delete(txn, tree.tables[<int> table], &where, NULL)
    return MDB_SUCCESS if code == MDB_NOTFOUND else code


cdef int tree_commit(Tree *tree, MDB_txn *txn, const StateRow *state) noexcept nogil:
    """Commit a transaction together with the tree's state; an LMDB error code, or 0."""
    cdef StateRow row = state[0]
    cdef int code
    row.commit_count = tree.state.commit_count + 1
    code = put_checked(
        txn, tree.tables[<int> META], slice_of(b"state", 5), slice_of(&row, sizeof(row))
    )
    if code != MDB_SUCCESS:
        lmdb.txn_abort(txn)
        return code
    code = lmdb.txn_commit(txn)
    if code == MDB_SUCCESS:
        tree.state = row
    return code


cdef int tree_put_state(
    Tree *tree, const StateRow *state, const SessionRow *row
) noexcept nogil:
    cdef MDB_txn *txn
    cdef int code = lmdb.txn_begin(tree.environment.env, NULL, 0, &txn)
    if code != MDB_SUCCESS:
        return code
    if row != NULL:
        code = put_checked(
            txn, tree.tables[<int> META], slice_of(b"session", 7),
            slice_of(row, sizeof(SessionRow)),
        )
    if code != MDB_SUCCESS:
        lmdb.txn_abort(txn)
        return code
    return tree_commit(tree, txn, state)


cdef int put_place(Tree *tree, const ClusterRow *place) noexcept nogil:
    cdef MDB_txn *txn
    cdef int code = lmdb.txn_begin(tree.environment.env, NULL, 0, &txn)
    if code != MDB_SUCCESS:
        return code
    code = put_checked(
        txn, tree.tables[<int> META], slice_of(b"cluster", 7), slice_of(place, sizeof(ClusterRow))
    )
    if code != MDB_SUCCESS:
        lmdb.txn_abort(txn)
        return code
    return tree_commit(tree, txn, &tree.state)


cdef int tree_drop_place(Tree *tree) noexcept nogil:
    cdef MDB_txn *txn
    cdef MDB_val where = val_of(slice_of(b"cluster", 7))
    cdef int code = lmdb.txn_begin(tree.environment.env, NULL, 0, &txn)
    if code != MDB_SUCCESS:
        return code
    code = lmdb.delete(txn, tree.tables[<int> META], &where, NULL)
    if code != MDB_SUCCESS and code != MDB_NOTFOUND:
        lmdb.txn_abort(txn)
        return code
    return tree_commit(tree, txn, &tree.state)


cdef int tree_put_place(Tree *tree, const ClusterRow *place) noexcept nogil:
    cdef int code
    tree.writing.lock()
    code = put_place(tree, place)
    tree.writing.unlock()
    return code


cdef void tree_limit_steps(Tree *tree, uint64_t reserve_bytes) noexcept nogil:
    """Bound the steps so that the pages that one dirties fit into the reserve."""
    cdef uint64_t record_bytes = tree.environment.page_bytes * PAGES_PER_RECORD
    tree.reserve_bytes = reserve_bytes
    tree.step_records = max(
        <uint64_t> 1, min(<uint64_t> STEP_RECORDS, reserve_bytes // record_bytes)
    )
    tree.step_bytes = tree.step_records * record_bytes


cdef uint64_t records_allowed(Tree *tree) noexcept nogil:
    """Return how many records a step may write into what is left of map and disk."""
    cdef uint64_t left
    if tree.step_bytes == 0:
        return tree.step_records
    left = environment_left(tree.environment, tree.reserve_bytes, clock_elapsed())
    if left >= tree.step_bytes:
        return tree.step_records
    return left * tree.step_records // (2 * tree.step_bytes)


cdef uint64_t tree_step_begin(Tree *tree) noexcept nogil:
    """Wait for the turn at writing; return how many records may be written, 0: no capacity."""
    tree.writing.lock()
    return records_allowed(tree)


cdef int tree_step_end(Tree *tree, int code) noexcept nogil:
    """Give the turn away; tell a lack of space, which is waited out, from what ends the store."""
    tree.writing.unlock()
    tree.out_of_space.store(is_full(code))
    return MDB_SUCCESS if is_full(code) else code
