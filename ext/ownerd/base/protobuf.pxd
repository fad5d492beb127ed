"""Protobuf's wire format, as far as messages are read and written without its library.

A field is a tag (its number and its wire type) and a value; tags, sizes and numbers are varints.
Whoever writes has space for what is written.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ownerd.base.bytes cimport Slice, put_le64
from ownerd.base.units cimport NS_PER_S

cdef enum:
    WIRE_VARINT = 0
    WIRE_FIXED64 = 1
    WIRE_BYTES = 2
    WIRE_GROUP = 3
    WIRE_GROUP_END = 4
    WIRE_FIXED32 = 5


cdef inline bint read_varint(const char **at, const char *end, uint64_t *value) noexcept nogil:
    """Read a varint of at most ten bytes; False if it is cut off or longer.

    Bits past the 64th are dropped, as by protobuf's own parsers.
    """
    cdef int shift = 0
    cdef unsigned char byte
    value[0] = 0
    while at[0] < end and shift < 70:
        byte = <unsigned char> at[0][0]
        at[0] += 1
        value[0] |= <uint64_t> (byte & 0x7F) << shift
        if byte < 0x80:
            return True
        shift += 7
    return False


cdef inline char *put_varint(char *at, uint64_t value) noexcept nogil:
    while value >= 0x80:
        at[0] = <char> (value | 0x80)
        at += 1
        value >>= 7
    at[0] = <char> value
    return at + 1


cdef inline char *put_bytes(char *at, uint32_t number, Slice value) noexcept nogil:
    """Write a text, bytes or a message as field `number`."""
    at = put_varint(at, number << 3 | WIRE_BYTES)
    at = put_varint(at, value.size)
    memcpy(at, value.data, value.size)
    return at + value.size


cdef inline char *put_text(char *at, uint32_t number, Slice text) noexcept nogil:
    """Write a text as field `number`; nothing if it is empty, which is a text's default."""
    return at if text.size == 0 else put_bytes(at, number, text)


cdef inline char *put_number(char *at, uint32_t number, uint64_t value) noexcept nogil:
    """Write a number as field `number`; nothing if it is 0, which is a number's default."""
    if value == 0:
        return at
    return put_varint(put_varint(at, number << 3 | WIRE_VARINT), value)


cdef inline char *put_fixed64(char *at, uint32_t number, uint64_t value) noexcept nogil:
    """Write a fixed64 as field `number`."""
    return put_le64(put_varint(at, number << 3 | WIRE_FIXED64), value)


cdef inline char *put_times(
    char *at, uint32_t number, int64_t seconds, int64_t nanos
) noexcept nogil:
    """Write seconds=1 and nanos=2 as field `number`: a Timestamp or a Duration."""
    cdef char *size = put_varint(at, number << 3 | WIRE_BYTES)
    cdef char *end = put_number(size + 1, 1, <uint64_t> seconds)
    end = put_number(end, 2, <uint64_t> nanos)
    size[0] = <char> (end - size - 1)  # its varint is one byte long: it has less than 128
    return end


cdef inline char *put_time(char *at, uint32_t number, int64_t time_ns) noexcept nogil:
    """Write a Timestamp since the epoch, or a Duration that is not negative, as field `number`."""
    return put_times(at, number, time_ns // NS_PER_S, time_ns % NS_PER_S)
