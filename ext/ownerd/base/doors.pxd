"""Numbers that a test gives a process by its environment, as a fault would change what it sees.

OWNERD_WALL_OFFSET_S moves the wall clock; OWNERD_LOSE_EVENTS has a follower lose every so-manieth
message of its watch. Only a build with OWNERD_TESTING=1 reads them; elsewhere they are 0.
"""

cdef extern from *:
    """
    #ifdef OWNERD_TESTING
    #include <cstdlib>
    static inline long long ownerd_door(const char *name) {
        const char *text = getenv(name);
        return text == nullptr ? 0 : strtoll(text, nullptr, 10);
    }
    #else
    #define ownerd_door(name) (0LL)
    #endif
    """
    # Reads the environment each time: kept by whoever asks often.
    long long door_number "ownerd_door"(const char *name) noexcept nogil
