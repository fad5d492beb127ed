"""Vacuuming: visits a list's records in the tree, so that its old events can be forgotten.

Records that have not seen the list's events are written as these left them; those that nobody holds
any more are removed. When a vacuum begins the memtables are rotated, and flushed before its first
step, so that every record is in the tree or has seen the events. Then no record needs the events
that were there when it began, and they are deleted. A release among them is counted before (R15):
afterwards its records cannot be told from others. Records of dropped lists are removed likewise.

Nothing here changes what anybody is answered: a decision folds the events itself, so a change of
policy costs the same however many records there are (ext/README.md).
"""

from libc.string cimport memcmp

from ownerd.base.atomics cimport count_add
from ownerd.base.bytes cimport put_be32, slice_of, text_slice, val_of
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.failpoints cimport FAIL_AFTER_VACUUM_COMMIT, FAIL_BEFORE_VACUUM_COMMIT, fail_at
from ownerd.base.lmdb cimport (
    MDB_CORRUPTED, MDB_CURRENT, MDB_MAP_FULL, MDB_NEXT, MDB_NOTFOUND, MDB_SET_RANGE,
    MDB_SUCCESS, MDB_cursor, MDB_txn, MDB_val, lmdb,
)
from ownerd.rules.ownership cimport Hold, hold_alive
from ownerd.storage.capacity cimport is_full
from ownerd.storage.catalog cimport (
    List, delete_dropped_list, delete_events, find_dropped, find_list_number, find_uncounted,
    fold_events, forget_dropped_list, list_to_vacuum, load_list,
)
from ownerd.storage.codec cimport (
    CHECKSUM_BYTES, VALUE_BYTES, hold_decode, hold_encode, row_add_checksum, row_verify,
)
from ownerd.storage.record_tree cimport (
    STOP_STEPPING, TREE_RECORDS, step_over, tree_commit, tree_flushed, tree_put_state,
    tree_step_begin, tree_step_end,
)
from ownerd.storage.store cimport store_begin, store_commit, store_revision, store_rotate


# --- begin and end --------------------------------------------------------------------------------

cdef bint vacuum_choose(
    Catalog *catalog, uint64_t vacuum_round, VacuumTarget *target
) noexcept nogil:
    """Choose a dropped list, else one with events, else one that the round has not visited."""
    cdef List *lst
    cdef EventRow *release
    target.uncounted_entry = 0
    target.purge = find_dropped(catalog, &target.number)
    if target.purge:
        return True
    lst = list_to_vacuum(catalog, vacuum_round)
    if lst == NULL:
        return False
    target.number = lst.number
    target.list_id = lst.id
    release = find_uncounted(lst)
    if release != NULL:
        target.uncounted_entry = release.entry_id
    return True


cdef void vacuum_begin(Vacuum *vacuum, Store *store, const VacuumTarget *target) noexcept nogil:
    """Begin at the list's first record, with the events that it has now."""
    cdef List *lst = NULL
    if not target.purge:
        lst = find_list_number(&store.catalog, target.number)
        if lst == NULL or find_uncounted(lst) != NULL:
            return
    vacuum.number = target.number
    vacuum.purge = target.purge
    vacuum.last_seq = 0 if lst == NULL else lst.head_seq
    vacuum.after.clear()
    vacuum.events.clear()
    if lst != NULL:
        vacuum.events = lst.events
    vacuum.active = True
    vacuum.finished = False
    store_rotate(store)


cdef bint vacuum_goes_on(Vacuum *vacuum, Catalog *catalog) noexcept nogil:
    """Tell whether a vacuum was begun, and its list not dropped under it."""
    return vacuum.active \
        and (vacuum.purge or find_list_number(catalog, vacuum.number) != NULL)


cdef int64_t vacuum_horizon(Vacuum *vacuum, Catalog *catalog, int64_t now_ns) noexcept nogil:
    """Return the time that expirations may be judged at.

    An event that the vacuum does not fold may prolong what is alive at its instant (R12), or end
    and count it (R15): nothing that was alive then may be dropped.
    """
    cdef size_t i
    cdef List *lst = find_list_number(catalog, vacuum.number)
    if lst == NULL:
        return now_ns
    for i in range(lst.events.size()):
        if lst.events[i].event.seq > vacuum.last_seq:
            return min(now_ns, lst.events[i].event.time_ns)
    return now_ns


cdef int vacuum_finish(
    Vacuum *vacuum, Store *store, uint64_t vacuum_round, int64_t now_ns
) noexcept nogil:
    """Commit what a finished vacuum has made superfluous: events, or a dropped list."""
    cdef List *lst = find_list_number(&store.catalog, vacuum.number)
    cdef int code
    vacuum.active = vacuum.finished = False
    if lst == NULL and not vacuum.purge:
        return MDB_SUCCESS            # the list was dropped under the vacuum
    store_begin(store)
    if vacuum.purge:
        delete_dropped_list(&store.catalog, vacuum.number)
    else:
        delete_events(&store.catalog, lst, vacuum.last_seq)
    code = store_commit(store, store_revision(store), now_ns)
    if code != MDB_SUCCESS:           # what is not deleted now is vacuumed again
        return MDB_SUCCESS if is_full(code) else code
    if vacuum.purge:
        forget_dropped_list(&store.catalog, vacuum.number)
        return MDB_SUCCESS
    lst.vacuumed_round = vacuum_round
    return load_list(&store.catalog, text_slice(lst.id))


# --- the records ----------------------------------------------------------------------------------

cdef int visit_record(
    Vacuum *vacuum, int64_t horizon_ns, MDB_cursor *cursor, MDB_val *key, MDB_val *value
) noexcept nogil:
    """Rewrite or remove the record under the cursor if it is behind or over."""
    cdef Hold hold
    cdef char row[VALUE_BYTES + CHECKSUM_BYTES]
    cdef MDB_val written
    cdef size_t size = 0
    if not vacuum.purge:
        if not row_verify(key, value) or not hold_decode(value, &hold):
            return MDB_CORRUPTED
        if hold.event_seq >= vacuum.last_seq and hold_alive(&hold, horizon_ns):
            return MDB_SUCCESS
        fold_events(&vacuum.events, vacuum.last_seq, &hold)
        size = hold_encode(&hold, horizon_ns, row)
    vacuum.written += 1
    if size == 0:
        return lmdb.cursor_del(cursor, 0)
    # LMDB takes the key from the cursor, which points into a page that may move: pass a copy's.
    row_add_checksum(text_slice(vacuum.after), row, size)
    written = val_of(slice_of(row, size + CHECKSUM_BYTES))
    key[0] = val_of(text_slice(vacuum.after))
    return lmdb.cursor_put(cursor, key, &written, MDB_CURRENT)


cdef int seek_on(Vacuum *vacuum, MDB_cursor *cursor, MDB_val *key, MDB_val *value) noexcept nogil:
    """Move to the first record after the last one visited."""
    cdef char prefix[4]
    cdef int code
    put_be32(prefix, vacuum.number)
    key[0] = val_of(slice_of(prefix, 4))
    if not vacuum.after.empty():
        key[0] = val_of(text_slice(vacuum.after))
    code = lmdb.cursor_get(cursor, key, value, MDB_SET_RANGE)
    if code == MDB_SUCCESS and key.mv_size == vacuum.after.size() \
            and memcmp(key.mv_data, vacuum.after.data(), key.mv_size) == 0:
        code = lmdb.cursor_get(cursor, key, value, MDB_NEXT)
    return code


cdef int visit_records(
    Vacuum *vacuum, int64_t horizon_ns, MDB_cursor *cursor, uint64_t most, int64_t end_ns
) noexcept nogil:
    """Visit the next records, writing at most `most`; an LMDB error code, or 0."""
    cdef MDB_val key, value
    cdef char prefix[4]
    cdef uint64_t written = vacuum.written, visits = 0
    cdef int code = seek_on(vacuum, cursor, &key, &value)
    put_be32(prefix, vacuum.number)
    while code == MDB_SUCCESS and memcmp(key.mv_data, prefix, 4) == 0:
        if vacuum.written - written >= most or step_over(visits, visits + 1, end_ns):
            return MDB_SUCCESS
        visits += 1
        vacuum.after.assign(<const char *> key.mv_data, key.mv_size)
        code = visit_record(vacuum, horizon_ns, cursor, &key, &value)
        if code == MDB_SUCCESS:
            code = lmdb.cursor_get(cursor, &key, &value, MDB_NEXT)
        elif code == MDB_NOTFOUND:    # only the end of the table may say so
            return MDB_CORRUPTED
    vacuum.finished = code == MDB_SUCCESS or code == MDB_NOTFOUND
    return MDB_SUCCESS if vacuum.finished else code


cdef int visit_step(
    Vacuum *vacuum, Tree *tree, int64_t horizon_ns, uint64_t most, int64_t end_ns
) noexcept nogil:
    """Commit what the next records become; an LMDB error code, and then nothing is, or 0."""
    cdef MDB_txn *txn
    cdef MDB_cursor *cursor
    cdef uint64_t written = vacuum.written
    cdef int code = lmdb.txn_begin(tree.environment.env, NULL, 0, &txn)
    if code != MDB_SUCCESS:
        return code
    code = lmdb.cursor_open(txn, tree.tables[<int> TREE_RECORDS], &cursor)
    if code == MDB_SUCCESS:
        code = visit_records(vacuum, horizon_ns, cursor, most, end_ns)
        lmdb.cursor_close(cursor)
    if code == MDB_SUCCESS and vacuum.written != written:
        code = tree_put_state(tree, txn, tree_flushed(tree))
    if code != MDB_SUCCESS or vacuum.written == written:
        lmdb.txn_abort(txn)
        return code
    fail_at(FAIL_BEFORE_VACUUM_COMMIT)
    code = tree_commit(tree, txn)
    fail_at(FAIL_AFTER_VACUUM_COMMIT)
    return code


cdef int vacuum_step(
    Vacuum *vacuum, Tree *tree, int64_t horizon_ns, int64_t step_ns
) noexcept nogil:
    """Visit the next records; an error code that ends the store, or 0."""
    cdef uint64_t written = vacuum.written
    cdef uint64_t most = tree_step_begin(tree)
    cdef int code = MDB_MAP_FULL
    if most > 0:
        vacuum.finished = False
        code = visit_step(vacuum, tree, horizon_ns, most, clock_elapsed() + step_ns)
    if code != MDB_SUCCESS:           # what the aborted step visited is to be visited again
        vacuum.after.clear()
        vacuum.written = written
        vacuum.finished = False
    count_add(&vacuum.vacuumed_count, vacuum.written - written)
    return tree_step_end(tree, code)


cdef int vacuum_records(
    Vacuum *vacuum, Tree *tree, int64_t horizon_ns, NextStep next_step, void *context
) noexcept nogil:
    """Visit records step by step until the last one, or `next_step` says stop."""
    cdef int64_t step_ns
    cdef int code = MDB_SUCCESS
    while code == MDB_SUCCESS and not vacuum.finished:
        step_ns = next_step(context)
        if step_ns == STOP_STEPPING:
            break
        code = vacuum_step(vacuum, tree, horizon_ns, step_ns)
    return code
