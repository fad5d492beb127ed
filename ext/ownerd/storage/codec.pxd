"""C interface of codec: keys and values of the record tree."""

from libc.stdint cimport int64_t, uint32_t

from ownerd.base.bytes cimport Slice
from ownerd.base.lmdb cimport MDB_val
from ownerd.rules.ownership cimport Hold

cdef enum:
    KEY_BYTES = 160                   # longest record key: 4 + 1 + 128
    VALUE_BYTES = 52                  # longest record value, without its checksum
    CHECKSUM_BYTES = 4                # the checksum that ends every stored value

# `value` has space for the checksum behind its `size` bytes.
cdef void row_add_checksum(Slice key, char *value, size_t size) noexcept nogil
# The checksum is cut off, whether it is right or not.
cdef bint row_verify(const MDB_val *key, MDB_val *value) noexcept nogil
# Both write at most KEY_BYTES, no NUL counted, and return how many.
cdef size_t record_key(char *key, uint32_t list_number, Slice record_id) noexcept nogil
cdef size_t record_id_text(const char *key, size_t key_size, char *text) noexcept nogil
# False: the value is no record's.
cdef bint hold_decode(const MDB_val *value, Hold *hold) noexcept nogil
# At most VALUE_BYTES; 0: nothing of it is left.
cdef size_t hold_encode(const Hold *hold, int64_t now_ns, char *value) noexcept nogil
