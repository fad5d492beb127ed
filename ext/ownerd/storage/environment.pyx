"""An LMDB environment of ours: opened with the flags that every one has, and closed.

The data directory holds two: the journal with the catalog, and the record tree. Opening refuses a
file that ends before its last page. Never MDB_WRITEMAP, MDB_NOSYNC or MDB_NOMETASYNC: a commit that
returned is on disk.

It knows no table and no row.
"""

import os

from ownerd.base.lmdb cimport (
    MDB_CORRUPTED, MDB_CREATE, MDB_NORDAHEAD, MDB_NOTLS, MDB_SUCCESS, MDB_envinfo, MDB_stat,
    MDB_txn, lmdb,
)

from ownerd.storage.directory import StoreError

cdef enum:
    MOST_TABLES = 16
    READERS = 254                     # snapshots and reads in flight; each is short


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


cdef Environment *environment_open(str path, uint64_t map_bytes) except NULL:
    """Open the environment in the directory `path`, which exists."""
    cdef Environment *environment = new Environment()
    environment.env = NULL
    try:
        _open(environment, path, map_bytes)
    except BaseException:
        environment_close(environment)
        raise
    return environment


cdef _open(Environment *environment, str path, uint64_t map_bytes):
    cdef MDB_stat stat
    check(lmdb.env_create(&environment.env), "cannot set up LMDB")
    check(lmdb.env_set_mapsize(environment.env, map_bytes), "cannot reserve the map")
    check(lmdb.env_set_maxdbs(environment.env, MOST_TABLES), "cannot set up LMDB")
    check(lmdb.env_set_maxreaders(environment.env, READERS), "cannot set up LMDB")
    # NOTLS: a snapshot is begun by the writer thread and read by another.
    # NORDAHEAD: look-ups are random, read-multiget would fill the page cache with strangers.
    check(
        lmdb.env_open(environment.env, os.fsencode(path), MDB_NOTLS | MDB_NORDAHEAD, 0o600),
        f"cannot open the store in {path}",
    )
    refuse_truncated(environment.env, path)
    lmdb.reader_check(environment.env, NULL)
    lmdb.env_get_fd(environment.env, &environment.data_fd)
    lmdb.env_stat(environment.env, &stat)
    environment.page_bytes = stat.ms_psize
    environment.map_bytes = map_bytes
    environment.allocated_bytes = os.fstat(environment.data_fd).st_size
    environment.free_bytes = environment.free_counted_ns = environment.free_counted_txn = 0
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
