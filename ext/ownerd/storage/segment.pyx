"""One segment of the log: a file of a fixed size, zero-filled before it gets its name.

The first block is a header: format, whose log it is of, the file's number, and a random salt. Its
checksum is the seed of the checksums of all entries, so an entry belongs to one segment of one log.
A file has a number for a name only when header and content were synced; whatever has another name
was not finished.

Invariants:
- A block is written once after the file got its name, but by recovery.
- A write or a sync that failed is never tried again: the system may have forgotten what it could
  not write, and say that all is well.

It knows no chain of entries: `log_recovery` and `log_reader` follow it, `file_log` goes on with it.
"""

from libc.errno cimport EINVAL, EIO, ENOSPC, ENOSYS, EOPNOTSUPP, errno
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy, memset
from posix.fcntl cimport O_CREAT, O_RDWR, O_TRUNC

from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport slice_of
from ownerd.base.checksum cimport crc32c
from ownerd.base.disk cimport disk
from ownerd.storage.log_entry cimport entry_bytes, entry_right, head_fits

cdef extern from "<fcntl.h>" nogil:
    int O_CLOEXEC

cdef extern from *:
    """
    #include <cstddef>
    #define OWNERD_LOG_MAGIC "OWNERLOG"
    static const char ownerd_zeros[64 * 1024] = {0};
    """
    const char *LOG_MAGIC "OWNERD_LOG_MAGIC"
    const char *ZEROS "ownerd_zeros"

cdef enum:
    ZERO_BYTES = 64 * 1024
    WINDOW_BYTES = 256 * 1024


# --- files ----------------------------------------------------------------------------------------

cdef void segment_file_name(char *name, uint64_t number) noexcept nogil:
    """Write the name (SEGMENT_NAME_BYTES) of the file with this number."""
    snprintf(name, SEGMENT_NAME_BYTES, "%020llu", <unsigned long long> number)


cdef int failure() noexcept nogil:
    return errno if errno != 0 else EIO


cdef int segment_open(Segment *segment, int directory, const char *name, bint make) noexcept nogil:
    cdef int flags = O_RDWR | O_CLOEXEC | (O_CREAT | O_TRUNC if make else 0)
    assert_that(segment.file.fd < 0, "a segment is opened once")
    segment.file.fd = disk.openat(directory, name, flags, 0o600)
    segment.end.store(ENTRIES_FROM)
    segment.revision_before = segment.last_revision = 0
    segment.last_ns = 0
    return 0 if segment.file.fd >= 0 else failure()


cdef int segment_allocate(Segment *segment, uint64_t file_bytes) noexcept nogil:
    cdef int code
    segment.header.file_bytes = file_bytes
    if disk.fallocate(segment.file.fd, 0, 0, file_bytes) == 0:
        return 0
    code = failure()
    return 0 if code == EOPNOTSUPP or code == ENOSYS or code == EINVAL else code


cdef int segment_fill(Segment *segment, uint64_t offset, uint64_t size) noexcept nogil:
    cdef uint64_t end = offset + size, part
    cdef int code
    while offset < end:
        part = min(end - offset, <uint64_t> ZERO_BYTES)
        code = segment_write(segment, offset, slice_of(ZEROS, part))
        if code != 0:
            return code
        offset += part
    return segment_sync(segment)


cdef int segment_write(Segment *segment, uint64_t offset, Slice bytes) noexcept nogil:
    cdef ssize_t done
    while bytes.size > 0:
        done = disk.pwrite(segment.file.fd, bytes.data, bytes.size, offset)
        if done < 0:
            return failure()
        if done == 0:
            return ENOSPC
        offset += done
        bytes = slice_of(bytes.data + done, bytes.size - done)
    return 0


cdef uint32_t header_checksum(const SegmentHeader *header) noexcept nogil:
    return crc32c(0, <const char *> header, sizeof(SegmentHeader) - sizeof(header.crc))


cdef int segment_write_header(Segment *segment) noexcept nogil:
    cdef char block[LOG_BLOCK_BYTES]
    cdef SegmentHeader *header = &segment.header
    assert_that(header.number > 0 and header.file_bytes > ENTRIES_FROM, "a header is whole")
    memset(block, 0, sizeof(block))
    memcpy(header.magic, LOG_MAGIC, sizeof(header.magic))
    header.format = LOG_FORMAT
    header.unused = 0
    header.crc = header_checksum(header)
    memcpy(block, header, sizeof(SegmentHeader))
    return segment_write(segment, 0, slice_of(block, sizeof(block)))


cdef int segment_sync(Segment *segment) noexcept nogil:
    return 0 if disk.fdatasync(segment.file.fd) == 0 else failure()


cdef int segment_rename(int directory, const char *before, const char *after) noexcept nogil:
    if disk.renameat(directory, before, directory, after) != 0:
        return failure()
    return 0 if disk.fsync(directory) == 0 else failure()


cdef int segment_unlink(int directory, const char *name) noexcept nogil:
    if disk.unlinkat(directory, name, 0) != 0:
        return failure()
    return 0 if disk.fsync(directory) == 0 else failure()


cdef int segment_append(Segment *segment, uint64_t offset, Slice entry) noexcept nogil:
    cdef ssize_t done
    assert_that(offset % LOG_BLOCK_BYTES == 0, "an append begins on a block of its own")
    assert_that(entry.size % LOG_BLOCK_BYTES == 0, "an append fills whole blocks")
    assert_that(offset + entry.size <= segment.header.file_bytes, "the file does not grow")
    done = disk.pwrite(segment.file.fd, entry.data, entry.size, offset)
    if done < 0:
        return failure()
    if <size_t> done != entry.size:
        return EIO                    # what follows the first write could not be told from rot
    return segment_sync(segment)


# --- reading --------------------------------------------------------------------------------------

cdef const char *segment_read_header(
    Segment *segment, uint64_t store_id, uint64_t number, int *error
) noexcept nogil:
    cdef SegmentHeader *header = &segment.header
    cdef ssize_t done
    cdef char last
    error[0] = 0
    done = disk.pread(segment.file.fd, header, sizeof(SegmentHeader), 0)
    if done < 0:
        error[0] = failure()
        return "cannot be read"
    if done != sizeof(SegmentHeader) or memcmp(header.magic, LOG_MAGIC, sizeof(header.magic)) != 0:
        return "is none of this program's"
    if header.format < FIRST_FORMAT or header.format > LOG_FORMAT:
        return "has a format that this program does not read; use the version that wrote it"
    if header.crc != header_checksum(header) or header.file_bytes % LOG_BLOCK_BYTES != 0 \
            or header.file_bytes <= ENTRIES_FROM or header.file_bytes >> 40 != 0:
        return "has a damaged header"
    if header.store_id != store_id:
        return "is of another store"
    if header.number != number:
        return "has the name of another segment"
    done = disk.pread(segment.file.fd, &last, 1, header.file_bytes - 1)
    if done < 0:
        error[0] = failure()
        return "cannot be read"
    if done != 1:
        return "is truncated"
    return NULL


cdef void window_clear(Window *window) noexcept nogil:
    """Begin with another file."""
    window.at = window.size = 0
    window.error = 0


cdef bint window_fill(
    Window *window, Segment *segment, uint64_t offset, uint64_t size
) noexcept nogil:
    """Read so many bytes; False if not all are there."""
    cdef ssize_t done
    window.at, window.size = offset, 0
    if window.bytes.size() < size:
        window.bytes.resize(size)
    while window.size < size:
        done = disk.pread(
            segment.file.fd, &window.bytes[window.size], size - window.size, offset + window.size
        )
        if done < 0:
            window.error = failure()
        if done <= 0:
            return False
        window.size += done
    return True


cdef const char *window_read(
    Window *window, Segment *segment, uint64_t offset, uint64_t size, uint64_t limit
) noexcept nogil:
    cdef uint64_t wanted
    if offset + size > limit:
        return NULL
    if offset < window.at or offset + size > window.at + window.size:
        wanted = max(size, min(limit - offset, <uint64_t> WINDOW_BYTES))
        if not window_fill(window, segment, offset, wanted):
            return NULL
    return window.bytes.data() + (offset - window.at)


cdef const char *segment_entry(
    Window *window, Segment *segment, uint64_t offset, uint64_t limit, EntryHead *head
) noexcept nogil:
    cdef const char *entry = window_read(window, segment, offset, LOG_BLOCK_BYTES, limit)
    if entry == NULL:
        return NULL
    memcpy(head, entry, sizeof(EntryHead))
    if not head_fits(head, segment.header.number, offset, limit):
        return NULL
    entry = window_read(window, segment, offset, entry_bytes(head), limit)
    if entry == NULL or not entry_right(entry, segment.header.crc):
        return NULL
    return entry
