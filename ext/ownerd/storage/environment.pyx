"""An LMDB environment of ours: opened with the flags that every one has, and closed.

The data directory holds one, the record tree. Opening refuses a file that is not there, that ends
before its last page, or whose newest commit may not be its newest (`meta_pages`). Never
MDB_WRITEMAP, MDB_NOSYNC or MDB_NOMETASYNC: a commit that returned is on disk.

It knows no table and no row.
"""

import errno
import os

from ownerd.base.lmdb cimport (
    MDB_CORRUPTED, MDB_CREATE, MDB_NORDAHEAD, MDB_NOTLS, MDB_SUCCESS, MDB_envinfo, MDB_stat,
    MDB_txn, lmdb,
)

from ownerd.storage.meta_pages cimport meta_fault

from ownerd.storage.directory import StoreError

cdef enum:
    MOST_TABLES = 16
    READERS = 254                     # snapshots and reads in flight; each is short
    NEW_MAP_BYTES = 1 << 20           # more than a new environment needs

# What the system says of a map that is too large for it.
_NO_ADDRESSES = frozenset((errno.ENOMEM, errno.EINVAL, errno.EOVERFLOW, errno.EFBIG))


cdef check(int code, str action):
    """Raise StoreError unless an LMDB call succeeded."""
    if code == MDB_CORRUPTED:
        raise StoreError(
            f"{action}: a row fails its checksum, the store is damaged; 'ownerd verify' says what "
            "is, a copy must be restored"
        )
    if code != MDB_SUCCESS:
        reason = lmdb.strerror(code).decode(errors="replace")
        raise StoreError(f"{action}: {reason}")


cdef refuse_truncated(MDB_env *env, str path):
    """Raise StoreError if the data file ends before its last page: reading that would be SIGBUS."""
    cdef MDB_envinfo info
    cdef MDB_stat stat
    cdef int fd
    lmdb.env_info(env, &info)
    lmdb.env_stat(env, &stat)
    lmdb.env_get_fd(env, &fd)
    needed = (info.me_last_pgno + 1) * stat.ms_psize
    found = os.fstat(fd).st_size
    if found < needed:
        raise StoreError(
            f"{path}/data.mdb is truncated: {found} of {needed} bytes are there; restore a copy"
        )


cdef check_opened(int code, str path, str reserved):
    """Raise StoreError unless an environment was opened; `reserved` says of how many bytes."""
    action = f"cannot open the store in {path}"
    if code in _NO_ADDRESSES:
        raise StoreError(
            f"{action}: {lmdb.strerror(code).decode(errors='replace')}; {reserved} of addresses "
            "are to be reserved for each of the store's two files, which a limit on addresses "
            "(ulimit -v, LimitAS, a container's) or the machine does not allow: set map_bytes "
            "lower, not below what the store holds"
        )
    check(code, action)


cdef Environment *environment_open(
    str path, uint64_t map_bytes, Py_ssize_t state_bytes
) except NULL:
    """Open the environment in the directory `path`; nothing is made where it is missing."""
    cdef Environment *environment = new Environment()
    environment.env = NULL
    try:
        refuse_missing(path)
        fault = meta_fault(path, state_bytes)
        if fault is not None:
            raise StoreError(
                f"{path}/data.mdb is damaged: {fault}; an answered change may be missing from it, "
                "restore a copy"
            )
        _open(environment, path, map_bytes)
    except BaseException:
        environment_close(environment)
        raise
    return environment


cdef Environment *environment_create(str path) except NULL:
    """Make an empty environment in the directory `path`, which is empty."""
    return environment_of_copy(path, NEW_MAP_BYTES)


cdef Environment *environment_of_copy(str path, uint64_t map_bytes) except NULL:
    """Open what LMDB has made itself: a copy, or nothing yet."""
    cdef Environment *environment = new Environment()
    environment.env = NULL
    try:
        _open(environment, path, map_bytes)
    except BaseException:
        environment_close(environment)
        raise
    return environment


cdef refuse_missing(str path):
    """Raise StoreError if LMDB would begin a new file in the place of one that is lost."""
    try:
        size = os.stat(os.path.join(path, "data.mdb")).st_size
    except OSError as error:
        raise StoreError(
            f"there is no store here: {path}/data.mdb cannot be read ({error.strerror}); restore "
            "a copy"
        ) from error
    if size == 0:
        raise StoreError(f"{path}/data.mdb is empty, what it held is lost; restore a copy")


cdef _open(Environment *environment, str path, uint64_t map_bytes):
    cdef MDB_stat stat
    check(lmdb.env_create(&environment.env), "cannot set up LMDB")
    check(lmdb.env_set_mapsize(environment.env, map_bytes), "cannot reserve the map of map_bytes")
    check(lmdb.env_set_maxdbs(environment.env, MOST_TABLES), "cannot set up LMDB")
    check(lmdb.env_set_maxreaders(environment.env, READERS), "cannot set up LMDB")
    # NOTLS: a snapshot is begun by the writer thread and read by another.
    # NORDAHEAD: look-ups are random, read-multiget would fill the page cache with strangers.
    check_opened(
        lmdb.env_open(environment.env, os.fsencode(path), MDB_NOTLS | MDB_NORDAHEAD, 0o600),
        path, f"map_bytes ({map_bytes:,} bytes)",
    )
    refuse_truncated(environment.env, path)
    lmdb.reader_check(environment.env, NULL)
    lmdb.env_get_fd(environment.env, &environment.data_fd)
    lmdb.env_stat(environment.env, &stat)
    environment.page_bytes = stat.ms_psize
    environment.map_bytes = map_bytes
    environment.allocated_bytes = os.fstat(environment.data_fd).st_size
    environment.free_bytes = environment.free_counted_ns = environment.free_counted_txn = 0
    environment.seen_txn = 0
    environment.can_allocate = True
    environment.disk_full = environment.map_full = False


cdef open_tables(
    Environment *environment, const char *const *names, MDB_dbi *tables, int count
):
    """Open the named tables, made where they are missing."""
    cdef MDB_txn *txn
    cdef int i, code
    check(lmdb.txn_begin(environment.env, NULL, 0, &txn), "cannot begin a transaction")
    for i in range(count):
        code = lmdb.dbi_open(txn, names[i], MDB_CREATE, &tables[i])
        if code != MDB_SUCCESS:
            lmdb.txn_abort(txn)
            check(code, f"cannot open table {names[i].decode()}")
    check(lmdb.txn_commit(txn), "cannot create the tables")


cdef void environment_close(Environment *environment) noexcept:
    """Close and free; no transaction of it may be open."""
    if environment.env != NULL:
        lmdb.env_close(environment.env)
    del environment


cdef uint64_t used_bytes(Environment *environment) noexcept nogil:
    """Return how much of the map has ever been used."""
    cdef MDB_envinfo info
    lmdb.env_info(environment.env, &info)
    return (info.me_last_pgno + 1) * environment.page_bytes


cdef bint environment_in_place(Environment *environment) noexcept nogil:
    """Tell whether the file's newest commit is not older than the one that was seen last."""
    cdef MDB_envinfo info
    cdef uint64_t seen = environment.seen_txn
    lmdb.env_info(environment.env, &info)
    environment.seen_txn = max(seen, <uint64_t> info.me_last_txnid)
    return info.me_last_txnid >= seen
