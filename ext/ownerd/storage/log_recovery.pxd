"""C interface of log_recovery: where a log ends, and whether it may."""

from libc.stdint cimport uint64_t
from libcpp.memory cimport shared_ptr

from ownerd.base.containers cimport vector
from ownerd.storage.log_entry cimport EntryHead
from ownerd.storage.segment cimport Segment, Window

# What was found of a log; indices are of its segments.
cdef cppclass LogEnd:
    size_t first                      # the oldest that can be read, down to the records' revision
    size_t active                     # that of the last entry
    uint64_t offset                   # behind it: where the next one goes
    uint64_t revision
    uint64_t session                  # of the last opening on the way; 0: there is none
    uint64_t last_offset              # of the last entry; 0: the log has none
    EntryHead last
    # A torn append: bytes that are none of an entry. None: `torn_end` is 0.
    size_t torn
    uint64_t torn_from
    uint64_t torn_end
    # What is being read with.
    vector[EntryHead] heads           # of each segment's first entry; magic 0: it has none
    Window window

# Raises StoreError: of changes that were answered some are missing.
cdef refuse_log(str directory, str what)
# Fills in what the segments know of their entries; writes nothing. `flushed_revision`: what the
# records have, so that older segments are for readers only. StoreError, OSError.
cdef int find_end(
    LogEnd *found, vector[shared_ptr[Segment]] *segments, uint64_t flushed_revision, str directory
) except -1
# Cuts what was torn, and makes the last entry durable. OSError.
cdef int repair_end(
    LogEnd *found, vector[shared_ptr[Segment]] *segments, int directory_fd
) except -1
