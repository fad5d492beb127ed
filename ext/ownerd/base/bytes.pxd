"""Bytes: slices of memory that somebody else owns, and big-endian numbers, which sort as bytes."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, strlen

from ownerd.base.containers cimport string
from ownerd.base.lmdb cimport MDB_val

# What is pointed to belongs to whoever made the slice; a slice is passed by value and never freed.
cdef struct Slice:
    const char *data
    size_t size


cdef inline Slice slice_of(const void *data, size_t size) noexcept nogil:
    cdef Slice result
    result.data = <const char *> data
    result.size = size
    return result


cdef inline Slice text_slice(const string &text) noexcept nogil:
    return slice_of(text.data(), text.size())


cdef inline Slice empty_slice() noexcept nogil:
    return slice_of(NULL, 0)


cdef inline MDB_val val_of(Slice slice) noexcept nogil:
    """Return the slice as LMDB takes keys and values."""
    cdef MDB_val value
    value.mv_data = <void *> slice.data
    value.mv_size = slice.size
    return value


cdef inline bint same(const char *text, size_t size, const char *word) noexcept nogil:
    """Tell whether a text has the bytes of a NUL-terminated word."""
    return size == strlen(word) and memcmp(text, word, size) == 0


cdef inline void put_be32(char *at, uint32_t value) noexcept nogil:
    cdef int i
    for i in range(4):
        at[i] = <char> (value >> (24 - 8 * i))


cdef inline uint32_t get_be32(const char *at) noexcept nogil:
    cdef int i
    cdef uint32_t value = 0
    for i in range(4):
        value = value << 8 | <unsigned char> at[i]
    return value


cdef inline void put_be64(char *at, uint64_t value) noexcept nogil:
    put_be32(at, <uint32_t> (value >> 32))
    put_be32(at + 4, <uint32_t> value)


cdef inline uint64_t get_be64(const char *at) noexcept nogil:
    return <uint64_t> get_be32(at) << 32 | get_be32(at + 4)


# The machine's own order: x86-64 and arm64 Linux are both little-endian.
cdef inline char *put_le64(char *at, uint64_t value) noexcept nogil:
    memcpy(at, &value, 8)
    return at + 8


cdef inline uint64_t get_le64(const char *at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return value
