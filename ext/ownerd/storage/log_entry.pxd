"""C interface of log_entry: one entry of the log as bytes, and the rows that it carries."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string

cdef enum:
    LOG_BLOCK_BYTES = 4096            # entries begin on blocks of their own
    ENTRY_HEAD_BYTES = 64

cdef enum EntryKind:
    ENTRY_ROWS = 1                    # what a group changed
    ENTRY_END = 2                     # a clean stop; takes no revision
    ENTRY_OPENING = 3                 # by whom entries are appended from now on; takes none either

# What an entry begins with; the rows follow it.
cdef struct EntryHead:
    uint32_t magic
    uint32_t crc                      # of all that follows, rows included
    uint32_t crc_before               # `crc` of the entry before; 0: this is the log's first
    uint32_t kind
    uint64_t rows_bytes
    uint64_t segment                  # the number of the one that it was written into
    uint64_t revision
    uint64_t revision_before          # that of the entry before
    int64_t time_ns
    uint32_t row_count
    uint32_t block                    # of the segment, that it begins on

# An entry being put together; the memory is used again by the next one.
cdef cppclass LogEntry:
    string bytes
    uint32_t row_count

# One row of an entry, as it is afterwards.
cdef struct LogRow:
    uint32_t table
    bint is_gone                      # deleted; the value is empty
    Slice key
    Slice value

# Where a reader of an entry's rows is.
cdef struct RowCursor:
    const char *at
    const char *end
    uint32_t rows_left

cdef enum RowFound:
    ROW_FOUND
    ROWS_END
    ROWS_DAMAGED                      # what is there cannot be an entry's rows


cdef inline uint64_t whole_blocks(uint64_t size) noexcept nogil:
    """Return how many bytes so many take, padded to whole blocks."""
    return (size + LOG_BLOCK_BYTES - 1) // LOG_BLOCK_BYTES * LOG_BLOCK_BYTES


cdef inline uint64_t entry_bytes(const EntryHead *head) noexcept nogil:
    """Return the bytes from an entry's first block to the one after its last."""
    return whole_blocks(ENTRY_HEAD_BYTES + head.rows_bytes)


# --- writing --------------------------------------------------------------------------------------

cdef void entry_begin(LogEntry *entry) noexcept nogil
# Of several rows of one key the last counts.
cdef void entry_put(LogEntry *entry, uint32_t table, Slice key, Slice value) noexcept nogil
cdef void entry_delete(LogEntry *entry, uint32_t table, Slice key) noexcept nogil
# With its head and its padding.
cdef uint64_t entry_size(const LogEntry *entry) noexcept nogil
# Fills in what the entry itself knows of its head, which the rest of stands in `head`, and pads it.
# `seed` is that of the segment. Only entry_begin may follow.
cdef Slice entry_finish(LogEntry *entry, EntryHead *head, uint32_t seed) noexcept nogil

# --- reading --------------------------------------------------------------------------------------

# Whether a head may be one of an entry at this place, with all its rows below `limit`: not yet
# whether they are right.
cdef bint head_fits(
    const EntryHead *head, uint64_t segment, uint64_t offset, uint64_t limit
) noexcept nogil
# Whether an entry, of which all bytes are there, is as it was written.
cdef bint entry_right(const char *entry, uint32_t seed) noexcept nogil
cdef RowCursor entry_rows(const char *entry) noexcept nogil
cdef RowFound row_next(RowCursor *cursor, LogRow *row) noexcept nogil
