"""The journal: each record that a commit's group wrote, as it is afterwards, until it is flushed.

A row's key is the revision, big-endian. Its value is a head (version, number of records, whether
another part follows, server time), the records (size of key, size of value, key, value; no value:
nothing is left of the record) and a checksum, the CRC-32C of key and value. States, not decisions:
to replay rows in order, as often as one likes, gives the same records.

A large group is cut into parts of a few pages each, whose keys have the part's number behind the
revision: LMDB then always finds space for them among pages that were freed, which need to be side
by side for one value.

Invariant: every revision has its rows in the journal, from the first on without a gap, until the
tree has flushed it.

It neither commits nor reads the table through: `store` does the one, `recovery` and `verify` the
other.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport get_be64, put_be64, slice_of
from ownerd.base.failpoints cimport FAIL_AFTER_TRIM, FAIL_BEFORE_TRIM, fail_at
from ownerd.base.lmdb cimport MDB_FIRST, MDB_NEXT, MDB_NOTFOUND, MDB_SUCCESS, MDB_cursor, lmdb
from ownerd.storage.codec cimport CHECKSUM_BYTES, KEY_BYTES, VALUE_BYTES, row_add_checksum
from ownerd.storage.memtable cimport memtable_put, record_hash
from ownerd.storage.tables cimport LOG
from ownerd.storage.transaction cimport append_row, note_error, open_cursor, transaction_error

cdef enum:
    LOG_KEY_BYTES = 10                # revision, and part from the second on
    VERSION = 1
    PART_BYTES = 16_000               # four pages, less LMDB's head and the last record's excess

cdef struct Head:
    uint32_t version
    uint32_t count
    uint32_t more
    uint32_t unused
    int64_t time_ns


cdef void begin_part(Log *log) noexcept nogil:
    """Start another part; its head is filled in when it is finished."""
    if log.used == log.parts.size():
        log.parts.resize(log.used + 1)
    log.parts[log.used].value.resize(sizeof(Head))
    log.parts[log.used].count = 0
    log.used += 1


cdef void log_init(Log *log, uint64_t first_revision) noexcept nogil:
    """Start where the table's first row is, or would be."""
    log.first_revision = log.next_first_revision = first_revision


cdef void log_begin(Log *log) noexcept nogil:
    """Start the rows of a new group."""
    log.used = 0
    begin_part(log)


cdef void log_add(Log *log, Slice key, Slice value) noexcept nogil:
    """Add what one record became."""
    cdef char sizes[2]
    cdef LogPart *part = &log.parts[log.used - 1]
    if part.value.size() > PART_BYTES:
        begin_part(log)
        part = &log.parts[log.used - 1]
    assert_that(0 < key.size <= 0xFF and value.size <= 0xFF, "sizes fit into a byte")
    assert_that(log.used > 0, "a group has a part from its begin on")
    sizes[0], sizes[1] = <char> key.size, <char> value.size
    part.value.append(sizes, 2)
    part.value.append(key.data, key.size)
    part.value.append(value.data, value.size)
    part.count += 1


cdef size_t part_key(char *key, uint64_t revision, size_t part) noexcept nogil:
    """Write the key (LOG_KEY_BYTES at most) of a part, from 0; return its size."""
    put_be64(key, revision)
    if part == 0:
        return 8
    key[8], key[9] = <char> (part >> 8), <char> part
    return LOG_KEY_BYTES


cdef Slice finish_part(Log *log, size_t part, Slice key, int64_t time_ns) noexcept nogil:
    """Finish a part for the row with this key and return it; valid until the next begin."""
    cdef Head head
    cdef string *value = &log.parts[part].value
    cdef size_t size = value.size()
    head.version = VERSION
    head.count = log.parts[part].count
    head.more = part + 1 < log.used
    head.unused = 0
    head.time_ns = time_ns
    memcpy(&value[0][0], &head, sizeof(head))
    value.resize(size + CHECKSUM_BYTES)
    row_add_checksum(key, &value[0][0], size)
    return slice_of(value.data(), value.size())


cdef void log_put(Log *log, Transaction *txn, uint64_t revision, int64_t time_ns) noexcept nogil:
    """Append the group's rows to the table."""
    cdef char key[LOG_KEY_BYTES]
    cdef Slice whole
    cdef size_t part
    for part in range(log.used):
        whole = slice_of(key, part_key(key, revision, part))
        append_row(txn, LOG, whole, finish_part(log, part, whole, time_ns))


cdef void log_trim(
    Log *log, Transaction *txn, uint64_t flushed_revision, int most
) noexcept nogil:
    """Remove up to `most` revisions that the tree has flushed."""
    cdef MDB_cursor *cursor
    cdef MDB_val key, value
    cdef int code
    if not trim_due(log, flushed_revision) or transaction_error(txn) != MDB_SUCCESS:
        return
    fail_at(FAIL_BEFORE_TRIM)
    if not open_cursor(txn, LOG, &cursor):
        return
    code = lmdb.cursor_get(cursor, &key, &value, MDB_FIRST)
    while code == MDB_SUCCESS and log_revision(&key) <= flushed_revision:
        if key.mv_size == 8:          # a first part: the others go with it
            most -= 1
            if most < 0:
                break
        code = lmdb.cursor_del(cursor, 0)
        if code == MDB_SUCCESS:
            code = lmdb.cursor_get(cursor, &key, &value, MDB_NEXT)
    if code == MDB_SUCCESS:
        log.next_first_revision = log_revision(&key)
    elif code == MDB_NOTFOUND:        # all of it is flushed
        log.next_first_revision = flushed_revision + 1
    else:
        note_error(txn, code)
    lmdb.cursor_close(cursor)
    assert_that(log.next_first_revision >= log.first_revision, "a journal is only trimmed")
    assert_that(
        log.next_first_revision <= flushed_revision + 1, "what is not flushed is not trimmed"
    )
    fail_at(FAIL_AFTER_TRIM)


cdef void log_committed(Log *log) noexcept nogil:
    assert_that(log.next_first_revision >= log.first_revision, "what was trimmed is gone")
    log.first_revision = log.next_first_revision


cdef void log_rollback(Log *log) noexcept nogil:
    log.next_first_revision = log.first_revision


cdef uint64_t log_revision(const MDB_val *key) noexcept nogil:
    """Return a row's revision; 0 if its key cannot be right."""
    if key.mv_size != 8 and key.mv_size != LOG_KEY_BYTES:
        return 0
    return get_be64(<const char *> key.mv_data)


cdef bint log_follows(
    LogPosition *place, const MDB_val *key, const MDB_val *value
) noexcept nogil:
    """Move on to a row; False if another one should have come before it."""
    cdef const unsigned char *at = <const unsigned char *> key.mv_data
    cdef uint64_t revision = log_revision(key)
    cdef uint32_t part = 0 if key.mv_size == 8 else <uint32_t> at[8] << 8 | at[9]
    cdef bint right
    cdef Head head
    if revision == 0 or log_count(value) < 0:
        return False
    if place.more:
        right = revision == place.revision and part == place.part + 1
    else:
        right = revision == place.revision + 1 and part == 0
    memcpy(&head, value.mv_data, sizeof(head))
    place.revision, place.part, place.more = revision, part, head.more
    return right


cdef int64_t log_count(const MDB_val *value) noexcept nogil:
    """Return how many records a row (without its checksum) holds; -1 if it is none of ours."""
    cdef Head head
    if value.mv_size < sizeof(head):
        return -1
    memcpy(&head, value.mv_data, sizeof(head))
    return head.count if head.version == VERSION else -1


cdef bint log_replay(const MDB_val *value, Memtable *memtable) noexcept nogil:
    """Put a row's records into a memtable (NULL: only look); False if the row cannot be right."""
    cdef const char *at = <const char *> value.mv_data + sizeof(Head)
    cdef const char *end = <const char *> value.mv_data + value.mv_size
    cdef int64_t left = log_count(value)
    cdef size_t key_size, value_size
    if left < 0:
        return False
    while left > 0 and end - at >= 2:
        key_size, value_size = <uint8_t> at[0], <uint8_t> at[1]
        at += 2
        if key_size == 0 or key_size > KEY_BYTES or value_size > VALUE_BYTES \
                or end - at < <int64_t> (key_size + value_size):
            return False
        if memtable != NULL:
            memtable_put(
                memtable, record_hash(at, key_size), slice_of(at, key_size),
                slice_of(at + key_size, value_size),
            )
        at += key_size + value_size
        left -= 1
    return left == 0 and at == end
