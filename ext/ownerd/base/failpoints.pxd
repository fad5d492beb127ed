"""Named places at which a test can have the process killed, as a crash would end it there.

OWNERD_FAILPOINT=NAME:PASSES arms one for a process: it is passed PASSES times, then the process
gets SIGKILL; a name that is none, or no number, ends the process with a line that says so. Only a
build with OWNERD_TESTING=1 has them: in others `fail_at` is nothing, and the variable is not read.
"""

cdef extern from *:
    """
    #include <cstddef>

    // In the order of FailPoint.
    static const char *const OWNERD_FAILPOINTS[] = {
        "before_commit", "after_commit", "before_answer", "after_answer", "before_rotate",
        "after_rotate", "before_flush_commit", "after_flush_commit", "before_vacuum_commit",
        "after_vacuum_commit", "before_trim", "after_trim", "before_cut_commit",
        "after_cut_commit", "before_prepare", "after_prepare",
        "in_migration",
    };
    #define OWNERD_FAILPOINT_COUNT (sizeof(OWNERD_FAILPOINTS) / sizeof(*OWNERD_FAILPOINTS))

    #ifdef OWNERD_TESTING
    #include <csignal>
    #include <cstdio>
    #include <cstdlib>
    #include <cstring>

    struct ownerd_armed {
        int point = -1;
        int passes = 0;

        ownerd_armed() {
            const char *text = getenv("OWNERD_FAILPOINT");
            if (text == nullptr) return;
            const char *colon = strchr(text, ':');
            char *end = nullptr;
            if (colon != nullptr) passes = (int) strtoul(colon + 1, &end, 10);
            for (size_t i = 0; end != nullptr && *end == 0 && i < OWNERD_FAILPOINT_COUNT; i++)
                if (strlen(OWNERD_FAILPOINTS[i]) == (size_t) (colon - text)
                        && memcmp(OWNERD_FAILPOINTS[i], text, colon - text) == 0)
                    point = (int) i;
            if (point < 0) {
                fprintf(stderr, "OWNERD_FAILPOINT=%s: no failpoint with its passes\\n", text);
                abort();
            }
        }
    };

    static inline void ownerd_fail_at(int point) {
        static ownerd_armed armed;
        if (armed.point == point && __atomic_fetch_sub(&armed.passes, 1, __ATOMIC_RELAXED) <= 0)
            raise(SIGKILL);
    }
    #else
    #define ownerd_fail_at(point) ((void) (point))
    #endif
    """
    const char *const *FAILPOINT_NAMES "OWNERD_FAILPOINTS"
    size_t FAILPOINT_COUNT "OWNERD_FAILPOINT_COUNT"
    # Mark a place. Every module counts by itself: a point stands in one of them only.
    void fail_at "ownerd_fail_at"(FailPoint point) noexcept nogil

cdef enum FailPoint:
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
    FAIL_BEFORE_CUT_COMMIT
    FAIL_AFTER_CUT_COMMIT
    FAIL_BEFORE_PREPARE
    FAIL_AFTER_PREPARE
    FAIL_IN_MIGRATION
