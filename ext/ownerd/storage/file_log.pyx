"""The log as files: every change, on disk before it is answered, at the cost of one flush a group.

A directory of segments (`segment`), numbered from 1. An append is one write into the active one,
whose blocks were written before (so that no metadata changes), and one `fdatasync`. The next one is
made ready behind the writer's back, in steps; old ones go when the record tree has what they hold
and no reader need find it any more. An entry (`log_entry`) holds all that its group changed.

    00000000000000000007   a segment; its number
    next.new               the next one, before it has its number
    large.new              one for a single large entry, likewise
    spare.new              one that was trimmed and is used again

Invariants:
- Appends are made one after the other. The first error of a write or a sync is the last: nothing
  is appended after it. Only where a file that has no number yet lacked space the log goes on.
- Numbers have no gaps: the newest name is durable before its first entry, and the removal of the
  oldest before that of the one after it.
- All segments up to the active one have an entry, but one that was just made active: what comes
  before it is not removed until it has one. So a log can always tell where it begins and ends.

Here is what all parts share. `log_opening` makes, opens and closes it, `log_writer` appends,
`log_upkeep` makes and removes segments, `log_reader` reads beside them.
"""

from libc.errno cimport EDQUOT, EMFILE, ENFILE, ENOENT, ENOMEM, ENOSPC
from libc.stdint cimport UINT64_MAX

from ownerd.storage.log_entry cimport LOG_BLOCK_BYTES
from ownerd.storage.segment cimport (
    ENTRIES_FROM, LOG_FORMAT, SEGMENT_NAME_BYTES, SEGMENT_OF_ONE, segment_file_name, segment_rename,
    segment_sync,
    segment_unlink, segment_write_header,
)

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void *, size_t, unsigned int)

DEFAULT_KEEP_NS = 3_600_000_000_000


cdef LogOptions default_log_options() noexcept nogil:
    cdef LogOptions options
    options.first_bytes = DEFAULT_FIRST_BYTES
    options.segment_bytes = DEFAULT_SEGMENT_BYTES
    options.append_bytes = DEFAULT_APPEND_BYTES
    options.keep_bytes = DEFAULT_KEEP_BYTES
    options.keep_ns = DEFAULT_KEEP_NS
    return options


# --- errors ---------------------------------------------------------------------------------------

cdef LogStatus fail(FileLog *log, int code) noexcept nogil:
    """Take nothing more."""
    if log.error.load() == 0:
        log.error.store(code)
    return LOG_FAILED


cdef bint is_want(int code) noexcept nogil:
    """Tell whether there was too little of something, which says nothing of the disk's health."""
    return code == ENOSPC or code == EDQUOT or code == EMFILE or code == ENFILE or code == ENOMEM


cdef LogStatus give_up(FileLog *log, int code, const char *name) noexcept nogil:
    """Remove a file that got no number; the log is as it was, where only space was wanting."""
    cdef int removed
    if not is_want(code):
        return fail(log, code)
    removed = segment_unlink(log.directory.fd, name)
    return LOG_FULL if removed == 0 or removed == ENOENT else fail(log, removed)


# --- files that get a number ----------------------------------------------------------------------

cdef void describe(FileLog *log, Segment *segment) noexcept nogil:
    """Fill in what a new segment's header says, but for its number."""
    segment.header.flags = 0
    segment.header.store_id = log.store_id
    segment.header.append_bytes = min(
        log.options.append_bytes, segment.header.file_bytes - ENTRIES_FROM - LOG_BLOCK_BYTES
    )
    segment.header.revision = 0
    if getrandom(&segment.header.salt, sizeof(segment.header.salt), 0) < 0:
        segment.header.salt = 0       # on a system without entropy; nothing rests on it alone


cdef int give_number(
    FileLog *log, Segment *segment, const char *name, uint64_t number
) noexcept nogil:
    """Make a file, whose content is on disk, a segment; an errno, or 0."""
    cdef char numbered[SEGMENT_NAME_BYTES]
    cdef int code
    segment.header.number = number
    segment_file_name(numbered, number)
    code = segment_write_header(segment)
    if code == 0:
        code = segment_sync(segment)
    if code == 0:
        code = segment_rename(log.directory.fd, name, numbered)
    return code


cdef uint64_t next_bytes(FileLog *log) noexcept nogil:
    """Return how large the next file is to be: a log that is little used stays small."""
    cdef uint64_t bytes = log.options.first_bytes
    cdef const Segment *segment
    cdef size_t i
    log.guard.lock()
    for i in range(log.segments.size()):
        segment = log.segments[i].get()
        if not segment.header.flags & SEGMENT_OF_ONE:
            bytes = max(bytes, 2 * segment.header.file_bytes)
    log.guard.unlock()
    return min(bytes, log.options.segment_bytes)


# --- for whoever asks -----------------------------------------------------------------------------

cdef shared_ptr[Segment] next_segment(FileLog *log) noexcept nogil:
    """Return the next segment, if one is ready."""
    cdef shared_ptr[Segment] found
    log.guard.lock()
    if log.active_index + 1 < log.segments.size():
        found = log.segments[log.active_index + 1]
    log.guard.unlock()
    return found


cdef uint64_t bytes_of(const vector[shared_ptr[Segment]] *segments) noexcept nogil:
    cdef uint64_t bytes = 0
    cdef size_t i
    for i in range(segments.size()):
        bytes += segments[0][i].get().header.file_bytes
    return bytes


cdef int file_log_error(const FileLog *log) noexcept nogil:
    return (<FileLog *> log).error.load()


cdef uint64_t file_log_revision(const FileLog *log) noexcept nogil:
    return (<FileLog *> log).revision.load()


cdef uint64_t file_log_oldest(FileLog *log) noexcept nogil:
    cdef uint64_t revision
    log.guard.lock()
    revision = log.segments[0].get().revision_before
    log.guard.unlock()
    return revision


cdef uint64_t file_log_oldest_told(FileLog *log) noexcept nogil:
    cdef uint64_t revision = UINT64_MAX
    cdef size_t i
    log.guard.lock()
    for i in range(log.active_index + 1, 0, -1):
        if log.segments[i - 1].get().header.format < LOG_FORMAT:
            break
        revision = log.segments[i - 1].get().revision_before
    log.guard.unlock()
    return revision


cdef bint file_log_outdated(const FileLog *log) noexcept nogil:
    return log.active.get().header.format < LOG_FORMAT


cdef bint file_log_next_ready(const FileLog *log) noexcept nogil:
    return (<FileLog *> log).ready_count.load() > 0


cdef uint64_t file_log_bytes(FileLog *log) noexcept nogil:
    cdef uint64_t bytes
    log.guard.lock()
    bytes = bytes_of(&log.segments)
    log.guard.unlock()
    return bytes


cdef uint64_t file_log_fill(FileLog *log) noexcept nogil:
    cdef const Segment *segment
    cdef uint64_t fill
    log.guard.lock()
    segment = log.segments[log.active_index].get()
    fill = segment.end.load() * 1000 // segment.header.file_bytes
    log.guard.unlock()
    return fill


cdef uint64_t file_log_appended(const FileLog *log) noexcept nogil:
    return (<FileLog *> log).appended_bytes.load()
