"""C interface of log_values: what stands in etcd, and under which keys."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string
from ownerd.storage.tables cimport ClusterRow

cdef enum:
    PART_BYTES = 0x80000              # 512 KiB: the most that a part has of an entry

# All begin with `ownerd/NAME/`.
cdef cppclass Keys:
    string all                        # what they begin with
    string all_end
    string identity                   # which log this is; made once
    string leader                     # there as long as its lease: its create revision is the epoch
    string head                       # where the log ends
    string beat                       # the leader's time, now and then
    string trimmed                    # where the log begins
    string pins                       # pins/NODE: from where on it needs the log, while it joins
    string parts                      # log/REVISION/NUMBER, in hexadecimal digits
    string parts_end
    string epochs                     # epochs/EPOCH: who led, and from which revision
    string alive                      # alive/NODE: as long as that node's lease
    string nodes                      # nodes/NODE: where that node is, as roster has it
    string next                       # who is to lead after an epoch that ends by a hand-over

# The value of identity. In all values, `magic` says what they are and `crc` is of what follows it.
cdef struct IdentityValue:
    uint32_t magic
    uint32_t crc
    ClusterRow begin                  # the log's id, and what was there before its first entry

cdef struct PartHead:                 # the rows, or a piece of them, follow
    uint32_t magic
    uint32_t crc                      # also of what follows the head
    uint32_t crc_before               # `crc` of the part before
    uint32_t number                   # from 0, of its entry
    uint64_t log_id
    uint64_t epoch
    uint64_t revision
    uint64_t revision_before
    int64_t time_ns
    uint32_t row_count                # of the whole entry
    uint32_t is_last
    uint64_t log_bytes                # of all parts that ever were in the log, with this one

cdef enum HeadKind:
    HEAD_PART = 1                     # a part was appended
    HEAD_BEGUN                        # an epoch begins
    HEAD_RESIGNED                     # one ends, and answers nothing any more

cdef struct HeadValue:
    uint32_t magic
    uint32_t crc
    uint32_t kind
    uint32_t part_number              # of the last part
    uint64_t epoch                    # of whoever wrote this
    ClusterRow last                   # the last entry that is whole
    int64_t time_ns                   # its time
    int64_t guard_ns                  # R of whoever wrote this
    uint64_t part_revision            # of the last part, where its entry is not whole; else 0
    uint64_t part_crc
    uint64_t log_bytes                # of all parts up to the last entry that is whole

cdef struct BeatValue:
    uint32_t magic
    uint32_t crc
    uint64_t log_id
    uint64_t epoch
    uint64_t number
    int64_t time_ns

cdef struct TrimmedValue:
    uint32_t magic
    uint32_t crc
    ClusterRow last                   # the last entry that is gone
    uint64_t log_bytes                # of all parts up to it

cdef void keys_init(Keys *keys, Slice name) noexcept nogil
cdef void part_key(const Keys *keys, uint64_t revision, uint32_t number, string *key) noexcept nogil
# What all parts of an entry, and of later ones, are at or behind.
cdef void parts_from(const Keys *keys, uint64_t revision, string *key) noexcept nogil
cdef void epoch_key(const Keys *keys, uint64_t epoch, string *key) noexcept nogil
cdef bint starts_with(Slice text, const string *prefix) noexcept nogil

cdef void identity_seal(IdentityValue *value) noexcept nogil
cdef void head_seal(HeadValue *value) noexcept nogil
cdef void beat_seal(BeatValue *value) noexcept nogil
cdef void trimmed_seal(TrimmedValue *value) noexcept nogil
# With its piece of an entry; the head's `crc` is filled in.
cdef void part_write(PartHead *head, Slice piece, string *value) noexcept nogil

# False: that is no such value, or it is damaged.
cdef bint identity_read(Slice bytes, IdentityValue *value) noexcept nogil
cdef bint head_read(Slice bytes, HeadValue *value) noexcept nogil
cdef bint beat_read(Slice bytes, BeatValue *value) noexcept nogil
cdef bint trimmed_read(Slice bytes, TrimmedValue *value) noexcept nogil
cdef bint part_read(Slice bytes, PartHead *head, Slice *piece) noexcept nogil
