"""Room in the map and on the disk: grants are refused before the store is full.

LMDB needs free pages even to delete (copy on write), so a reserve is kept: grants may not touch
it, attempts may use half of it, and the rest is for releases and settling, which make room again.
The data file's blocks are reserved on the disk ahead of need, so that a full disk shows here, where
nothing is lost, and not as a failed commit. Runs on the writer thread.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from ownerd.lmdb_api cimport (
    MDB_NEXT, MDB_RDONLY, MDB_SUCCESS, MDB_cursor, MDB_envinfo, MDB_txn, MDB_val, lmdb,
)

cdef extern from "<fcntl.h>" nogil:
    int fallocate(int, int, long, long)

cdef extern from "<errno.h>" nogil:
    int errno_now "errno"
    int EINTR
    int EOPNOTSUPP
    int ENOSYS

cdef extern from "<sys/statvfs.h>" nogil:
    ctypedef struct statvfs_t "struct statvfs":
        unsigned long f_frsize
        unsigned long f_bavail
    int fstatvfs(int, statvfs_t *)

cdef enum:
    FREE_COUNT_INTERVAL_NS = 1_000_000_000
    ALLOCATE_BYTES = 0x400000         # 4 MiB: the data file's blocks are reserved in such steps


cdef uint64_t free_page_count(Store *store) noexcept nogil:
    """Count the pages in LMDB's free list (table 0: each value begins with a page count)."""
    cdef MDB_txn *txn
    cdef MDB_cursor *cursor
    cdef MDB_val key, value
    cdef uint64_t total = 0
    cdef size_t count
    if lmdb.txn_begin(store.env, NULL, MDB_RDONLY, &txn) != MDB_SUCCESS:
        return 0
    if lmdb.cursor_open(txn, 0, &cursor) == MDB_SUCCESS:
        while lmdb.cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS:
            memcpy(&count, value.mv_data, sizeof(count))
            total += count
        lmdb.cursor_close(cursor)
    lmdb.txn_abort(txn)
    return total


cdef uint64_t bytes_ahead(Store *store, uint64_t used_bytes) noexcept nogil:
    """Return how much disk to reserve beyond what is used.

    A group dirties no more pages than the tree has, and some for new records, so a small store need
    not reserve much.
    """
    return min(store.reserve_bytes, used_bytes + ALLOCATE_BYTES)


cdef void allocate_ahead(Store *store, uint64_t used_bytes) noexcept nogil:
    """Reserve disk blocks for the data file before they are needed."""
    cdef int code
    cdef uint64_t wanted = min(used_bytes + bytes_ahead(store, used_bytes), store.map_bytes)
    store.disk_full = False
    while store.can_allocate and store.allocated_bytes < wanted:
        code = fallocate(
            store.data_fd, 0, <long> store.allocated_bytes, ALLOCATE_BYTES
        )
        if code == 0:
            store.allocated_bytes += ALLOCATE_BYTES
        elif errno_now == EOPNOTSUPP or errno_now == ENOSYS:
            store.can_allocate = False    # this filesystem cannot: statvfs has to do
        elif errno_now != EINTR:          # no space, over a quota or a size limit
            store.disk_full = True
            return


cdef void count_free(Store *store, int64_t now_ns) noexcept nogil:
    """Count LMDB's free list again if a commit or a second has passed since the last count."""
    if store.free_counted_revision == store.state.revision \
            and now_ns - store.free_counted_ns < FREE_COUNT_INTERVAL_NS:
        return
    store.free_counted_revision = store.state.revision
    store.free_counted_ns = now_ns
    store.free_bytes = free_page_count(store) * store.page_bytes


cdef Room store_room(Store *store, int64_t now_ns) noexcept nogil:
    """Tell what may still be written; asked before each group."""
    cdef MDB_envinfo info
    cdef statvfs_t disk
    cdef uint64_t used, left
    cdef uint64_t reserve = store.reserve_bytes
    lmdb.env_info(store.env, &info)
    used = (info.me_last_pgno + 1) * store.page_bytes
    allocate_ahead(store, used)
    left = store.map_bytes - min(store.map_bytes, used)
    if store.disk_full:
        reserve = bytes_ahead(store, used)
        left = min(left, store.allocated_bytes - min(store.allocated_bytes, used))
    elif not store.can_allocate and fstatvfs(store.data_fd, &disk) == 0:
        store.disk_full = <uint64_t> disk.f_bavail * disk.f_frsize < reserve
        left = min(left, <uint64_t> disk.f_bavail * disk.f_frsize)
    if left < reserve:
        count_free(store, now_ns)
        left += store.free_bytes
    store.map_full = left < reserve and not store.disk_full
    if left >= reserve:
        return ROOM_FOR_GRANTS
    return ROOM_FOR_REPORTS if left >= reserve // 2 else ROOM_FOR_CHANGES
