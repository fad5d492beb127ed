"""C interface of vacuum: old records up to their list's events, expired ones dropped."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.containers cimport string, vector
from ownerd.storage.catalog cimport Catalog
from ownerd.storage.events cimport EventLog
from ownerd.storage.give_backs cimport SharedGiveBacks
from ownerd.storage.record_tree cimport NextStep, Tree
from ownerd.storage.store cimport Store

# A list in a vacuum.
cdef cppclass VacuumList:
    uint32_t number
    bint purge                        # it is dropped: remove every record
    bint gone                         # it was dropped since: leave that to another vacuum
    uint32_t last_seq                 # events up to here are folded into the records
    EventLog events                   # those
    int64_t horizon_ns                # spans that had ended by then may be dropped
    int64_t due_ns                    # when the first hold of the records that stay ends
    uint32_t cut_seq                  # events up to here are being deleted

# A vacuum of some lists, and how far it is. Begun and finished on the writer thread; in between it
# belongs to whoever does the steps.
cdef cppclass Vacuum:
    bint active
    bint finished                     # every record was visited
    vector[VacuumList] lists
    SharedGiveBacks given             # what dialers had given back when it was begun
    size_t at                         # the list that is visited
    string after                      # the last key visited in it
    size_t closed                     # lists that are finished with, once all are visited
    vector[string] over               # places of rows that are to be deleted from the tree
    uint32_t cut_number               # the last list that was chosen for its events
    uint64_t written                  # records rewritten or removed since it was begun
    uint64_t vacuumed_count           # by all vacuums since the store was opened


# --- on the writer thread, between two transactions -----------------------------------------------

# Tell whether there is a list that is dropped, has events that may be cut, or is due by then.
cdef bint vacuum_is_due(Catalog *catalog, int64_t by_ns) noexcept nogil
# Nothing is begun while a memtable is immutable.
cdef void vacuum_begin(Vacuum *vacuum, Store *store, int64_t by_ns) noexcept nogil
# Before steps follow: what may be dropped in them.
cdef void vacuum_look(Vacuum *vacuum, Catalog *catalog, int64_t now_ns) noexcept nogil
# Forgets some of what a finished vacuum has made superfluous, for `vacuum_cut` to delete; it is
# active until that is done. Without an immutable memtable.
cdef void vacuum_finish(Vacuum *vacuum, Store *store, int64_t by_ns) noexcept nogil

# --- on any thread, one at a time -----------------------------------------------------------------

# 0: finished, or `next_step` said stop; else an LMDB error code that ends the store.
cdef int vacuum_records(
    Vacuum *vacuum, Tree *tree, NextStep next_step, void *context
) noexcept nogil
# A step: deletes the rows that are over. 0, also if there was no space; or such an error code.
cdef int vacuum_cut(Vacuum *vacuum, Tree *tree) noexcept nogil
