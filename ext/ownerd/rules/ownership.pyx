"""The ownership rules R1-R16 as pure functions on structs: the only copy of the logic.

protos/ownerd/v1/RULES.md says what they are.

Given a record's state, its list's policy, the operation and the time, each function changes the
state in place and says what it decided. A state passed in is brought up to the list's last event
first (`rules_apply_event`, in order of `seq`). No I/O, no clock, no allocation, no shared state:
any thread may call anything.
"""

from libc.string cimport memcmp

from ownerd.base.assertions cimport ASSERTING, assert_that


cdef inline void _end_reservation(Hold *hold, int64_t now_ns, Ruling *ruling) noexcept nogil:
    if hold_reserved(hold, now_ns):
        hold.reserved_since_ns = hold.reserved_until_ns = 0
        ruling.changed = True


cdef inline void _own(
    Hold *hold, uint32_t campaign, int64_t now_ns, int64_t until_ns
) noexcept nogil:
    hold.campaign = campaign
    hold.owned_since_ns = now_ns
    hold.owned_until_ns = until_ns
    hold.reserved_since_ns = hold.reserved_until_ns = 0


cdef inline Ruling _ruling(uint8_t answer) noexcept nogil:
    cdef Ruling ruling
    ruling.answer = answer
    ruling.changed = False
    ruling.holder.kind = NOBODY
    ruling.holder.campaign = 0
    ruling.holder.since_ns = ruling.holder.until_ns = 0
    return ruling


cdef inline bint _held_by_another(
    const Hold *hold, uint32_t campaign, int64_t now_ns
) noexcept nogil:
    return hold.campaign != campaign and hold_alive(hold, now_ns)


# --- what must hold, in a debug build -------------------------------------------------------------

cdef inline bint _same(const Hold *hold, const Hold *other) noexcept nogil:
    return memcmp(hold, other, sizeof(Hold)) == 0


cdef void _assert_hold(const Hold *hold, int64_t now_ns) noexcept nogil:
    """Nothing that lasts begins later than now: the time never goes back (R19)."""
    assert_that(
        not hold_owned(hold, now_ns) or hold.owned_since_ns <= now_ns,
        "an ownership that lasts has begun",
    )
    assert_that(
        not hold_reserved(hold, now_ns) or hold.reserved_since_ns <= now_ns,
        "a reservation that lasts has begun",
    )


cdef void _assert_ruled(
    const Hold *before, const Hold *hold, const Ruling *ruling, uint32_t campaign, bint denied,
    int64_t now_ns,
) noexcept nogil:
    """What holds after a claim as after an attempt, where denied is called rejected."""
    _assert_hold(hold, now_ns)
    assert_that(hold.event_seq == before.event_seq, "a decision is no event of the list")
    assert_that(ruling.changed or _same(before, hold), "what has not changed is the same")
    assert_that(
        denied == _held_by_another(before, campaign, now_ns),
        "whom another campaign's hold stands against is denied, and nobody else (R1)",
    )
    if denied:
        assert_that(not ruling.changed, "who is denied changes nothing")
        assert_that(
            ruling.holder.kind != NOBODY and ruling.holder.campaign != campaign,
            "who is denied is told whose hold it is",
        )
    else:
        assert_that(ruling.holder.kind == NOBODY, "nobody stands in the way")
        assert_that(
            not hold_alive(hold, now_ns) or hold.campaign == campaign,
            "a record has one holder (R1)",
        )


cdef void _assert_claimed(
    const Hold *before, const Hold *hold, const Ruling *ruling, uint32_t campaign, int64_t now_ns
) noexcept nogil:
    _assert_ruled(before, hold, ruling, campaign, ruling.answer == DENIED, now_ns)
    if ruling.answer == GRANTED:
        assert_that(hold_alive(hold, now_ns), "who is granted a record holds it")
        assert_that(
            not hold_owned(before, now_ns) or hold.owned_until_ns == before.owned_until_ns,
            "a claim leaves ownership as it is",
        )
        assert_that(
            not hold_reserved(before, now_ns) or hold.reserved_until_ns >= before.reserved_until_ns,
            "a reservation is never cut (R3)",
        )


cdef void _assert_attempted(
    const Hold *before, const Hold *hold, const Ruling *ruling, uint32_t campaign, int64_t now_ns
) noexcept nogil:
    _assert_ruled(before, hold, ruling, campaign, ruling.answer == REJECTED, now_ns)
    if ruling.answer == OWNERSHIP_ACQUIRED:
        assert_that(hold_owned(hold, now_ns), "who acquires ownership has it")
    if hold_owned(before, now_ns):
        assert_that(
            hold.owned_until_ns >= before.owned_until_ns, "an attempt never cuts ownership (R3)"
        )
    if ruling.answer != REJECTED:
        assert_that(not hold_reserved(hold, now_ns), "an attempt ends the reservation")


# --- the decisions --------------------------------------------------------------------------------

cdef Holder rules_holder(const Hold *hold, int64_t now_ns) noexcept nogil:
    """Return who holds the record: its ownership while that lasts, else its reservation (R17)."""
    cdef Holder holder
    holder.kind = NOBODY
    holder.campaign = hold.campaign
    holder.since_ns = holder.until_ns = 0
    if hold_owned(hold, now_ns):
        holder.kind = OWNED
        holder.since_ns = hold.owned_since_ns
        holder.until_ns = hold.owned_until_ns
    elif hold_reserved(hold, now_ns):
        holder.kind = RESERVED
        holder.since_ns = hold.reserved_since_ns
        holder.until_ns = hold.reserved_until_ns
    return holder


cdef bint rules_apply_event(Hold *hold, const Event *event) noexcept nogil:
    """Bring the state past one event of its list; True if the event released its ownership.

    Judged at the event's own instant T, so it does not matter when it is applied: an ownership
    that had expired by then is not revived (R12) and not counted as released (R15).
    """
    cdef bint released
    cdef Hold before = hold[0]
    assert_that(event.seq > hold.event_seq, "events are applied in their order, each once")
    if ASSERTING:
        _assert_hold(hold, event.time_ns)
    released = _apply(hold, event)
    if ASSERTING:
        assert_that(
            hold_owned(&before, event.time_ns) or not hold_owned(hold, event.time_ns),
            "no event revives an ownership (R12)",
        )
        assert_that(
            hold_reserved(&before, event.time_ns) or not hold_reserved(hold, event.time_ns),
            "no event makes a reservation",
        )
        assert_that(hold.campaign == before.campaign, "no event hands a record over")
    return released


cdef bint _apply(Hold *hold, const Event *event) noexcept nogil:
    cdef bint released = False
    hold.event_seq = event.seq
    if event.kind == EVENT_DURATION:
        if hold_owned(hold, event.time_ns):
            hold.owned_until_ns = time_after(event.time_ns, event.duration_ns)
        return False
    if event.campaign != ALL_CAMPAIGNS and event.campaign != hold.campaign:
        return False
    if event.kind == EVENT_RELEASE and hold_owned(hold, event.time_ns):
        hold.owned_since_ns = hold.owned_until_ns = 0
        released = True
    if event.kind == EVENT_RESERVATIONS_END or event.include_reservations:
        hold.reserved_since_ns = hold.reserved_until_ns = 0
    return released


cdef Ruling rules_claim(
    Hold *hold, const Policy *policy, uint32_t campaign, int64_t now_ns
) noexcept nogil:
    """Decide whether `campaign` may dial the record now (R4, R5, R6)."""
    cdef Ruling ruling
    cdef Hold before = hold[0]
    assert_that(policy.reservation_ttl_ns > 0, "a reservation lasts")
    if ASSERTING:
        _assert_hold(hold, now_ns)
    ruling = _claim(hold, policy, campaign, now_ns)
    if ASSERTING:
        _assert_claimed(&before, hold, &ruling, campaign, now_ns)
    return ruling


cdef Ruling _claim(
    Hold *hold, const Policy *policy, uint32_t campaign, int64_t now_ns
) noexcept nogil:
    cdef Ruling ruling
    cdef int64_t until_ns
    if _held_by_another(hold, campaign, now_ns):
        ruling = _ruling(DENIED)
        ruling.holder = rules_holder(hold, now_ns)
        return ruling
    if not policy.enabled:
        return _ruling(UNCONTROLLED)
    ruling = _ruling(GRANTED)
    until_ns = time_after(now_ns, policy.reservation_ttl_ns)
    if hold_owned(hold, now_ns) and hold.owned_until_ns >= until_ns:
        return ruling
    ruling.changed = True
    if not hold_owned(hold, now_ns):
        hold.owned_since_ns = hold.owned_until_ns = 0
    if not (hold.campaign == campaign and hold_reserved(hold, now_ns)):
        hold.reserved_since_ns = now_ns
    # A reservation made under a longer TTL is extended, never cut (R3).
    hold.reserved_until_ns = max(until_ns, hold.reserved_until_ns) \
        if hold.campaign == campaign else until_ns
    hold.campaign = campaign
    return ruling


cdef Ruling rules_attempt(
    Hold *hold, const Policy *policy, const Code *code, uint32_t campaign, int64_t now_ns
) noexcept nogil:
    """Decide what a reported attempt does to the record (R7-R11)."""
    cdef Ruling ruling
    cdef Hold before = hold[0]
    assert_that(policy.duration_ns > 0, "an ownership lasts")
    if ASSERTING:
        _assert_hold(hold, now_ns)
    ruling = _attempt(hold, policy, code, campaign, now_ns)
    if ASSERTING:
        _assert_attempted(&before, hold, &ruling, campaign, now_ns)
    return ruling


cdef Ruling _attempt(
    Hold *hold, const Policy *policy, const Code *code, uint32_t campaign, int64_t now_ns
) noexcept nogil:
    cdef Ruling ruling
    if _held_by_another(hold, campaign, now_ns):
        ruling = _ruling(REJECTED)
        ruling.holder = rules_holder(hold, now_ns)
        return ruling
    if policy.enabled and code.counts_as_attempt:
        return _valid_attempt(hold, policy, code, campaign, now_ns)
    if hold_owned(hold, now_ns):
        ruling = _ruling(OWNERSHIP_KEPT)
    else:
        ruling = _ruling(RESERVATION_CLEARED if policy.enabled else NOT_CONTROLLED)
    _end_reservation(hold, now_ns, &ruling)
    return ruling


cdef Ruling _valid_attempt(
    Hold *hold, const Policy *policy, const Code *code, uint32_t campaign, int64_t now_ns
) noexcept nogil:
    """R9 and R10: nobody else holds the record, the policy is enabled, the attempt is valid."""
    cdef Ruling ruling
    if not hold_owned(hold, now_ns):
        ruling = _ruling(OWNERSHIP_ACQUIRED)
        ruling.changed = True
        _own(hold, campaign, now_ns, time_after(now_ns, policy.duration_ns))
        return ruling
    ruling = _ruling(OWNERSHIP_KEPT)
    if not code.success and hold.owned_until_ns != NEVER_NS \
            and hold.owned_until_ns - now_ns <= rules_renewal_window(policy):
        ruling.answer = OWNERSHIP_RENEWED
        ruling.changed = True
        hold.owned_until_ns = time_after(now_ns, policy.duration_ns)
    _end_reservation(hold, now_ns, &ruling)
    return ruling


cdef bint rules_import(
    Hold *hold, uint32_t campaign, int64_t until_ns, bint overwrite, int64_t now_ns
) noexcept nogil:
    """Give the record to `campaign` until `until_ns`; False if another campaign's hold forbids it.

    The same campaign's ownership keeps its acquisition time, and its reservation stays: a dial may
    be in progress.
    """
    cdef bint taken
    cdef Hold before = hold[0]
    taken = _import(hold, campaign, until_ns, overwrite, now_ns)
    assert_that(hold.event_seq == before.event_seq, "an import is no event of the list")
    if ASSERTING:
        _assert_hold(hold, now_ns)
        if taken:
            assert_that(
                hold.campaign == campaign and hold.owned_until_ns == until_ns,
                "an imported record is its campaign's until then",
            )
        else:
            assert_that(_same(&before, hold), "what is not taken stays as it is")
    return taken


cdef bint _import(
    Hold *hold, uint32_t campaign, int64_t until_ns, bint overwrite, int64_t now_ns
) noexcept nogil:
    cdef bint mine = hold.campaign == campaign and hold_alive(hold, now_ns)
    if not mine:
        if hold_alive(hold, now_ns) and not overwrite:
            return False
        _own(hold, campaign, now_ns, until_ns)
        return True
    if not hold_owned(hold, now_ns):
        hold.owned_since_ns = now_ns
    hold.owned_until_ns = until_ns
    return True


cdef int64_t rules_renewal_window(const Policy *policy) noexcept nogil:
    """Return the window in force: by default a tenth of the duration, and never longer than it.

    The upper bound keeps a renewal from shortening an ownership (R3). Without expiration there is
    nothing to take a tenth of, so the default is 0.
    """
    if policy.renewal_window_ns == DEFAULT_WINDOW:
        return 0 if policy.duration_ns == NEVER_NS else policy.duration_ns // DEFAULT_WINDOW_DIVISOR
    return min(policy.renewal_window_ns, policy.duration_ns)
