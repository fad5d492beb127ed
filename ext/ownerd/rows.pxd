"""C interface of rows: keys and values of the record tree, and big-endian numbers."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ownerd.calls cimport Slice
from ownerd.containers cimport string
from ownerd.lmdb_api cimport MDB_val
from ownerd.rules cimport Hold

cdef enum:
    KEY_BYTES = 160                   # longest record key: 4 + 1 + 128
    VALUE_BYTES = 40                  # longest record value, without its seal
    SEAL_BYTES = 4                    # the checksum that ends every stored value

cdef void seal_row(Slice key, char *value, size_t size) noexcept nogil
cdef bint open_row(const MDB_val *key, MDB_val *value) noexcept nogil
cdef size_t record_key(char *key, uint32_t list_number, Slice record_id) noexcept nogil
cdef size_t record_id_text(const char *key, size_t key_size, char *text) noexcept nogil
cdef bint hold_decode(const MDB_val *value, Hold *hold) noexcept nogil
cdef size_t hold_encode(const Hold *hold, int64_t now_ns, char *value) noexcept nogil
cdef void put_be32(char *at, uint32_t value) noexcept nogil
cdef uint32_t get_be32(const char *at) noexcept nogil
cdef void put_be64(char *at, uint64_t value) noexcept nogil
cdef uint64_t get_be64(const char *at) noexcept nogil

cdef inline Slice slice_of(const void *data, size_t size) noexcept nogil:
    cdef Slice result
    result.data = <const char *> data
    result.size = size
    return result

cdef inline Slice text_slice(const string &text) noexcept nogil:
    return slice_of(text.data(), text.size())

cdef inline Slice empty_slice() noexcept nogil:
    return slice_of(NULL, 0)
