"""Looks a group's records up in the tree before they are decided, in key order.

Random look-ups in a large tree wait for memory most of the time. In key order they share the way
down from the root, and the index slots of the memtables can be asked for some records ahead. On
ten million records that halves what a decision costs.

What was seen holds when its turn comes: the memtables change by the group's own decisions only, and
a record that comes up twice in a group is not looked up ahead. Runs on the writer thread.
"""

from libcpp.algorithm cimport sort

from ownerd.base.lmdb cimport (
    MDB_CORRUPTED, MDB_NOTFOUND, MDB_SET, MDB_SUCCESS, MDB_cursor, MDB_val, lmdb,
)
from ownerd.storage.codec cimport KEY_BYTES, hold_decode, record_key, row_verify
from ownerd.storage.memtable cimport key_high, key_low, record_hash
from ownerd.storage.memtables cimport memtables_find, memtables_prefetch
from ownerd.storage.record_tree cimport tree_read
from ownerd.storage.tables cimport RECORDS

cdef enum:
    PREFETCHED = 16                   # records between asking for a slot and reading it


cdef void multiget_clear(Multiget *multiget) noexcept nogil:
    """Forget the last group."""
    multiget.records.clear()
    multiget.keys.clear()
    multiget.probes.clear()
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


cdef bint probe_before(const Probe &left, const Probe &right) noexcept nogil:
    return left.high < right.high or (left.high == right.high and left.low < right.low)


cdef void choose(Multiget *multiget, const Memtables *memtables) noexcept nogil:
    """Find the records that no memtable has."""
    cdef size_t i
    cdef Seen *seen
    cdef Probe probe
    cdef const char *key
    for i in range(multiget.records.size()):
        if i + PREFETCHED < multiget.records.size():
            memtables_prefetch(memtables, multiget.records[i + PREFETCHED].hash)
        seen = &multiget.records[i]
        key = multiget.keys.data() + seen.key_at
        if seen.key_size == 0 \
                or memtables_find(memtables, seen.hash, key, seen.key_size) != NULL:
            continue
        probe.high = key_high(key, seen.key_size)
        probe.low = key_low(key, seen.key_size)
        probe.number = <uint32_t> i
        multiget.probes.push_back(probe)


cdef int look_up(Multiget *multiget, MDB_cursor *cursor, Seen *seen) noexcept nogil:
    cdef MDB_val key, value
    cdef int code
    key.mv_data = <void *> (multiget.keys.data() + seen.key_at)
    key.mv_size = seen.key_size
    code = lmdb.cursor_get(cursor, &key, &value, MDB_SET)
    if code == MDB_NOTFOUND:
        seen.lookup = LOOKUP_ABSENT
        return MDB_SUCCESS
    if code == MDB_SUCCESS and not (row_verify(&key, &value) and hold_decode(&value, &seen.hold)):
        return MDB_CORRUPTED
    seen.lookup = LOOKUP_FOUND
    return code


cdef bint comes_twice(Multiget *multiget, size_t i) noexcept nogil:
    """Tell whether a record may be that of the probe before or after it."""
    cdef Probe *probe = &multiget.probes[i]
    return (
        i > 0 and probe.high == multiget.probes[i - 1].high
        and probe.low == multiget.probes[i - 1].low
    ) or (
        i + 1 < multiget.probes.size() and probe.high == multiget.probes[i + 1].high
        and probe.low == multiget.probes[i + 1].low
    )


cdef int multiget_read(
    Multiget *multiget, Tree *tree, const Memtables *memtables
) noexcept nogil:
    """Look up what was added; an LMDB error code, or 0."""
    cdef MDB_cursor *cursor
    cdef size_t i
    cdef int code
    choose(multiget, memtables)
    if multiget.probes.empty():
        return MDB_SUCCESS
    sort(multiget.probes.begin(), multiget.probes.end(), probe_before)
    code = tree_read(tree)
    if code == MDB_SUCCESS:
        code = lmdb.cursor_open(tree.reader, tree.tables[<int> RECORDS], &cursor)
    if code != MDB_SUCCESS:
        return code
    for i in range(multiget.probes.size()):
        if not comes_twice(multiget, i):
            code = look_up(multiget, cursor, &multiget.records[multiget.probes[i].number])
        if code != MDB_SUCCESS:
            break
    lmdb.cursor_close(cursor)
    return code
