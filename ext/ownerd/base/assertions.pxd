"""What must hold, said where it could break: checked in a debug build, nothing at all in others.

`assert_that(condition, "what must hold")` ends the process with the place and the words where the
condition is false: an invariant that is broken would go to disk otherwise. A condition has no side
effects, as only OWNERD_DEBUG=1 evaluates it; one that takes more than an expression stands behind
`if ASSERTING:`, which the compiler removes.
"""

cdef extern from *:
    """
    #ifdef OWNERD_DEBUG
    #include <cstdio>
    #include <cstdlib>

    [[noreturn]] static inline void ownerd_broken(const char *what, const char *file, int line) {
        fprintf(stderr, "%s:%d: this does not hold: %s\\n", file, line, what);
        abort();
    }
    #define OWNERD_ASSERTING 1
    #define assert_that(condition, what) \\
        ((condition) ? (void) 0 : ownerd_broken(what, __FILE__, __LINE__))
    #else
    #define OWNERD_ASSERTING 0
    #define assert_that(condition, what) ((void) sizeof((condition) ? 1 : 0))
    #endif
    """
    const bint ASSERTING "OWNERD_ASSERTING"
    void assert_that(bint condition, const char *what) noexcept nogil
