"""Looks a group's records up in the tree before they are decided, many at once (`walker`).

What was seen holds when its turn comes: the memtables change by the group's own decisions only, and
a record that came up before in the group is not looked up ahead. Runs on the writer thread.

One in some thousand look-ups is made again by LMDB. If that differs, nothing that was seen is worth
anything: WALK_DIFFERS ends the store before the group is answered.
"""

from ownerd.base.lmdb cimport MDB_CORRUPTED, MDB_NOTFOUND, MDB_SUCCESS, MDB_val, lmdb
from ownerd.storage.codec cimport KEY_BYTES, hold_decode, record_key, row_verify
from ownerd.storage.memtable cimport record_hash
from ownerd.storage.memtables cimport memtables_find, memtables_prefetch
from ownerd.storage.record_tree cimport tree_read, tree_walk
from ownerd.storage.tables cimport RECORDS
from ownerd.storage.walker cimport (
    SIGHT_FOUND, SIGHT_UNSURE, WALK_DIFFERS, Sight, walker_checks, walker_find,
)

cdef enum:
    PREFETCHED = 16                   # records between asking for a slot and reading it

# What is told of each record that is sought.
cdef struct Looking:
    Multiget *multiget
    Tree *tree
    int code


cdef void multiget_clear(Multiget *multiget) noexcept nogil:
    """Forget the last group."""
    multiget.records.clear()
    multiget.keys.clear()
    multiget.sought.clear()
    multiget.next = 0


cdef void multiget_add(Multiget *multiget, uint32_t list_number, Slice record_id) noexcept nogil:
    """Add the group's next record."""
    cdef char key[KEY_BYTES]
    cdef Seen seen
    cdef size_t size = record_key(key, list_number, record_id)
    seen.hash = record_hash(key, size)
    seen.key_at = <uint32_t> multiget.keys.size()
    seen.key_size = <uint8_t> size
    seen.lookup = LOOKUP_NONE
    multiget.keys.append(key, size)
    multiget.records.push_back(seen)


cdef void multiget_skip(Multiget *multiget, uint32_t count) noexcept nogil:
    """Add records that are not to be looked up, so that the others keep their numbers."""
    cdef Seen seen
    seen.key_size = 0
    seen.lookup = LOOKUP_NONE
    multiget.records.resize(multiget.records.size() + count, seen)


cdef void clear_hashes(Multiget *multiget) noexcept nogil:
    cdef size_t count = 16
    while count < 2 * multiget.records.size():
        count *= 2
    multiget.hashes.clear()
    multiget.hashes.resize(count, 0)


cdef bint came_before(Multiget *multiget, uint32_t hash) noexcept nogil:
    """Tell whether a record of this hash may have come before, and note it."""
    cdef size_t mask = multiget.hashes.size() - 1
    cdef size_t at = hash & mask
    hash = max(hash, <uint32_t> 1)
    while multiget.hashes[at] != 0:
        if multiget.hashes[at] == hash:
            return True
        at = (at + 1) & mask
    multiget.hashes[at] = hash
    return False


cdef void choose(Multiget *multiget, const Memtables *memtables) noexcept nogil:
    """Find the records that no memtable has."""
    cdef size_t i
    cdef Seen *seen
    cdef Sought sought
    clear_hashes(multiget)
    for i in range(multiget.records.size()):
        if i + PREFETCHED < multiget.records.size():
            memtables_prefetch(memtables, multiget.records[i + PREFETCHED].hash)
        seen = &multiget.records[i]
        sought.key = multiget.keys.data() + seen.key_at
        if seen.key_size == 0 or came_before(multiget, seen.hash) \
                or memtables_find(memtables, seen.hash, sought.key, seen.key_size) != NULL:
            continue
        sought.key_size = seen.key_size
        sought.number = <uint32_t> i
        multiget.sought.push_back(sought)


cdef int ask_lmdb(Tree *tree, const Sought *sought, MDB_val *value) noexcept nogil:
    cdef MDB_val key
    key.mv_data = <void *> sought.key
    key.mv_size = sought.key_size
    return lmdb.get(tree.reader, tree.tables[<int> RECORDS], &key, value)


cdef int check_sight(
    Tree *tree, const Sought *sought, Sight sight, const MDB_val *value
) noexcept nogil:
    """Have LMDB look again; 0 if it found the same, at the same place."""
    cdef MDB_val found
    cdef int code = ask_lmdb(tree, sought, &found)
    if code == MDB_NOTFOUND:
        return WALK_DIFFERS if sight == SIGHT_FOUND else MDB_SUCCESS
    if code != MDB_SUCCESS:
        return code
    if sight != SIGHT_FOUND or found.mv_data != value.mv_data or found.mv_size != value.mv_size:
        return WALK_DIFFERS
    return MDB_SUCCESS


cdef int take(Seen *seen, const Sought *sought, int code, const MDB_val *value) noexcept nogil:
    """Copy what was found; an error code, or 0."""
    cdef MDB_val key, row
    if code == MDB_NOTFOUND:
        seen.lookup = LOOKUP_ABSENT
        return MDB_SUCCESS
    if code != MDB_SUCCESS:
        return code
    key.mv_data = <void *> sought.key
    key.mv_size = sought.key_size
    row = value[0]
    if not (row_verify(&key, &row) and hold_decode(&row, &seen.hold)):
        return MDB_CORRUPTED
    seen.lookup = LOOKUP_FOUND
    return MDB_SUCCESS


cdef void on_seen(
    void *context, const Sought *sought, Sight sight, const MDB_val *value
) noexcept nogil:
    cdef Looking *looking = <Looking *> context
    cdef MDB_val found = value[0]
    cdef int code = MDB_SUCCESS if sight == SIGHT_FOUND else MDB_NOTFOUND
    if looking.code != MDB_SUCCESS:
        return
    if sight == SIGHT_UNSURE:
        code = ask_lmdb(looking.tree, sought, &found)
    elif walker_checks(&looking.tree.walker):
        looking.code = check_sight(looking.tree, sought, sight, value)
    if looking.code == MDB_SUCCESS:
        looking.code = take(
            &looking.multiget.records[sought.number], sought, code, &found
        )


cdef int multiget_read(
    Multiget *multiget, Tree *tree, const Memtables *memtables
) noexcept nogil:
    """Look up what was added; an error code, or 0."""
    cdef Looking looking
    cdef MDB_val nothing
    cdef size_t i
    choose(multiget, memtables)
    if multiget.sought.empty():
        return MDB_SUCCESS
    looking.multiget, looking.tree = multiget, tree
    looking.code = tree_read(tree)
    if looking.code != MDB_SUCCESS:
        return looking.code
    if tree_walk(tree):
        walker_find(
            &tree.walker, &multiget.sought[0], multiget.sought.size(), on_seen, &looking
        )
    else:
        for i in range(multiget.sought.size()):
            on_seen(&looking, &multiget.sought[i], SIGHT_UNSURE, &nothing)
    return looking.code
