"""The settler: brings old records up to their list's events, drops what expired, cuts the log.

Works in small steps, each one commit on the writer thread between two groups of dials. A walk over
a list visits every record in key order: those that have not seen the list's last events are written
as these left them, those that nobody holds any more are deleted. After the walk no record needs the
events that were there when it began, so they are cut from the log and the releases among them
report their counts. Records of deleted lists are removed the same way.

Nothing here changes what anybody is answered: a decision folds the events itself (design 5.2).
"""

from cython.operator cimport dereference, preincrement
from libc.string cimport memcmp, memcpy

from ownerd.changes cimport finish_counts, is_full
from ownerd.clock cimport clock_elapsed
from ownerd.lmdb_api cimport (
    MDB_CORRUPTED, MDB_NEXT, MDB_SET_RANGE, MDB_SUCCESS, MDB_cursor, MDB_val, lmdb,
)
from ownerd.rules cimport Hold, hold_alive
from ownerd.rows cimport (
    SEAL_BYTES, VALUE_BYTES, hold_decode, hold_encode, open_row, put_be32, seal_row, slice_of,
    text_slice,
)
from ownerd.store cimport (
    EVENTS, GRAVES, RECORDS, REQUESTS, REQUEST_MEMORY_NS, List, RequestRow, count_release,
    delete_row, fold_events, load_list, store_abort, store_begin, store_commit,
)

cdef enum:
    RECORDS_PER_LOOK = 32             # records visited between two looks at the clock
    REQUESTS_PER_STEP = 1024
    MDB_CURRENT = 0x40


cdef bint choose_walk(Store *store, SettleState *state) noexcept nogil:
    """Pick the next list to walk: deleted ones, then those with events, then a sweep."""
    cdef List *lst
    state.after.clear()
    state.burying = not store.graves.empty()
    if state.burying:
        state.number = store.graves.back()
        return True
    for in_sweep in range(2):
        it = store.lists.begin()
        while it != store.lists.end():
            lst = dereference(it).second
            if not lst.events.empty() if in_sweep == 0 else lst.swept < state.sweep:
                state.number = lst.number
                state.last_seq = lst.head_seq
                return True
            preincrement(it)
    state.number = 0
    return False


cdef List *walked_list(Store *store, SettleState *state) noexcept nogil:
    if store.lists_by_number.count(state.number) == 0:
        return NULL
    return store.lists_by_number[state.number]


cdef bint begin_at(
    MDB_cursor *cursor, SettleState *state, MDB_val *key, MDB_val *value
) noexcept nogil:
    """Move to the first record after the last one visited."""
    cdef char prefix[4]
    put_be32(prefix, state.number)
    key.mv_data = <void *> prefix
    key.mv_size = 4
    if not state.after.empty():
        key.mv_data = <void *> state.after.data()
        key.mv_size = state.after.size()
    if lmdb.cursor_get(cursor, key, value, MDB_SET_RANGE) != MDB_SUCCESS:
        return False
    if key.mv_size == state.after.size() \
            and memcmp(key.mv_data, state.after.data(), key.mv_size) == 0:
        return lmdb.cursor_get(cursor, key, value, MDB_NEXT) == MDB_SUCCESS
    return True


cdef bint settle_record(
    Store *store, SettleState *state, MDB_cursor *cursor, MDB_val *value, int64_t now_ns
) noexcept nogil:
    """Rewrite or delete the record under the cursor if it is behind or over; True if it was."""
    cdef List *lst
    cdef Hold hold
    cdef char row[VALUE_BYTES + SEAL_BYTES]
    cdef MDB_val written, key
    cdef size_t size = 0
    cdef int released_by
    cdef bint behind
    key.mv_data = <void *> state.after.data()
    key.mv_size = state.after.size()
    if not state.burying:
        lst = walked_list(store, state)
        if not open_row(&key, value) or not hold_decode(value, &hold):
            store.error = MDB_CORRUPTED
            return False
        behind = hold.event_seq != lst.head_seq
        if not behind and hold_alive(&hold, now_ns):
            return False
        released_by = fold_events(&lst.events, lst.head_seq, &hold)
        count_release(store, lst, released_by)
        size = hold_encode(&hold, now_ns, row)
    if size == 0:
        store.error = lmdb.cursor_del(cursor, 0)
        return True
    seal_row(text_slice(state.after), row, size)
    written.mv_data = row
    written.mv_size = size + SEAL_BYTES
    store.error = lmdb.cursor_put(cursor, &key, &written, MDB_CURRENT)
    return True


cdef bint walk_on(
    Store *store, SettleState *state, SettleTask *step, int64_t now_ns
) noexcept nogil:
    """Visit the next records; True when the walk has reached the list's end."""
    cdef MDB_cursor *cursor
    cdef MDB_val key, value
    cdef char prefix[4]
    cdef int visits = 0
    cdef int64_t end_ns = clock_elapsed() + state.step_ns
    cdef bint found
    put_be32(prefix, state.number)
    store.error = lmdb.cursor_open(store.txn, store.tables[<int> RECORDS], &cursor)
    if store.error != MDB_SUCCESS:
        return False
    found = begin_at(cursor, state, &key, &value)
    while found and memcmp(key.mv_data, prefix, 4) == 0:
        visits += 1
        if visits % RECORDS_PER_LOOK == 0 and clock_elapsed() > end_ns:
            break
        state.after.assign(<const char *> key.mv_data, key.mv_size)
        if settle_record(store, state, cursor, &value, now_ns):
            step.written += 1
        if store.error != MDB_SUCCESS:
            break
        found = lmdb.cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS
    else:
        lmdb.cursor_close(cursor)
        return True
    lmdb.cursor_close(cursor)
    return False


cdef void finish_walk(Store *store, SettleState *state) noexcept nogil:
    """Cut the events that every record has seen, or close a grave that is empty."""
    cdef List *lst
    cdef size_t i
    cdef char key[8]
    put_be32(key, state.number)
    if state.burying:
        delete_row(store, GRAVES, slice_of(key, 4))
        return
    lst = walked_list(store, state)
    finish_counts(store, lst, state.last_seq)
    for i in range(lst.events.size()):
        if lst.events[i].event.seq <= state.last_seq:
            put_be32(key + 4, lst.events[i].event.seq)
            delete_row(store, EVENTS, slice_of(key, 8))


cdef int walk_finished(Store *store, SettleState *state) noexcept nogil:
    """Bring the catalog up to a finished walk that is committed; an LMDB error code, or 0."""
    cdef List *lst
    cdef int code = MDB_SUCCESS
    if state.burying:
        close_grave(store, state.number)
    else:
        lst = walked_list(store, state)
        lst.swept = state.sweep
        code = load_list(store, text_slice(lst.id))
    state.number = 0
    return code


cdef void close_grave(Store *store, uint32_t number) noexcept nogil:
    """Forget a deleted list; others may have been deleted while it was being emptied."""
    cdef size_t i
    for i in range(store.graves.size()):
        if store.graves[i] == number:
            store.graves[i] = store.graves.back()
            store.graves.pop_back()
            return


cdef void forget_requests(Store *store, int64_t now_ns) noexcept nogil:
    """Delete request ids that are older than they need be remembered."""
    cdef MDB_cursor *cursor
    cdef MDB_val key, value
    cdef RequestRow row
    cdef int deleted = 0
    store.error = lmdb.cursor_open(store.txn, store.tables[<int> REQUESTS], &cursor)
    if store.error != MDB_SUCCESS:
        return
    while deleted < REQUESTS_PER_STEP \
            and lmdb.cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS:
        if not open_row(&key, &value):
            store.error = MDB_CORRUPTED
            break
        memcpy(&row, value.mv_data, sizeof(row))
        if now_ns - row.time_ns >= REQUEST_MEMORY_NS:
            store.error = lmdb.cursor_del(cursor, 0)
            deleted += 1
            if store.error != MDB_SUCCESS:
                break
    lmdb.cursor_close(cursor)


cdef int settle_step(
    Store *store, SettleState *state, SettleTask *step, int64_t now_ns
) noexcept nogil:
    """Do one step in one commit of its own; 0 unless the store has failed and must stop.

    `step.more` says whether there is more to do now. A step that finds the map full does nothing:
    the next one tries again.
    """
    cdef bint walked = False
    cdef int code
    step.written = 0
    step.more = False
    if step.sweep:
        state.sweep += 1
        state.requests_due = True
    if state.number != 0 and not state.burying and walked_list(store, state) == NULL:
        state.number = 0              # the list was deleted under the walk
    if state.number == 0 and not choose_walk(store, state) and not state.requests_due:
        return MDB_SUCCESS
    code = store_begin(store)
    if code != MDB_SUCCESS:
        return code
    if state.number == 0:
        forget_requests(store, now_ns)
    else:
        walked = walk_on(store, state, step, now_ns)
        if walked:
            finish_walk(store, state)
    if step.written == 0 and not walked and state.number != 0 and store.error == MDB_SUCCESS:
        store_abort(store)            # nothing to write among those visited
        step.more = True
        return MDB_SUCCESS
    code = store_commit(store, store.state.revision, now_ns)
    if code != MDB_SUCCESS:
        state.number = 0              # what the aborted step visited is to be visited again
        return MDB_SUCCESS if is_full(code) else code
    step.more = True
    if state.number == 0:
        state.requests_due = False
    elif walked:
        return walk_finished(store, state)
    return MDB_SUCCESS
