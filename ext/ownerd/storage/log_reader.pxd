"""C interface of log_reader: entries of the log in order, beside the one who appends."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.memory cimport shared_ptr

from ownerd.storage.file_log cimport FileLog
from ownerd.storage.log_entry cimport RowCursor
from ownerd.storage.segment cimport Segment, Window

# One thread's at a time; the log outlives it. It keeps its segment's file, also one that was
# removed meanwhile.
cdef cppclass LogReader:
    FileLog *log
    shared_ptr[Segment] segment
    uint64_t offset                   # of the entry to come
    uint64_t after_revision           # entries up to it are passed over
    uint64_t revision                 # that the entry to come follows
    uint32_t crc
    bint knows_crc
    Window window

# Valid until the reader's next step.
cdef struct ReadEntry:
    uint64_t revision
    int64_t time_ns
    uint32_t row_count
    RowCursor rows

cdef enum ReadStatus:
    READ_ENTRY
    READ_TAIL                         # no entry yet; the next step may find one
    READ_TRIMMED                      # what comes next is no longer kept
    READ_AHEAD                        # the log has no such revision yet
    READ_DAMAGED                      # what comes next is not as it was written
    READ_FAILED                       # it cannot be read; `window.error` is the errno

# Begins behind a revision. READ_TAIL: it may be stepped; READ_TRIMMED; READ_AHEAD.
cdef ReadStatus file_log_read(
    FileLog *log, uint64_t after_revision, LogReader *reader
) noexcept nogil
# Moves on to the next entry that changed something. After READ_TRIMMED, READ_DAMAGED and
# READ_FAILED it stays where it is.
cdef ReadStatus log_reader_next(LogReader *reader, ReadEntry *found) noexcept nogil
