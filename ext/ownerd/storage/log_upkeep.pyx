"""Upkeep of the log's files: the next segment is made in steps, old ones are removed or used again,
and all are looked after.

One thread at a time, beside the writer and readers. Whoever calls paces it: a step writes and syncs
at most a quarter of a mebibyte.
"""

from libcpp.memory cimport shared_ptr
from posix.stat cimport fstat, struct_stat

from ownerd.storage.file_log cimport (
    LOG_FAILED, LOG_MORE, LOG_OK, bytes_of, describe, fail, file_log_next_ready, give_number,
    give_up, next_bytes,
)
from ownerd.storage.segment cimport (
    ENTRIES_FROM, SEGMENT_NAME_BYTES, SEGMENT_OF_ONE, Segment, segment_allocate, segment_file_name,
    segment_fill, segment_open, segment_rename, segment_unlink,
)

cdef extern from "<sys/stat.h>" nogil:
    int fstatat(int directory, const char *name, struct_stat *found, int flags)

cdef enum:
    FILL_BYTES = 1 << 18              # of a segment, in one step: the writer's sync waits for it


cdef int begin_file(FileLog *log) noexcept nogil:
    """Begin to make the next segment; an errno, or 0."""
    cdef int code
    log.filled_bytes = 0
    log.made = shared_ptr[Segment](new Segment())
    if log.spare_bytes != 0:
        log.made.get().header.file_bytes = log.spare_bytes
        log.spare_bytes = 0
        log.made_name.assign("spare.new", 9)
        return segment_open(log.made.get(), log.directory.fd, log.made_name.data(), False)
    log.made_name.assign("next.new", 8)
    code = segment_open(log.made.get(), log.directory.fd, log.made_name.data(), True)
    if code == 0:
        code = segment_allocate(log.made.get(), next_bytes(log))
    return code


cdef int fill_file(FileLog *log) noexcept nogil:
    """Fill a part of the next segment with zeros; an errno, or 0."""
    cdef uint64_t size = min(
        <uint64_t> FILL_BYTES, log.made.get().header.file_bytes - log.filled_bytes
    )
    cdef int code = segment_fill(log.made.get(), log.filled_bytes, size)
    log.filled_bytes += size
    return code


cdef uint64_t next_number(FileLog *log) noexcept nogil:
    """Return the number after the highest."""
    cdef uint64_t number
    log.guard.lock()
    number = log.segments.back().get().header.number + 1 if log.segments.size() else 1
    log.guard.unlock()
    return number


cdef LogStatus finish_file(FileLog *log) noexcept nogil:
    """Make the file that is filled the next segment."""
    cdef int code
    describe(log, log.made.get())
    log.naming.lock()
    code = give_number(log, log.made.get(), log.made_name.data(), next_number(log))
    if code == 0:
        log.guard.lock()
        log.segments.push_back(log.made)
        log.ready_count.fetch_add(1)
        log.guard.unlock()
    log.naming.unlock()
    log.made.reset()
    return LOG_OK if code == 0 else fail(log, code)


cdef LogStatus file_log_prepare(FileLog *log) noexcept nogil:
    cdef int code
    if log.error.load() != 0:
        return LOG_FAILED
    if log.made.get() == NULL:
        if file_log_next_ready(log):
            return LOG_OK
        code = begin_file(log)
    elif log.filled_bytes < log.made.get().header.file_bytes:
        code = fill_file(log)
    else:
        return finish_file(log)
    if code == 0:
        return LOG_MORE
    log.made.reset()
    return give_up(log, code, log.made_name.data())


# --- trimming -------------------------------------------------------------------------------------

cdef bint may_go(
    FileLog *log, uint64_t flushed_revision, int64_t now_ns, bint keep
) noexcept nogil:
    """Tell whether the oldest segment is to be removed; under the guard."""
    cdef const Segment *oldest = log.segments[0].get()
    # The one after it has to say where the log ends, and does so from its first entry on.
    if log.active_index == 0 or log.segments[1].get().end.load() == ENTRIES_FROM \
            or oldest.last_revision > flushed_revision:
        return False
    return not keep or bytes_of(&log.segments) > log.options.keep_bytes \
        or now_ns - oldest.last_ns > log.options.keep_ns


cdef shared_ptr[Segment] take_oldest(
    FileLog *log, uint64_t flushed_revision, int64_t now_ns, bint keep
) noexcept nogil:
    """Take the oldest segment out, if it may go: no reader begins in it any more."""
    cdef shared_ptr[Segment] taken
    log.guard.lock()
    if may_go(log, flushed_revision, now_ns, keep):
        taken = log.segments[0]
        log.segments.erase(log.segments.begin())
        log.active_index -= 1
    log.guard.unlock()
    return taken


cdef bint can_be_used_again(FileLog *log, const shared_ptr[Segment] &segment) noexcept nogil:
    """Tell whether nobody reads a file, and it is as one that would be made."""
    return log.spare_bytes == 0 and log.made.get() == NULL and segment.use_count() == 1 \
        and not segment.get().header.flags & SEGMENT_OF_ONE \
        and segment.get().header.file_bytes == next_bytes(log)


cdef LogStatus file_log_trim(
    FileLog *log, uint64_t flushed_revision, int64_t now_ns, bint keep
) noexcept nogil:
    cdef char name[SEGMENT_NAME_BYTES]
    cdef shared_ptr[Segment] taken
    cdef int code
    if log.error.load() != 0:
        return LOG_FAILED
    taken = take_oldest(log, flushed_revision, now_ns, keep)
    if taken.get() == NULL:
        return LOG_OK
    segment_file_name(name, taken.get().header.number)
    if can_be_used_again(log, taken):
        code = segment_rename(log.directory.fd, name, "spare.new")
        log.spare_bytes = taken.get().header.file_bytes
    else:
        code = segment_unlink(log.directory.fd, name)
    return LOG_MORE if code == 0 else fail(log, code)


# --- looking after them ---------------------------------------------------------------------------

cdef bint is_in_place(int directory, const Segment *segment) noexcept nogil:
    """Tell whether a segment's name leads to the file that is open."""
    cdef char name[SEGMENT_NAME_BYTES]
    cdef struct_stat held, found
    segment_file_name(name, segment.header.number)
    return fstat(segment.file.fd, &held) == 0 and fstatat(directory, name, &found, 0) == 0 \
        and held.st_dev == found.st_dev and held.st_ino == found.st_ino


cdef bint file_log_in_place(FileLog *log) noexcept nogil:
    cdef bint all_are = True
    cdef size_t i
    log.naming.lock()                 # the writer gives no names meanwhile, nor do we
    if log.error.load() == 0:         # else one may have been given halfway
        for i in range(log.segments.size()):
            all_are &= is_in_place(log.directory.fd, log.segments[i].get())
    log.naming.unlock()
    return all_are
