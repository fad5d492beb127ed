"""C interface of ownership: a record's state, a list's policy and events, the decisions on them."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

# Typed constants rather than enum members, which Cython would pass through a C int.
cdef extern from *:
    """
    #include <cstdint>
    static constexpr int64_t OWNERD_NEVER_NS = INT64_MAX;
    static constexpr int64_t OWNERD_NO_TIME = INT64_MIN;
    static constexpr uint32_t OWNERD_ALL_CAMPAIGNS = UINT32_MAX;
    static constexpr uint32_t OWNERD_FORMER_CAMPAIGN = 0x80000000;
    static constexpr int64_t OWNERD_ATTEMPT_KEPT_NS = 86400000000000;
    static constexpr int64_t OWNERD_CLOCK_AHEAD_NS = 10000000000;
    """
    const int64_t NEVER_NS "OWNERD_NEVER_NS"  # an expiration that never comes
    const int64_t NO_TIME "OWNERD_NO_TIME"  # a report that does not say when its dial ended
    const uint32_t ALL_CAMPAIGNS "OWNERD_ALL_CAMPAIGNS"
    # Set in `Hold.dialer` of a reservation whose record was transferred; the other bits are the
    # campaign that gave it.
    const uint32_t FORMER_CAMPAIGN "OWNERD_FORMER_CAMPAIGN"
    const int64_t ATTEMPT_KEPT_NS "OWNERD_ATTEMPT_KEPT_NS"  # how long a last attempt counts (R24)
    const int64_t CLOCK_AHEAD_NS "OWNERD_CLOCK_AHEAD_NS"  # how far ahead an attempt may be (R24)

cdef enum:
    DEFAULT_WINDOW = -1               # the renewal window follows the duration
    DEFAULT_WINDOW_DIVISOR = 10
    NO_DIALER = 0

cdef enum ClaimDecision:              # the numbers of dial.proto
    GRANTED = 1
    DENIED = 2
    UNCONTROLLED = 3
    CLAIM_INVALID = 4

cdef enum AttemptOutcome:             # the numbers of dial.proto
    OWNERSHIP_ACQUIRED = 1
    OWNERSHIP_RENEWED = 2
    OWNERSHIP_KEPT = 3
    RESERVATION_CLEARED = 4
    NOT_CONTROLLED = 5
    REJECTED = 6
    ATTEMPT_INVALID = 7

cdef enum HoldKind:                   # the numbers of dial.proto
    NOBODY = 0
    RESERVED = 1
    OWNED = 2

cdef enum EventKind:
    EVENT_DURATION = 1
    EVENT_RELEASE = 2
    EVENT_RESERVATIONS_END = 3
    EVENT_TIME_SET_BACK = 4           # R19: the server's time, by a duration, to the event's T
    EVENT_TRANSFER = 5

cdef enum ImportOutcome:
    IMPORT_TAKEN = 0                  # the record was free, or its campaign's already
    IMPORT_TAKEN_OVER = 1             # another campaign owned it
    IMPORT_OWNED = 2                  # nothing changed: another campaign owns it
    IMPORT_DIALED = 3                 # nothing changed: another campaign is dialing it

# A record's state. Exclusive by construction (R1): there is one campaign, which has an ownership,
# a reservation, or both. A span [since, until) exists while now < until (R2); until 0 is no span.
# A reservation's begin is its id (R22).
cdef struct Hold:
    uint32_t campaign
    uint32_t dialer                   # the reservation's; NO_DIALER, or FORMER_CAMPAIGN and giver
    uint32_t event_seq                # the list event this state was last brought up to
    uint32_t unused                   # 0: states are compared byte for byte
    int64_t owned_since_ns
    int64_t owned_until_ns
    int64_t reserved_since_ns
    int64_t reserved_until_ns
    int64_t last_attempt_ns           # the latest valid attempt, as reported (R24); 0: none

cdef struct Policy:
    bint enabled
    int64_t enabled_since_ns          # the list was created, or its policy last enabled
    int64_t duration_ns               # NEVER_NS: no expiration
    int64_t renewal_window_ns         # or DEFAULT_WINDOW
    int64_t reservation_ttl_ns

cdef struct Event:
    uint32_t seq
    uint32_t campaign                 # or ALL_CAMPAIGNS
    uint32_t to_campaign              # EVENT_TRANSFER
    uint8_t kind
    bint include_reservations         # EVENT_RELEASE: end reservations too
    int64_t time_ns                   # the instant T at which the event took effect
    int64_t duration_ns               # of EVENT_DURATION, or NEVER_NS; of EVENT_TIME_SET_BACK

cdef struct Holder:
    HoldKind kind
    uint32_t campaign
    int64_t since_ns
    int64_t until_ns                  # NEVER_NS: no expiration
    uint32_t dialer                   # the live reservation's, as in Hold
    int64_t reserved_until_ns         # 0: no live reservation
    int64_t last_attempt_ns           # 0: none that counts any more

cdef struct Code:
    bint counts_as_attempt
    bint success

cdef struct Claim:
    uint32_t campaign
    uint32_t dialer                   # or NO_DIALER
    int64_t ttl_ns                    # of the reservation; 0: the policy's

cdef struct Report:
    uint32_t campaign
    uint32_t dialer                   # or NO_DIALER
    int64_t attempt_time_ns           # when the dial ended, by the wall clock; or NO_TIME
    int64_t clock_offset_ns           # the server's time, less the wall clock (R19)
    int64_t reservation_id            # from the claim's answer; 0: none
    Code code

cdef struct ImportRow:
    uint32_t campaign
    int64_t since_ns                  # when the ownership began; NO_TIME: now
    int64_t until_ns                  # NEVER_NS: no expiration
    bint overwrite                    # take ownership from another campaign
    bint exact                        # set the expiration even if that shortens an ownership

cdef struct Ruling:
    uint8_t answer                    # a ClaimDecision or an AttemptOutcome
    bint changed                      # the record's state is another one now
    bint called_twice                 # a rejected attempt is to be counted and told (R31)
    bint lapsed                       # a reservation that nobody reported on went with the change
    Holder holder                     # who stands in the way; NOBODY unless denied or rejected


cdef inline bint hold_owned(const Hold *hold, int64_t now_ns) noexcept nogil:
    return now_ns < hold.owned_until_ns


cdef inline bint hold_reserved(const Hold *hold, int64_t now_ns) noexcept nogil:
    return now_ns < hold.reserved_until_ns


cdef inline bint hold_alive(const Hold *hold, int64_t now_ns) noexcept nogil:
    return hold_owned(hold, now_ns) or hold_reserved(hold, now_ns)


cdef inline bint attempt_counts(int64_t time_ns, int64_t now_ns) noexcept nogil:
    """Return whether an attempt is recent enough to be the record's last attempt (R24)."""
    return now_ns - time_ns <= ATTEMPT_KEPT_NS


cdef inline bint hold_kept(const Hold *hold, int64_t now_ns) noexcept nogil:
    """Return whether anything of the state matters at `now`: a hold, or the last attempt."""
    return hold_alive(hold, now_ns) or attempt_counts(hold.last_attempt_ns, now_ns)


cdef inline int64_t hold_end(const Hold *hold) noexcept nogil:
    """Return when nothing of the state matters any more."""
    return max(
        max(hold.owned_until_ns, hold.reserved_until_ns),
        hold.last_attempt_ns + ATTEMPT_KEPT_NS + 1,
    )


cdef inline int64_t time_after(int64_t now_ns, int64_t duration_ns) noexcept nogil:
    """Return now + duration; never, if that is the duration or lies beyond what int64 holds."""
    return NEVER_NS if duration_ns >= NEVER_NS - now_ns else now_ns + duration_ns


cdef inline int64_t rules_ahead_ns(const Report *report, int64_t now_ns) noexcept nogil:
    """Return how far ahead of now a report says that its dial ended; a report without a time: 0."""
    if report.attempt_time_ns == NO_TIME:
        return 0
    return report.attempt_time_ns + report.clock_offset_ns - now_ns


cdef inline bint reservation_given_away(const Hold *hold) noexcept nogil:
    """Return whether the reservation stayed behind at a transfer: it only denies (R27)."""
    return (hold.dialer & FORMER_CAMPAIGN) != 0


cdef Holder rules_holder(const Hold *hold, int64_t now_ns) noexcept nogil
cdef bint rules_apply_event(Hold *hold, const Event *event) noexcept nogil
cdef bint rules_follows(const Event *duration, const Event *next_duration) noexcept nogil
cdef void rules_apply_durations(Hold *hold, const Event *first, const Event *last) noexcept nogil
cdef bint rules_apply_give_back(Hold *hold, uint32_t dialer, int64_t time_ns) noexcept nogil
cdef Ruling rules_claim(
    Hold *hold, const Policy *policy, const Claim *claim, int64_t now_ns
) noexcept nogil
cdef Ruling rules_attempt(
    Hold *hold, const Policy *policy, const Report *report, int64_t now_ns
) noexcept nogil
cdef bint rules_release(Hold *hold, int64_t now_ns) noexcept nogil
cdef bint rules_end_reservation(Hold *hold, int64_t now_ns) noexcept nogil
cdef int64_t rules_import_end(
    int64_t until_ns, bint expire_by_policy, const Policy *policy, int64_t now_ns
) noexcept nogil
cdef ImportOutcome rules_import(Hold *hold, const ImportRow *row, int64_t now_ns) noexcept nogil
cdef int64_t rules_renewal_window(const Policy *policy) noexcept nogil
