"""C interface of settler: what there is to settle, and one small step of it."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.atomic cimport atomic
from libcpp.memory cimport shared_ptr

from ownerd.api.task cimport Task
from ownerd.base.containers cimport mutex, string
from ownerd.storage.memtable cimport Memtable, Run
from ownerd.storage.record_tree cimport Vacuum
from ownerd.storage.store cimport Store

cdef enum Work:
    WORK_NOTHING
    WORK_PLAN_AGAIN                   # the plan did a step itself
    WORK_FLUSH                        # bring the immutable memtable into the tree
    WORK_COUNT                        # count a release, before its records are rewritten
    WORK_VACUUM

cdef cppclass MaintenanceState:
    mutex turn                        # held over a whole step, by whoever does it
    mutex guard                       # held while the tree is written: the merge below
    shared_ptr[Memtable] memtable     # being merged; or none
    shared_ptr[Run] run
    size_t position
    # the plan's, which the writer thread makes
    Vacuum walk
    bint vacuuming
    bint vacuum_finished              # every record was visited
    uint64_t vacuum_all               # bumped to have every list walked for expired records
    bint flush_due                    # the active memtable is to be flushed, full or not
    bint requests_due
    int64_t step_ns                   # how long a step may take, beside its commit
    uint64_t step_records             # how many records it may write
    uint64_t step_bytes               # and how many bytes that takes, at most
    atomic[bint] stuck                # the last step found no room in the tree
    uint64_t flushed_count            # records brought into the tree
    uint64_t vacuumed_count           # records rewritten or dropped by walks

# Asked of the writer thread: what is to be done next.
cdef cppclass PlanTask:
    Task task
    bint vacuum_all                   # in: begin a walk over everything
    Work work                         # out
    shared_ptr[Memtable] memtable     # out: WORK_FLUSH
    string list_id                    # out: WORK_COUNT
    uint64_t entry_id


cdef int maintenance_plan(
    Store *store, MaintenanceState *state, PlanTask *plan, int64_t now_ns
) noexcept nogil
cdef int flush_step(
    MaintenanceState *state, Store *store, shared_ptr[Memtable] memtable, int64_t most_ns
) noexcept nogil
cdef int vacuum_step(MaintenanceState *state, Store *store, int64_t most_ns) noexcept nogil
