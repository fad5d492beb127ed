"""The record tree: every record as of the flushed revision, in an environment of its own.

It is written in steps that are one transaction each: `flush` brings an immutable memtable in,
`vacuum` folds a list's old events into its records and drops what nobody holds. The writer thread
looks single records up; snapshots read with transactions of their own.

Invariants:
- A record in the tree is the newest that was ever flushed; whatever is newer is in the memtables,
  and in the journal, which is replayed after `flushed_revision`. So a flush may stop after any
  step, or be cut off by a crash: what it has written already is only written again.
- Only one thread writes at a time (`tree_step_begin` to `tree_step_end`), and no write changes what
  anybody is answered.
- A step writes no more than there is capacity for, nor more than the reserve takes.
"""

from libc.string cimport memcpy, memset

from ownerd.base.bytes cimport slice_of, val_of
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_RDONLY, MDB_SUCCESS, MDB_stat, lmdb
from ownerd.storage.capacity cimport environment_left, is_full
from ownerd.storage.codec cimport CHECKSUM_BYTES, row_add_checksum, row_verify
from ownerd.storage.environment cimport check, environment_close, environment_open, open_tables

from ownerd.storage.directory import StoreError

cdef enum:
    TREE_FORMAT = 2
    STATE_ROW_BYTES = 32              # a TreeState and its checksum
    NEW_MAP_BYTES = 1 << 20           # more than a new tree needs
    FIRST_STEP_RECORDS = 4_096        # while nobody else uses the store
    STEP_RECORDS = 8_192              # 32 MiB of dirty pages at most
    PAGES_PER_RECORD = 4              # a generous bound on what one random record dirties

TREE_TABLE_NAMES[:] = ["meta", "records"]


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
    tree.view_count.store(0)
    tree.flushing_delta.store(0)
    tree.out_of_space.store(False)
    tree.step_records = FIRST_STEP_RECORDS
    tree.step_bytes = tree.reserve_bytes = 0
    try:
        tree.environment = environment_open(path, map_bytes)
        open_tables(tree.environment, TREE_TABLE_NAMES, tree.tables, TREE_TABLE_COUNT)
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


cdef _read_state(Tree *tree, str path):
    cdef MDB_txn *txn
    cdef MDB_val key = val_of(slice_of(b"state", 5)), value
    cdef int code
    cdef TreeState state
    memset(&state, 0, sizeof(state))
    check(lmdb.txn_begin(tree.environment.env, NULL, MDB_RDONLY, &txn), "cannot begin reading")
    code = lmdb.get(txn, tree.tables[<int> TREE_META], &key, &value)
    if code == MDB_SUCCESS and not row_verify(&key, &value):
        code = MDB_CORRUPTED
    if code == MDB_SUCCESS and value.mv_size == sizeof(TreeState):
        memcpy(&state, value.mv_data, sizeof(state))
    lmdb.txn_abort(txn)
    if code == MDB_CORRUPTED:
        check(code, f"cannot read the records in {path}")
    tree.flushed_revision.store(state.flushed_revision)
    tree.store_id = state.store_id
    if state.format != TREE_FORMAT:
        raise StoreError(
            f"{path} has format {state.format}, this program reads {TREE_FORMAT}; open it "
            "with the version that wrote it, or restore a copy"
        )


cdef tree_create(str path, uint64_t store_id):
    """Make an empty tree in the directory `path`, flushed before the first revision."""
    cdef Tree tree
    cdef MDB_txn *txn
    cdef int code
    tree.environment = environment_open(path, NEW_MAP_BYTES)
    try:
        open_tables(tree.environment, TREE_TABLE_NAMES, tree.tables, TREE_TABLE_COUNT)
        tree.store_id = store_id
        check(lmdb.txn_begin(tree.environment.env, NULL, 0, &txn), "cannot begin a transaction")
        code = tree_put_state(&tree, txn, 0)
        if code != MDB_SUCCESS:
            lmdb.txn_abort(txn)
            check(code, "cannot write the new store")
        check(lmdb.txn_commit(txn), "cannot write the new store")
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


cdef int tree_find(
    Tree *tree, const char *key, size_t key_size, MDB_val *value
) noexcept nogil:
    """Look a record up; MDB_NOTFOUND if it is not there. The value is valid until `tree_rest`."""
    cdef MDB_val where = val_of(slice_of(key, key_size))
    cdef int code = tree_read(tree)
    if code != MDB_SUCCESS:
        return code
    code = lmdb.get(tree.reader, tree.tables[<int> TREE_RECORDS], &where, value)
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
    lmdb.stat(txn, tree.tables[<int> TREE_RECORDS], &stat)
    return <int64_t> stat.ms_entries


# --- the steps that write, of flush and vacuum ----------------------------------------------------

cdef int tree_put_state(Tree *tree, MDB_txn *txn, uint64_t flushed_revision) noexcept nogil:
    cdef char row[STATE_ROW_BYTES]
    cdef MDB_val key = val_of(slice_of(b"state", 5))
    cdef MDB_val value = val_of(slice_of(row, sizeof(TreeState) + CHECKSUM_BYTES))
    cdef TreeState state
    memset(&state, 0, sizeof(state))
    state.flushed_revision = flushed_revision
    state.store_id = tree.store_id
    state.format = TREE_FORMAT
    memcpy(row, &state, sizeof(state))
    row_add_checksum(slice_of(b"state", 5), row, sizeof(state))
    return lmdb.put(txn, tree.tables[<int> TREE_META], &key, &value, 0)


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
