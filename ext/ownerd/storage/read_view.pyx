"""Reads the records of one list at one revision, while the writer goes on.

The writer thread takes a view between two groups: a read transaction on the record tree, the
immutable memtable, and the active memtable up to where it ends. From then on another thread reads
it, without the GIL and without the writer: tree and memtables merged in key order, of each record
what is newest. While a view is open LMDB cannot reuse the tree's pages, so it is closed as soon as
it is read.

It changes nothing, and is used by one thread at a time.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from ownerd.base.bytes cimport put_be32, slice_of
from ownerd.base.containers cimport vector
from ownerd.base.lmdb cimport MDB_NEXT, MDB_NOTFOUND, MDB_RDONLY, MDB_SET_RANGE, MDB_SUCCESS, lmdb
from ownerd.rules.ownership cimport NEVER_NS, NO_DIALER
from ownerd.storage.catalog cimport list_draft
from ownerd.storage.codec cimport hold_decode, row_verify
from ownerd.storage.dialers cimport share_given
from ownerd.storage.events cimport events_copy
from ownerd.storage.give_backs cimport Fold, fold
from ownerd.storage.memtable cimport (
    compare_keys, entry_key, entry_value, memtable_run, memtable_runs, run_seek,
)
from ownerd.storage.memtables cimport memtables_view
from ownerd.storage.record_tree cimport tree_view_begins, tree_view_ends
from ownerd.storage.tables cimport RECORDS


cdef int view_take(ReadView *view, Store *store, List *lst) noexcept nogil:
    """Take a view; on the writer thread, between two groups. An LMDB error code, or 0."""
    cdef int code = lmdb.txn_begin(store.tree.environment.env, NULL, MDB_RDONLY, &view.txn)
    if code != MDB_SUCCESS:
        view.txn = NULL
        return code
    view.tree = store.tree
    view.epoch = tree_view_begins(view.tree)
    memtables_view(&store.memtables, &view.memtables)
    list_draft(lst, &view.list)
    events_copy(&lst.events, lst.head_seq, &view.list.events)
    view.given = share_given(&store.dialers)
    view.campaign_count = store.catalog.campaigns.size()
    view.prepared = view.damaged = False
    return MDB_SUCCESS


cdef void view_close(ReadView *view) noexcept nogil:
    """Let go of everything; may be called again."""
    if view.txn != NULL:
        lmdb.txn_abort(view.txn)
        view.txn = NULL
        tree_view_ends(view.tree, view.epoch)
    view.runs.clear()
    view.memtables.active.reset()
    view.memtables.immutable.reset()
    view.given.reset()


cdef void prepare(ReadView *view) noexcept nogil:
    """Sort what the memtables hold, which the first reader does and not the writer."""
    cdef MemtablesView *memtables = &view.memtables
    if view.prepared:
        return
    memtable_runs(memtables.active.get(), &memtables.chunks, memtables.end, &view.runs)
    if memtables.immutable.get() != NULL:
        view.runs.push_back(memtable_run(memtables.immutable.get()))
    view.prepared = True


# --- in key order ---------------------------------------------------------------------------------

cdef void iterator_open(RecordIterator *records, ReadView *view) noexcept nogil:
    """Set an iteration up; `iterator_first` begins it, `iterator_close` ends it."""
    prepare(view)
    records.view = view
    put_be32(records.prefix, view.list.number)
    records.at.resize(view.runs.size())
    if lmdb.cursor_open(
        view.txn, view.tree.tables[<int> RECORDS], &records.cursor
    ) != MDB_SUCCESS:
        records.cursor = NULL
        view.damaged = True


cdef void iterator_close(RecordIterator *records) noexcept nogil:
    if records.cursor != NULL:
        lmdb.cursor_close(records.cursor)


cdef bint in_list(RecordIterator *records, const char *key, size_t key_size) noexcept nogil:
    return key_size >= 4 and memcmp(key, records.prefix, 4) == 0


cdef void tree_step(RecordIterator *records, int operation) noexcept nogil:
    """Move the cursor; `tree_more` is False at the list's end."""
    cdef int code = lmdb.cursor_get(
        records.cursor, &records.tree_key, &records.tree_value, operation
    )
    records.tree_more = code == MDB_SUCCESS and in_list(
        records, <const char *> records.tree_key.mv_data, records.tree_key.mv_size
    )
    if code != MDB_SUCCESS and code != MDB_NOTFOUND:
        records.view.damaged = True


cdef const Entry *run_top(RecordIterator *records, size_t i) noexcept nogil:
    """Return the record of the list that a run is at, or NULL at its end."""
    cdef const Entry *entry
    if records.at[i] == records.view.runs[i].get().entries.size():
        return NULL
    entry = records.view.runs[i].get().entries[records.at[i]]
    return entry if in_list(records, entry_key(entry), entry.key_size) else NULL


cdef void find_top(RecordIterator *records) noexcept nogil:
    """Find the runs' first record; of those with the same key, the newest."""
    cdef size_t i
    cdef const Entry *entry
    records.top = NULL
    for i in range(records.at.size()):
        entry = run_top(records, i)
        if entry != NULL and (records.top == NULL or compare_keys(
            entry_key(entry), entry.key_size, entry_key(records.top), records.top.key_size
        ) < 0):
            records.top = entry


cdef void pass_top(RecordIterator *records) noexcept nogil:
    """Move every run past the record that was on top."""
    cdef const Entry *passed = records.top
    cdef const Entry *entry
    cdef size_t i
    for i in range(records.at.size()):
        entry = run_top(records, i)
        if entry != NULL and compare_keys(
            entry_key(entry), entry.key_size, entry_key(passed), passed.key_size
        ) == 0:
            records.at[i] += 1
    find_top(records)


cdef bint take_tree(RecordIterator *records) noexcept nogil:
    """Make the tree's record the current one; False if its row is damaged."""
    cdef MDB_val value = records.tree_value
    records.key = slice_of(records.tree_key.mv_data, records.tree_key.mv_size)
    return row_verify(&records.tree_key, &value) and hold_decode(&value, &records.hold)


cdef bint take_top(RecordIterator *records) noexcept nogil:
    """Make the runs' first record the current one."""
    cdef MDB_val value
    records.key = slice_of(entry_key(records.top), records.top.key_size)
    value.mv_data = <void *> entry_value(records.top)
    value.mv_size = records.top.value_size
    return hold_decode(&value, &records.hold)


cdef bint advance(RecordIterator *records) noexcept nogil:
    """Make the next record, of tree or runs, the current one; False at the end."""
    cdef int order
    cdef bint sound, gone = True
    while gone:
        if records.top == NULL and not records.tree_more:
            return False
        order = 1 if records.top == NULL else -1
        if records.top != NULL and records.tree_more:
            order = compare_keys(
                entry_key(records.top), records.top.key_size,
                <const char *> records.tree_key.mv_data, records.tree_key.mv_size,
            )
        gone = order <= 0 and records.top.value_size == 0
        sound = gone or (take_top(records) if order <= 0 else take_tree(records))
        if not sound or (not gone and records.hold.campaign >= records.view.campaign_count):
            records.view.damaged = True
            return False
        records.passes_top, records.passes_tree = order <= 0, order >= 0
        if gone:
            move_past(records)
    records.counted.clear()
    bring_up(records.view, &records.hold, &records.counted)
    return True


cdef void bring_up(ReadView *view, Hold *hold, vector[uint32_t] *counted) noexcept nogil:
    """Bring a record past what happened to its list and its dialer since it was written."""
    cdef Fold by
    if hold.event_seq >= view.list.head_seq and hold.dialer == NO_DIALER:
        return
    by.events, by.given = &view.list.events, view.given.get()
    by.list, by.head_seq, by.horizon_ns = view.list.number, view.list.head_seq, NEVER_NS
    fold(&by, hold, counted)


cdef void move_past(RecordIterator *records) noexcept nogil:
    if records.passes_top:
        pass_top(records)
    if records.passes_tree:
        tree_step(records, MDB_NEXT)


cdef bint iterator_first(RecordIterator *records, Slice after) noexcept nogil:
    """Move to the first record, or to the first one after the key `after`; False if none is left.

    The current record is in `key`, `hold` and `counted` until the next step.
    """
    cdef Slice start = after if after.size != 0 else slice_of(records.prefix, 4)
    cdef size_t i
    if records.cursor == NULL:
        return False
    for i in range(records.at.size()):
        records.at[i] = run_seek(records.view.runs[i].get(), start.data, start.size)
    find_top(records)
    records.tree_key.mv_data = <void *> start.data
    records.tree_key.mv_size = start.size
    tree_step(records, MDB_SET_RANGE)
    if not advance(records):
        return False
    if after.size != 0 \
            and compare_keys(records.key.data, records.key.size, after.data, after.size) == 0:
        return iterator_next(records)
    return True


cdef bint iterator_next(RecordIterator *records) noexcept nogil:
    """Move to the next record; False at the list's end, and at a damaged row."""
    move_past(records)
    return advance(records)


# --- one record -----------------------------------------------------------------------------------

cdef bint view_find(ReadView *view, const char *key, size_t key_size, Hold *hold) noexcept nogil:
    """Look one record up; False if nothing of it is stored."""
    cdef MDB_val value, where
    cdef const Entry *entry
    cdef size_t i, place
    prepare(view)
    for i in range(view.runs.size()):
        place = run_seek(view.runs[i].get(), key, key_size)
        if place == view.runs[i].get().entries.size():
            continue
        entry = view.runs[i].get().entries[place]
        if compare_keys(entry_key(entry), entry.key_size, key, key_size) == 0:
            value.mv_data = <void *> entry_value(entry)
            value.mv_size = entry.value_size
            return entry.value_size != 0 and fold_into(view, &value, hold)
    where.mv_data = <void *> key
    where.mv_size = key_size
    if lmdb.get(view.txn, view.tree.tables[<int> RECORDS], &where, &value) != MDB_SUCCESS:
        return False
    if not row_verify(&where, &value):
        view.damaged = True
        return False
    return fold_into(view, &value, hold)


cdef bint fold_into(ReadView *view, const MDB_val *value, Hold *hold) noexcept nogil:
    if not hold_decode(value, hold) or hold.campaign >= view.campaign_count:
        view.damaged = True
        return False
    bring_up(view, hold, NULL)
    return True
