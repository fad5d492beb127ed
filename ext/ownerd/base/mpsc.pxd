"""Tasks handed from one thread to another without a lock: a stack that is taken as a whole.

Any thread pushes, one thread takes everything at once, newest first. `mpsc_push` tells whether the
stack was empty, so that the first of a batch wakes the taker and the others cost no system call.

`mpsc_enter` and `mpsc_leave` stand around a push and whatever follows it: the stack may be freed
when nobody is between the two (`mpsc_is_quiet`), also after the last item was taken.
"""

cdef extern from *:
    """
    static inline int ownerd_stack_push(void **head, void *item, void **next) {
      void *newest = __atomic_load_n(head, __ATOMIC_RELAXED);
      do {
        *next = newest;
      } while (!__atomic_compare_exchange_n(
          head, &newest, item, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
      return newest == 0;
    }
    static inline void *ownerd_stack_take(void **head) {
      return __atomic_exchange_n(head, (void *)0, __ATOMIC_ACQUIRE);
    }
    static inline void ownerd_stack_busy(int *busy) {
      __atomic_fetch_add(busy, 1, __ATOMIC_ACQUIRE);
    }
    static inline void ownerd_stack_idle(int *busy) {
      __atomic_fetch_sub(busy, 1, __ATOMIC_RELEASE);
    }
    static inline int ownerd_stack_is_idle(int *busy) {
      return __atomic_load_n(busy, __ATOMIC_ACQUIRE) == 0;
    }
    """
    bint mpsc_push "ownerd_stack_push" (void **, void *, void **) noexcept nogil
    void *mpsc_take "ownerd_stack_take" (void **) noexcept nogil
    void mpsc_enter "ownerd_stack_busy" (int *) noexcept nogil
    void mpsc_leave "ownerd_stack_idle" (int *) noexcept nogil
    bint mpsc_is_quiet "ownerd_stack_is_idle" (int *) noexcept nogil
