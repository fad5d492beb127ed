"""C interface of backup: a copy of the whole store, for whoever sends it away."""

from ownerd.api.task cimport Task
from ownerd.engine.core cimport EngineCore
from ownerd.storage.store cimport Store
from ownerd.storage.store_copy cimport CopyStatus, StoreCopy

cdef cppclass BackupRequest:
    Task task
    StoreCopy copy
    CopyStatus status

# On the writer thread, between two groups.
cdef void backup_fix(Store *store, BackupRequest *request) noexcept nogil


cdef class Backup:
    cdef BackupRequest *request
    cdef object engine                # whose files it keeps open; None: it is closed
    cdef object lock                  # against a close during a read
    cdef readonly tuple files

    cdef open(self, object engine, EngineCore *core)
