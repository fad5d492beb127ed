"""How records are laid out: their keys, which sort, and their values.

A key is the list's number, then the record id: canonical decimal integers first, in numeric order,
then other texts by their bytes. A value is the campaign with four flags, the list event it was last
brought up to, and of what follows each that the record has: ownership, reservation, the
reservation's dialer, the last attempt. A last attempt that is the begin of the ownership is left
out, so that most owned records need no more than their ownership; that is how owned records were
written before there was a last attempt, too. Every value of every table ends with its checksum: the
CRC-32C of key and value, since LMDB has no checksums of its own.
"""

from libc.stdio cimport snprintf
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from ownerd.base.bytes cimport get_be64, put_be32, put_be64
from ownerd.base.checksum cimport crc32c
from ownerd.rules.ownership cimport NO_DIALER, attempt_counts, hold_owned, hold_reserved

cdef enum:
    CAMPAIGN_BITS = 0x0FFFFFFF
    ATTEMPT_BIT = 0x10000000
    DIALER_BIT = 0x20000000
    OWNED_BIT = 0x40000000
    RESERVED_BIT = 0x80000000
    INTEGER_TAG = 1
    TEXT_TAG = 2


cdef uint32_t checksum_of(
    const char *key, size_t key_size, const char *value, size_t size
) noexcept nogil:
    return crc32c(crc32c(0, key, key_size), value, size)


cdef void row_add_checksum(Slice key, char *value, size_t size) noexcept nogil:
    """Write the checksum behind a value of `size` bytes."""
    cdef uint32_t checksum = checksum_of(key.data, key.size, value, size)
    memcpy(value + size, &checksum, CHECKSUM_BYTES)


cdef bint row_verify(const MDB_val *key, MDB_val *value) noexcept nogil:
    """Check the checksum of a stored value and cut it off; False if the row is damaged."""
    cdef uint32_t checksum
    cdef const char *data = <const char *> value.mv_data
    if value.mv_size < CHECKSUM_BYTES:
        return False
    value.mv_size -= CHECKSUM_BYTES
    memcpy(&checksum, data + value.mv_size, CHECKSUM_BYTES)
    return checksum == checksum_of(
        <const char *> key.mv_data, key.mv_size, data, value.mv_size
    )


cdef bint canonical_integer(Slice text, int64_t *value) noexcept nogil:
    """Read a decimal int64 written the one way that printing it would write it."""
    cdef size_t i = 0
    cdef bint negative = text.size > 0 and text.data[0] == b'-'
    cdef uint64_t magnitude = 0
    cdef uint64_t limit = <uint64_t> 0x7FFFFFFFFFFFFFFF + negative
    cdef unsigned int digit
    i = negative
    if text.size == i or text.size - i > 19 or (text.data[i] == b'0' and text.size > 1):
        return False
    while i < text.size:
        digit = <unsigned int> (<unsigned char> text.data[i]) - 48
        if digit > 9:
            return False
        magnitude = magnitude * 10 + digit
        i += 1
    if magnitude > limit:
        return False
    value[0] = <int64_t> (0 - magnitude if negative else magnitude)
    return True


cdef size_t record_key(char *key, uint32_t list_number, Slice record_id) noexcept nogil:
    """Write a record's key and return its size: list, then integers in order, then texts."""
    cdef int64_t integer
    put_be32(key, list_number)
    if canonical_integer(record_id, &integer):
        key[4] = INTEGER_TAG
        put_be64(key + 5, <uint64_t> integer ^ <uint64_t> 0x8000000000000000)
        return 13
    key[4] = TEXT_TAG
    memcpy(key + 5, record_id.data, record_id.size)
    return 5 + record_id.size


cdef size_t record_id_text(const char *key, size_t key_size, char *text) noexcept nogil:
    """Write the record id of a key into `text` (KEY_BYTES long); return its size."""
    if key[4] == INTEGER_TAG:
        return snprintf(
            text, KEY_BYTES, "%lld",
            <long long> (get_be64(key + 5) ^ <uint64_t> 0x8000000000000000),
        )
    memcpy(text, key + 5, key_size - 5)
    return key_size - 5


cdef inline size_t row_size(uint32_t head) noexcept nogil:
    return (
        8 + 16 * (head & OWNED_BIT != 0) + 16 * (head & <uint32_t> RESERVED_BIT != 0)
        + 4 * (head & DIALER_BIT != 0) + 8 * (head & ATTEMPT_BIT != 0)
    )


cdef bint hold_decode(const MDB_val *value, Hold *hold) noexcept nogil:
    """Read a record's row: campaign with its flags, event seq, then each part that it has."""
    cdef const char *at = <const char *> value.mv_data
    cdef uint32_t head[2]
    memset(hold, 0, sizeof(Hold))
    if value.mv_size < 8:
        return False
    memcpy(head, at, 8)
    hold.campaign = head[0] & CAMPAIGN_BITS
    hold.event_seq = head[1]
    if value.mv_size != row_size(head[0]):
        return False
    at += 8
    if head[0] & OWNED_BIT:
        memcpy(&hold.owned_since_ns, at, 16)
        hold.last_attempt_ns = hold.owned_since_ns
        at += 16
    if head[0] & <uint32_t> RESERVED_BIT:
        memcpy(&hold.reserved_since_ns, at, 16)
        at += 16
    if head[0] & DIALER_BIT:
        memcpy(&hold.dialer, at, 4)
        at += 4
    if head[0] & ATTEMPT_BIT:
        memcpy(&hold.last_attempt_ns, at, 8)
    return True


cdef size_t hold_encode(const Hold *hold, int64_t now_ns, char *value) noexcept nogil:
    """Write a record's row (at most VALUE_BYTES); 0 if nothing of it is left at `now_ns`."""
    cdef uint32_t head = hold.campaign  # with its flags
    cdef int64_t last_attempt_ns = 0  # what is read where it is left out
    cdef size_t size = 8
    if hold_owned(hold, now_ns):
        head |= OWNED_BIT
        memcpy(value + size, &hold.owned_since_ns, 16)
        size += 16
        last_attempt_ns = hold.owned_since_ns
    if hold_reserved(hold, now_ns):
        head |= <uint32_t> RESERVED_BIT
        memcpy(value + size, &hold.reserved_since_ns, 16)
        size += 16
        if hold.dialer != NO_DIALER:
            head |= DIALER_BIT
            memcpy(value + size, &hold.dialer, 4)
            size += 4
    if hold.last_attempt_ns != last_attempt_ns and (
        attempt_counts(hold.last_attempt_ns, now_ns) or attempt_counts(last_attempt_ns, now_ns)
    ):
        head |= ATTEMPT_BIT
        memcpy(value + size, &hold.last_attempt_ns, 8)
        size += 8
    if size == 8:
        return 0
    memcpy(value, &head, 4)
    memcpy(value + 4, &hold.event_seq, 4)
    return size
