"""C interface of log_writer: appending to the log; one thread at a time."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.storage.file_log cimport FileLog, LogStatus, LogTail
from ownerd.storage.log_entry cimport LogEntry

# The entry's rows, as a revision that is higher than the tail's; then it is begun again. LOG_OK: it
# is on disk (R18). LOG_FULL: no next segment is ready, or the disk has no space for a large entry.
# LOG_FAILED: what is on disk is not known, and the caller must stop.
cdef LogStatus file_log_append(
    FileLog *log, LogEntry *entry, uint64_t revision, int64_t time_ns
) noexcept nogil
# Who appends from now on, before anything else is appended; into the next segment, if one is ready
# and this one is of a former format.
cdef LogStatus file_log_begin(FileLog *log, uint64_t session, int64_t time_ns) noexcept nogil
# A clean stop: nothing is appended after it. Nothing is written where nothing was since the last.
cdef LogStatus file_log_end(FileLog *log, int64_t time_ns) noexcept nogil
cdef LogTail file_log_tail(const FileLog *log) noexcept nogil
# What may be appended before the next segment is needed, in bytes with heads and padding; of the
# active segment only.
cdef uint64_t file_log_room(const FileLog *log) noexcept nogil
