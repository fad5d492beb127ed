"""The log's directory: made, opened by the one that will append, and let go of.

Opening removes files that got no number, has the end found and repaired (`log_recovery`), and goes
on behind it. The directory is locked by whoever opens it.
"""

import os

from libc.errno cimport errno
from libcpp.memory cimport shared_ptr
from posix.fcntl cimport O_RDONLY

from ownerd.base.disk cimport disk
from ownerd.storage.file_log cimport (
    LEAST_SEGMENT_BYTES, default_log_options, describe, give_number,
)
from ownerd.storage.log_entry cimport ENTRY_END, LOG_BLOCK_BYTES
from ownerd.storage.log_recovery cimport LogEnd, find_end, repair_end
from ownerd.storage.log_upkeep cimport begin_file, fill_file
from ownerd.storage.segment cimport (
    LOG_FORMAT, SEGMENT_BEGINS_LOG, SEGMENT_NAME_BYTES, Segment, segment_file_name, segment_open,
    segment_read_header, segment_unlink,
)

from ownerd.storage.directory import StoreError, make_directories, sync_directory

cdef extern from "<fcntl.h>" nogil:
    int AT_FDCWD
    int O_CLOEXEC
    int O_DIRECTORY

cdef enum:
    NAME_DIGITS = 20

_UNFINISHED = ("next.new", "large.new", "spare.new")


cdef FileLog *new_log(str directory, uint64_t store_id, const LogOptions *options) except NULL:
    """Open the directory."""
    cdef FileLog *log
    if options.first_bytes % LOG_BLOCK_BYTES or options.segment_bytes % LOG_BLOCK_BYTES \
            or options.append_bytes % LOG_BLOCK_BYTES \
            or options.first_bytes < LEAST_SEGMENT_BYTES \
            or options.segment_bytes < options.first_bytes \
            or options.append_bytes < LOG_BLOCK_BYTES:
        raise ValueError("the sizes of the log are whole blocks, and a segment has several")
    log = new FileLog()
    log.store_id = store_id
    log.options = options[0]
    log.unsynced = False
    log.error.store(0)
    log.ready_count.store(0)
    log.revision.store(0)
    log.appended_bytes.store(0)
    log.active_index = log.filled_bytes = log.spare_bytes = 0
    try:
        encoded = os.fsencode(directory)
        log.directory.fd = disk.openat(AT_FDCWD, encoded, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        if log.directory.fd < 0:
            raise OSError(errno, f"cannot open {directory}: {os.strerror(errno)}")
    except BaseException:
        del log
        raise
    return log


cdef _remove_unfinished(FileLog *log, str directory):
    """Remove files that got no number."""
    for name in _UNFINISHED:
        if os.path.lexists(os.path.join(directory, name)):
            _check(segment_unlink(log.directory.fd, name.encode()), directory)


cdef int _check(int code, str directory) except -1:
    if code != 0:
        raise OSError(code, f"cannot write to the log in {directory}: {os.strerror(code)}")
    return 0


cdef file_log_create(
    str directory, uint64_t store_id, uint64_t revision, const LogOptions *options
):
    cdef FileLog *log
    cdef int code
    make_directories(directory)
    log = new_log(directory, store_id, options)
    try:
        _remove_unfinished(log, directory)
        code = begin_file(log)
        while code == 0 and log.filled_bytes < options.first_bytes:
            code = fill_file(log)
        if code == 0:
            describe(log, log.made.get())
            log.made.get().header.flags = SEGMENT_BEGINS_LOG
            log.made.get().header.revision = revision
            code = give_number(log, log.made.get(), log.made_name.data(), 1)
        _check(code, directory)
        sync_directory(os.path.dirname(os.path.abspath(directory)))
    finally:
        del log


cdef _open_segments(FileLog *log, str directory):
    """Open every segment, oldest first."""
    cdef shared_ptr[Segment] segment
    cdef const char *fault
    cdef int code, error
    cdef uint64_t number
    names = sorted(
        name for name in os.listdir(directory) if len(name) == NAME_DIGITS and name.isdigit()
    )
    if not names:
        raise StoreError(f"there is no log in {directory}; restore a copy")
    for position, name in enumerate(names):
        number = int(name)
        if number != int(names[0]) + position:
            raise StoreError(
                f"the log in {directory} lacks segment {int(names[0]) + position}: changes that "
                "were answered would be missing; a copy must be restored"
            )
        segment = shared_ptr[Segment](new Segment())
        code = segment_open(segment.get(), log.directory.fd, name.encode(), False)
        if code != 0:
            raise OSError(code, f"cannot open {directory}/{name}: {os.strerror(code)}")
        fault = segment_read_header(segment.get(), log.store_id, number, &error)
        if error != 0:
            raise OSError(error, f"cannot read {directory}/{name}: {os.strerror(error)}")
        if fault != NULL:
            raise StoreError(f"{directory}/{name} {fault.decode()}; a copy must be restored")
        log.segments.push_back(segment)


cdef _go_on(FileLog *log, const LogEnd *found, str directory):
    """Continue behind the end that was found.

    Older segments that are for readers only, and that no reader gets to any more, go; so does one
    that was ready beside a first append that was torn, as one is ready at most, and one that is of
    a former format.
    """
    cdef char name[SEGMENT_NAME_BYTES]
    for i in range(found.first):
        segment_file_name(name, log.segments[i].get().header.number)
        _check(segment_unlink(log.directory.fd, name), directory)
    while log.segments.size() > found.active + 2 or (
        log.segments.size() > found.active + 1
        and log.segments.back().get().header.format < LOG_FORMAT
    ):
        segment_file_name(name, log.segments.back().get().header.number)
        _check(segment_unlink(log.directory.fd, name), directory)
        log.segments.pop_back()
    _place_end(log, found)


cdef void _place_end(FileLog *log, const LogEnd *found) noexcept:
    """Take the end that was found for the tail, and the oldest that can be read for the first."""
    for _ in range(found.first):
        log.segments.erase(log.segments.begin())
    log.active_index = found.active - found.first
    log.active = log.segments[log.active_index]
    log.ready_count.store(<int> (log.segments.size() - log.active_index - 1))
    log.tail.revision = found.revision
    log.tail.time_ns = found.last.time_ns if found.last_offset else 0
    log.tail.segment = log.active.get().header.number
    log.tail.offset = found.offset
    log.tail.crc = found.last.crc
    log.tail.session = found.session
    log.tail.is_end = found.last_offset != 0 and found.last.kind == ENTRY_END
    log.revision.store(found.revision)


cdef FileLog *file_log_acquire(
    str directory, uint64_t store_id, uint64_t flushed_revision, const LogOptions *options
) except NULL:
    cdef FileLog *log = new_log(directory, store_id, options)
    cdef LogEnd found
    try:
        _remove_unfinished(log, directory)
        _open_segments(log, directory)
        find_end(&found, &log.segments, flushed_revision, directory)
        repair_end(&found, &log.segments, log.directory.fd)
        _go_on(log, &found, directory)
    except BaseException:
        del log
        raise
    return log


cdef FileLog *file_log_inspect(
    str directory, uint64_t store_id, uint64_t flushed_revision
) except NULL:
    cdef LogOptions options = default_log_options()
    cdef FileLog *log = new_log(directory, store_id, &options)
    cdef LogEnd found
    try:
        _open_segments(log, directory)
        find_end(&found, &log.segments, flushed_revision, directory)
        _place_end(log, &found)
    except BaseException:
        del log
        raise
    return log


cdef void file_log_release(FileLog *log) noexcept:
    del log
