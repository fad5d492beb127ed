"""What one commit leaves in the journal: each record that its group wrote, as it is afterwards.

A value is a head (version, number of records, server time), the records (size of key, size of
value, key, value; no value: nothing is left of the record) and a seal, the CRC-32C of key and
value. The key is the revision, big-endian. States, not decisions: to replay values in order, as
often as one likes, gives the same records.

It knows the bytes only; `store` commits them, `opening` replays them.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from ownerd.overlay cimport layer_put, record_hash
from ownerd.rows cimport KEY_BYTES, SEAL_BYTES, VALUE_BYTES, seal_row, slice_of

cdef enum:
    VERSION = 1

cdef struct Head:
    uint32_t version
    uint32_t count
    int64_t time_ns


cdef void journal_begin(Journal *journal) noexcept nogil:
    """Start a new value; its head is filled in when it is sealed."""
    journal.value.resize(sizeof(Head))
    journal.count = 0


cdef void journal_add(Journal *journal, Slice key, Slice value) noexcept nogil:
    """Add what one record became."""
    cdef char sizes[2]
    sizes[0], sizes[1] = <char> key.size, <char> value.size
    journal.value.append(sizes, 2)
    journal.value.append(key.data, key.size)
    journal.value.append(value.data, value.size)
    journal.count += 1


cdef Slice journal_seal(
    Journal *journal, const char *key, size_t key_size, int64_t time_ns
) noexcept nogil:
    """Finish the value for the row with this key and return it; valid until the next begin."""
    cdef Head head
    cdef size_t size = journal.value.size()
    head.version = VERSION
    head.count = journal.count
    head.time_ns = time_ns
    memcpy(&journal.value[0], &head, sizeof(head))
    journal.value.resize(size + SEAL_BYTES)
    seal_row(slice_of(key, key_size), &journal.value[0], size)
    return slice_of(journal.value.data(), journal.value.size())


cdef int64_t journal_count(const MDB_val *value) noexcept nogil:
    """Return how many records a value (without its seal) holds; -1 if it is none of ours."""
    cdef Head head
    if value.mv_size < sizeof(head):
        return -1
    memcpy(&head, value.mv_data, sizeof(head))
    return head.count if head.version == VERSION else -1


cdef bint journal_replay(const MDB_val *value, Layer *layer) noexcept nogil:
    """Put a value's records into a layer (NULL: only look); False if the value cannot be right."""
    cdef const char *at = <const char *> value.mv_data + sizeof(Head)
    cdef const char *end = <const char *> value.mv_data + value.mv_size
    cdef int64_t left = journal_count(value)
    cdef size_t key_size, value_size
    if left < 0:
        return False
    while left > 0 and end - at >= 2:
        key_size, value_size = <uint8_t> at[0], <uint8_t> at[1]
        at += 2
        if key_size == 0 or key_size > KEY_BYTES or value_size > VALUE_BYTES \
                or end - at < <int64_t> (key_size + value_size):
            return False
        if layer != NULL:
            layer_put(
                layer, record_hash(at, key_size), slice_of(at, key_size),
                slice_of(at + key_size, value_size),
            )
        at += key_size + value_size
        left -= 1
    return left == 0 and at == end
