"""Items handed from many threads to one without a lock: a stack that is taken as a whole.

An item is a struct with a `next` of its own type. Any thread pushes, one thread takes everything at
once, in the order in which it was pushed. `mpsc_push` tells whether there was nothing, so that the
first of a batch wakes the taker and the others cost no system call.

`mpsc_enter` and `mpsc_leave` stand around a push and whatever follows it: what the pushers use may
be freed once nobody is between the two (`mpsc_await_quiet`), also after the last item was taken.
"""

cdef extern from *:
    """
    #include <unistd.h>

    template <class T> static inline bool mpsc_push(T **head, T *item) {
      T *newest = __atomic_load_n(head, __ATOMIC_RELAXED);
      do {
        item->next = newest;
      } while (!__atomic_compare_exchange_n(
          head, &newest, item, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
      return newest == nullptr;
    }
    template <class T> static inline T *mpsc_take_in_order(T **head) {
      T *newest = __atomic_exchange_n(head, static_cast<T *>(nullptr), __ATOMIC_ACQUIRE);
      T *ordered = nullptr;
      while (newest != nullptr) {
        T *before = newest->next;
        newest->next = ordered;
        ordered = newest;
        newest = before;
      }
      return ordered;
    }
    static inline void mpsc_enter(int *busy) {
      __atomic_fetch_add(busy, 1, __ATOMIC_ACQUIRE);
    }
    static inline void mpsc_leave(int *busy) {
      __atomic_fetch_sub(busy, 1, __ATOMIC_RELEASE);
    }
    static inline void mpsc_await_quiet(int *busy) {
      while (__atomic_load_n(busy, __ATOMIC_ACQUIRE) != 0)
        usleep(100);
    }
    """
    # Tell whether there was nothing before.
    bint mpsc_push[T](T **head, T *item) noexcept nogil
    # Return all that was pushed, oldest first; NULL: nothing.
    T *mpsc_take_in_order[T](T **head) noexcept nogil
    void mpsc_enter(int *busy) noexcept nogil
    void mpsc_leave(int *busy) noexcept nogil
    void mpsc_await_quiet(int *busy) noexcept nogil
