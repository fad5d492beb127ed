"""The record tree: every record as of the flushed revision, in an environment of its own.

Maintenance writes it, in steps that are one transaction each: `tree_flush` brings an immutable
memtable in, `tree_vacuum` folds a list's old events into its records and drops what nobody holds.
The writer thread looks single records up; snapshots read with transactions of their own.

Invariants:
- A record in the tree is the newest that was ever merged; whatever is newer is in the memtables,
  and in the journal, which is replayed after `flushed_revision`. So a merge may stop after any
  step, or be cut off by a crash: what it has written already is only written again.
- Only one thread writes at a time (maintenance holds its guard), and no write changes what anybody
  is answered.
"""

from libc.string cimport memcmp, memcpy, memset

from ownerd.base.bytes cimport put_be32, slice_of, text_slice, val_of
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.failpoints cimport (
    FAIL_AFTER_FLUSH_COMMIT, FAIL_AFTER_VACUUM_COMMIT, FAIL_BEFORE_FLUSH_COMMIT,
    FAIL_BEFORE_VACUUM_COMMIT, fail_at,
)
from ownerd.base.lmdb cimport (
    MDB_CORRUPTED, MDB_CURRENT, MDB_NEXT, MDB_NOTFOUND, MDB_RDONLY, MDB_SET, MDB_SET_RANGE,
    MDB_SUCCESS, MDB_stat, lmdb,
)
from ownerd.rules.ownership cimport hold_alive, rules_apply_event
from ownerd.storage.codec cimport (
    CHECKSUM_BYTES, VALUE_BYTES, hold_decode, hold_encode, row_seal, row_verify,
)
from ownerd.storage.environment cimport check, environment_close, environment_open, open_tables
from ownerd.storage.memtable cimport Entry, entry_key, entry_value, prefetch

from ownerd.storage.directory import StoreError

cdef enum:
    TREE_FORMAT = 2
    STATE_ROW_BYTES = 32              # a TreeState and its seal
    NEW_MAP_BYTES = 1 << 20           # more than a new tree needs
    PREFETCHED = 12                   # entries lie in the order in which they were written
    RECORDS_PER_LOOK = 32             # records handled between two looks at the clock

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
        code = put_state(&tree, txn, 0)
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
    count = record_count(tree, txn)
    lmdb.txn_abort(txn)
    return <uint64_t> count


cdef int64_t record_count(Tree *tree, MDB_txn *txn) noexcept nogil:
    cdef MDB_stat stat
    lmdb.stat(txn, tree.tables[<int> TREE_RECORDS], &stat)
    return <int64_t> stat.ms_entries


# --- maintenance's steps --------------------------------------------------------------------------

cdef int put_state(Tree *tree, MDB_txn *txn, uint64_t flushed_revision) noexcept nogil:
    cdef char row[STATE_ROW_BYTES]
    cdef MDB_val key = val_of(slice_of(b"state", 5))
    cdef MDB_val value = val_of(slice_of(row, sizeof(TreeState) + CHECKSUM_BYTES))
    cdef TreeState state
    memset(&state, 0, sizeof(state))
    state.flushed_revision = flushed_revision
    state.store_id = tree.store_id
    state.format = TREE_FORMAT
    memcpy(row, &state, sizeof(state))
    row_seal(slice_of(b"state", 5), row, sizeof(state))
    return lmdb.put(txn, tree.tables[<int> TREE_META], &key, &value, 0)


cdef int merge_entry(MDB_cursor *cursor, const Entry *entry) noexcept nogil:
    """Write one record of a memtable, or remove it if nothing is left of it."""
    cdef char row[VALUE_BYTES + CHECKSUM_BYTES]
    cdef MDB_val value, key = val_of(slice_of(entry_key(entry), entry.key_size))
    cdef int code
    if entry.value_size == 0:
        code = lmdb.cursor_get(cursor, &key, &value, MDB_SET)
        if code == MDB_NOTFOUND:
            return MDB_SUCCESS
        return lmdb.cursor_del(cursor, 0) if code == MDB_SUCCESS else code
    memcpy(row, entry_value(entry), entry.value_size)
    row_seal(slice_of(entry_key(entry), entry.key_size), row, entry.value_size)
    value = val_of(slice_of(row, entry.value_size + CHECKSUM_BYTES))
    return lmdb.cursor_put(cursor, &key, &value, 0)


cdef bint pause_due(uint64_t handled, uint64_t most, int64_t end_ns) noexcept nogil:
    """Tell whether a step has done enough."""
    return handled >= most or (
        handled > 0 and handled % RECORDS_PER_LOOK == 0 and clock_elapsed() > end_ns
    )


cdef int tree_flush(
    Tree *tree, Memtable *memtable, const Run *run, size_t *position, uint64_t most, int64_t end_ns,
    uint64_t *written
) noexcept nogil:
    """Bring the next records of an immutable memtable into the tree; an LMDB error code, or 0.

    `run` is the memtable's one run. `position` moves on; once it has reached the run's end, the
    tree is flushed up to the memtable's last revision. On an error nothing is written and it stays.
    """
    cdef MDB_txn *txn
    cdef MDB_cursor *cursor
    cdef size_t at = position[0]
    cdef uint64_t revision = tree.flushed_revision.load()
    cdef int64_t count = 0
    cdef int code = lmdb.txn_begin(tree.environment.env, NULL, 0, &txn)
    if code != MDB_SUCCESS:
        return code
    code = lmdb.cursor_open(txn, tree.tables[<int> TREE_RECORDS], &cursor)
    if code == MDB_SUCCESS:
        count = record_count(tree, txn)
        while code == MDB_SUCCESS and at < run.entries.size() \
                and not pause_due(at - position[0], most, end_ns):
            if at + PREFETCHED < run.entries.size():
                prefetch(run.entries[at + PREFETCHED])
            code = merge_entry(cursor, run.entries[at])
            at += 1
        count = record_count(tree, txn) - count
        lmdb.cursor_close(cursor)
    if at == run.entries.size():
        revision = max(revision, memtable.last_revision)
    if code == MDB_SUCCESS:
        code = put_state(tree, txn, revision)
    if code != MDB_SUCCESS:
        lmdb.txn_abort(txn)
        return code
    fail_at(FAIL_BEFORE_FLUSH_COMMIT)
    code = lmdb.txn_commit(txn)
    fail_at(FAIL_AFTER_FLUSH_COMMIT)
    if code == MDB_SUCCESS:
        written[0] += at - position[0]
        position[0] = at
        tree.flushing_delta.fetch_add(count)
        tree.flushed_revision.store(revision)
    return code


cdef void fold(Vacuum *walk, Hold *hold) noexcept nogil:
    """Bring a record past the events of the walk that it has not seen."""
    cdef size_t i
    for i in range(walk.events.size()):
        if walk.events[i].seq > hold.event_seq:
            rules_apply_event(hold, &walk.events[i])
    hold.event_seq = max(hold.event_seq, walk.last_seq)


cdef int walk_record(
    Vacuum *walk, MDB_cursor *cursor, MDB_val *key, MDB_val *value
) noexcept nogil:
    """Rewrite or remove the record under the cursor if it is behind or over."""
    cdef Hold hold
    cdef char row[VALUE_BYTES + CHECKSUM_BYTES]
    cdef MDB_val written
    cdef size_t size = 0
    if not walk.purge:
        if not row_verify(key, value) or not hold_decode(value, &hold):
            return MDB_CORRUPTED
        if hold.event_seq >= walk.last_seq and hold_alive(&hold, walk.now_ns):
            return MDB_SUCCESS
        fold(walk, &hold)
        size = hold_encode(&hold, walk.now_ns, row)
    walk.written += 1
    if size == 0:
        return lmdb.cursor_del(cursor, 0)
    # LMDB takes the key from the cursor, which points into a page that may move: pass a copy's.
    row_seal(slice_of(walk.after.data(), walk.after.size()), row, size)
    written = val_of(slice_of(row, size + CHECKSUM_BYTES))
    key[0] = val_of(text_slice(walk.after))
    return lmdb.cursor_put(cursor, key, &written, MDB_CURRENT)


cdef int seek_on(Vacuum *walk, MDB_cursor *cursor, MDB_val *key, MDB_val *value) noexcept nogil:
    """Move to the first record after the last one visited."""
    cdef char prefix[4]
    cdef int code
    put_be32(prefix, walk.number)
    key[0] = val_of(slice_of(prefix, 4))
    if not walk.after.empty():
        key[0] = val_of(text_slice(walk.after))
    code = lmdb.cursor_get(cursor, key, value, MDB_SET_RANGE)
    if code == MDB_SUCCESS and key.mv_size == walk.after.size() \
            and memcmp(key.mv_data, walk.after.data(), key.mv_size) == 0:
        code = lmdb.cursor_get(cursor, key, value, MDB_NEXT)
    return code


cdef int walk_records(
    Vacuum *walk, MDB_cursor *cursor, uint64_t most, int64_t end_ns, bint *finished
) noexcept nogil:
    cdef MDB_val key, value
    cdef char prefix[4]
    cdef uint64_t written = walk.written, visits = 0
    cdef int code = seek_on(walk, cursor, &key, &value)
    put_be32(prefix, walk.number)
    while code == MDB_SUCCESS and memcmp(key.mv_data, prefix, 4) == 0:
        if walk.written - written >= most or pause_due(visits, visits + 1, end_ns):
            return MDB_SUCCESS
        visits += 1
        walk.after.assign(<const char *> key.mv_data, key.mv_size)
        code = walk_record(walk, cursor, &key, &value)
        if code == MDB_SUCCESS:
            code = lmdb.cursor_get(cursor, &key, &value, MDB_NEXT)
        elif code == MDB_NOTFOUND:    # only the end of the table may say so
            return MDB_CORRUPTED
    walk.visited += visits
    finished[0] = code == MDB_SUCCESS or code == MDB_NOTFOUND
    return MDB_SUCCESS if finished[0] else code


cdef int tree_vacuum(
    Tree *tree, Vacuum *walk, uint64_t most, int64_t end_ns, bint *finished
) noexcept nogil:
    """Visit the next records of a list, writing at most `most`; an LMDB error code, or 0.

    On an error the walk has to begin again from its first record.
    """
    cdef MDB_txn *txn
    cdef MDB_cursor *cursor
    cdef uint64_t written = walk.written
    cdef int code = lmdb.txn_begin(tree.environment.env, NULL, 0, &txn)
    finished[0] = False
    if code != MDB_SUCCESS:
        return code
    code = lmdb.cursor_open(txn, tree.tables[<int> TREE_RECORDS], &cursor)
    if code == MDB_SUCCESS:
        code = walk_records(walk, cursor, most, end_ns, finished)
        lmdb.cursor_close(cursor)
    if code != MDB_SUCCESS or walk.written == written:
        lmdb.txn_abort(txn)
        return code
    fail_at(FAIL_BEFORE_VACUUM_COMMIT)
    code = lmdb.txn_commit(txn)
    fail_at(FAIL_AFTER_VACUUM_COMMIT)
    return code
