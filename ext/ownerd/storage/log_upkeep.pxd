"""C interface of log_upkeep: segments made and removed; one thread at a time, beside the writer."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.storage.file_log cimport FileLog, LogStatus

# A bounded step towards a next segment. LOG_OK: it is ready. LOG_MORE: pause, and call again.
cdef LogStatus file_log_prepare(FileLog *log) noexcept nogil
# Removes the oldest segment if the records have all of it, and readers need not find it any more
# (or `keep` is False). LOG_MORE: it did, and the next one may go too.
cdef LogStatus file_log_trim(
    FileLog *log, uint64_t flushed_revision, int64_t now_ns, bint keep
) noexcept nogil
# Whether the names of all segments lead to them. On any thread, while none is made or removed.
cdef bint file_log_in_place(FileLog *log) noexcept nogil

# --- for the opening of a new log: an errno, or 0 -------------------------------------------------

cdef int begin_file(FileLog *log) noexcept nogil
cdef int fill_file(FileLog *log) noexcept nogil
