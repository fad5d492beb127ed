"""Proves the walker against LMDB, on an environment that is made for it, before it is trusted.

It is made when the first store is opened, in memory alone, of three levels of pages, with long
keys, values with pages of their own, and after a second commit that changed and deleted some. Every
key is looked up, and others that lie just beside them, by the walker and by LMDB, which must return
the same bytes at the same place. Where that cannot be made, the program goes on without the walker.
"""

import hashlib
import os
import sys

from libc.stdint cimport uint32_t

from ownerd.base.bytes cimport slice_of, val_of
from ownerd.base.containers cimport vector
from ownerd.base.lmdb cimport (
    MDB_CREATE, MDB_NOLOCK, MDB_NOSUBDIR, MDB_NOTFOUND, MDB_RDONLY, MDB_SUCCESS, MDB_dbi, MDB_env,
    MDB_stat, MDB_txn, MDB_val, lmdb,
)
from ownerd.storage.walker cimport (
    SIGHT_ABSENT, SIGHT_FOUND, SIGHT_UNSURE, Sight, Sought, Walker, walker_begin, walker_find,
    walker_init,
)

cdef enum:
    DEPTH = 3
    MAP_BYTES = 1 << 24
    ROUND_KEYS = 128
    MOST_ROUNDS = 64
    LONGEST_KEY = 511                 # of LMDB's

cdef const char *TABLE = "records"
cdef const char *OTHER = "meta"
cdef const char *OTHER_KEY = "state"


_trusted = None


class _Unlike(Exception):
    """LMDB is not as expected here."""


cdef check(int code):
    if code != MDB_SUCCESS:
        raise _Unlike(lmdb.strerror(code).decode(errors="replace"))


# --- the environment ------------------------------------------------------------------------------

def key_of(number):
    """Return a key: short or long, many with a beginning that others have."""
    name = hashlib.sha256(number.to_bytes(4)).digest()
    size = (8, 9, 12, 13, 24, 133, LONGEST_KEY)[number % 7]
    return ((b"\0\0\0\1" if number % 3 == 0 and size > 9 else b"") + name * 16)[:size]


def value_of(number):
    """Return a value; one in eleven needs pages of its own."""
    return bytes([number % 251]) * (9_000 if number % 11 == 0 else 28 + number % 100)


cdef put(MDB_txn *txn, MDB_dbi table, bytes key, bytes value):
    cdef MDB_val where = val_of(slice_of(<const char *> key, len(key)))
    cdef MDB_val row = val_of(slice_of(<const char *> value, len(value)))
    check(lmdb.put(txn, table, &where, &row, 0))


cdef delete(MDB_txn *txn, MDB_dbi table, bytes key):
    cdef MDB_val where = val_of(slice_of(<const char *> key, len(key)))
    check(lmdb.delete(txn, table, &where, NULL))


cdef list fill(MDB_env *env, MDB_dbi *table, MDB_dbi *other):
    """Fill the environment in two commits; return the keys that were ever in it."""
    cdef MDB_txn *txn
    cdef MDB_stat stat
    keys = []
    check(lmdb.txn_begin(env, NULL, 0, &txn))
    try:
        check(lmdb.dbi_open(txn, TABLE, MDB_CREATE, table))
        check(lmdb.dbi_open(txn, OTHER, MDB_CREATE, other))
        put(txn, other[0], OTHER_KEY, b"proof")
        stat.ms_depth = 0
        while stat.ms_depth < DEPTH and len(keys) < ROUND_KEYS * MOST_ROUNDS:
            for _ in range(ROUND_KEYS):
                key = key_of(len(keys))
                put(txn, table[0], key, value_of(len(keys)))
                keys.append(key)
            check(lmdb.stat(txn, table[0], &stat))
    except BaseException:
        lmdb.txn_abort(txn)
        raise
    check(lmdb.txn_commit(txn))
    check(lmdb.txn_begin(env, NULL, 0, &txn))
    try:
        for number in range(0, len(keys), 5):
            delete(txn, table[0], keys[number])
        for number in range(1, len(keys), 5):
            put(txn, table[0], keys[number], value_of(number + 7))
    except BaseException:
        lmdb.txn_abort(txn)
        raise
    check(lmdb.txn_commit(txn))
    return keys


def beside(key):
    """Yield a key, and others that lie just beside it."""
    before, last = key[:len(key) - 1], key[len(key) - 1]
    yield key
    yield before
    yield before + bytes([last ^ 1])
    yield before + bytes([last ^ 128])
    if len(key) < LONGEST_KEY:
        yield key + b"\0"


# --- the comparison -------------------------------------------------------------------------------

cdef struct Seen:
    Sight sight
    MDB_val value


cdef void note(
    void *context, const Sought *sought, Sight sight, const MDB_val *value
) noexcept nogil:
    cdef Seen *seen = <Seen *> context + sought.number
    seen.sight = sight
    seen.value = value[0]


cdef bint agrees(MDB_txn *txn, MDB_dbi table, list keys, const Seen *seen):
    """Tell whether LMDB finds what was seen of each key, and only values with pages are unsure."""
    cdef MDB_val where, value
    cdef size_t i
    cdef int code
    for i in range(<size_t> len(keys)):
        key = keys[i]
        where = val_of(slice_of(<const char *> key, len(key)))
        code = lmdb.get(txn, table, &where, &value)
        if code != MDB_SUCCESS and code != MDB_NOTFOUND:
            return False
        if seen[i].sight == SIGHT_ABSENT and code != MDB_NOTFOUND:
            return False
        if seen[i].sight == SIGHT_UNSURE and (code == MDB_NOTFOUND or value.mv_size < 1024):
            return False
        if seen[i].sight == SIGHT_FOUND and (
            code == MDB_NOTFOUND or value.mv_data != seen[i].value.mv_data
            or value.mv_size != seen[i].value.mv_size
        ):
            return False
    return True


cdef bint walk_agrees(MDB_env *env, MDB_txn *txn, MDB_dbi table, MDB_dbi other, list keys):
    cdef Walker walker
    cdef vector[Sought] sought
    cdef vector[Seen] seen
    cdef Sought one
    cdef bytes key
    walker_init(&walker, True, 0)
    if not walker_begin(&walker, env, txn, TABLE, other, OTHER_KEY) or walker.depth != DEPTH:
        return False
    for key in keys:
        one.key, one.key_size = <const char *> key, <uint32_t> len(key)
        one.number = <uint32_t> sought.size()
        sought.push_back(one)
    seen.resize(sought.size())
    walker_find(&walker, &sought[0], sought.size(), note, &seen[0])
    return agrees(txn, table, keys, &seen[0])


cdef bint proof(int fd) except -1:
    cdef MDB_env *env
    cdef MDB_txn *txn
    cdef MDB_dbi table, other
    cdef bytes path = b"/proc/self/fd/%d" % fd
    check(lmdb.env_create(&env))
    try:
        check(lmdb.env_set_mapsize(env, MAP_BYTES))
        check(lmdb.env_set_maxdbs(env, 2))
        check(lmdb.env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0o600))
        keys = [near for key in fill(env, &table, &other) for near in beside(key)]
        check(lmdb.txn_begin(env, NULL, MDB_RDONLY, &txn))
        try:
            return walk_agrees(env, txn, table, other, keys)
        finally:
            lmdb.txn_abort(txn)
    finally:
        lmdb.env_close(env)


cdef bint walker_agrees() except -1:
    """Prove the walker on a file in memory that goes when this returns."""
    if sys.byteorder != "little" or sizeof(void *) != 8:
        return False
    try:
        fd = os.memfd_create("ownerd-proof")
    except OSError:
        return False
    try:
        return proof(fd)
    except _Unlike:
        return False
    finally:
        os.close(fd)


cdef bint walker_trusted() except -1:
    global _trusted
    if _trusted is None:
        _trusted = bool(walker_agrees())
    return _trusted
