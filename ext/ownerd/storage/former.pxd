"""C interface of former: a store of formats 2 to 4, open to be read and migrated."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.lmdb cimport MDB_dbi, MDB_txn, MDB_val
from ownerd.storage.environment cimport Environment
from ownerd.storage.filesystem cimport FileMark
from ownerd.storage.tables cimport TABLE_COUNT

cdef struct FormerState:              # META "state" of the journal's environment
    uint64_t revision
    uint64_t store_id
    int64_t time_ns
    uint64_t next_entry
    uint32_t next_list
    uint32_t format
    # not in format 2:
    uint64_t incarnation
    uint64_t first_revision
    uint64_t commit_count

cdef struct FormerTree:               # META "state" of the records' environment
    uint64_t flushed_revision         # what the journal has up to here is in the records
    uint64_t store_id
    uint32_t format                   # of its own; 2 or 3
    uint32_t unused
    # not in its format 2:
    uint64_t session
    uint64_t commit_count

cdef struct FormerSession:            # META "session" of the journal's environment
    uint64_t session
    uint64_t before
    FileMark files[2]                 # of the data files of journal and records
    FileMark stamp
    FileMark stamp_before

cdef enum:
    OLDEST_FORMAT = 2
    NEWEST_FORMER_FORMAT = 4

cdef cppclass Former:
    Environment *journal
    Environment *records
    MDB_txn *reader                   # of the journal's environment, which nobody writes any more
    # By Table; under RECORDS the journal's own.
    MDB_dbi tables[TABLE_COUNT]
    bint there[TABLE_COUNT]           # it has the table
    MDB_dbi tree_meta, tree_records
    FormerState state
    FormerSession session
    bint opened                       # it has a session
    FormerTree tree
    size_t tree_bytes                 # of its row

# Where a reader of the journal is.
cdef struct JournalPlace:
    uint64_t revision                 # of the last row
    uint32_t part
    bint more                         # its revision goes on in another part

# The records of one row of the journal.
cdef struct JournalRow:
    const char *at
    const char *end
    int64_t left

# StoreError: they are no store of these formats, or do not belong together. Nothing is written.
cdef Former *former_open(str directory, uint64_t map_bytes) except NULL
cdef void former_close(Former *former) noexcept
# Reads all of it: a list of (table, rows, damaged, keys, error), as `verify`.
cdef list former_findings(Former *former)

# --- rows of the journal, without their checksum --------------------------------------------------

# False: a row is missing before this one, or this one is none of ours.
cdef bint journal_follows(
    JournalPlace *place, const MDB_val *key, const MDB_val *value
) noexcept nogil
cdef JournalRow journal_row(const MDB_val *value) noexcept nogil
# False: there is no further record. An empty value: nothing is left of the record.
cdef bint journal_next(JournalRow *row, Slice *key, Slice *value) noexcept nogil
# Whether the records were all there was in the row.
cdef bint journal_ended(const JournalRow *row) noexcept nogil
