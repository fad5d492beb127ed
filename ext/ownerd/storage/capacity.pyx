"""Capacity in a map and on the disk: grants are refused before the store is full.

LMDB needs free pages even to delete (copy on write), so a reserve is kept: grants may not touch
it, attempts may use half of it, and the rest is for releases and maintenance, which free space
again. What is in the log and not yet flushed will need space in the record tree: that much is
promised, and counts as used there. The data file's blocks are reserved on the disk ahead of need,
so that a full disk shows here, where nothing is lost, and not as a failed commit. Any thread.
"""

from libc.string cimport memcpy

from ownerd.base.atomics cimport flag_set
from ownerd.base.lmdb cimport (
    MDB_NEXT, MDB_RDONLY, MDB_SUCCESS, MDB_cursor, MDB_envinfo, MDB_txn, MDB_val, lmdb,
)
from ownerd.storage.environment cimport used_bytes
from ownerd.storage.file_log cimport file_log_next_ready
from ownerd.storage.log_writer cimport file_log_room

cdef extern from "<fcntl.h>" nogil:
    int fallocate(int, int, long, long)

cdef extern from "<errno.h>" nogil:
    int errno_now "errno"
    int EINTR
    int EOPNOTSUPP
    int ENOSYS

cdef extern from "<stdio.h>" nogil:
    int sscanf(const char *, const char *, ...)

cdef extern from "<sys/statvfs.h>" nogil:
    ctypedef struct statvfs_t "struct statvfs":
        unsigned long f_frsize
        unsigned long f_bavail
    int fstatvfs(int, statvfs_t *)

cdef enum:
    FREE_COUNT_INTERVAL_NS = 1_000_000_000
    PAGES_PER_CHANGE = 32             # a generous bound on what a small commit writes
    RESERVED_PART = 4                 # of a segment, at most, for what is not a grant
    LEAST_ROOM_BYTES = 0x10000        # 64 KiB: a generous bound on what a small commit appends
    ALLOCATE_BYTES = 0x400000         # 4 MiB: the data file's blocks are reserved in such steps


cdef int older_reader(const char *line, void *context) noexcept nogil:
    """Take note of a reader in LMDB's list: process, thread, transaction, `-` if it is idle."""
    cdef size_t *oldest = <size_t *> context
    cdef size_t reads
    if sscanf(line, "%*d %*x %zu", &reads) == 1:
        oldest[0] = min(oldest[0], reads)
    return 0


cdef uint64_t free_page_count(Environment *environment, size_t last_txn) noexcept nogil:
    """Count the pages in LMDB's free list that the next commit may use again.

    Table 0: by the transaction that freed them, each value begins with a page count. LMDB leaves
    alone what the last one freed, and what was freed since the oldest reader began.
    """
    cdef size_t oldest = last_txn
    cdef MDB_txn *txn
    cdef MDB_cursor *cursor
    cdef MDB_val key, value
    cdef uint64_t total = 0
    cdef size_t count, freed_by
    if lmdb.reader_list(environment.env, older_reader, &oldest) < 0 \
            or lmdb.txn_begin(environment.env, NULL, MDB_RDONLY, &txn) != MDB_SUCCESS:
        return 0
    if lmdb.cursor_open(txn, 0, &cursor) == MDB_SUCCESS:
        while lmdb.cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS:
            memcpy(&freed_by, key.mv_data, sizeof(freed_by))
            memcpy(&count, value.mv_data, sizeof(count))
            total += count if freed_by < oldest else 0
        lmdb.cursor_close(cursor)
    lmdb.txn_abort(txn)
    return total


cdef uint64_t bytes_ahead(uint64_t reserve_bytes, uint64_t used) noexcept nogil:
    """Return how much disk to reserve beyond what is used.

    A group dirties no more pages than the tree has, and some for new records, so a small store need
    not reserve much.
    """
    return min(reserve_bytes, used + ALLOCATE_BYTES)


cdef void allocate_ahead(
    Environment *environment, uint64_t ahead, uint64_t used
) noexcept nogil:
    """Reserve disk blocks for the data file before they are needed."""
    cdef int code
    cdef uint64_t wanted = min(used + ahead, environment.map_bytes)
    flag_set(&environment.disk_full, False)
    while environment.can_allocate and environment.allocated_bytes < wanted:
        code = fallocate(
            environment.data_fd, 0, <long> environment.allocated_bytes, ALLOCATE_BYTES
        )
        if code == 0:
            environment.allocated_bytes += ALLOCATE_BYTES
        elif errno_now == EOPNOTSUPP or errno_now == ENOSYS:
            environment.can_allocate = False  # this filesystem cannot: statvfs has to do
        elif errno_now != EINTR:      # no space, over a quota or a size limit
            flag_set(&environment.disk_full, True)
            return


cdef void count_free(Environment *environment, int64_t now_ns) noexcept nogil:
    """Count LMDB's free list again if a commit or a second has passed since the last count."""
    cdef MDB_envinfo info
    lmdb.env_info(environment.env, &info)
    if environment.free_counted_txn == info.me_last_txnid \
            and now_ns - environment.free_counted_ns < FREE_COUNT_INTERVAL_NS:
        return
    environment.free_counted_txn = info.me_last_txnid
    environment.free_counted_ns = now_ns
    environment.free_bytes = free_page_count(environment, info.me_last_txnid) \
        * environment.page_bytes


cdef uint64_t environment_left(
    Environment *environment, uint64_t reserve_bytes, int64_t now_ns
) noexcept nogil:
    """Return how many bytes of single pages may be written, having reserved them on the disk."""
    cdef uint64_t used = used_bytes(environment), left
    environment.guard.lock()
    allocate_ahead(environment, bytes_ahead(reserve_bytes, used), used)
    left = environment.map_bytes - min(environment.map_bytes, used)
    if environment.disk_full:
        left = min(left, environment.allocated_bytes - min(environment.allocated_bytes, used))
    if left < reserve_bytes:
        count_free(environment, now_ns)
        left += environment.free_bytes
    environment.guard.unlock()
    return left


cdef Capacity environment_capacity(
    Environment *environment, uint64_t reserve_bytes, uint64_t promised_bytes, int64_t now_ns
) noexcept nogil:
    """Tell what may still be written; asked before each group."""
    cdef Capacity capacity
    environment.guard.lock()
    capacity = measure(environment, reserve_bytes, promised_bytes, now_ns)
    environment.guard.unlock()
    return capacity


cdef Capacity measure(
    Environment *environment, uint64_t reserve, uint64_t promised, int64_t now_ns
) noexcept nogil:
    cdef statvfs_t disk
    cdef uint64_t used = used_bytes(environment)
    cdef uint64_t left = environment.map_bytes - min(environment.map_bytes, used)
    allocate_ahead(environment, bytes_ahead(reserve, used) + promised, used)
    if environment.disk_full:
        reserve = bytes_ahead(reserve, used)
        left = min(left, environment.allocated_bytes - min(environment.allocated_bytes, used))
    elif not environment.can_allocate and fstatvfs(environment.data_fd, &disk) == 0:
        flag_set(
            &environment.disk_full,
            <uint64_t> disk.f_bavail * disk.f_frsize < reserve + promised,
        )
        left = min(left, <uint64_t> disk.f_bavail * disk.f_frsize)
    if left < reserve + promised:
        count_free(environment, now_ns)
        left += environment.free_bytes
    left -= min(left, promised)
    flag_set(&environment.map_full, left < reserve and not environment.disk_full)
    if left >= reserve:
        return CAPACITY_FOR_GRANTS
    if left >= max(reserve // 2, 2 * PAGES_PER_CHANGE * environment.page_bytes):
        return CAPACITY_FOR_REPORTS
    return CAPACITY_FOR_CHANGES if left >= PAGES_PER_CHANGE * environment.page_bytes \
        else CAPACITY_FOR_NOTHING


cdef uint64_t log_reserve(const FileLog *log, uint64_t reserve_bytes) noexcept nogil:
    """Return what a segment keeps for what makes room, of `reserve_bytes` that the disk keeps."""
    return min(reserve_bytes, log.active.get().header.file_bytes // RESERVED_PART)


cdef Capacity log_capacity(const FileLog *log, uint64_t reserve_bytes) noexcept nogil:
    """Tell what may still be appended; asked before each group, by the writer.

    Where a next segment is ready there is room. Else what the last one has left is for what makes
    room, or stops the server.
    """
    cdef uint64_t room = file_log_room(log)
    cdef uint64_t reserve = log_reserve(log, reserve_bytes)
    if file_log_next_ready(log) or room >= reserve:
        return CAPACITY_FOR_GRANTS
    if room >= reserve // 2:
        return CAPACITY_FOR_REPORTS
    return CAPACITY_FOR_CHANGES if room >= LEAST_ROOM_BYTES else CAPACITY_FOR_NOTHING
