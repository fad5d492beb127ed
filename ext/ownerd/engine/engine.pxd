"""C interface of engine: the Python object that owns a store and its threads."""

from ownerd.base.threads cimport pthread_t
from ownerd.engine.core cimport EngineCore
from ownerd.storage.store cimport Store

cdef class Engine:
    cdef EngineCore *core
    cdef pthread_t writer
    cdef pthread_t maintenance
    cdef bint background
    cdef bint closed
    cdef Py_ssize_t readers           # reads and snapshots that need the files open
    cdef object directory
    cdef object clock
    cdef object cluster               # whose log the store appends to; kept alive
    cdef object opened_at

    cdef void _end_threads(self) noexcept
    cdef Store *_store(self) except NULL
