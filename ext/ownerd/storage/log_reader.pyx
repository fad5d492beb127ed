"""Reads the log's entries in order from any revision that is kept, on any thread.

It sees what is on disk, never more, and waits for nothing: the writer publishes the end of each
append in the segment itself. The guard of the log is taken only to begin, and at the end of a
segment, for a few steps in memory.

Every entry is checked, by itself and as the one that follows the last; where a segment has no more,
the next one's first entry has to follow. So nothing is left out unseen.
"""

from ownerd.base.assertions cimport assert_that
from ownerd.storage.log_entry cimport ENTRY_ROWS, EntryHead, entry_bytes, entry_rows
from ownerd.storage.segment cimport ENTRIES_FROM, segment_entry, window_clear

cdef enum Move:
    MOVED
    GREW                              # meanwhile there is more in this segment
    AT_TAIL
    GONE


cdef void enter(LogReader *reader, const shared_ptr[Segment] &segment) noexcept nogil:
    reader.segment = segment
    reader.offset = ENTRIES_FROM
    window_clear(&reader.window)


cdef ReadStatus file_log_read(
    FileLog *log, uint64_t after_revision, LogReader *reader
) noexcept nogil:
    cdef size_t i
    cdef ReadStatus status = READ_TRIMMED
    reader.log = log
    reader.after_revision = after_revision
    reader.knows_crc = False
    if after_revision > log.revision.load():
        return READ_AHEAD
    log.guard.lock()
    i = log.active_index + 1
    while i > 0 and status == READ_TRIMMED:
        i -= 1
        if log.segments[i].get().revision_before <= after_revision:
            enter(reader, log.segments[i])
            reader.revision = log.segments[i].get().revision_before
            status = READ_TAIL
    log.guard.unlock()
    return status


cdef Move next_segment(LogReader *reader, uint64_t end) noexcept nogil:
    """Go on to the segment after the one that has been read up to `end`."""
    cdef FileLog *log = reader.log
    cdef uint64_t number = reader.segment.get().header.number + 1, first
    cdef Move move = MOVED
    log.guard.lock()
    first = log.segments[0].get().header.number
    if reader.segment.get().end.load() != end:
        move = GREW
    elif number > log.segments[log.active_index].get().header.number:
        move = AT_TAIL
    elif number < first:
        move = GONE
    else:
        enter(reader, log.segments[number - first])
    log.guard.unlock()
    return move


cdef ReadStatus pass_on(LogReader *reader, const EntryHead *head) noexcept nogil:
    """Move behind an entry that is right by itself; READ_TAIL: it is not one to be shown."""
    if head.revision_before != reader.revision \
            or (reader.knows_crc and head.crc_before != reader.crc):
        return READ_DAMAGED
    reader.offset += entry_bytes(head)
    reader.revision, reader.crc = head.revision, head.crc
    reader.knows_crc = True
    if head.kind != ENTRY_ROWS or head.revision <= reader.after_revision:
        return READ_TAIL
    return READ_ENTRY


cdef ReadStatus log_reader_next(LogReader *reader, ReadEntry *found) noexcept nogil:
    cdef ReadStatus status = step(reader, found)
    if status == READ_DAMAGED or status == READ_FAILED:
        reader.window.at = reader.window.size = 0   # what the next step finds it reads anew
    return status


cdef ReadStatus step(LogReader *reader, ReadEntry *found) noexcept nogil:
    cdef EntryHead head
    cdef const char *entry
    cdef uint64_t end
    cdef ReadStatus status
    cdef Move move
    if reader.window.error != 0:
        window_clear(&reader.window)
    while True:
        end = reader.segment.get().end.load()
        entry = segment_entry(&reader.window, reader.segment.get(), reader.offset, end, &head)
        if entry != NULL:
            status = pass_on(reader, &head)
            if status == READ_TAIL:
                continue
            if status == READ_ENTRY:
                found.revision, found.time_ns = head.revision, head.time_ns
                found.row_count = head.row_count
                found.rows = entry_rows(entry)
                assert_that(found.revision > reader.after_revision, "it begins where it was told")
            return status
        if reader.window.error != 0:
            return READ_FAILED
        # Of a segment that was opened and not followed the end is not known: that of the file is.
        if reader.offset < end and end != reader.segment.get().header.file_bytes:
            return READ_DAMAGED
        move = next_segment(reader, end)
        if move == GONE:
            return READ_TRIMMED
        if move == AT_TAIL:
            return READ_TAIL if reader.offset == end else READ_DAMAGED
