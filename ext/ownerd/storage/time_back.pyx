"""Sets the stored time back (R19), of a store whose clock was ahead and that nobody serves.

One commit: the time, and an event for every list, by which the holds that were made by the time
that was ahead keep the length that they had. No hold ends by it.
"""

from libc.string cimport memset

from ownerd.base.containers cimport vector
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.rules.ownership cimport ALL_CAMPAIGNS, EVENT_TIME_SET_BACK
from ownerd.storage.capacity cimport is_full
from ownerd.storage.catalog cimport (
    List, all_lists, list_appended, list_draft, put_list, put_new_event,
)
from ownerd.storage.dialers cimport set_given_back
from ownerd.storage.environment cimport check
from ownerd.storage.store cimport store_begin, store_commit_opening, store_note_failure
from ownerd.storage.tables cimport EventRow


cdef set_time_back(Store *store, int64_t time_ns, str directory):
    """Store an earlier time than the one that is stored; without effect if it is not earlier."""
    cdef vector[List *] lists
    cdef vector[EventRow] rows
    cdef size_t i
    cdef int code
    if time_ns >= store.state.time_ns:
        return
    all_lists(&store.catalog, &lists)
    store_begin(store)
    set_given_back(&store.dialers, time_ns, store.state.time_ns - time_ns)
    for i in range(lists.size()):
        rows.push_back(_put_event(store, lists[i], time_ns))
    code = store_commit_opening(store, 0, 0, time_ns)
    if code != MDB_SUCCESS and not is_full(code):
        store_note_failure(store)
    check(code, f"cannot write to the store in {directory}")
    for i in range(lists.size()):
        list_appended(&store.catalog, lists[i], &rows[i])


cdef EventRow _put_event(Store *store, const List *lst, int64_t time_ns) noexcept nogil:
    cdef EventRow row
    cdef List draft
    list_draft(lst, &draft)
    memset(&row, 0, sizeof(row))
    draft.head_seq += 1
    row.event.seq = draft.head_seq
    row.event.campaign = ALL_CAMPAIGNS
    row.event.kind = EVENT_TIME_SET_BACK
    row.event.time_ns = time_ns
    row.event.duration_ns = store.state.time_ns - time_ns
    row.counted = True
    put_new_event(&store.catalog, draft.number, &row)
    put_list(&store.catalog, &draft)
    return row
