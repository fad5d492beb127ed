"""The ownership rules R1-R16 as pure functions on structs: the only copy of the logic.

protos/ownerd/v1/RULES.md says what they are.

Given a record's state, its list's policy, the operation and the time, each function changes the
state in place and says what it decided. A state passed in is brought up to the list's last event
first (`rules_apply_event`, in order of `seq`). No I/O, no clock, no allocation, no shared state:
any thread may call anything.
"""


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


cdef class Record:
    """One record's state behind Python functions, so that the rules can be tested by themselves.

    Times and durations are nanoseconds; None stands for no expiration. `policy` is a tuple
    (enabled, duration, renewal_window or None for the default, reservation_ttl).
    """

    cdef Hold hold

    def claim(self, campaign, policy, now_ns):
        """Apply a claim; return (decision, holder or None)."""
        cdef Policy rules = _policy(policy)
        return _answer(rules_claim(&self.hold, &rules, campaign, now_ns))

    def attempt(self, campaign, counts_as_attempt, success, policy, now_ns):
        """Apply a reported attempt; return (outcome, holder or None)."""
        cdef Policy rules = _policy(policy)
        cdef Code code
        code.counts_as_attempt = counts_as_attempt
        code.success = success
        return _answer(rules_attempt(&self.hold, &rules, &code, campaign, now_ns))

    def change_duration(self, duration_ns, time_ns):
        """Apply a duration change that took effect at `time_ns` (R12)."""
        self._apply(EVENT_DURATION, ALL_CAMPAIGNS, time_ns, False, duration_ns)

    def release(self, campaign, include_reservations, time_ns):
        """Apply a release of one campaign, or None for all (R15); True if it ended ownership."""
        which = ALL_CAMPAIGNS if campaign is None else campaign
        return self._apply(EVENT_RELEASE, which, time_ns, include_reservations, None)

    def stop(self, campaign, time_ns):
        """Apply the stop of a campaign (R16)."""
        self._apply(EVENT_RESERVATIONS_END, campaign, time_ns, False, None)

    def give(self, campaign, until_ns, overwrite, now_ns):
        """Apply an imported row; False if another campaign's hold forbids it."""
        return rules_import(&self.hold, campaign, _ns(until_ns), overwrite, now_ns)

    def holder(self, now_ns):
        """Return (kind, campaign, since, until or None), or None if nobody holds the record."""
        return _holder(rules_holder(&self.hold, now_ns))

    def _apply(self, kind, campaign, time_ns, include_reservations, duration_ns):
        cdef Event event
        event.seq = self.hold.event_seq + 1
        event.kind = kind
        event.campaign = campaign
        event.time_ns = time_ns
        event.include_reservations = include_reservations
        event.duration_ns = _ns(duration_ns)
        return bool(rules_apply_event(&self.hold, &event))


cdef int64_t _ns(value) except? -1:
    return NEVER_NS if value is None else value


cdef Policy _policy(values) except *:
    cdef Policy policy
    enabled, duration_ns, window_ns, ttl_ns = values
    policy.enabled = enabled
    policy.duration_ns = _ns(duration_ns)
    policy.renewal_window_ns = DEFAULT_WINDOW if window_ns is None else window_ns
    policy.reservation_ttl_ns = ttl_ns
    return policy


cdef _answer(Ruling ruling):
    return ruling.answer, _holder(ruling.holder)


cdef _holder(Holder holder):
    if holder.kind == NOBODY:
        return None
    until_ns = None if holder.until_ns == NEVER_NS else holder.until_ns
    return <int> holder.kind, holder.campaign, holder.since_ns, until_ns
