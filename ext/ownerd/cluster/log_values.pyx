"""What the log of a cluster is in etcd: its keys, and the values under them.

    ownerd/NAME/identity      which log this is
    ownerd/NAME/leader        who leads; its create revision is the epoch
    ownerd/NAME/head          the last part, the last whole entry, and who wrote them
    ownerd/NAME/log/R/N       part N of the entry that is revision R
    ownerd/NAME/beat          the leader's time
    ownerd/NAME/trimmed       the last entry that is gone
    ownerd/NAME/pins/NODE     a node that joins, and behind which entry it needs all
    ownerd/NAME/epochs/E      who led in which epoch
    ownerd/NAME/alive/NODE    a node that runs, and which process that is
    ownerd/NAME/nodes/NODE    a node that belongs to the cluster, and what it says of itself
    ownerd/NAME/next          who is to lead after an epoch that ends by a hand-over

The leader, who led, and the last three are text: names and JSON, or nothing. The other values are
structs in the machine's order (little-endian on all that we run on), with a CRC-32C. The parts form
a chain: each has the checksum of the one before it, so that a part that is missing, double or of
another history is seen.

It asks nobody. Any thread.
"""

from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy, strlen

from ownerd.base.bytes cimport slice_of, text_slice
from ownerd.base.checksum cimport crc32c
from ownerd.cluster.etcd_messages cimport prefix_end

cdef enum:
    IDENTITY_MAGIC = 0x44494F01
    PART_MAGIC = 0x54504F02
    HEAD_MAGIC = 0x44484F02
    BEAT_MAGIC = 0x54424F01
    TRIMMED_MAGIC = 0x52544F02
    CHECKED_FROM = 8                  # behind magic and checksum
    DIGITS = 48


# --- keys -----------------------------------------------------------------------------------------

cdef void under(const Keys *keys, const char *name, string *key) noexcept nogil:
    key.assign(keys.all.data(), keys.all.size())
    key.append(string(name, strlen(name)))


cdef void keys_init(Keys *keys, Slice name) noexcept nogil:
    keys.all.assign(b"ownerd/", 7)
    keys.all.append(name.data, name.size)
    keys.all.append(b"/", 1)
    prefix_end(&keys.all_end, text_slice(keys.all))
    under(keys, "identity", &keys.identity)
    under(keys, "leader", &keys.leader)
    under(keys, "head", &keys.head)
    under(keys, "beat", &keys.beat)
    under(keys, "trimmed", &keys.trimmed)
    under(keys, "pins/", &keys.pins)
    under(keys, "log/", &keys.parts)
    prefix_end(&keys.parts_end, text_slice(keys.parts))
    under(keys, "epochs/", &keys.epochs)
    under(keys, "alive/", &keys.alive)
    under(keys, "nodes/", &keys.nodes)
    under(keys, "next", &keys.next)


cdef void parts_from(const Keys *keys, uint64_t revision, string *key) noexcept nogil:
    cdef char digits[DIGITS]
    cdef int size = snprintf(digits, sizeof(digits), "%016llx/", <unsigned long long> revision)
    key.assign(keys.parts.data(), keys.parts.size())
    key.append(digits, size)


cdef void part_key(
    const Keys *keys, uint64_t revision, uint32_t number, string *key
) noexcept nogil:
    cdef char digits[DIGITS]
    parts_from(keys, revision, key)
    key.append(digits, snprintf(digits, sizeof(digits), "%08x", number))


cdef void epoch_key(const Keys *keys, uint64_t epoch, string *key) noexcept nogil:
    cdef char digits[DIGITS]
    key.assign(keys.epochs.data(), keys.epochs.size())
    key.append(
        digits, snprintf(digits, sizeof(digits), "%016llx", <unsigned long long> epoch)
    )


cdef bint starts_with(Slice text, const string *prefix) noexcept nogil:
    return text.size >= (<string *> prefix).size() \
        and memcmp(text.data, (<string *> prefix).data(), (<string *> prefix).size()) == 0


# --- values ---------------------------------------------------------------------------------------

cdef uint32_t sum_of(const void *value, size_t size) noexcept nogil:
    return crc32c(0, <const char *> value + CHECKED_FROM, size - CHECKED_FROM)


cdef bint take(Slice bytes, void *value, size_t size, uint32_t magic) noexcept nogil:
    """Copy a value that has the right size, magic and checksum; the first two fields are those."""
    cdef uint32_t head[2]
    if bytes.size != size:
        return False
    memcpy(value, bytes.data, size)
    memcpy(head, value, sizeof(head))
    return head[0] == magic and head[1] == sum_of(value, size)


cdef void identity_seal(IdentityValue *value) noexcept nogil:
    value.magic = IDENTITY_MAGIC
    value.crc = sum_of(value, sizeof(IdentityValue))


cdef bint identity_read(Slice bytes, IdentityValue *value) noexcept nogil:
    return take(bytes, value, sizeof(IdentityValue), IDENTITY_MAGIC)


cdef void head_seal(HeadValue *value) noexcept nogil:
    value.magic = HEAD_MAGIC
    value.crc = sum_of(value, sizeof(HeadValue))


cdef bint head_read(Slice bytes, HeadValue *value) noexcept nogil:
    return take(bytes, value, sizeof(HeadValue), HEAD_MAGIC)


cdef void beat_seal(BeatValue *value) noexcept nogil:
    value.magic = BEAT_MAGIC
    value.crc = sum_of(value, sizeof(BeatValue))


cdef bint beat_read(Slice bytes, BeatValue *value) noexcept nogil:
    return take(bytes, value, sizeof(BeatValue), BEAT_MAGIC)


cdef void trimmed_seal(TrimmedValue *value) noexcept nogil:
    value.magic = TRIMMED_MAGIC
    value.crc = sum_of(value, sizeof(TrimmedValue))


cdef bint trimmed_read(Slice bytes, TrimmedValue *value) noexcept nogil:
    return take(bytes, value, sizeof(TrimmedValue), TRIMMED_MAGIC)


cdef void part_write(PartHead *head, Slice piece, string *value) noexcept nogil:
    head.magic = PART_MAGIC
    head.crc = crc32c(sum_of(head, sizeof(PartHead)), piece.data, piece.size)
    value.clear()
    value.reserve(sizeof(PartHead) + piece.size)
    value.append(<const char *> head, sizeof(PartHead))
    value.append(piece.data, piece.size)


cdef bint part_read(Slice bytes, PartHead *head, Slice *piece) noexcept nogil:
    if bytes.size < sizeof(PartHead):
        return False
    memcpy(head, bytes.data, sizeof(PartHead))
    piece[0] = slice_of(bytes.data + sizeof(PartHead), bytes.size - sizeof(PartHead))
    return head.magic == PART_MAGIC \
        and head.crc == crc32c(sum_of(head, sizeof(PartHead)), piece.data, piece.size)
