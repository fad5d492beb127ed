"""Vacuuming: visits the records of lists in the tree, so that old events can be forgotten.

Records that have not seen their list's events are written as these left them; those of which
nothing matters any more are removed. When a vacuum begins the memtables are rotated, and flushed
before its first step, so that every record is in the tree or has seen the events. Then no record
needs the events that were there when it began, and they are deleted. A release is counted before
its event is folded in: afterwards its records cannot be told from others (R15). So a vacuum goes as
far as the first release that nobody has counted, and is not kept from its work by those that come
later.

Only lists that have something to do are visited, many in one vacuum: those that are dropped, have
events, or have a record that is over. When that will be is known: what is written says it, and each
visit looks at what stays.

Nothing here changes what anybody is answered: a decision folds the events itself, so a change of
policy costs the same however many records there are (ext/README.md).
"""

from cython.operator cimport dereference, preincrement
from libc.string cimport memcmp

from ownerd.base.assertions cimport assert_that
from ownerd.base.atomics cimport count_add
from ownerd.base.bytes cimport put_be32, slice_of, text_slice, val_of
from ownerd.base.clock cimport clock_elapsed
from ownerd.base.containers cimport map, string
from ownerd.base.failpoints cimport (
    FAIL_AFTER_CUT_COMMIT, FAIL_AFTER_VACUUM_COMMIT, FAIL_BEFORE_CUT_COMMIT,
    FAIL_BEFORE_VACUUM_COMMIT, fail_at,
)
from ownerd.base.lmdb cimport (
    MDB_CORRUPTED, MDB_CURRENT, MDB_MAP_FULL, MDB_NEXT, MDB_NOTFOUND, MDB_SET_RANGE,
    MDB_SUCCESS, MDB_cursor, MDB_txn, MDB_val, lmdb,
)
from ownerd.rules.ownership cimport NEVER_NS, Hold, hold_end, hold_kept
from ownerd.storage.catalog cimport (
    List, delete_dropped_list, delete_events, find_list_number, first_due, forget_dropped_list,
    list_cut, list_due, list_ends, next_to_cut,
)
from ownerd.storage.codec cimport (
    CHECKSUM_BYTES, VALUE_BYTES, hold_decode, hold_encode, row_add_checksum, row_verify,
)
from ownerd.storage.dialers cimport share_given
from ownerd.storage.events cimport events_after, events_copy, find_uncounted
from ownerd.storage.give_backs cimport Fold, fold
from ownerd.storage.memtables cimport has_immutable, memtables_forget_row
from ownerd.storage.record_tree cimport (
    STOP_STEPPING, step_over, tree_commit, tree_put_row, tree_step_begin, tree_step_end,
)
from ownerd.storage.rows cimport RowVersion, placed_key
from ownerd.storage.store cimport (
    store_abort, store_begin, store_rotate,
)
from ownerd.storage.tables cimport RECORDS, EventRow, Table

# Bounds on what the writer does in one go.
cdef enum:
    LISTS_OF_A_KIND = 128             # chosen for one vacuum: dropped, with events, due
    EVENTS_PER_VACUUM = 16_384        # that are copied, unless one list has more
    EVENTS_PER_CUT = 1_024            # that are deleted in one commit


# --- begin ----------------------------------------------------------------------------------------

cdef bint vacuum_is_due(Catalog *catalog, int64_t by_ns) noexcept nogil:
    return not catalog.dropped_lists.empty() or not catalog.to_cut.empty() \
        or first_due(catalog, by_ns) != NULL


cdef uint32_t counted_seq(List *lst) noexcept nogil:
    """Return up to which event every release is counted."""
    cdef EventRow *uncounted = find_uncounted(&lst.events)
    return lst.head_seq if uncounted == NULL else uncounted.event.seq - 1


cdef VacuumList *add_list(Vacuum *vacuum, uint32_t number) noexcept nogil:
    cdef VacuumList *entry
    vacuum.lists.resize(vacuum.lists.size() + 1)
    entry = &vacuum.lists.back()
    entry.number = number
    entry.purge = entry.gone = False
    entry.last_seq = 0
    entry.horizon_ns = 0
    entry.due_ns = NEVER_NS
    return entry


cdef size_t choose_list(Vacuum *vacuum, Catalog *catalog, List *lst) noexcept nogil:
    """Add a list; return how many events were copied.

    What is written from now on says by itself when it is over; the rest the vacuum finds out.
    """
    cdef VacuumList *entry = add_list(vacuum, lst.number)
    entry.last_seq = counted_seq(lst)
    events_copy(&lst.events, entry.last_seq, &entry.events)
    list_due(catalog, lst, NEVER_NS)
    return entry.events.rows.size()


cdef void choose_dropped(Vacuum *vacuum, Catalog *catalog) noexcept nogil:
    cdef size_t i
    for i in range(min(catalog.dropped_lists.size(), <size_t> LISTS_OF_A_KIND)):
        add_list(vacuum, catalog.dropped_lists[i]).purge = True


cdef void choose_with_events(Vacuum *vacuum, Catalog *catalog) noexcept nogil:
    """Add the next lists whose events can be cut, in turn."""
    cdef size_t left = min(catalog.to_cut.size(), <size_t> LISTS_OF_A_KIND)
    cdef size_t copied = 0
    cdef List *lst
    while left > 0 and copied < EVENTS_PER_VACUUM:
        lst = next_to_cut(catalog, vacuum.cut_number)
        vacuum.cut_number = lst.number
        copied += choose_list(vacuum, catalog, lst)
        left -= 1


cdef void choose_due(Vacuum *vacuum, Catalog *catalog, int64_t by_ns) noexcept nogil:
    cdef int left = LISTS_OF_A_KIND
    cdef List *lst = first_due(catalog, by_ns)
    while lst != NULL and left > 0:
        choose_list(vacuum, catalog, lst)
        left -= 1
        lst = first_due(catalog, by_ns)


cdef void vacuum_begin(Vacuum *vacuum, Store *store, int64_t by_ns) noexcept nogil:
    """Begin with some lists that have something to do, at their first records."""
    if has_immutable(&store.memtables):
        return                        # what is written since its rotation could not be rotated
    vacuum.lists.clear()
    vacuum.given = share_given(&store.dialers)
    choose_dropped(vacuum, &store.catalog)
    choose_with_events(vacuum, &store.catalog)
    choose_due(vacuum, &store.catalog, by_ns)
    vacuum.at = vacuum.closed = 0
    vacuum.after.clear()
    vacuum.active = not vacuum.lists.empty()
    vacuum.finished = False
    store_rotate(store)


cdef int64_t horizon(const List *lst, uint32_t last_seq, int64_t now_ns) noexcept nogil:
    """Return the time that expirations may be judged at.

    An event that the vacuum does not fold may prolong what is alive at its instant (R12), or end
    and count it (R15): nothing that was alive then may be dropped.
    """
    cdef size_t later = events_after(&lst.events, last_seq)
    if later == lst.events.rows.size():
        return now_ns
    return min(now_ns, lst.events.rows[later].event.time_ns)


cdef void vacuum_look(Vacuum *vacuum, Catalog *catalog, int64_t now_ns) noexcept nogil:
    """Look again at the lists that are not visited: they may have changed, or been dropped."""
    cdef VacuumList *entry
    cdef List *lst
    cdef size_t i
    for i in range(vacuum.at, vacuum.lists.size()):
        entry = &vacuum.lists[i]
        lst = find_list_number(catalog, entry.number)
        entry.gone = lst == NULL and not entry.purge
        entry.horizon_ns = now_ns if lst == NULL else horizon(lst, entry.last_seq, now_ns)


# --- end ------------------------------------------------------------------------------------------

cdef size_t delete_superfluous(Catalog *catalog, VacuumList *entry, size_t most) noexcept nogil:
    """Delete at most so many rows that a list does not need any more; return how many."""
    cdef List *lst = find_list_number(catalog, entry.number)
    cdef size_t count
    entry.cut_seq = 0
    if entry.purge:
        delete_dropped_list(catalog, entry.number)
        return 1
    if lst == NULL:
        return 0                      # dropped under the vacuum
    count = min(most, events_after(&lst.events, entry.last_seq))
    if count != 0:
        entry.cut_seq = lst.events.rows[count - 1].event.seq
        delete_events(catalog, lst, entry.cut_seq)
    return count


cdef void forget_superfluous(Catalog *catalog, VacuumList *entry) noexcept nogil:
    """Forget what is deleted now."""
    if entry.purge:
        forget_dropped_list(catalog, entry.number)
        entry.purge = False
    elif entry.cut_seq != 0:
        list_cut(catalog, find_list_number(catalog, entry.number), entry.cut_seq)


cdef void note_due(Vacuum *vacuum, Catalog *catalog, int64_t by_ns) noexcept nogil:
    """Say of every list when it is due again: not in the same round."""
    cdef List *lst
    cdef size_t i
    for i in range(vacuum.lists.size()):
        lst = find_list_number(catalog, vacuum.lists[i].number)
        if lst != NULL:
            list_ends(catalog, lst, max(vacuum.lists[i].due_ns, by_ns + 1))


cdef void close_vacuum(Vacuum *vacuum) noexcept nogil:
    vacuum.active = vacuum.finished = False
    vacuum.lists.clear()
    vacuum.given.reset()


cdef void take_deleted(Vacuum *vacuum, Store *store) noexcept nogil:
    """Forget the rows that the open transaction deletes, and note them for the tree."""
    cdef map[string, RowVersion].iterator at = store.txn.rows.begin()
    while at != store.txn.rows.end():
        memtables_forget_row(&store.memtables, dereference(at).first)
        vacuum.over.push_back(dereference(at).first)
        preincrement(at)


cdef void vacuum_finish(Vacuum *vacuum, Store *store, int64_t by_ns) noexcept nogil:
    """Have events and dropped lists over, as many as one step may delete of them.

    No commit says so: what a crash brings back is vacuumed again, and a copy of the store that
    follows its log vacuums by itself.
    """
    cdef size_t first = vacuum.closed, last = vacuum.closed, i
    cdef size_t most = EVENTS_PER_CUT
    assert_that(vacuum.over.empty(), "what is over was deleted before there is more of it")
    if first == 0:
        note_due(vacuum, &store.catalog, by_ns)
    store_begin(store)
    while last < vacuum.lists.size() and most > 0:
        most -= delete_superfluous(&store.catalog, &vacuum.lists[last], most)
        last += 1
    take_deleted(vacuum, store)
    store_abort(store)
    for i in range(first, last):
        forget_superfluous(&store.catalog, &vacuum.lists[i])
    vacuum.closed = last - 1          # it may have more
    if most != 0:
        close_vacuum(vacuum)


cdef int delete_over(Vacuum *vacuum, Tree *tree) noexcept nogil:
    cdef MDB_txn *txn
    cdef RowVersion gone
    cdef size_t i
    cdef int code = lmdb.txn_begin(tree.environment.env, NULL, 0, &txn)
    if code != MDB_SUCCESS:
        return code
    gone.is_gone = True
    for i in range(vacuum.over.size()):
        code = tree_put_row(
            tree, txn, <Table> <int> vacuum.over[i].data()[0], placed_key(&vacuum.over[i]), &gone
        )
        if code != MDB_SUCCESS:
            lmdb.txn_abort(txn)
            return code
    fail_at(FAIL_BEFORE_CUT_COMMIT)
    code = tree_commit(tree, txn, &tree.state)
    fail_at(FAIL_AFTER_CUT_COMMIT)
    return code


cdef int vacuum_cut(Vacuum *vacuum, Tree *tree) noexcept nogil:
    cdef int code = MDB_MAP_FULL
    if tree_step_begin(tree) > 0:
        code = delete_over(vacuum, tree)
    if code == MDB_SUCCESS:
        vacuum.over.clear()
    return tree_step_end(tree, code)


# --- the records ----------------------------------------------------------------------------------

cdef int visit_record(
    Vacuum *vacuum, VacuumList *entry, MDB_cursor *cursor, MDB_val *key, MDB_val *value
) noexcept nogil:
    """Rewrite or remove the record under the cursor if it is behind or over."""
    cdef Hold hold
    cdef Fold by
    cdef char row[VALUE_BYTES + CHECKSUM_BYTES]
    cdef MDB_val written
    cdef size_t size = 0
    if not entry.purge:
        if not row_verify(key, value) or not hold_decode(value, &hold):
            return MDB_CORRUPTED
        if hold.event_seq >= entry.last_seq and hold_kept(&hold, entry.horizon_ns):
            entry.due_ns = min(entry.due_ns, hold_end(&hold))
            return MDB_SUCCESS
        by.events, by.given = &entry.events, vacuum.given.get()
        by.list, by.head_seq, by.horizon_ns = entry.number, entry.last_seq, entry.horizon_ns
        fold(&by, &hold, NULL)
        size = hold_encode(&hold, entry.horizon_ns, row)
    vacuum.written += 1
    if size == 0:
        return lmdb.cursor_del(cursor, 0)
    entry.due_ns = min(entry.due_ns, hold_end(&hold))
    # LMDB takes the key from the cursor, which points into a page that may move: pass a copy's.
    row_add_checksum(text_slice(vacuum.after), row, size)
    written = val_of(slice_of(row, size + CHECKSUM_BYTES))
    key[0] = val_of(text_slice(vacuum.after))
    return lmdb.cursor_put(cursor, key, &written, MDB_CURRENT)


cdef int seek_on(
    const Vacuum *vacuum, const char *prefix, MDB_cursor *cursor, MDB_val *key, MDB_val *value
) noexcept nogil:
    """Move to the first record after the last one visited."""
    cdef int code
    key[0] = val_of(slice_of(prefix, 4))
    if not vacuum.after.empty():
        key[0] = val_of(text_slice(vacuum.after))
    code = lmdb.cursor_get(cursor, key, value, MDB_SET_RANGE)
    if code == MDB_SUCCESS and key.mv_size == vacuum.after.size() \
            and memcmp(key.mv_data, vacuum.after.data(), key.mv_size) == 0:
        code = lmdb.cursor_get(cursor, key, value, MDB_NEXT)
    return code


# What one step may do, and has done.
cdef struct Budget:
    uint64_t most                     # records that may be written
    int64_t end_ns
    uint64_t visits                   # of records, and of lists
    uint64_t written                  # what `Vacuum.written` was when the step began


cdef bint is_spent(const Vacuum *vacuum, Budget *budget) noexcept nogil:
    """Count a visit; tell whether it is for another step."""
    if vacuum.written - budget.written >= budget.most \
            or step_over(budget.visits, budget.visits + 1, budget.end_ns):
        return True
    budget.visits += 1
    return False


cdef int visit_list(
    Vacuum *vacuum, VacuumList *entry, MDB_cursor *cursor, Budget *budget
) noexcept nogil:
    """Visit the next records of a list; MDB_NOTFOUND if it has no more, 0, or an error code."""
    cdef MDB_val key, value
    cdef char prefix[4]
    cdef int code
    put_be32(prefix, entry.number)
    code = seek_on(vacuum, prefix, cursor, &key, &value)
    while code == MDB_SUCCESS and memcmp(key.mv_data, prefix, 4) == 0:
        if is_spent(vacuum, budget):
            return MDB_SUCCESS
        vacuum.after.assign(<const char *> key.mv_data, key.mv_size)
        code = visit_record(vacuum, entry, cursor, &key, &value)
        if code == MDB_SUCCESS:
            code = lmdb.cursor_get(cursor, &key, &value, MDB_NEXT)
        elif code == MDB_NOTFOUND:    # only the end of the table may say so
            return MDB_CORRUPTED
    return MDB_NOTFOUND if code == MDB_SUCCESS else code


cdef int visit_lists(Vacuum *vacuum, MDB_cursor *cursor, Budget *budget) noexcept nogil:
    """Visit the next records, of as many lists as there is time for; an error code, or 0."""
    cdef VacuumList *entry
    cdef int code
    while vacuum.at < vacuum.lists.size():
        if is_spent(vacuum, budget):
            return MDB_SUCCESS
        entry = &vacuum.lists[vacuum.at]
        code = MDB_NOTFOUND if entry.gone else visit_list(vacuum, entry, cursor, budget)
        if code != MDB_NOTFOUND:
            return code
        vacuum.at += 1
        vacuum.after.clear()
    vacuum.finished = True
    return MDB_SUCCESS


cdef int visit_step(
    Vacuum *vacuum, Tree *tree, uint64_t most, int64_t end_ns
) noexcept nogil:
    """Commit what the next records become; an LMDB error code, and then nothing is, or 0."""
    cdef MDB_txn *txn
    cdef MDB_cursor *cursor
    cdef Budget budget
    cdef int code = lmdb.txn_begin(tree.environment.env, NULL, 0, &txn)
    if code != MDB_SUCCESS:
        return code
    budget.most = most
    budget.end_ns = end_ns
    budget.visits = 0
    budget.written = vacuum.written
    code = lmdb.cursor_open(txn, tree.tables[<int> RECORDS], &cursor)
    if code == MDB_SUCCESS:
        code = visit_lists(vacuum, cursor, &budget)
        lmdb.cursor_close(cursor)
    if code != MDB_SUCCESS or vacuum.written == budget.written:
        lmdb.txn_abort(txn)
        return code
    fail_at(FAIL_BEFORE_VACUUM_COMMIT)
    code = tree_commit(tree, txn, &tree.state)
    fail_at(FAIL_AFTER_VACUUM_COMMIT)
    return code


cdef int vacuum_step(Vacuum *vacuum, Tree *tree, int64_t step_ns) noexcept nogil:
    """Visit the next records; an error code that ends the store, or 0."""
    cdef uint64_t written = vacuum.written
    cdef size_t at = vacuum.at
    cdef uint64_t most = tree_step_begin(tree)
    cdef int code = MDB_MAP_FULL
    if most > 0:
        code = visit_step(vacuum, tree, most, clock_elapsed() + step_ns)
    if code != MDB_SUCCESS:           # what the aborted step visited is to be visited again
        vacuum.at = at
        vacuum.after.clear()
        vacuum.written = written
        vacuum.finished = False
    count_add(&vacuum.vacuumed_count, vacuum.written - written)
    return tree_step_end(tree, code)


cdef int vacuum_records(
    Vacuum *vacuum, Tree *tree, NextStep next_step, void *context
) noexcept nogil:
    """Visit records step by step until the last one, or `next_step` says stop."""
    cdef int64_t step_ns
    cdef int code = MDB_SUCCESS
    assert_that(vacuum.active, "a vacuum is begun before its steps")
    while code == MDB_SUCCESS and not vacuum.finished:
        step_ns = next_step(context)
        if step_ns == STOP_STEPPING:
            break
        code = vacuum_step(vacuum, tree, step_ns)
    return code
