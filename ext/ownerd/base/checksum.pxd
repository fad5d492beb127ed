"""CRC-32C (Castagnoli), by the processor's instruction where it has one.

Detects damage of a row at rest: any flip of up to 3 bits, any burst of up to 32, and all but one in
2^32 of the rest (RFC 3720, appendix B.4 has the test values that the tests hold it to).
"""

from libc.stdint cimport uint32_t

cdef extern from *:
    """
    #include <cstddef>
    #include <cstdint>
    #include <cstring>

    #define OWNERD_CRC32C_POLYNOMIAL 0x82F63B78u  /* reflected */

    static uint32_t ownerd_crc32c_by_bits(uint32_t crc, const char *data, size_t size) {
        for (size_t i = 0; i < size; i++) {
            crc ^= (unsigned char) data[i];
            for (int bit = 0; bit < 8; bit++)
                crc = (crc >> 1) ^ (OWNERD_CRC32C_POLYNOMIAL & (0u - (crc & 1u)));
        }
        return crc;
    }

    #if defined(__x86_64__)
    __attribute__((target("sse4.2")))
    static uint32_t ownerd_crc32c_by_words(uint32_t crc, const char *data, size_t size) {
        uint64_t wide = crc;
        for (; size >= 8; data += 8, size -= 8) {
            uint64_t word;
            memcpy(&word, data, 8);
            wide = __builtin_ia32_crc32di(wide, word);
        }
        crc = (uint32_t) wide;
        for (; size > 0; data++, size--)
            crc = __builtin_ia32_crc32qi(crc, (unsigned char) *data);
        return crc;
    }
    #endif

    static inline uint32_t ownerd_crc32c(uint32_t crc, const char *data, size_t size) {
        crc = ~crc;
    #if defined(__x86_64__)
        static const bool fast = __builtin_cpu_supports("sse4.2");
        if (fast) return ~ownerd_crc32c_by_words(crc, data, size);
    #endif
        return ~ownerd_crc32c_by_bits(crc, data, size);
    }
    """
    # Return the checksum of `data` after what `crc` is the checksum of; 0 to begin.
    uint32_t crc32c "ownerd_crc32c"(uint32_t crc, const char *data, size_t size) noexcept nogil
    uint32_t crc32c_by_bits "ownerd_crc32c_by_bits"(
        uint32_t crc, const char *data, size_t size
    ) noexcept nogil
