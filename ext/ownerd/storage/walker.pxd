"""C interface of walker: many keys of one table looked up at once, on LMDB's own pages."""

from libc.stdint cimport uint32_t, uint64_t

from ownerd.base.lmdb cimport MDB_dbi, MDB_env, MDB_txn, MDB_val

cdef enum Sight:
    SIGHT_UNSURE                      # ask LMDB
    SIGHT_ABSENT
    SIGHT_FOUND

cdef enum:
    WALK_DIFFERS = -2                 # an error beside LMDB's: it sees something else

# Of one environment. All but the first part is of the transaction of the last `walker_begin`.
cdef cppclass Walker:
    bint trusted                      # it may be used at all
    uint64_t chance                   # decides which look-up LMDB makes, too
    MDB_dbi main
    size_t page_bytes
    const char *map                   # where page 0 lies
    uint64_t last_page
    uint64_t root
    int depth

# A key that is looked up, whose bytes stay where they are until it is seen; and a number of the
# caller's.
cdef struct Sought:
    const char *key
    uint32_t key_size
    uint32_t number

# Told of each key what was seen, in any order; `value` is within the map, and NULL unless found.
ctypedef void (*OnSeen)(
    void *context, const Sought *sought, Sight sight, const MDB_val *value
) noexcept nogil


cdef enum:
    CHECKED_BITS = 12                 # one look-up in 4,096, by chance


cdef inline bint walker_checks(Walker *walker) noexcept nogil:
    """Tell whether LMDB is to make the look-up that was made last, too."""
    walker.chance = walker.chance * <uint64_t> 6364136223846793005 + <uint64_t> 1442695040888963407
    return walker.chance >> (64 - CHECKED_BITS) == 0


# Before its first use.
cdef void walker_init(Walker *walker, bint trusted, uint64_t chance) noexcept nogil
# In a read transaction that has begun, and is not reset or ended before what was seen is copied.
# `other`: a table with a row of this key. False: ask LMDB for everything.
cdef bint walker_begin(
    Walker *walker, MDB_env *env, MDB_txn *txn, const char *table, MDB_dbi other,
    const char *other_key
) noexcept nogil
cdef void walker_find(
    const Walker *walker, const Sought *sought, size_t count, OnSeen on_seen, void *context
) noexcept nogil
