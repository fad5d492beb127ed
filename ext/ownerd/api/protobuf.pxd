"""Writing protobuf: the pieces that messages are put together from, inline.

Each writes a field at `at` and returns where the next one goes; the caller has made room. As proto3
asks, a field with its default value is left out.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from ownerd.base.bytes cimport Slice

cdef enum WireType:
    WIRE_VARINT = 0
    WIRE_FIXED64 = 1
    WIRE_BYTES = 2
    WIRE_GROUP = 3
    WIRE_GROUP_END = 4
    WIRE_FIXED32 = 5


cdef inline char *put_varint(char *at, uint64_t value) noexcept nogil:
    while value >= 0x80:
        at[0] = <char> (value | 0x80)
        at += 1
        value >>= 7
    at[0] = <char> value
    return at + 1


cdef inline char *put_bytes(
    char *at, uint32_t number, const char *data, size_t size
) noexcept nogil:
    at = put_varint(at, number << 3 | WIRE_BYTES)
    at = put_varint(at, size)
    memcpy(at, data, size)
    return at + size


cdef inline char *put_text(char *at, uint32_t number, Slice text) noexcept nogil:
    return at if text.size == 0 else put_bytes(at, number, text.data, text.size)


cdef inline char *put_number(char *at, uint32_t number, uint64_t value) noexcept nogil:
    if value == 0:
        return at
    return put_varint(put_varint(at, number << 3 | WIRE_VARINT), value)
