"""A node of a cluster that does not lead: it follows the leader's entries, and begins to lead.

Each entry is put into memory and into the store's own log by the writer, as a task between two
groups. What is made of rows, catalog and dialers, is loaded anew only when somebody looks: before a
snapshot, and before this node leads.

To lead begins with an entry of its own, which has the time that it goes on from. Whoever asks for
it has caught up and waited, as the log of the cluster has it.
"""

from ownerd.api.reasons cimport STORAGE_FAILED, refuse
from ownerd.base.bytes cimport text_slice
from ownerd.base.clock cimport clock_continue, clock_now, clock_start_from
from ownerd.base.lmdb cimport MDB_SUCCESS
from ownerd.engine.commands cimport refuse_full
from ownerd.engine.queue cimport RUNNING, queue_change_state
from ownerd.storage.capacity cimport is_full
from ownerd.storage.replay cimport store_follow, store_refresh
from ownerd.storage.store cimport store_begin, store_commit, store_now, store_time


cdef int standby_follow(EngineCore *engine, FollowTask *task) noexcept nogil:
    return store_follow(
        engine.store, &task.place, task.time_ns, text_slice(task.rows), task.row_count
    )


cdef int standby_lead(EngineCore *engine, LeadTask *task) noexcept nogil:
    cdef int code = store_refresh(engine.store)
    if code != MDB_SUCCESS:
        return code
    if task.time_ns != 0:
        clock_continue(engine.clock, max(task.time_ns, store_time(engine.store)))
    else:
        clock_start_from(engine.clock, store_time(engine.store))
    store_begin(engine.store)
    code = store_commit(engine.store, store_now(engine.store, clock_now(engine.clock)))
    if code == MDB_SUCCESS:
        queue_change_state(&engine.queue, RUNNING)
    elif is_full(code):
        refuse_full(engine.store, &task.task)   # the log has no room: nothing is changed yet
        return MDB_SUCCESS
    else:
        refuse(&task.task, STORAGE_FAILED)
    return code
