"""C interface of read_view: the records of one list as of one revision."""

from libc.stdint cimport uint32_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport vector
from ownerd.base.live cimport LiveReadView
from ownerd.base.lmdb cimport MDB_cursor, MDB_txn, MDB_val
from ownerd.rules.ownership cimport Hold
from ownerd.storage.catalog cimport List
from ownerd.storage.give_backs cimport SharedGiveBacks
from ownerd.storage.memtable cimport Entry, Runs
from ownerd.storage.memtables cimport MemtablesView
from ownerd.storage.record_tree cimport Tree
from ownerd.storage.store cimport Store

cdef cppclass ReadView:
    Tree *tree
    MDB_txn *txn                      # NULL until it is taken and once it is closed
    uint32_t epoch                    # of the tree, when it was taken
    MemtablesView memtables
    List list                         # a copy: what is in its row, and events, as of the revision
    SharedGiveBacks given             # what dialers gave back, as of the revision
    size_t campaign_count
    Runs runs                         # newest first, once it is prepared
    bint prepared
    bint damaged                      # a row that was read fails its checksum
    LiveReadView live

# Goes over the records in key order, each brought up to the list's last event.
cdef cppclass RecordIterator:
    ReadView *view
    MDB_cursor *cursor
    bint tree_more                    # the cursor is at a record of the list
    MDB_val tree_key
    MDB_val tree_value
    vector[size_t] at                 # where each run is
    const Entry *top                  # the first record of the runs that was not passed; or NULL
    bint passes_top                   # what the next step moves past
    bint passes_tree
    char prefix[4]
    Slice key                         # of the current record
    Hold hold
    vector[uint32_t] counted          # rows of the events that count the record

# On the writer thread, between two transactions. An LMDB error code, or 0.
cdef int view_take(ReadView *view, Store *store, List *lst) noexcept nogil
# The rest on one thread at a time; what a damaged row left out shows in `damaged`.
cdef void view_close(ReadView *view) noexcept nogil
# Valid until the view is closed; `iterator_close` follows in any case.
cdef void iterator_open(RecordIterator *records, ReadView *view) noexcept nogil
cdef bint iterator_first(RecordIterator *records, Slice after) noexcept nogil
cdef bint iterator_next(RecordIterator *records) noexcept nogil
cdef void iterator_close(RecordIterator *records) noexcept nogil
# False: nothing of it is stored, or it is damaged.
cdef bint view_find(ReadView *view, const char *key, size_t key_size, Hold *hold) noexcept nogil
