"""What stands before each message of gRPC: a flag byte, 0 as none is compressed, and the size."""

from libc.stdint cimport uint32_t

from ownerd.base.bytes cimport get_be32, put_be32

cdef enum:
    PREFIX_BYTES = 5


cdef inline void grpc_put_prefix(char *at, uint32_t size) noexcept nogil:
    """Write the prefix of an uncompressed message of `size` bytes."""
    at[0] = 0
    put_be32(at + 1, size)


cdef inline uint32_t grpc_message_bytes(const char *prefix) noexcept nogil:
    """Return the size that a message's prefix tells."""
    return get_be32(prefix + 1)
