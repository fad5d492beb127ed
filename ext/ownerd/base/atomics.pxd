"""Plain numbers that one thread writes and others look at: flags and counters, each by itself.

Relaxed: whoever reads sees some recent value, whole, and may conclude nothing from it about other
memory. They cost what plain reads and writes do. What threads agree on by way of a number has a
lock, a queue or `libcpp.atomic` instead.
"""

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <cstdint>

    template <class T> static inline T flag_read(const T *at) {
        return __atomic_load_n(at, __ATOMIC_RELAXED);
    }
    template <class T> static inline void flag_set(T *at, int64_t value) {
        __atomic_store_n(at, static_cast<T>(value), __ATOMIC_RELAXED);
    }
    // No locked instruction: nobody else writes.
    template <class T> static inline void count_add(T *at, int64_t more) {
        __atomic_store_n(at, static_cast<T>(*at + more), __ATOMIC_RELAXED);
    }
    """
    T flag_read[T](const T *at) noexcept nogil
    void flag_set[T](T *at, int64_t value) noexcept nogil
    # Only by the thread that writes the counter.
    void count_add[T](T *at, int64_t more) noexcept nogil
