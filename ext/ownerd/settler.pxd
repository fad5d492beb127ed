"""C interface of settler: one small step of housekeeping in the record tree."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.calls cimport Task
from ownerd.containers cimport string
from ownerd.store cimport Store

cdef cppclass SettleState:
    uint32_t number                   # the list (or grave) being walked; 0: none
    bint burying
    uint32_t last_seq                 # events up to here have been seen by all, once it is walked
    uint64_t sweep                    # bumped to have every list walked for expired records
    string after                      # the last key visited
    bint requests_due
    int64_t step_ns                   # how long a step may keep the writer, beside its commit


# One step asked of the engine.
cdef struct SettleTask:
    Task task
    bint sweep                        # in: begin a walk over everything
    bint more                         # out: there is more to do at once
    uint64_t written


cdef int settle_step(
    Store *store, SettleState *state, SettleTask *step, int64_t now_ns
) noexcept nogil
