"""C interface of log_opening: from a directory to a log, and back; with the GIL."""

from libc.stdint cimport uint64_t

from ownerd.storage.file_log cimport FileLog, LogOptions

# An empty log, the first entry of which will follow `revision`; durable. Again after a crash.
# OSError.
cdef file_log_create(
    str directory, uint64_t store_id, uint64_t revision, const LogOptions *options
)
# Becomes the one that appends: finds the end, repairs it. `flushed_revision`: what the records have
# of it. The directory is locked by the caller. StoreError: it is damaged, or another store's;
# OSError; then nothing is left open.
cdef FileLog *file_log_acquire(
    str directory, uint64_t store_id, uint64_t flushed_revision, const LogOptions *options
) except NULL
# Only to be read, by nobody else but the caller: nothing in the directory changes.
cdef FileLog *file_log_inspect(
    str directory, uint64_t store_id, uint64_t flushed_revision
) except NULL
# No reader uses it any more.
cdef void file_log_release(FileLog *log) noexcept
