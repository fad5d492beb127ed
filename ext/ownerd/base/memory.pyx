"""The process's memory as the C library keeps it: what is in use, and what goes back to the system.

glibc keeps what was freed between blocks that are still in use, by thread: after a flood that is
most of it. Large blocks are mapped one by one, so that they go back as soon as they are freed, and
`trim` gives back the rest. With another C library all of this does nothing.

Any thread may call these; a trim holds up the allocations of other threads for a moment.
"""

cdef extern from *:
    """
    #include <malloc.h>
    #if defined(__GLIBC__)
    extern "C" struct mallinfo2 mallinfo2(void) __attribute__((weak));
    static inline void ownerd_map_from(int bytes) { mallopt(M_MMAP_THRESHOLD, bytes); }
    static inline long ownerd_bytes_in_use(void) {
      if (!mallinfo2) return -1;
      struct mallinfo2 found = mallinfo2();
      return static_cast<long>(found.uordblks + found.hblkhd);
    }
    static inline void ownerd_trim(void) { malloc_trim(0); }
    #else
    static inline void ownerd_map_from(int bytes) { (void) bytes; }
    static inline long ownerd_bytes_in_use(void) { return -1; }
    static inline void ownerd_trim(void) {}
    #endif
    """
    void ownerd_map_from(int) nogil
    long ownerd_bytes_in_use() nogil
    void ownerd_trim() nogil

cdef enum:
    MAPPED_FROM_BYTES = 128 << 10     # glibc's own first threshold, which it would let grow


def map_large_blocks():
    """Have large blocks mapped one by one, for the rest of the process's life."""
    ownerd_map_from(MAPPED_FROM_BYTES)


def bytes_in_use():
    """Return how many bytes the C library has given out; None where it does not tell."""
    cdef long found
    with nogil:
        found = ownerd_bytes_in_use()
    return None if found < 0 else found


def trim():
    """Give back to the system what is free."""
    with nogil:
        ownerd_trim()
