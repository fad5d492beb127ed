"""C interface of ownership: a record's state, a list's policy and events, the decisions on them."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

# Typed constants rather than enum members, which Cython would pass through a C int.
cdef extern from *:
    """
    #include <cstdint>
    static constexpr int64_t OWNERD_NEVER_NS = INT64_MAX;
    static constexpr int64_t OWNERD_NO_TIME = INT64_MIN;
    static constexpr uint32_t OWNERD_ALL_CAMPAIGNS = UINT32_MAX;
    """
    const int64_t NEVER_NS "OWNERD_NEVER_NS"  # an expiration that never comes
    const int64_t NO_TIME "OWNERD_NO_TIME"  # a row that does not say since when it is owned
    const uint32_t ALL_CAMPAIGNS "OWNERD_ALL_CAMPAIGNS"

cdef enum:
    DEFAULT_WINDOW = -1               # the renewal window follows the duration
    DEFAULT_WINDOW_DIVISOR = 10

cdef enum ClaimDecision:              # the numbers of dial.proto
    GRANTED = 1
    DENIED = 2
    UNCONTROLLED = 3

cdef enum AttemptOutcome:             # the numbers of dial.proto
    OWNERSHIP_ACQUIRED = 1
    OWNERSHIP_RENEWED = 2
    OWNERSHIP_KEPT = 3
    RESERVATION_CLEARED = 4
    NOT_CONTROLLED = 5
    REJECTED = 6

cdef enum ImportOutcome:
    IMPORT_TAKEN = 0                  # the record was free, or its campaign's already
    IMPORT_TAKEN_OVER = 1             # another campaign owned it
    IMPORT_OWNED = 2                  # nothing changed: another campaign owns it
    IMPORT_DIALED = 3                 # nothing changed: another campaign is dialing it

cdef enum HoldKind:                   # the numbers of dial.proto
    NOBODY = 0
    RESERVED = 1
    OWNED = 2

cdef enum EventKind:
    EVENT_DURATION = 1
    EVENT_RELEASE = 2
    EVENT_RESERVATIONS_END = 3
    EVENT_TIME_SET_BACK = 4           # R19: the server's time, by a duration, to the event's T

# A record's state. Exclusive by construction (R1): there is one campaign, which has an ownership,
# a reservation, or both. A span [since, until) exists while now < until (R2); until 0 is no span.
cdef struct Hold:
    uint32_t campaign
    uint32_t event_seq                # the list event this state was last brought up to
    int64_t owned_since_ns
    int64_t owned_until_ns
    int64_t reserved_since_ns
    int64_t reserved_until_ns

cdef struct Policy:
    bint enabled
    int64_t duration_ns               # NEVER_NS: no expiration
    int64_t renewal_window_ns         # or DEFAULT_WINDOW
    int64_t reservation_ttl_ns

cdef struct Event:
    uint32_t seq
    uint32_t campaign                 # or ALL_CAMPAIGNS
    uint8_t kind
    bint include_reservations         # EVENT_RELEASE: end reservations too
    int64_t time_ns                   # the instant T at which the event took effect
    int64_t duration_ns               # of EVENT_DURATION, or NEVER_NS; of EVENT_TIME_SET_BACK

cdef struct Holder:
    HoldKind kind
    uint32_t campaign
    int64_t since_ns
    int64_t until_ns                  # NEVER_NS: no expiration

cdef struct Code:
    bint counts_as_attempt
    bint success

cdef struct ImportRow:
    uint32_t campaign
    int64_t since_ns                  # when the ownership began; NO_TIME: now
    int64_t until_ns                  # NEVER_NS: no expiration
    bint overwrite                    # take ownership from another campaign
    bint exact                        # set the expiration even if that shortens an ownership

cdef struct Ruling:
    uint8_t answer                    # a ClaimDecision or an AttemptOutcome
    bint changed                      # the record's state is another one now
    Holder holder                     # who stands in the way; NOBODY unless denied or rejected


cdef inline bint hold_owned(const Hold *hold, int64_t now_ns) noexcept nogil:
    return now_ns < hold.owned_until_ns


cdef inline bint hold_reserved(const Hold *hold, int64_t now_ns) noexcept nogil:
    return now_ns < hold.reserved_until_ns


cdef inline bint hold_alive(const Hold *hold, int64_t now_ns) noexcept nogil:
    return hold_owned(hold, now_ns) or hold_reserved(hold, now_ns)


cdef inline int64_t hold_end(const Hold *hold) noexcept nogil:
    """Return when the record is, or was, nobody's any more."""
    return max(hold.owned_until_ns, hold.reserved_until_ns)


cdef inline int64_t time_after(int64_t now_ns, int64_t duration_ns) noexcept nogil:
    """Return now + duration; never, if that is the duration or lies beyond what int64 holds."""
    return NEVER_NS if duration_ns >= NEVER_NS - now_ns else now_ns + duration_ns


cdef Holder rules_holder(const Hold *hold, int64_t now_ns) noexcept nogil
cdef bint rules_apply_event(Hold *hold, const Event *event) noexcept nogil
cdef bint rules_follows(const Event *duration, const Event *next_duration) noexcept nogil
cdef void rules_apply_durations(Hold *hold, const Event *first, const Event *last) noexcept nogil
cdef Ruling rules_claim(
    Hold *hold, const Policy *policy, uint32_t campaign, int64_t now_ns
) noexcept nogil
cdef Ruling rules_attempt(
    Hold *hold, const Policy *policy, const Code *code, uint32_t campaign, int64_t now_ns
) noexcept nogil
cdef bint rules_release(Hold *hold, int64_t now_ns) noexcept nogil
cdef int64_t rules_import_end(
    int64_t until_ns, bint expire_by_policy, const Policy *policy, int64_t now_ns
) noexcept nogil
cdef ImportOutcome rules_import(Hold *hold, const ImportRow *row, int64_t now_ns) noexcept nogil
cdef int64_t rules_renewal_window(const Policy *policy) noexcept nogil
