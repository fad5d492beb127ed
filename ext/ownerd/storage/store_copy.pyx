"""Reads the files of a store as of one revision, while it is written: what a backup consists of.

- The data file, as of a read transaction: no page that the transaction sees is used again before it
  ends, so they are read from the file at leisure. The first two pages, which every commit writes
  in turn, are kept when it begins, while nobody commits.
- The log from what the data file has been flushed up to, to the revision at which the writer says
  where the copy ends. That is later than anything of a memtable that a flush has brought into the
  data file by halves, so the two are what a crash at that moment would have left, and are opened as
  that is.

Held segments are read also once they were trimmed, and go with the copy; nothing on disk says that
there is one. What it costs: pages that the store gives up meanwhile are not used again, so the data
file grows by what flush and vacuum write until the copy is closed; and segments that are trimmed
meanwhile keep their disk space.

It decides nothing about who may read it, and knows no format but that of the files.
"""

from libc.errno cimport EIO, errno
from libc.string cimport memcpy

from ownerd.base.assertions cimport assert_that
from ownerd.base.disk cimport disk
from ownerd.base.lmdb cimport MDB_RDONLY, MDB_SUCCESS, lmdb
from ownerd.storage.environment cimport used_bytes
from ownerd.storage.file_log cimport FileLog
from ownerd.storage.segment cimport ENTRIES_FROM
from ownerd.storage.store cimport store_revision

cdef enum:
    META_PAGES = 2


# --- where it begins ------------------------------------------------------------------------------

cdef void hold(StoreCopy *copy, FileLog *log, size_t index) noexcept nogil:
    """Hold one more segment; under the log's guard."""
    cdef CopiedSegment held
    held.segment = log.segments[index]
    held.number = held.segment.get().header.number
    held.file_bytes = held.segment.get().header.file_bytes
    held.bytes = 0
    copy.log.push_back(held)


cdef void hold_all(StoreCopy *copy, FileLog *log) noexcept nogil:
    """Hold every segment that has entries: which are needed is known once the tree is."""
    cdef size_t i
    copy.log.clear()
    log.guard.lock()
    for i in range(log.active_index + 1):
        hold(copy, log, i)
    log.guard.unlock()


cdef CopyStatus copy_begin(StoreCopy *copy, Store *store) noexcept nogil:
    cdef CopyStatus status
    copy.tree = store.tree
    copy.txn = NULL
    hold_all(copy, store.log)         # first: what the tree lacks cannot go any more
    store.tree.writing.lock()
    status = begin_tree(copy)
    store.tree.writing.unlock()
    if status != COPY_OK:
        copy_close(copy)
    return status


cdef CopyStatus begin_tree(StoreCopy *copy) noexcept nogil:
    """Begin the transaction, and keep the pages that the next commit writes; nobody commits now."""
    cdef Tree *tree = copy.tree
    if lmdb.txn_begin(tree.environment.env, NULL, MDB_RDONLY, &copy.txn) != MDB_SUCCESS:
        copy.txn = NULL
        return COPY_NO_READER
    copy.flushed_revision = tree.state.revision
    copy.tree_bytes = used_bytes(tree.environment)
    copy.metas.resize(META_PAGES * tree.environment.page_bytes)
    if read_at(tree.environment.data_fd, 0, &copy.metas[0], copy.metas.size()) \
            != <ssize_t> copy.metas.size():
        return COPY_FAILED
    return COPY_OK


# --- where it ends --------------------------------------------------------------------------------

cdef CopyStatus copy_fix(StoreCopy *copy, Store *store) noexcept nogil:
    if not hold_rest(copy, store.log):
        return COPY_AGAIN
    drop_flushed(copy)
    copy.revision = store_revision(store)
    copy.store_id = store.state.store_id
    copy.incarnation = store.state.incarnation
    copy.time_ns = store.state.time_ns
    assert_that(copy.revision >= copy.flushed_revision, "the log goes on from the tree")
    return COPY_OK


cdef bint hold_rest(StoreCopy *copy, FileLog *log) noexcept nogil:
    """Hold what became active meanwhile, up to the last entry; False if some of it has gone."""
    cdef uint64_t next = copy.log.back().number + 1, first
    cdef size_t i
    log.guard.lock()
    first = log.segments[0].get().header.number
    if next >= first:
        for i in range(next - first, log.active_index + 1):
            hold(copy, log, i)
    log.guard.unlock()
    if next < first:
        return False
    for i in range(copy.log.size()):
        copy.log[i].bytes = copy.log[i].segment.get().end.load()
    return True


cdef void drop_flushed(StoreCopy *copy) noexcept nogil:
    """Let go of segments of which the tree has all, but for one that says where it goes on."""
    cdef const Segment *after
    while copy.log.size() > 1:
        after = copy.log[1].segment.get()
        if copy.log[1].bytes == ENTRIES_FROM or after.revision_before > copy.flushed_revision:
            return
        copy.log.erase(copy.log.begin())


# --- reading --------------------------------------------------------------------------------------

cdef ssize_t read_at(int fd, uint64_t offset, char *data, size_t size) noexcept nogil:
    """Read so many bytes; a negative errno if they cannot be read, or the file ends before."""
    cdef size_t done = 0
    cdef ssize_t found
    while done < size:
        found = disk.pread(fd, data + done, size - done, offset + done)
        if found <= 0:
            return -EIO if found == 0 or errno == 0 else -errno
        done += found
    return <ssize_t> done


cdef ssize_t copy_read_tree(
    const StoreCopy *copy, uint64_t offset, char *data, size_t size
) noexcept nogil:
    cdef size_t kept = (<StoreCopy *> copy).metas.size(), part
    cdef ssize_t done
    if offset >= copy.tree_bytes:
        return 0
    size = min(size, copy.tree_bytes - offset)
    part = min(size, kept - offset) if offset < kept else 0
    memcpy(data, (<StoreCopy *> copy).metas.data() + offset, part)
    done = read_at(
        copy.tree.environment.data_fd, offset + part, data + part, size - part
    )
    return done if done < 0 else <ssize_t> part + done


cdef ssize_t copy_read_segment(
    const StoreCopy *copy, size_t index, uint64_t offset, char *data, size_t size
) noexcept nogil:
    cdef const CopiedSegment *held = &(<StoreCopy *> copy).log[index]
    if offset >= held.bytes:
        return 0
    size = min(size, held.bytes - offset)
    return read_at(held.segment.get().file.fd, offset, data, size)


cdef void copy_close(StoreCopy *copy) noexcept nogil:
    if copy.txn != NULL:
        lmdb.txn_abort(copy.txn)
        copy.txn = NULL
    copy.log.clear()
