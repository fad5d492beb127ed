"""Units of time in nanoseconds, which is how every time and duration in the native core is kept."""

from libc.stdint cimport int64_t

# Typed constants rather than enum members, whose products Cython would compute as a C int.
cdef extern from *:
    """
    #include <cstdint>
    static constexpr int64_t OWNERD_NS_PER_US = 1000;
    static constexpr int64_t OWNERD_NS_PER_MS = 1000 * OWNERD_NS_PER_US;
    static constexpr int64_t OWNERD_NS_PER_S = 1000 * OWNERD_NS_PER_MS;
    """
    const int64_t NS_PER_US "OWNERD_NS_PER_US"
    const int64_t NS_PER_MS "OWNERD_NS_PER_MS"
    const int64_t NS_PER_S "OWNERD_NS_PER_S"
