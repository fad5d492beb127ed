"""C interface of environment: one LMDB environment, open, with the figures of its capacity."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.base.containers cimport mutex
from ownerd.base.lmdb cimport MDB_dbi, MDB_env

cdef cppclass Environment:
    MDB_env *env
    int data_fd
    uint64_t map_bytes
    uint64_t page_bytes
    mutex guard                       # the figures below; `capacity` keeps them
    uint64_t allocated_bytes          # the data file's blocks are reserved up to here
    uint64_t free_bytes               # in LMDB's free list, as last counted
    int64_t free_counted_ns           # when that was
    uint64_t free_counted_txn         # after which commit
    bint can_allocate
    uint64_t seen_txn                 # the newest commit that environment_in_place has seen
    bint disk_full
    bint map_full

# StoreError, with the action, unless the code is 0; so do all that may raise.
cdef check(int code, str action)
# As `check`, of an environment that cannot be opened.
cdef check_opened(int code, str path, str reserved)
cdef refuse_truncated(MDB_env *env, str path)
# One that is there; its state rows of `state_bytes` end with their commit's number.
cdef Environment *environment_open(
    str path, uint64_t map_bytes, Py_ssize_t state_bytes
) except NULL
# One that LMDB has just copied, whose heads are no commit's yet.
cdef Environment *environment_of_copy(str path, uint64_t map_bytes) except NULL
# In a directory that is there, and empty.
cdef Environment *environment_create(str path) except NULL
cdef open_tables(
    Environment *environment, const char *const *names, MDB_dbi *tables, int count
)
# No transaction of it is open.
cdef void environment_close(Environment *environment) noexcept
# Of the map, ever; any thread.
cdef uint64_t used_bytes(Environment *environment) noexcept nogil
# False: the file was put back to an earlier commit. One thread.
cdef bint environment_in_place(Environment *environment) noexcept nogil
