"""One entry of the log: what a group changed in any table, with the checksum that chains it.

An entry is a head and rows, padded with zeros to whole blocks. A row is the table's number, the
size of the key, the key, and the size of the value plus one with the value, or 0 where the row was
deleted; numbers and sizes are varints. States, not decisions: to replay entries in order, as often
as one likes, gives the same rows.

Its CRC-32C covers all of it but the padding, begins at the seed of the segment that it is in, and
takes in its place there and the checksum of the entry before it. So an entry stands for all before
it, and bytes that were written for another place, another log, or by whoever chose what a row
holds, are none here.

It knows no file and no table.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport empty_slice, slice_of
from ownerd.base.checksum cimport crc32c

cdef enum:
    MAGIC = 0x4C574F01                # no block of zeros, and no text
    CHECKED_FROM = 8                  # behind magic and checksum
    VARINT_BYTES = 10


# --- numbers --------------------------------------------------------------------------------------

cdef void add_number(string *bytes, uint64_t value) noexcept nogil:
    cdef char text[VARINT_BYTES]
    cdef size_t size = 0
    while value >= 0x80:
        text[size] = <char> (value & 0x7F | 0x80)
        value >>= 7
        size += 1
    text[size] = <char> value
    bytes.append(text, size + 1)


cdef bint take_number(RowCursor *cursor, uint64_t *value) noexcept nogil:
    """Read a varint; False if there is none."""
    cdef int shift = 0
    cdef uint8_t byte
    value[0] = 0
    while cursor.at < cursor.end and shift < 64:
        byte = <uint8_t> cursor.at[0]
        cursor.at += 1
        value[0] |= <uint64_t> (byte & 0x7F) << shift
        if byte < 0x80:
            return True
        shift += 7
    return False


cdef bint take_bytes(RowCursor *cursor, uint64_t size, Slice *bytes) noexcept nogil:
    if size > <uint64_t> (cursor.end - cursor.at):
        return False
    bytes[0] = slice_of(cursor.at, size)
    cursor.at += size
    return True


# --- writing --------------------------------------------------------------------------------------

cdef void entry_begin(LogEntry *entry) noexcept nogil:
    """Start another entry without rows."""
    entry.bytes.resize(ENTRY_HEAD_BYTES)
    entry.row_count = 0


cdef void add_key(LogEntry *entry, uint32_t table, Slice key) noexcept nogil:
    assert_that(entry.bytes.size() >= ENTRY_HEAD_BYTES, "an entry is begun before it has rows")
    add_number(&entry.bytes, table)
    add_number(&entry.bytes, key.size)
    entry.bytes.append(key.data, key.size)
    entry.row_count += 1


cdef void entry_put(LogEntry *entry, uint32_t table, Slice key, Slice value) noexcept nogil:
    add_key(entry, table, key)
    add_number(&entry.bytes, value.size + 1)
    entry.bytes.append(value.data, value.size)


cdef void entry_delete(LogEntry *entry, uint32_t table, Slice key) noexcept nogil:
    add_key(entry, table, key)
    add_number(&entry.bytes, 0)


cdef uint64_t entry_size(const LogEntry *entry) noexcept nogil:
    return whole_blocks((<LogEntry *> entry).bytes.size())


cdef uint32_t checksum_of(const char *entry, size_t size, uint32_t seed) noexcept nogil:
    return crc32c(seed, entry + CHECKED_FROM, size - CHECKED_FROM)


cdef Slice entry_finish(LogEntry *entry, EntryHead *head, uint32_t seed) noexcept nogil:
    cdef size_t size = entry.bytes.size()
    head.magic = MAGIC
    head.crc = 0
    head.rows_bytes = size - ENTRY_HEAD_BYTES
    head.row_count = entry.row_count
    memcpy(&entry.bytes[0], head, sizeof(EntryHead))
    head.crc = checksum_of(entry.bytes.data(), size, seed)
    memcpy(&entry.bytes[0], head, sizeof(EntryHead))
    entry.bytes.resize(whole_blocks(size))
    assert_that(entry_right(entry.bytes.data(), seed), "an entry can be read as it was written")
    return slice_of(entry.bytes.data(), entry.bytes.size())


# --- reading --------------------------------------------------------------------------------------

cdef bint head_fits(
    const EntryHead *head, uint64_t segment, uint64_t offset, uint64_t limit
) noexcept nogil:
    cdef uint64_t room = limit - offset
    assert_that(offset + LOG_BLOCK_BYTES <= limit, "a head is read in a block of its own")
    if head.magic != MAGIC or head.segment != segment \
            or head.block != offset // LOG_BLOCK_BYTES:
        return False
    if head.kind == ENTRY_ROWS:
        return head.revision > head.revision_before \
            and head.rows_bytes <= room - ENTRY_HEAD_BYTES
    if head.kind == ENTRY_OPENING:
        return head.revision == head.revision_before \
            and head.rows_bytes <= room - ENTRY_HEAD_BYTES
    return head.kind == ENTRY_END and head.revision == head.revision_before \
        and head.rows_bytes == 0


cdef bint entry_right(const char *entry, uint32_t seed) noexcept nogil:
    cdef EntryHead head
    memcpy(&head, entry, sizeof(head))
    return checksum_of(entry, ENTRY_HEAD_BYTES + head.rows_bytes, seed) == head.crc


cdef RowCursor entry_rows(const char *entry) noexcept nogil:
    """Return a cursor on an entry's rows, before the first."""
    cdef RowCursor cursor
    cdef EntryHead head
    memcpy(&head, entry, sizeof(head))
    cursor.at = entry + ENTRY_HEAD_BYTES
    cursor.end = cursor.at + head.rows_bytes
    cursor.rows_left = head.row_count
    return cursor


cdef RowFound row_next(RowCursor *cursor, LogRow *row) noexcept nogil:
    """Move on to the next row."""
    cdef uint64_t table, size
    if cursor.rows_left == 0:
        return ROWS_END if cursor.at == cursor.end else ROWS_DAMAGED
    cursor.rows_left -= 1
    if not take_number(cursor, &table) or table > <uint64_t> 0xFFFFFFFF \
            or not take_number(cursor, &size) or not take_bytes(cursor, size, &row.key) \
            or not take_number(cursor, &size):
        return ROWS_DAMAGED
    row.table = <uint32_t> table
    row.is_gone = size == 0
    row.value = empty_slice()
    if size != 0 and not take_bytes(cursor, size - 1, &row.value):
        return ROWS_DAMAGED
    return ROW_FOUND
