"""Appends to the log: one write and one sync a group, or a segment of its own for a large one.

One thread at a time: the writer, which is a role. It is told where a group does not fit, makes no
segment but that of a large entry, and knows no table.
"""

from libc.stdint cimport uint32_t
from libcpp.memory cimport shared_ptr

from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport Slice, slice_of
from ownerd.storage.file_log cimport (
    LOG_FAILED, LOG_FULL, LOG_OK, describe, fail, file_log_outdated, give_number, give_up,
    next_bytes, next_segment,
)
from ownerd.storage.log_entry cimport (
    ENTRY_END, ENTRY_OPENING, ENTRY_ROWS, LOG_BLOCK_BYTES, EntryHead, EntryKind, entry_begin,
    entry_finish, entry_put, entry_size,
)
from ownerd.storage.segment cimport (
    ENTRIES_FROM, SEGMENT_NAME_BYTES, SEGMENT_OF_ONE, Segment, segment_allocate, segment_append,
    segment_file_name, segment_fill, segment_open, segment_rename, segment_write,
    segment_write_header,
)


cdef EntryHead next_head(
    const FileLog *log, uint64_t segment, uint64_t offset, uint64_t revision, int64_t time_ns
) noexcept nogil:
    """Return the head of an entry that follows the tail, but for what the entry itself knows."""
    cdef EntryHead head
    head.kind = ENTRY_ROWS
    head.segment = segment
    head.block = <uint32_t> (offset // LOG_BLOCK_BYTES)
    head.crc_before = log.tail.crc
    head.revision = revision
    head.revision_before = log.tail.revision
    head.time_ns = time_ns
    return head


cdef void move_tail(FileLog *log, const EntryHead *head, uint64_t offset) noexcept nogil:
    """Take an entry, which is on disk and ends at `offset`, for the last one; show it to readers.
    """
    cdef Segment *segment = log.active.get()
    assert_that(head.segment == segment.header.number, "the last entry is in the active segment")
    log.tail.revision = segment.last_revision = head.revision
    log.tail.time_ns = segment.last_ns = head.time_ns
    log.tail.segment = head.segment
    log.tail.offset = offset
    log.tail.crc = head.crc
    log.tail.is_end = head.kind == ENTRY_END
    segment.end.store(offset)
    log.revision.store(head.revision)


cdef void make_active(FileLog *log, size_t index) noexcept nogil:
    """Go on to a segment without entries; under the guard."""
    cdef Segment *segment
    log.active = log.segments[index]
    log.active_index = index
    segment = log.active.get()
    assert_that(segment.end.load() == ENTRIES_FROM, "a segment that is gone on to has no entries")
    segment.revision_before = segment.last_revision = log.tail.revision
    segment.last_ns = log.tail.time_ns


cdef bint fits_here(const FileLog *log, uint64_t size) noexcept nogil:
    """Tell whether an append fits into the active segment; a block is left for the end entry."""
    cdef const Segment *segment = log.active.get()
    return size <= segment.header.append_bytes \
        and log.tail.offset + size + LOG_BLOCK_BYTES <= segment.header.file_bytes


cdef bint fits_next(FileLog *log, uint64_t size) noexcept nogil:
    """Tell whether a next segment is ready, and an append of this size may go there."""
    cdef shared_ptr[Segment] next = next_segment(log)
    return next.get() != NULL and size <= next.get().header.append_bytes


cdef void switch_segment(FileLog *log) noexcept nogil:
    log.guard.lock()
    make_active(log, log.active_index + 1)
    log.ready_count.fetch_sub(1)
    log.guard.unlock()
    log.tail.segment = log.active.get().header.number
    log.tail.offset = ENTRIES_FROM


cdef LogStatus write_entry(
    FileLog *log, LogEntry *entry, EntryHead *head
) noexcept nogil:
    """Append to the active segment, where there is space."""
    cdef Segment *segment = log.active.get()
    cdef uint64_t offset = log.tail.offset
    cdef Slice bytes = entry_finish(entry, head, segment.header.crc)
    cdef int code = segment_write(segment, offset, bytes) if log.unsynced \
        else segment_append(segment, offset, bytes)
    if code != 0:
        return fail(log, code)
    log.appended_bytes.fetch_add(bytes.size)
    move_tail(log, head, offset + bytes.size)
    return LOG_OK


cdef LogStatus file_log_append(
    FileLog *log, LogEntry *entry, uint64_t revision, int64_t time_ns
) noexcept nogil:
    cdef uint64_t size = entry_size(entry)
    cdef EntryHead head
    cdef LogStatus status
    assert_that(revision > log.tail.revision, "the revision goes on")
    if log.error.load() != 0:
        status = LOG_FAILED
    elif not fits_here(log, size) and not fits_next(log, size):
        status = append_large(log, entry, revision, time_ns) \
            if size > most_in_next(log) else LOG_FULL
    else:
        if not fits_here(log, size):
            switch_segment(log)
        head = next_head(log, log.tail.segment, log.tail.offset, revision, time_ns)
        status = write_entry(log, entry, &head)
    entry_begin(entry)
    return status


cdef LogStatus append_mark(
    FileLog *log, LogEntry *entry, EntryKind kind, int64_t time_ns
) noexcept nogil:
    """Append what takes no revision, to the active segment: a block is left for it."""
    cdef EntryHead head = next_head(
        log, log.tail.segment, log.tail.offset, log.tail.revision, time_ns
    )
    head.kind = kind
    return write_entry(log, entry, &head)


cdef LogStatus file_log_begin(FileLog *log, uint64_t session, int64_t time_ns) noexcept nogil:
    cdef LogEntry entry
    cdef LogStatus status
    if log.error.load() != 0:
        return LOG_FAILED
    entry_begin(&entry)
    entry_put(&entry, 0, slice_of(b"opening", 7), slice_of(&session, sizeof(session)))
    if not fits_here(log, entry_size(&entry)) and not fits_next(log, entry_size(&entry)):
        return LOG_FULL
    if not fits_here(log, entry_size(&entry)) \
            or (file_log_outdated(log) and fits_next(log, entry_size(&entry))):
        switch_segment(log)
    status = append_mark(log, &entry, ENTRY_OPENING, time_ns)
    if status == LOG_OK:
        log.tail.session = session
    return status


cdef LogStatus file_log_end(FileLog *log, int64_t time_ns) noexcept nogil:
    cdef LogEntry entry
    if log.error.load() != 0:
        return LOG_FAILED
    if log.tail.is_end:
        return LOG_OK
    entry_begin(&entry)
    return append_mark(log, &entry, ENTRY_END, time_ns)


cdef LogTail file_log_tail(const FileLog *log) noexcept nogil:
    return log.tail


cdef uint64_t file_log_room(const FileLog *log) noexcept nogil:
    cdef const Segment *segment = log.active.get()
    cdef uint64_t used = log.tail.offset + LOG_BLOCK_BYTES
    return segment.header.file_bytes - used if used < segment.header.file_bytes else 0


# --- a large entry --------------------------------------------------------------------------------

cdef uint64_t most_in_next(FileLog *log) noexcept nogil:
    """Return how large an append into the next segment may be, or could be if there were one."""
    cdef shared_ptr[Segment] next = next_segment(log)
    if next.get() != NULL:
        return next.get().header.append_bytes
    return min(
        log.options.append_bytes, next_bytes(log) - ENTRIES_FROM - LOG_BLOCK_BYTES
    )


cdef int write_large(
    FileLog *log, Segment *segment, LogEntry *entry, EntryHead *head
) noexcept nogil:
    """Write and sync a file with nothing but one entry; an errno, or 0."""
    cdef uint64_t size = entry_size(entry)
    cdef int code = segment_open(segment, log.directory.fd, "large.new", True)
    if code == 0:
        code = segment_allocate(segment, ENTRIES_FROM + size + LOG_BLOCK_BYTES)
    if code != 0:
        return code
    describe(log, segment)
    segment.header.flags = SEGMENT_OF_ONE
    segment.header.append_bytes = LOG_BLOCK_BYTES
    segment.header.number = head.segment
    code = segment_write_header(segment)
    if code == 0:
        code = segment_write(
            segment, ENTRIES_FROM, entry_finish(entry, head, segment.header.crc)
        )
    if code == 0:
        code = segment_fill(segment, ENTRIES_FROM + size, LOG_BLOCK_BYTES)
    return code


cdef int name_large(FileLog *log, shared_ptr[Segment] segment) noexcept nogil:
    """Give the file its number, which a segment that is ready may have; an errno, or 0."""
    cdef char name[SEGMENT_NAME_BYTES]
    cdef shared_ptr[Segment] ready = next_segment(log)
    cdef uint64_t number = segment.get().header.number
    cdef int code = 0
    segment_file_name(name, number)
    if ready.get() != NULL:
        code = segment_rename(log.directory.fd, name, "next.new")
    if code == 0:
        code = segment_rename(log.directory.fd, "large.new", name)
    if code == 0 and ready.get() != NULL:
        code = give_number(log, ready.get(), "next.new", number + 1)
    if code == 0:
        log.guard.lock()
        if ready.get() != NULL:
            log.segments.pop_back()
        log.segments.push_back(segment)
        make_active(log, log.segments.size() - 1)
        if ready.get() != NULL:
            log.segments.push_back(ready)
        log.guard.unlock()
    return code


cdef LogStatus append_large(
    FileLog *log, LogEntry *entry, uint64_t revision, int64_t time_ns
) noexcept nogil:
    """Append as a segment of its own, which is whole before it has a name."""
    cdef shared_ptr[Segment] segment = shared_ptr[Segment](new Segment())
    cdef uint64_t size = entry_size(entry)
    cdef EntryHead head = next_head(
        log, log.active.get().header.number + 1, ENTRIES_FROM, revision, time_ns
    )
    cdef int code = write_large(log, segment.get(), entry, &head)
    if code != 0:
        return give_up(log, code, "large.new")
    log.naming.lock()
    code = name_large(log, segment)
    log.naming.unlock()
    if code != 0:
        return fail(log, code)
    log.appended_bytes.fetch_add(size)
    move_tail(log, &head, ENTRIES_FROM + size)
    return LOG_OK
