"""CRC-32C (Castagnoli), by the instruction of x86-64 (SSE 4.2) or ARMv8 where there is one.

Elsewhere it is computed bit by bit, which is also what the tests compare the instruction with.

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

    // ownerd_crc32c_by_words is there where a processor may have the instruction,
    // ownerd_crc32c_has_words tells whether this one does.
    #if defined(__x86_64__)
    #define OWNERD_CRC32C_WORDS "sse4.2"
    #define OWNERD_CRC32C_WORD(crc, word) ((uint32_t) __builtin_ia32_crc32di(crc, word))
    #define OWNERD_CRC32C_BYTE(crc, byte) __builtin_ia32_crc32qi(crc, byte)
    static inline bool ownerd_crc32c_has_words() {
        return __builtin_cpu_supports("sse4.2");
    }
    #elif defined(__aarch64__) && defined(__linux__)
    #include <arm_acle.h>
    #include <asm/hwcap.h>
    #include <sys/auxv.h>
    #define OWNERD_CRC32C_WORDS "+crc"
    #define OWNERD_CRC32C_WORD(crc, word) __crc32cd(crc, word)
    #define OWNERD_CRC32C_BYTE(crc, byte) __crc32cb(crc, byte)
    static inline bool ownerd_crc32c_has_words() {
        return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
    }
    #endif

    #ifdef OWNERD_CRC32C_WORDS
    __attribute__((target(OWNERD_CRC32C_WORDS)))
    static uint32_t ownerd_crc32c_by_words(uint32_t crc, const char *data, size_t size) {
        for (; size >= 8; data += 8, size -= 8) {
            uint64_t word;
            memcpy(&word, data, 8);
            crc = OWNERD_CRC32C_WORD(crc, word);
        }
        for (; size > 0; data++, size--)
            crc = OWNERD_CRC32C_BYTE(crc, (unsigned char) *data);
        return crc;
    }
    #endif

    static inline uint32_t ownerd_crc32c(uint32_t crc, const char *data, size_t size) {
        crc = ~crc;
    #ifdef OWNERD_CRC32C_WORDS
        static const bool has_words = ownerd_crc32c_has_words();
        if (has_words) return ~ownerd_crc32c_by_words(crc, data, size);
    #endif
        return ~ownerd_crc32c_by_bits(crc, data, size);
    }
    """
    # Return the checksum of `data` after what `crc` is the checksum of; 0 to begin.
    uint32_t crc32c "ownerd_crc32c"(uint32_t crc, const char *data, size_t size) noexcept nogil
    uint32_t crc32c_by_bits "ownerd_crc32c_by_bits"(
        uint32_t crc, const char *data, size_t size
    ) noexcept nogil
