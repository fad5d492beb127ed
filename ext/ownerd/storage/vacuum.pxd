"""C interface of vacuum: old records up to their list's events, expired ones dropped."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.containers cimport string, vector
from ownerd.storage.catalog cimport Catalog
from ownerd.storage.record_tree cimport NextStep, Tree
from ownerd.storage.store cimport Store
from ownerd.storage.tables cimport EventRow

# One list's vacuum, and how far it is. Begun and finished on the writer thread; in between it
# belongs to whoever does the steps.
cdef cppclass Vacuum:
    bint active
    bint finished                     # every record was visited
    uint32_t number                   # of the list
    bint purge                        # it is dropped: remove every record
    uint32_t last_seq                 # events up to here are folded into the records
    vector[EventRow] events
    string after                      # the last key visited
    uint64_t written                  # records rewritten or removed since it was begun
    uint64_t vacuumed_count           # by all vacuums since the store was opened

# What is to be vacuumed next.
cdef cppclass VacuumTarget:
    uint32_t number
    bint purge
    string list_id                    # unless it is dropped
    uint64_t uncounted_entry          # a release to be counted first (R15); 0: none


# --- on the writer thread, between two transactions -----------------------------------------------

# A list that has events or was not visited in this round; False: there is none.
cdef bint vacuum_choose(
    Catalog *catalog, uint64_t vacuum_round, VacuumTarget *target
) noexcept nogil
# A target that is uncounted or gone by now is not begun.
cdef void vacuum_begin(Vacuum *vacuum, Store *store, const VacuumTarget *target) noexcept nogil
cdef bint vacuum_goes_on(Vacuum *vacuum, Catalog *catalog) noexcept nogil
# Spans that had ended by then may be dropped; asked anew whenever steps follow.
cdef int64_t vacuum_horizon(Vacuum *vacuum, Catalog *catalog, int64_t now_ns) noexcept nogil
# A commit of its own. 0, also if there was no space for it; or an error that ends the store.
cdef int vacuum_finish(
    Vacuum *vacuum, Store *store, uint64_t vacuum_round, int64_t now_ns
) noexcept nogil

# --- on any thread, one at a time -----------------------------------------------------------------

# 0: finished, or `next_step` said stop; else an LMDB error code that ends the store.
cdef int vacuum_records(
    Vacuum *vacuum, Tree *tree, int64_t horizon_ns, NextStep next_step, void *context
) noexcept nogil
