"""C interface of maintenance_plan: what maintenance does next, and the steps that are the writer's.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.memory cimport shared_ptr

from ownerd.api.task cimport Task
from ownerd.base.containers cimport mutex, string
from ownerd.storage.flush cimport Flush
from ownerd.storage.memtable cimport Memtable
from ownerd.storage.store cimport Store
from ownerd.storage.vacuum cimport Vacuum

cdef enum:
    URGENT_STEP_NS = 20_000_000       # a step's time while somebody waits for it

cdef enum Work:
    WORK_NOTHING
    # the writer's, between two groups: `maintenance_step`
    WORK_ROTATE
    WORK_BEGIN_VACUUM
    WORK_FINISH_VACUUM
    WORK_FORGET_REQUESTS
    WORK_FORGET_DIALERS
    # on the thread that maintains
    WORK_PREPARE                      # the next segment of the log
    WORK_FLUSH
    WORK_COUNT                        # count a release, before its records are rewritten
    WORK_VACUUM
    WORK_CUT                          # rows that a vacuum has made superfluous

cdef cppclass MaintenanceState:
    mutex turn                        # held from a plan to the end of its work
    int64_t step_ns                   # how long a step may take, beside its commit
    int64_t flush_age_ns              # how long what is not in the tree may be left
    int64_t clean_ns                  # since when, and since how many bytes of log, there may be
    uint64_t clean_bytes              # something to flush
    bint flush_aged                   # the active memtable is old, or takes long to replay
    Flush flush
    Vacuum vacuum
    # what is still to come of the last round, a vacuum of everything; the writer thread's
    int64_t round_ns                  # lists that are due by then are vacuumed
    bint flush_due                    # the active memtable is to be flushed, full or not
    bint requests_due
    bint dialers_due
    string requests_after             # the key of the last request that was looked at
    # counts and vacuums take turns
    bint count_waits                  # the last that was begun is a vacuum
    uint32_t counted_number           # the last list with a release that was counted here

# Asked of the writer thread: what is to be done next; then, where it is the writer's, to do it.
cdef cppclass PlanTask:
    Task task
    bint vacuum_all                   # in: begin a vacuum of everything
    bint flush_all                    # in: flush what there is, full or not
    bint standby                      # in: flush and vacuum, but commit nothing
    Work work                         # out; a step that finds no space for its commit says NOTHING
    shared_ptr[Memtable] memtable     # out: WORK_FLUSH
    uint64_t uncounted_entry          # out: WORK_COUNT, the release's audit entry


cdef inline bint is_writers(Work work) noexcept nogil:
    """Tell whether the writer does this work, as a task of its own."""
    return WORK_ROTATE <= work <= WORK_FORGET_DIALERS


# Both on the writer thread, between two groups. A plan commits nothing.
cdef void maintenance_plan(
    Store *store, MaintenanceState *state, PlanTask *plan, int64_t now_ns
) noexcept nogil
# 0, also if there was no space for the step's commit; or an error that ends the store.
cdef int maintenance_step(
    Store *store, MaintenanceState *state, PlanTask *plan, int64_t now_ns
) noexcept nogil
