"""C interface of failpoints: named places at which a test can have the process killed."""

cdef enum FailPoint:                  # order of failpoints.FAILPOINTS
    FAIL_NOWHERE
    FAIL_BEFORE_COMMIT
    FAIL_AFTER_COMMIT
    FAIL_BEFORE_ANSWER
    FAIL_AFTER_ANSWER
    FAIL_BEFORE_ROTATE
    FAIL_AFTER_ROTATE
    FAIL_BEFORE_FLUSH_COMMIT
    FAIL_AFTER_FLUSH_COMMIT
    FAIL_BEFORE_VACUUM_COMMIT
    FAIL_AFTER_VACUUM_COMMIT
    FAIL_BEFORE_TRIM
    FAIL_AFTER_TRIM

cdef struct Armed:
    int point
    int passes                        # how often it is passed before it kills

# Set when the module is imported, FAIL_NOWHERE unless a test asked for another.
cdef Armed armed

cdef void fail_passed() noexcept nogil

cdef inline void fail_at(FailPoint point) noexcept nogil:
    """Mark a place: one comparison, unless a test has armed it."""
    if armed.point == point:
        fail_passed()
