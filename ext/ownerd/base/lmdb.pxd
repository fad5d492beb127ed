"""C interface of lmdb: LMDB's types, constants and a table of its functions."""

cdef struct MDB_env
cdef struct MDB_txn
cdef struct MDB_cursor
ctypedef unsigned int MDB_dbi

cdef struct MDB_val:
    size_t mv_size
    void *mv_data

cdef struct MDB_stat:
    unsigned int ms_psize
    unsigned int ms_depth
    size_t ms_branch_pages
    size_t ms_leaf_pages
    size_t ms_overflow_pages
    size_t ms_entries

cdef struct MDB_envinfo:
    void *me_mapaddr
    size_t me_mapsize
    size_t me_last_pgno
    size_t me_last_txnid
    unsigned int me_maxreaders
    unsigned int me_numreaders

cdef enum:
    MDB_NOSUBDIR = 0x4000
    MDB_NOLOCK = 0x400000
    MDB_NOTLS = 0x200000
    MDB_RDONLY = 0x20000
    MDB_NORDAHEAD = 0x800000
    MDB_CREATE = 0x40000
    MDB_APPEND = 0x20000
    MDB_CURRENT = 0x40
    MDB_CP_COMPACT = 0x01

cdef enum:  # MDB_cursor_op, by position in LMDB's enum
    MDB_FIRST = 0
    MDB_GET_CURRENT = 4
    MDB_LAST = 6
    MDB_NEXT = 8
    MDB_PREV = 12
    MDB_SET = 15
    MDB_SET_RANGE = 17

cdef enum:
    MDB_SUCCESS = 0
    MDB_KEYEXIST = -30799
    MDB_NOTFOUND = -30798
    MDB_CORRUPTED = -30796
    MDB_MAP_FULL = -30792
    MDB_TXN_FULL = -30788

# Told a line of text at a time; negative: enough.
ctypedef int (*MDB_msg_func)(const char *line, void *context) noexcept nogil

cdef struct LmdbApi:
    char *(*version)(int *, int *, int *) noexcept nogil
    char *(*strerror)(int) noexcept nogil
    int (*env_create)(MDB_env **) noexcept nogil
    int (*env_open)(MDB_env *, const char *, unsigned int, unsigned int) noexcept nogil
    void (*env_close)(MDB_env *) noexcept nogil
    int (*env_set_mapsize)(MDB_env *, size_t) noexcept nogil
    int (*env_set_maxdbs)(MDB_env *, MDB_dbi) noexcept nogil
    int (*env_set_maxreaders)(MDB_env *, unsigned int) noexcept nogil
    int (*env_info)(MDB_env *, MDB_envinfo *) noexcept nogil
    int (*env_stat)(MDB_env *, MDB_stat *) noexcept nogil
    int (*env_get_fd)(MDB_env *, int *) noexcept nogil
    int (*reader_check)(MDB_env *, int *) noexcept nogil
    int (*reader_list)(MDB_env *, MDB_msg_func, void *) noexcept nogil
    size_t (*txn_id)(MDB_txn *) noexcept nogil
    int (*txn_begin)(MDB_env *, MDB_txn *, unsigned int, MDB_txn **) noexcept nogil
    int (*txn_commit)(MDB_txn *) noexcept nogil
    void (*txn_abort)(MDB_txn *) noexcept nogil
    void (*txn_reset)(MDB_txn *) noexcept nogil
    int (*txn_renew)(MDB_txn *) noexcept nogil
    int (*dbi_open)(MDB_txn *, const char *, unsigned int, MDB_dbi *) noexcept nogil
    int (*stat)(MDB_txn *, MDB_dbi, MDB_stat *) noexcept nogil
    int (*get)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *) noexcept nogil
    int (*put)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *, unsigned int) noexcept nogil
    int (*delete)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *) noexcept nogil
    int (*cursor_open)(MDB_txn *, MDB_dbi, MDB_cursor **) noexcept nogil
    void (*cursor_close)(MDB_cursor *) noexcept nogil
    int (*cursor_get)(MDB_cursor *, MDB_val *, MDB_val *, int) noexcept nogil
    int (*cursor_put)(MDB_cursor *, MDB_val *, MDB_val *, unsigned int) noexcept nogil
    int (*cursor_del)(MDB_cursor *, unsigned int) noexcept nogil
    int (*drop)(MDB_txn *, MDB_dbi, int) noexcept nogil
    int (*env_copy2)(MDB_env *, const char *, unsigned int) noexcept nogil

# Filled when the module is imported, constant afterwards: safe to read from any thread.
cdef LmdbApi lmdb
