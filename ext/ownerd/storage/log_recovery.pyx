"""Where the log ends: its entries are followed from the records' revision on, as far as they chain.

Behind the last entry of the chain it looks on, block by block through this and all later segments.
Appends are made one after the other, each on disk before the next. So only the last one may be
torn, and what it left is zeroed before another is made in its place: it is cut. Everything else
behind the end is damage, since an answered change is missing: another entry; bytes further on than
one append reaches; bytes in two segments; a large entry, whole before it had a name, that is not.
A clean stop leaves an end entry, behind which a last change that is bad is found in the same way.

What cannot be told from a torn append is an entry that rots, whole, as the last one after a crash.

Before anything is answered the last entry is written again and synced: the process that wrote it
may not have come to sync it, or the system may have failed to, and then it is in memory only.
"""

import os

from libc.errno cimport EIO, errno
from libc.string cimport memcmp, memcpy

from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport slice_of
from ownerd.base.disk cimport disk
from ownerd.storage.log_entry cimport (
    ENTRY_OPENING, LOG_BLOCK_BYTES, ROW_FOUND, LogRow, RowCursor, entry_bytes, entry_rows, row_next,
)
from ownerd.storage.segment cimport (
    ENTRIES_FROM, SEGMENT_BEGINS_LOG, SEGMENT_OF_ONE, segment_append, segment_entry, segment_fill,
    window_clear, window_read,
)

from ownerd.storage.directory import StoreError


cdef refuse_log(str directory, str what):
    raise StoreError(
        f"the log in {directory} {what}: changes that were answered would be missing. "
        "'ownerd verify' says what is damaged; a copy must be restored"
    )


cdef int check_read(const LogEnd *found, Segment *segment, str directory) except -1:
    if found.window.error != 0:
        raise OSError(
            found.window.error, f"cannot read segment {segment.header.number} of the log in "
            f"{directory}: {os.strerror(found.window.error)}"
        )
    return 0


# --- where to begin -------------------------------------------------------------------------------

cdef int find_heads(
    LogEnd *found, vector[shared_ptr[Segment]] *segments, str directory
) except -1:
    """Read the first entry of each segment."""
    cdef size_t i
    cdef Segment *segment
    found.heads.resize(segments.size())
    for i in range(segments.size()):
        segment = segments[0][i].get()
        window_clear(&found.window)
        if segment_entry(
            &found.window, segment, ENTRIES_FROM, segment.header.file_bytes, &found.heads[i]
        ) == NULL:
            found.heads[i].magic = 0
        check_read(found, segment, directory)
    return 0


cdef bint begins_well(const Segment *segment, const EntryHead *head) noexcept nogil:
    """Tell whether a segment's first entry follows what the log was begun after."""
    return not segment.header.flags & SEGMENT_BEGINS_LOG \
        or (head.revision_before == segment.header.revision and head.crc_before == 0)


cdef int find_start(
    LogEnd *found, vector[shared_ptr[Segment]] *segments, uint64_t flushed_revision, str directory
) except -1:
    """Place the end before the first entry from which on all are needed."""
    cdef size_t i = segments.size(), oldest = segments.size()
    cdef const Segment *first = segments[0][0].get()
    found.active = 0
    found.offset = ENTRIES_FROM
    found.revision = first.header.revision
    found.last.crc = 0
    found.last_offset = found.session = 0
    while i > 0:
        i -= 1
        if found.heads[i].magic == 0:
            continue
        oldest = i
        if found.heads[i].revision_before <= flushed_revision:
            break
    if oldest == segments.size():
        if not first.header.flags & SEGMENT_BEGINS_LOG:
            refuse_log(
                directory, f"has no entry, though it begins with segment {first.header.number}"
            )
    elif found.heads[oldest].revision_before > flushed_revision \
            or not begins_well(segments[0][oldest].get(), &found.heads[oldest]):
        refuse_log(
            directory, f"begins after revision {found.heads[oldest].revision_before}, the records "
            f"are at {flushed_revision}",
        )
    else:
        found.active = oldest
        found.revision = found.heads[oldest].revision_before
        found.last.crc = found.heads[oldest].crc_before
    return 0


cdef void describe_older(LogEnd *found, vector[shared_ptr[Segment]] *segments) noexcept nogil:
    """Fill in what is known of segments that are for readers only, from the start downwards."""
    cdef size_t i = found.active
    cdef Segment *segment
    found.first = i
    while i > 0 and found.heads[i - 1].magic != 0:
        i -= 1
        segment = segments[0][i].get()
        segment.revision_before = found.heads[i].revision_before
        segment.last_revision = found.heads[i + 1].revision_before
        segment.last_ns = found.heads[i + 1].time_ns
        segment.end.store(segment.header.file_bytes)
        found.first = i


# --- the chain ------------------------------------------------------------------------------------

cdef int follow(
    LogEnd *found, vector[shared_ptr[Segment]] *segments, str directory
) except -1:
    """Go on to the end of the chain."""
    cdef EntryHead head
    cdef Segment *segment = segments[0][found.active].get()
    segment.revision_before = segment.last_revision = found.revision
    window_clear(&found.window)
    while True:
        if segment_entry(
            &found.window, segment, found.offset, segment.header.file_bytes, &head
        ) != NULL:
            take_entry(found, segment, &head, directory)
            take_session(found, segment, &head)
            continue
        check_read(found, segment, directory)
        if found.active + 1 == segments.size() or found.heads[found.active + 1].magic == 0:
            return 0
        found.active += 1
        found.offset = ENTRIES_FROM
        segment = segments[0][found.active].get()
        segment.revision_before = found.revision
        window_clear(&found.window)


cdef int take_entry(
    LogEnd *found, Segment *segment, const EntryHead *head, str directory
) except -1:
    """Move on to an entry, which is right by itself."""
    if head.revision_before != found.revision or head.crc_before != found.last.crc:
        refuse_log(
            directory, f"lacks what comes before revision {head.revision} in segment "
            f"{segment.header.number}, at byte {found.offset}: it goes to {found.revision}",
        )
    found.last = head[0]
    found.last_offset = found.offset
    found.revision = segment.last_revision = head.revision
    segment.last_ns = head.time_ns
    found.offset += entry_bytes(head)
    segment.end.store(found.offset)
    return 0


cdef void take_session(LogEnd *found, Segment *segment, const EntryHead *head) noexcept nogil:
    """Note who appends from an opening on, which is right; it was just read."""
    cdef EntryHead again
    cdef RowCursor rows
    cdef LogRow row
    cdef const char *entry
    if head.kind != ENTRY_OPENING:
        return
    entry = segment_entry(
        &found.window, segment, found.last_offset, segment.header.file_bytes, &again
    )
    if entry == NULL:
        return
    rows = entry_rows(entry)
    if row_next(&rows, &row) == ROW_FOUND and row.value.size == sizeof(found.session):
        memcpy(&found.session, row.value.data, sizeof(found.session))


# --- what is behind the end -----------------------------------------------------------------------

cdef bint is_zero(const char *block) noexcept nogil:
    return block[0] == 0 and memcmp(block, block + 1, LOG_BLOCK_BYTES - 1) == 0


cdef int look_on(
    LogEnd *found, vector[shared_ptr[Segment]] *segments, str directory
) except -1:
    """Find a torn append; refuse all else."""
    cdef size_t i
    found.torn_end = 0
    for i in range(found.active, segments.size()):
        look_through(found, segments, i, directory)
    return 0


cdef int look_through(
    LogEnd *found, vector[shared_ptr[Segment]] *segments, size_t i, str directory
) except -1:
    """Look on through one segment."""
    cdef Segment *segment = segments[0][i].get()
    cdef uint64_t start = found.offset if i == found.active else ENTRIES_FROM
    cdef uint64_t at = start, end = segment.header.file_bytes
    cdef const char *block
    if i > found.active and segment.header.flags & SEGMENT_OF_ONE:
        refuse_log(directory, f"has a damaged entry in segment {segment.header.number}")
    window_clear(&found.window)
    while at < end:
        block = window_read(&found.window, segment, at, LOG_BLOCK_BYTES, end)
        check_read(found, segment, directory)
        if block == NULL:
            refuse_log(directory, f"is truncated in segment {segment.header.number}")
        if not is_zero(block):
            note_torn(found, segment, i, start, at, directory)
        at += LOG_BLOCK_BYTES
    return 0


cdef int note_torn(
    LogEnd *found, Segment *segment, size_t i, uint64_t start, uint64_t at, str directory
) except -1:
    """Take a block that is not empty for what a torn append left, if it may be."""
    cdef EntryHead head
    where = f"segment {segment.header.number}, at byte {at}"
    if segment_entry(&found.window, segment, at, segment.header.file_bytes, &head) != NULL:
        refuse_log(
            directory, f"is damaged behind revision {found.revision}: revision {head.revision} "
            f"follows in {where}",
        )
    check_read(found, segment, directory)
    if found.torn_end != 0 and found.torn != i:
        refuse_log(
            directory, f"is damaged behind revision {found.revision}: there is more in {where}"
        )
    if i > found.active + 1 or at + LOG_BLOCK_BYTES - start > segment.header.append_bytes:
        refuse_log(
            directory, f"is damaged behind revision {found.revision}: {where}, there is more than "
            "one append leaves",
        )
    found.torn, found.torn_from, found.torn_end = i, start, at + LOG_BLOCK_BYTES
    return 0


# --- both -----------------------------------------------------------------------------------------

cdef int find_end(
    LogEnd *found, vector[shared_ptr[Segment]] *segments, uint64_t flushed_revision, str directory
) except -1:
    """Find the last entry and what is behind it.

    Raises:
        StoreError: an entry is missing, or damaged.
        OSError: a segment cannot be read.
    """
    assert_that(segments.size() > 0, "a log has a segment")
    find_heads(found, segments, directory)
    find_start(found, segments, flushed_revision, directory)
    describe_older(found, segments)
    follow(found, segments, directory)
    look_on(found, segments, directory)
    if found.revision < flushed_revision:
        refuse_log(
            directory, f"ends at revision {found.revision}, the records are at {flushed_revision}"
        )
    if found.last_offset == 0 and found.revision != flushed_revision:
        refuse_log(
            directory, f"begins after revision {found.revision}, the records are at "
            f"{flushed_revision}",
        )
    return 0


cdef int repair_end(
    LogEnd *found, vector[shared_ptr[Segment]] *segments, int directory_fd
) except -1:
    """Leave behind the last entry nothing but zeros, and have all before it on disk.

    Raises:
        OSError: a segment cannot be written.
    """
    cdef Segment *segment = segments[0][found.active].get()
    cdef bint whole = bool(segment.header.flags & SEGMENT_OF_ONE)
    cdef int code = 0
    if found.torn_end != 0:
        code = segment_fill(
            segments[0][found.torn].get(), found.torn_from, found.torn_end - found.torn_from
        )
    if code == 0 and found.last_offset > (ENTRIES_FROM if whole else 0):
        code = write_again(found, segment)
    if code == 0 and disk.fsync(directory_fd) != 0:
        code = errno
    if code != 0:
        raise OSError(code, f"cannot write to the log: {os.strerror(code)}")
    return 0


cdef int write_again(LogEnd *found, Segment *segment) noexcept nogil:
    """Write the last entry's blocks as they are; an errno, or 0."""
    cdef uint64_t size = entry_bytes(&found.last)
    cdef const char *entry
    window_clear(&found.window)
    entry = window_read(
        &found.window, segment, found.last_offset, size, segment.header.file_bytes
    )
    if entry == NULL:
        return found.window.error if found.window.error != 0 else EIO
    return segment_append(segment, found.last_offset, slice_of(entry, size))
