"""What tests ask of the rules; built only with OWNERD_TESTING=1: one record's state, in Python."""

from libc.stdint cimport int64_t

from ownerd.rules.ownership cimport (
    ALL_CAMPAIGNS, DEFAULT_WINDOW, EVENT_DURATION, EVENT_RELEASE, EVENT_RESERVATIONS_END,
    EVENT_TIME_SET_BACK, NEVER_NS, NOBODY, NO_TIME, Code, Event, Hold, Holder, ImportRow, Policy,
    Ruling, rules_apply_event, rules_attempt, rules_claim, rules_holder, rules_import,
    rules_release,
)


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
        """Apply the end of a campaign's reservations (R16); True if it ended one."""
        return self._apply(EVENT_RESERVATIONS_END, campaign, time_ns, False, None)

    def set_back(self, duration_ns, time_ns):
        """Apply that the server's time was set back by a duration, to `time_ns` (R19)."""
        self._apply(EVENT_TIME_SET_BACK, ALL_CAMPAIGNS, time_ns, False, duration_ns)

    def give(self, campaign, until_ns, overwrite, exact, now_ns):
        """Apply an imported row; return an `ImportOutcome`."""
        cdef ImportRow row
        row.campaign = campaign
        row.since_ns = NO_TIME
        row.until_ns = _ns(until_ns)
        row.overwrite = overwrite
        row.exact = exact
        return <int> rules_import(&self.hold, &row, now_ns)

    def release_record(self, now_ns):
        """Apply the release of this record alone (R15); True if it ended ownership."""
        return bool(rules_release(&self.hold, now_ns))

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
