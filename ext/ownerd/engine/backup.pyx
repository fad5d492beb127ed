"""A copy of the whole store as of one revision, read while dials go on.

Made by `Engine.backup`: a thread of the caller's begins it, the writer says between two groups
where it ends, and from then on it is read on the caller's thread, without the GIL and without the
writer. Unlike a snapshot it may be kept across a network wait: what that costs is in `store_copy`.
Maintenance does not wait for it.
"""

import os
import threading

from libc.stdint cimport uint64_t
from libc.string cimport memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from ownerd.api.reasons cimport TOO_MANY_READS, task_refusal
from ownerd.api.task cimport OK, TASK_BACKUP, task_clear
from ownerd.engine.queue cimport queue_run
from ownerd.storage.store_copy cimport (
    COPY_FAILED, COPY_OK, copy_begin, copy_close, copy_fix, copy_read_segment, copy_read_tree,
)
from ownerd.storage.tables cimport STATE_FORMAT

from ownerd.api.reasons import refused

# Of the files, as `Backup.store_format` says it of each backup.
STORE_FORMAT = <int> STATE_FORMAT

cdef enum:
    MOST_TRIES = 5                    # a segment is filled and trimmed during each that fails


cdef void backup_fix(Store *store, BackupRequest *request) noexcept nogil:
    request.status = copy_fix(&request.copy, store)


cdef void take(EngineCore *core, BackupRequest *request) noexcept nogil:
    """Begin a copy, and have the writer say where it ends; the status and the task tell."""
    cdef int _try
    for _try in range(MOST_TRIES):
        request.status = copy_begin(&request.copy, core.store)
        if request.status != COPY_OK:
            return
        request.task.kind = TASK_BACKUP
        request.task.body = request
        queue_run(&core.queue, &request.task)
        if request.task.code == OK and request.status == COPY_OK:
            return
        copy_close(&request.copy)
        if request.task.code != OK:
            return


cdef class Backup:
    """The files of a store as of one revision; made by `Engine.backup`. A context manager.

    Attributes: `revision`, `store_id`, `incarnation`, `store_format`, `time_ns` (the highest time
    stored), and `files`: (name below the data directory, bytes, bytes with the zeros that follow
    them) of each, the log's first and the data file last. Any thread; it must be closed.
    """

    cdef open(self, object engine, EngineCore *core):
        """Begin it; the engine's files are kept open until it is closed."""
        self.lock = threading.Lock()
        self.request = new BackupRequest()
        memset(&self.request.task, 0, sizeof(self.request.task))
        self.request.copy.txn = NULL
        with nogil:
            take(core, self.request)
        if self.request.task.code != OK:
            raise task_refusal(&self.request.task)
        if self.request.status == COPY_FAILED:
            raise OSError("the data file of the store cannot be read")
        if self.request.status != COPY_OK:
            raise refused(TOO_MANY_READS)
        engine._begin_read()
        self.engine = engine
        self.files = _files(&self.request.copy)

    def close(self):
        """Let go of the revision; further reads raise ValueError. May be called again."""
        with self.lock:
            engine, self.engine = self.engine, None
            if engine is not None:
                copy_close(&self.request.copy)
                engine._end_read()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __del__(self):
        if self.lock is not None:
            self.close()

    def __dealloc__(self):
        if self.request != NULL:
            task_clear(&self.request.task)
            copy_close(&self.request.copy)
            del self.request

    @property
    def revision(self):
        return self.request.copy.revision

    @property
    def store_id(self):
        return self.request.copy.store_id

    @property
    def incarnation(self):
        return self.request.copy.incarnation

    @property
    def store_format(self):
        return STORE_FORMAT

    @property
    def time_ns(self):
        return self.request.copy.time_ns

    def read(self, size_t index, uint64_t offset, size_t size):
        """Return bytes of a file, by its place in `files`; b"" at its end.

        Raises:
            ValueError: the backup is closed, or there is no such file.
            OSError: the file cannot be read.
        """
        with self.lock:
            if self.engine is None or index >= <size_t> len(self.files):
                raise ValueError("the backup is closed, or has no such file")
            return _read(&self.request.copy, index, offset, size)


cdef tuple _files(const StoreCopy *copy):
    held = [
        (f"log/{copy.log[i].number:020d}", copy.log[i].bytes, copy.log[i].file_bytes)
        for i in range(copy.log.size())
    ]
    return (*held, ("records/data.mdb", copy.tree_bytes, copy.tree_bytes))


cdef bytes _read(const StoreCopy *copy, size_t index, uint64_t offset, size_t size):
    cdef ssize_t done
    found = PyBytes_FromStringAndSize(NULL, size)
    cdef char *data = PyBytes_AS_STRING(found)
    with nogil:
        if index == copy.log.size():
            done = copy_read_tree(copy, offset, data, size)
        else:
            done = copy_read_segment(copy, index, offset, data, size)
    if done < 0:
        raise OSError(-done, f"cannot read the store: {os.strerror(-done)}")
    return found if <size_t> done == size else found[:done]
