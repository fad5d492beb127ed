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
    Hold *hold, uint32_t campaign, int64_t since_ns, int64_t until_ns
) noexcept nogil:
    hold.campaign = campaign
    hold.owned_since_ns = since_ns
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
    """Bring the state past one event of its list; True if the event ended what it counts.

    A release counts the ownerships that it ends (R15), an end of reservations those (R16). Judged
    at the event's own instant T, so it does not matter when it is applied: what had expired by then
    is neither revived (R12) nor counted.
    """
    cdef bint ended
    cdef Hold before = hold[0]
    assert_that(event.seq > hold.event_seq, "events are applied in their order, each once")
    if event.kind == EVENT_TIME_SET_BACK:
        hold.event_seq = event.seq
        _set_back(hold, event)
        return False
    if ASSERTING:
        _assert_hold(hold, event.time_ns)
    ended = _apply(hold, event)
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
    return ended


cdef void _set_back(Hold *hold, const Event *event) noexcept nogil:
    """Give a hold that begins after T, by a time that was ahead, the length that it had (R3).

    One that began before is left as it is: its end was counted from a right time.
    """
    if hold.owned_since_ns > event.time_ns:
        hold.owned_since_ns -= event.duration_ns
        if hold.owned_until_ns != NEVER_NS:
            hold.owned_until_ns -= event.duration_ns
    if hold.reserved_since_ns > event.time_ns:
        hold.reserved_since_ns -= event.duration_ns
        hold.reserved_until_ns -= event.duration_ns


cdef bint _apply(Hold *hold, const Event *event) noexcept nogil:
    cdef bint ended = False
    hold.event_seq = event.seq
    if event.kind == EVENT_DURATION:
        if hold_owned(hold, event.time_ns):
            hold.owned_until_ns = time_after(event.time_ns, event.duration_ns)
        return False
    if event.campaign != ALL_CAMPAIGNS and event.campaign != hold.campaign:
        return False
    if event.kind == EVENT_RELEASE and hold_owned(hold, event.time_ns):
        hold.owned_since_ns = hold.owned_until_ns = 0
        ended = True
    if event.kind == EVENT_RESERVATIONS_END:
        ended = hold_reserved(hold, event.time_ns)
    if event.kind == EVENT_RESERVATIONS_END or event.include_reservations:
        hold.reserved_since_ns = hold.reserved_until_ns = 0
    return ended


cdef bint rules_follows(const Event *duration, const Event *next_duration) noexcept nogil:
    """Tell whether what one duration change sets is still alive at the next one's instant (R12)."""
    return next_duration.time_ns < time_after(duration.time_ns, duration.duration_ns)


cdef void rules_apply_durations(Hold *hold, const Event *first, const Event *last) noexcept nogil:
    """Bring the state past a run of duration changes, of which each follows the one before it.

    What is alive at the first one's instant has the last one's expiration after the run, so the
    ones between need not be looked at.
    """
    assert_that(first.kind == EVENT_DURATION and last.kind == EVENT_DURATION, "a run of durations")
    assert_that(hold.event_seq < first.seq <= last.seq, "events are applied in their order")
    hold.event_seq = last.seq
    if hold_owned(hold, first.time_ns):
        hold.owned_until_ns = time_after(last.time_ns, last.duration_ns)


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


cdef bint rules_release(Hold *hold, int64_t now_ns) noexcept nogil:
    """Release a single record (R15); False if nobody owns it. A dial in progress goes on."""
    cdef bint owned = hold_owned(hold, now_ns)
    cdef Hold before = hold[0]
    if ASSERTING:
        _assert_hold(hold, now_ns)
    if owned:
        hold.owned_since_ns = hold.owned_until_ns = 0
    if ASSERTING:
        assert_that(not hold_owned(hold, now_ns), "nobody owns what is released")
        assert_that(
            hold_reserved(hold, now_ns) == hold_reserved(&before, now_ns),
            "a release of a record leaves its reservation",
        )
        assert_that(owned or _same(&before, hold), "what nobody owns stays as it is")
    return owned


cdef int64_t rules_import_end(
    int64_t until_ns, bint expire_by_policy, const Policy *policy, int64_t now_ns
) noexcept nogil:
    """Return when an imported row ends: one without expiration never, or by the policy (R32)."""
    if until_ns == NEVER_NS and expire_by_policy:
        return time_after(now_ns, policy.duration_ns)
    return until_ns


cdef ImportOutcome rules_import(Hold *hold, const ImportRow *row, int64_t now_ns) noexcept nogil:
    """Give the record to the row's campaign, or say whose hold forbids it (R32).

    No reservation ends: a dial may be in progress. The row's expiration lies ahead of now.
    """
    cdef ImportOutcome outcome
    cdef Hold before = hold[0]
    assert_that(row.until_ns > now_ns, "a row that is over is not imported")
    outcome = _import(hold, row, now_ns)
    assert_that(hold.event_seq == before.event_seq, "an import is no event of the list")
    if ASSERTING:
        _assert_hold(hold, now_ns)
        assert_that(
            not hold_reserved(&before, now_ns)
            or hold.reserved_until_ns == before.reserved_until_ns,
            "an import leaves reservations as they are (R32)",
        )
        if outcome == IMPORT_TAKEN or outcome == IMPORT_TAKEN_OVER:
            assert_that(
                hold.campaign == row.campaign and hold_owned(hold, now_ns),
                "an imported record is its campaign's",
            )
        else:
            assert_that(_same(&before, hold), "what is not taken stays as it is")
    return outcome


cdef ImportOutcome _import(Hold *hold, const ImportRow *row, int64_t now_ns) noexcept nogil:
    cdef bint another = _held_by_another(hold, row.campaign, now_ns)
    cdef int64_t since_ns = now_ns
    if another and hold_reserved(hold, now_ns):
        return IMPORT_DIALED
    if another and not row.overwrite:
        return IMPORT_OWNED
    if row.since_ns != NO_TIME:
        since_ns = min(row.since_ns, now_ns)
    if another or not hold_alive(hold, now_ns):
        _own(hold, row.campaign, since_ns, row.until_ns)
    elif not hold_owned(hold, now_ns):
        hold.owned_since_ns = since_ns
        hold.owned_until_ns = row.until_ns
    elif row.exact:
        if row.since_ns != NO_TIME:
            hold.owned_since_ns = since_ns
        hold.owned_until_ns = row.until_ns
    else:
        hold.owned_until_ns = max(hold.owned_until_ns, row.until_ns)
    return IMPORT_TAKEN_OVER if another else IMPORT_TAKEN


cdef int64_t rules_renewal_window(const Policy *policy) noexcept nogil:
    """Return the window in force: by default a tenth of the duration, and never longer than it.

    The upper bound keeps a renewal from shortening an ownership (R3). Without expiration there is
    nothing to take a tenth of, so the default is 0.
    """
    if policy.renewal_window_ns == DEFAULT_WINDOW:
        return 0 if policy.duration_ns == NEVER_NS else policy.duration_ns // DEFAULT_WINDOW_DIVISOR
    return min(policy.renewal_window_ns, policy.duration_ns)
