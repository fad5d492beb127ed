"""C interface of file_log: the log as files; what its parts share, and what any thread may ask."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.atomic cimport atomic
from libcpp.memory cimport shared_ptr

from ownerd.base.containers cimport mutex, string, vector
from ownerd.base.disk cimport Descriptor
from ownerd.storage.segment cimport Segment

cdef struct LogOptions:
    uint64_t first_bytes              # of the first file of a new log; whole blocks
    uint64_t segment_bytes            # each next one is twice as large, up to this
    uint64_t append_bytes             # a larger append gets a segment of its own; whole blocks
    uint64_t keep_bytes               # of segments that only readers need, whichever of the two
    int64_t keep_ns                   # is reached first

cdef enum:
    DEFAULT_FIRST_BYTES = 0x100000      # 1 MiB
    DEFAULT_SEGMENT_BYTES = 0x2000000   # 32 MiB
    DEFAULT_APPEND_BYTES = 0x400000     # 4 MiB
    DEFAULT_KEEP_BYTES = 0x40000000     # 1 GiB
    LEAST_SEGMENT_BYTES = 0x4000        # header, two entries, end entry

cdef int64_t DEFAULT_KEEP_NS          # an hour

cdef enum LogStatus:
    LOG_OK
    LOG_MORE                          # call again: there is more to do
    LOG_FULL                          # no space; nothing changed
    LOG_FAILED                        # the log takes nothing more; `file_log_error` says why
    # of the log of a cluster alone
    LOG_FENCED                        # another node leads, or may: nothing changed, nor ever will
    LOG_UNKNOWN                       # etcd does not say: it may be in the log, or get there

# Where the log ends: what a follower of it has to continue.
cdef struct LogTail:
    uint64_t revision
    int64_t time_ns
    uint64_t segment
    uint64_t offset
    uint32_t crc                      # of the last entry; 0: there is none
    bint is_end                       # the last entry says that the log was ended cleanly
    uint64_t session                  # of the last opening that was found, or said; 0: none was

cdef cppclass FileLog:
    Descriptor directory
    uint64_t store_id
    LogOptions options
    bint unsynced                     # it is for readers alone: a shared log has all of it
    atomic[int] error                 # an errno, since which nothing is appended; 0: none
    # The writer's.
    LogTail tail
    shared_ptr[Segment] active
    atomic[uint64_t] revision         # the tail's, for others
    atomic[uint64_t] appended_bytes   # since it was opened
    # Everybody's, under the guard, which is held for a few steps in memory.
    mutex guard
    vector[shared_ptr[Segment]] segments   # oldest first; those behind the active one are ready
    size_t active_index
    atomic[int] ready_count
    # Held while a file gets a number.
    mutex naming
    # Maintenance's.
    shared_ptr[Segment] made          # the next segment, being filled
    uint64_t filled_bytes
    string made_name
    # Of the file of a segment that was trimmed, to be used again; 0: there is none. The file and
    # not the segment: whoever read that last may only just have let go of it.
    uint64_t spare_bytes

cdef LogOptions default_log_options() noexcept nogil

# --- any thread -----------------------------------------------------------------------------------

# An errno; 0: it goes on.
cdef int file_log_error(const FileLog *log) noexcept nogil
# Of the last entry that is on disk.
cdef uint64_t file_log_revision(const FileLog *log) noexcept nogil
# A reader may begin behind this revision, or a later one.
cdef uint64_t file_log_oldest(FileLog *log) noexcept nogil
# The same for one who wants to know what changed: entries of a former format do not say.
cdef uint64_t file_log_oldest_told(FileLog *log) noexcept nogil
# The active segment is of a former format.
cdef bint file_log_outdated(const FileLog *log) noexcept nogil
cdef bint file_log_next_ready(const FileLog *log) noexcept nogil
# Of all its files.
cdef uint64_t file_log_bytes(FileLog *log) noexcept nogil
# Of the active segment, how much has been appended to, in thousandths.
cdef uint64_t file_log_fill(FileLog *log) noexcept nogil
# What was appended since the log was opened, in bytes with padding.
cdef uint64_t file_log_appended(const FileLog *log) noexcept nogil

# --- for the parts of the log ---------------------------------------------------------------------

# Takes nothing more from now on; LOG_FAILED.
cdef LogStatus fail(FileLog *log, int code) noexcept nogil
# Removes a file that has no number; LOG_FULL where only space was wanting, else LOG_FAILED.
cdef LogStatus give_up(FileLog *log, int code, const char *name) noexcept nogil
# What a new segment's header says, but for its number.
cdef void describe(FileLog *log, Segment *segment) noexcept nogil
# Makes a file whose content is on disk a segment, durably; an errno, or 0.
cdef int give_number(
    FileLog *log, Segment *segment, const char *name, uint64_t number
) noexcept nogil
# Of the file to be made next.
cdef uint64_t next_bytes(FileLog *log) noexcept nogil
# NULL: none is ready.
cdef shared_ptr[Segment] next_segment(FileLog *log) noexcept nogil
cdef uint64_t bytes_of(const vector[shared_ptr[Segment]] *segments) noexcept nogil
