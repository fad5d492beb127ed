"""C interface of segment: one file of the log, from its making to the reading of its blocks."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.atomic cimport atomic

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string
from ownerd.base.disk cimport Descriptor
from ownerd.storage.log_entry cimport LOG_BLOCK_BYTES, EntryHead

cdef enum:
    LOG_FORMAT = 2                    # entries tell what changed (`notes`)
    FIRST_FORMAT = 1                  # they do not; read, and not begun any more
    ENTRIES_FROM = LOG_BLOCK_BYTES    # behind the header's block
    SEGMENT_NAME_BYTES = 24           # with its NUL

cdef enum SegmentFlags:
    SEGMENT_BEGINS_LOG = 1            # `revision` is the one that the log's first entry follows
    SEGMENT_OF_ONE = 2                # made for one large entry, which was whole before its name

# The first block of a file.
cdef struct SegmentHeader:
    char magic[8]
    uint32_t format
    uint32_t flags
    uint64_t store_id
    uint64_t number                   # from 1 on, without gaps; also the file's name
    uint64_t file_bytes
    uint64_t append_bytes             # that an append into it has at most
    uint64_t revision
    uint64_t salt                     # random, so that nobody knows the seed
    uint32_t unused
    uint32_t crc                      # of all before it: the seed of its entries' checksums

cdef cppclass Segment:
    Descriptor file
    SegmentHeader header
    # What is known of its entries. The writer's, until a later segment is in use: then constant.
    uint64_t revision_before          # that of the entry before its first
    uint64_t last_revision
    int64_t last_ns                   # the time of its last entry, or a little later
    # Up to where there may be entries that are on disk; any thread reads it.
    atomic[uint64_t] end

# Bytes of a file that were read, and kept for the entries after them. One thread's.
cdef cppclass Window:
    string bytes
    uint64_t at                       # where in the file they begin
    uint64_t size
    int error                         # why a read failed, an errno; 0: none did

# --- files; all of them return an errno, or 0, and nothing is done twice --------------------------

cdef void segment_file_name(char *name, uint64_t number) noexcept nogil
# A new, empty file, or one that is there, of whose entries nothing is known yet.
cdef int segment_open(Segment *segment, int directory, const char *name, bint make) noexcept nogil
# Takes the disk's blocks, where the filesystem can do that beforehand.
cdef int segment_allocate(Segment *segment, uint64_t file_bytes) noexcept nogil
# Overwrites a part with zeros and syncs it.
cdef int segment_fill(Segment *segment, uint64_t offset, uint64_t size) noexcept nogil
# For what has no name yet: goes on after a write that was short.
cdef int segment_write(Segment *segment, uint64_t offset, Slice bytes) noexcept nogil
# The header, whose flags, sizes, ids and number stand in the segment; not synced.
cdef int segment_write_header(Segment *segment) noexcept nogil
cdef int segment_sync(Segment *segment) noexcept nogil
# Durably: the directory is synced.
cdef int segment_rename(int directory, const char *before, const char *after) noexcept nogil
cdef int segment_unlink(int directory, const char *name) noexcept nogil
# One write, one sync. After an error nobody knows what is on disk.
cdef int segment_append(Segment *segment, uint64_t offset, Slice entry) noexcept nogil

# --- reading --------------------------------------------------------------------------------------

# NULL if the header is read and right, else what is wrong; `error`: an errno, where that is why.
cdef const char *segment_read_header(
    Segment *segment, uint64_t store_id, uint64_t number, int *error
) noexcept nogil
cdef void window_clear(Window *window) noexcept nogil
# Bytes of the segment below `limit`; NULL if they cannot be read. Valid until the next read.
cdef const char *window_read(
    Window *window, Segment *segment, uint64_t offset, uint64_t size, uint64_t limit
) noexcept nogil
# The entry at `offset`, if there is one that is right and ends at `limit` or before; else NULL.
cdef const char *segment_entry(
    Window *window, Segment *segment, uint64_t offset, uint64_t limit, EntryHead *head
) noexcept nogil
