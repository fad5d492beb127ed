"""The ownership rules R1-R16, R22-R24, R27, R31, R32 as pure functions: the only copy of the logic.

protos/ownerd/v1/RULES.md says what they are.

Given a record's state, its list's policy, the operation and the time, each function changes the
state in place and says what it decided. A state passed in is brought up to the list's last event
first (`rules_apply_event`, in order of `seq`). No I/O, no clock, no allocation, no shared state:
any thread may call anything.
"""

from libc.string cimport memcmp

from ownerd.base.assertions cimport ASSERTING, assert_that


cdef inline Ruling _ruling(uint8_t answer) noexcept nogil:
    cdef Ruling ruling
    ruling.answer = answer
    ruling.changed = ruling.called_twice = ruling.lapsed = False
    ruling.holder.kind = NOBODY
    ruling.holder.campaign = ruling.holder.dialer = 0
    ruling.holder.since_ns = ruling.holder.until_ns = 0
    ruling.holder.reserved_until_ns = ruling.holder.last_attempt_ns = 0
    return ruling


cdef inline Ruling _against(uint8_t answer, const Hold *hold, int64_t now_ns) noexcept nogil:
    """Return a ruling that names who stands in the way."""
    cdef Ruling ruling = _ruling(answer)
    ruling.holder = rules_holder(hold, now_ns)
    return ruling


cdef inline bint _held_by_another(
    const Hold *hold, uint32_t campaign, int64_t now_ns
) noexcept nogil:
    return hold.campaign != campaign and hold_alive(hold, now_ns)


cdef inline bint _dialed_by_another(
    const Hold *hold, uint32_t dialer, int64_t now_ns
) noexcept nogil:
    """Return whether another dialer of the holder has it reserved, or one of before a transfer."""
    return hold.dialer != NO_DIALER and hold.dialer != dialer and hold_reserved(hold, now_ns)


cdef inline void _end_reservation(Hold *hold) noexcept nogil:
    hold.reserved_since_ns = hold.reserved_until_ns = 0
    hold.dialer = NO_DIALER


cdef inline bint _drop_ended(Hold *hold, int64_t now_ns) noexcept nogil:
    """Clear the spans that are over; True if a dialer's reservation was among them."""
    cdef bint lapsed = False
    if hold.reserved_until_ns != 0 and not hold_reserved(hold, now_ns):
        lapsed = not reservation_given_away(hold)
        _end_reservation(hold)
    if not hold_owned(hold, now_ns):
        hold.owned_since_ns = hold.owned_until_ns = 0
    return lapsed


cdef inline int64_t _last_attempt(const Hold *hold, int64_t now_ns) noexcept nogil:
    """Return the record's last attempt while it counts, else 0 (R24)."""
    return hold.last_attempt_ns if attempt_counts(hold.last_attempt_ns, now_ns) else 0


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
        denied or not _held_by_another(before, campaign, now_ns),
        "another campaign's hold stands against everybody else (R1)",
    )
    if denied:
        assert_that(ruling.holder.kind != NOBODY, "who is denied is told whose hold it is")
        assert_that(
            hold.campaign == before.campaign
            and hold.owned_until_ns == before.owned_until_ns
            and hold.reserved_until_ns == before.reserved_until_ns,
            "who is denied changes no hold",
        )
    else:
        assert_that(ruling.holder.kind == NOBODY, "nobody stands in the way")
        assert_that(
            not hold_alive(hold, now_ns) or hold.campaign == campaign,
            "a record has one holder (R1)",
        )


cdef void _assert_claimed(
    const Hold *before, const Hold *hold, const Ruling *ruling, const Claim *claim, int64_t now_ns
) noexcept nogil:
    _assert_ruled(before, hold, ruling, claim.campaign, ruling.answer == DENIED, now_ns)
    assert_that(hold.last_attempt_ns == before.last_attempt_ns, "a claim is no attempt")
    if ruling.answer == DENIED:
        assert_that(not ruling.changed, "who is denied changes nothing (R4)")
    elif ruling.answer == GRANTED:
        assert_that(
            hold_reserved(hold, now_ns) and hold.dialer == claim.dialer,
            "who is granted a record has it reserved (R5)",
        )
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
    assert_that(hold.last_attempt_ns >= before.last_attempt_ns, "the last attempt is the latest")
    if ruling.answer == OWNERSHIP_ACQUIRED:
        assert_that(hold_owned(hold, now_ns), "who acquires ownership has it")
    if hold_owned(before, now_ns):
        assert_that(
            hold.owned_until_ns >= before.owned_until_ns, "an attempt never cuts ownership (R3)"
        )
    if hold_reserved(before, now_ns) and hold_reserved(hold, now_ns):
        assert_that(
            hold.reserved_until_ns == before.reserved_until_ns
            and hold.dialer == before.dialer,
            "an attempt ends a reservation or leaves it as it is",
        )


# --- the decisions --------------------------------------------------------------------------------

cdef Holder rules_holder(const Hold *hold, int64_t now_ns) noexcept nogil:
    """Return who holds the record: its ownership while that lasts, else its reservation (R17)."""
    cdef Holder holder
    holder.kind = NOBODY
    holder.campaign = hold.campaign
    holder.since_ns = holder.until_ns = holder.reserved_until_ns = 0
    holder.dialer = NO_DIALER
    holder.last_attempt_ns = _last_attempt(hold, now_ns)
    if hold_reserved(hold, now_ns):
        holder.kind = RESERVED
        holder.since_ns = hold.reserved_since_ns
        holder.until_ns = holder.reserved_until_ns = hold.reserved_until_ns
        holder.dialer = hold.dialer
    if hold_owned(hold, now_ns):
        holder.kind = OWNED
        holder.since_ns = hold.owned_since_ns
        holder.until_ns = hold.owned_until_ns
    return holder


cdef bint rules_apply_event(Hold *hold, const Event *event) noexcept nogil:
    """Bring the state past one event of its list; True if the event ended or gave what it counts.

    A release counts the ownerships that it ends (R15), a transfer those that it gives away (R27),
    an end of reservations those (R16). Judged at the event's own instant T, so it does not matter
    when it is applied: what had expired by then is neither revived (R12) nor counted.
    """
    cdef bint counted
    cdef Hold before = hold[0]
    assert_that(event.seq > hold.event_seq, "events are applied in their order, each once")
    if event.kind == EVENT_TIME_SET_BACK:
        hold.event_seq = event.seq
        _set_back(hold, event)
        return False
    if ASSERTING:
        _assert_hold(hold, event.time_ns)
    hold.event_seq = event.seq
    counted = _apply(hold, event)
    if ASSERTING:
        assert_that(
            hold_owned(&before, event.time_ns) or not hold_owned(hold, event.time_ns),
            "no event revives an ownership (R12)",
        )
        assert_that(
            hold_reserved(&before, event.time_ns) or not hold_reserved(hold, event.time_ns),
            "no event makes a reservation",
        )
        assert_that(
            hold.campaign == before.campaign or event.kind == EVENT_TRANSFER,
            "only a transfer hands a record over",
        )
    return counted


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
    if hold.last_attempt_ns > event.time_ns:
        hold.last_attempt_ns -= event.duration_ns


cdef bint _apply(Hold *hold, const Event *event) noexcept nogil:
    cdef bint ended = False
    if event.kind == EVENT_DURATION:
        if hold_owned(hold, event.time_ns):
            hold.owned_until_ns = time_after(event.time_ns, event.duration_ns)
        return False
    if event.campaign != ALL_CAMPAIGNS and event.campaign != hold.campaign:
        return False
    if event.kind == EVENT_TRANSFER:
        return _transfer(hold, event)
    if event.kind == EVENT_RELEASE and hold_owned(hold, event.time_ns):
        hold.owned_since_ns = hold.owned_until_ns = 0
        ended = True
    if event.kind == EVENT_RESERVATIONS_END or event.include_reservations:
        # What a transfer left behind is no reservation of the campaign that owns now.
        if event.campaign == ALL_CAMPAIGNS or not reservation_given_away(hold):
            if event.kind == EVENT_RESERVATIONS_END:
                ended = hold_reserved(hold, event.time_ns)
            _end_reservation(hold)
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


cdef bint _transfer(Hold *hold, const Event *event) noexcept nogil:
    """R27: the ownership goes over as it is; a dial in progress keeps everybody else off."""
    if not hold_owned(hold, event.time_ns):
        return False
    if not hold_reserved(hold, event.time_ns):
        _end_reservation(hold)
    elif not reservation_given_away(hold):
        hold.dialer = FORMER_CAMPAIGN | hold.campaign
    hold.campaign = event.to_campaign
    return True


cdef bint rules_apply_give_back(Hold *hold, uint32_t dialer, int64_t time_ns) noexcept nogil:
    """End the dialer's reservation if it had begun when the dialer gave back (R23); True if so."""
    if hold.dialer != dialer or hold.reserved_since_ns > time_ns \
            or not hold_reserved(hold, time_ns):
        return False
    _end_reservation(hold)
    return True


cdef Ruling rules_claim(
    Hold *hold, const Policy *policy, const Claim *claim, int64_t now_ns
) noexcept nogil:
    """Decide whether the campaign's dialer may dial the record now (R4, R5, R6, R22)."""
    cdef Ruling ruling
    cdef Hold before = hold[0]
    assert_that(policy.reservation_ttl_ns > 0, "a reservation lasts")
    if ASSERTING:
        _assert_hold(hold, now_ns)
    if _held_by_another(hold, claim.campaign, now_ns) \
            or _dialed_by_another(hold, claim.dialer, now_ns):
        ruling = _against(DENIED, hold, now_ns)
    elif policy.enabled:
        ruling = _reserve(
            hold, claim, time_after(now_ns, claim.ttl_ns or policy.reservation_ttl_ns), now_ns
        )
    else:
        ruling = _ruling(UNCONTROLLED)
    if ASSERTING:
        _assert_claimed(&before, hold, &ruling, claim, now_ns)
    return ruling


cdef Ruling _reserve(
    Hold *hold, const Claim *claim, int64_t until_ns, int64_t now_ns
) noexcept nogil:
    """Extend the dialer's reservation, or begin one; what is there already is never cut (R3)."""
    cdef Ruling ruling = _ruling(GRANTED)
    cdef bint reserved = hold_reserved(hold, now_ns)
    if reserved and until_ns <= hold.reserved_until_ns and hold.dialer == claim.dialer:
        return ruling
    ruling.changed = True
    ruling.lapsed = _drop_ended(hold, now_ns)
    if not (reserved and hold.dialer == claim.dialer):
        hold.reserved_since_ns = now_ns
    hold.reserved_until_ns = max(until_ns, hold.reserved_until_ns)
    hold.dialer = claim.dialer
    hold.campaign = claim.campaign
    return ruling


# What a report says, seen against the record's state (R24).
cdef struct Told:
    bint names_live                   # it names the campaign's reservation, which is live
    bint new                          # it is no repeat of a report that was decided already
    int64_t reported_ns               # the attempt time as reported, else now; by the wall clock
    int64_t ended_ns                  # when the dial ended, so far as it is believed; server time


cdef Told _told(const Hold *hold, const Report *report, int64_t now_ns) noexcept nogil:
    """Judge what a report says.

    Reported times are compared with one another as they were reported: what the server's clock does
    in between makes no repeat look new. With the server's own time they are compared by its offset.
    """
    cdef Told told
    cdef int64_t wall_ns = now_ns - report.clock_offset_ns
    told.names_live = (
        report.reservation_id != 0 and report.reservation_id == hold.reserved_since_ns
        and hold.campaign == report.campaign and hold_reserved(hold, now_ns)
        and not reservation_given_away(hold)
    )
    told.reported_ns = wall_ns
    if report.attempt_time_ns != NO_TIME:
        # No clock blocks a record for longer than a last attempt counts.
        told.reported_ns = min(report.attempt_time_ns, wall_ns + ATTEMPT_KEPT_NS)
    told.ended_ns = min(told.reported_ns + report.clock_offset_ns, now_ns)
    if told.names_live:
        told.ended_ns = max(told.ended_ns, hold.reserved_since_ns)
    told.new = (
        told.names_live or report.attempt_time_ns == NO_TIME
        or told.reported_ns > _last_attempt(hold, now_ns)
    )
    return told


cdef inline void _note_attempt(
    Hold *hold, const Told *told, int64_t now_ns, Ruling *ruling
) noexcept nogil:
    if told.reported_ns > hold.last_attempt_ns and attempt_counts(told.reported_ns, now_ns):
        hold.last_attempt_ns = told.reported_ns
        ruling.changed = True


cdef inline bint _reports_on(
    const Hold *hold, const Report *report, const Told *told
) noexcept nogil:
    """Return whether the campaign's reservation is the one of the dial that is reported (R24)."""
    if hold.reserved_until_ns == 0 or reservation_given_away(hold) \
            or hold.campaign != report.campaign:
        return False
    if report.reservation_id != 0:
        return report.reservation_id == hold.reserved_since_ns
    if hold.reserved_since_ns > told.ended_ns:
        return False
    if hold.dialer == NO_DIALER or hold.dialer == report.dialer:
        return True
    return report.dialer == NO_DIALER and report.attempt_time_ns != NO_TIME


cdef Ruling rules_attempt(
    Hold *hold, const Policy *policy, const Report *report, int64_t now_ns
) noexcept nogil:
    """Decide what a reported attempt does to the record (R7-R11, R24, R31).

    ATTEMPT_INVALID if its attempt time is too far ahead of now: nothing changes.
    """
    cdef Ruling ruling
    cdef Told told
    cdef Hold before = hold[0]
    assert_that(policy.duration_ns > 0, "an ownership lasts")
    if ASSERTING:
        _assert_hold(hold, now_ns)
    told = _told(hold, report, now_ns)
    if rules_ahead_ns(report, now_ns) > CLOCK_AHEAD_NS and not told.names_live:
        return _ruling(ATTEMPT_INVALID)
    if _held_by_another(hold, report.campaign, now_ns):
        ruling = _reject(hold, policy, report, &told, now_ns)
    else:
        ruling = _attempt(hold, policy, report, &told, now_ns)
    if ASSERTING:
        _assert_attempted(&before, hold, &ruling, report.campaign, now_ns)
    return ruling


cdef Ruling _reject(
    Hold *hold, const Policy *policy, const Report *report, const Told *told, int64_t now_ns
) noexcept nogil:
    """R7; of a valid attempt that is no repeat, R31: two campaigns called one person.

    Not so if the record was transferred away while the campaign dialed it (R27).
    """
    cdef Ruling ruling = _against(REJECTED, hold, now_ns)
    cdef bint gave = hold_reserved(hold, now_ns) \
        and hold.dialer == (FORMER_CAMPAIGN | report.campaign)
    if policy.enabled and report.code.counts_as_attempt:
        ruling.called_twice = (
            told.new and not gave and attempt_counts(told.reported_ns, now_ns)
        )
        _note_attempt(hold, told, now_ns, &ruling)
    return ruling


cdef Ruling _attempt(
    Hold *hold, const Policy *policy, const Report *report, const Told *told, int64_t now_ns
) noexcept nogil:
    """Nobody else holds the record: acquire or renew, and end the reservation of the dial."""
    cdef Ruling ruling
    cdef bint reported_on = _reports_on(hold, report, told)
    cdef bint reserved = hold_reserved(hold, now_ns)
    if hold_owned(hold, now_ns):
        ruling = _ruling(OWNERSHIP_KEPT)
    else:
        ruling = _ruling(RESERVATION_CLEARED if policy.enabled else NOT_CONTROLLED)
    if policy.enabled and report.code.counts_as_attempt:
        if _still_counts(policy, told, now_ns):
            _valid_attempt(hold, policy, report, told.ended_ns, now_ns, &ruling)
        _note_attempt(hold, told, now_ns, &ruling)
    if reported_on and (reserved or ruling.changed):
        _end_reservation(hold)
        ruling.changed = True
    if ruling.changed and _drop_ended(hold, now_ns):
        ruling.lapsed = True
    if ruling.changed and not hold_alive(hold, now_ns):
        hold.campaign = report.campaign   # of a free record: whose last attempt it keeps
    return ruling


cdef inline bint _still_counts(
    const Policy *policy, const Told *told, int64_t now_ns
) noexcept nogil:
    """Return whether a valid attempt of then acquires or renews anything now (R24)."""
    return (
        told.new and told.ended_ns >= policy.enabled_since_ns
        and attempt_counts(told.ended_ns if told.names_live else told.reported_ns, now_ns)
        and now_ns < time_after(told.ended_ns, policy.duration_ns)
    )


cdef void _valid_attempt(
    Hold *hold, const Policy *policy, const Report *report, int64_t ended_ns, int64_t now_ns,
    Ruling *ruling,
) noexcept nogil:
    """R9 and R10: nobody else holds the record, the policy is enabled, the attempt is valid."""
    if not hold_owned(hold, now_ns):
        if hold.campaign != report.campaign:
            ruling.lapsed = _drop_ended(hold, now_ns)
        ruling.answer = OWNERSHIP_ACQUIRED
        ruling.changed = True
        hold.campaign = report.campaign
        hold.owned_since_ns = ended_ns
        hold.owned_until_ns = time_after(ended_ns, policy.duration_ns)
        return
    if not report.code.success and hold.owned_until_ns != NEVER_NS \
            and hold.owned_until_ns - ended_ns <= rules_renewal_window(policy):
        ruling.answer = OWNERSHIP_RENEWED
        ruling.changed = True
        hold.owned_until_ns = max(hold.owned_until_ns, time_after(ended_ns, policy.duration_ns))


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


cdef bint rules_end_reservation(Hold *hold, int64_t now_ns) noexcept nogil:
    """End a single record's reservation (R15); False if it has none. Ownership stays."""
    if not hold_reserved(hold, now_ns):
        return False
    _end_reservation(hold)
    return True


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
    if another or not hold_owned(hold, now_ns):
        _drop_ended(hold, now_ns)
        hold.campaign = row.campaign
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
