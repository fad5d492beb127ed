"""What tests ask of the rules; built only with OWNERD_TESTING=1: one record's state, in Python, and
how codes are spelled."""

from libc.stdint cimport int64_t

from ownerd.base.bytes cimport Slice, slice_of
from ownerd.rules.ownership cimport (
    ALL_CAMPAIGNS, DEFAULT_WINDOW, EVENT_DURATION, EVENT_RELEASE, EVENT_RESERVATIONS_END,
    EVENT_TIME_SET_BACK, EVENT_TRANSFER, FORMER_CAMPAIGN, GRANTED, NEVER_NS, NOBODY, NO_TIME, Claim,
    Event, Hold, Holder, ImportRow, Policy, Report, Ruling, rules_apply_event,
    rules_apply_give_back, rules_attempt, rules_claim, rules_holder, rules_import, rules_release,
)
from ownerd.rules.wrap_up_codes cimport code_category as category_of
from ownerd.rules.wrap_up_codes cimport code_fold as fold_code


cdef class Record:
    """One record's state behind Python functions, so that the rules can be tested by themselves.

    Times and durations are nanoseconds; None stands for no expiration. `policy` is a tuple
    (enabled, duration, renewal_window or None for the default, reservation_ttl, enabled_since).
    """

    cdef Hold hold

    def claim(self, campaign, dialer, ttl_ns, policy, now_ns):
        """Apply a claim; return (decision, holder or None, reserved until, reservation id)."""
        cdef Policy rules = _policy(policy)
        cdef Claim claim
        cdef Ruling ruling
        claim.campaign = campaign
        claim.dialer = dialer
        claim.ttl_ns = ttl_ns or 0
        ruling = rules_claim(&self.hold, &rules, &claim, now_ns)
        if ruling.answer != GRANTED:
            return ruling.answer, _holder(ruling.holder), None, 0
        return ruling.answer, None, self.hold.reserved_until_ns, self.hold.reserved_since_ns

    def attempt(self, report, counts_as_attempt, success, policy, now_ns, clock_offset_ns=0):
        """Apply a report (campaign, dialer, time or None, reservation id).

        Return (outcome, holder or None, whether two campaigns called one person).
        """
        cdef Policy rules = _policy(policy)
        cdef Report told
        cdef Ruling ruling
        told.campaign, told.dialer, time_ns, told.reservation_id = report
        told.attempt_time_ns = NO_TIME if time_ns is None else time_ns
        told.clock_offset_ns = clock_offset_ns
        told.code.counts_as_attempt = counts_as_attempt
        told.code.success = success
        ruling = rules_attempt(&self.hold, &rules, &told, now_ns)
        return ruling.answer, _holder(ruling.holder), bool(ruling.called_twice)

    def change_duration(self, duration_ns, time_ns):
        """Apply a duration change that took effect at `time_ns` (R12)."""
        self._apply(EVENT_DURATION, ALL_CAMPAIGNS, time_ns, duration_ns=duration_ns)

    def release(self, campaign, include_reservations, time_ns):
        """Apply a release of one campaign, or None for all (R15); True if it ended ownership."""
        which = ALL_CAMPAIGNS if campaign is None else campaign
        return self._apply(EVENT_RELEASE, which, time_ns, include_reservations)

    def stop(self, campaign, time_ns):
        """Apply the end of a campaign's reservations (R16); True if it ended one."""
        return self._apply(EVENT_RESERVATIONS_END, campaign, time_ns)

    def set_back(self, duration_ns, time_ns):
        """Apply that the server's time was set back by a duration, to `time_ns` (R19)."""
        self._apply(EVENT_TIME_SET_BACK, ALL_CAMPAIGNS, time_ns, duration_ns=duration_ns)

    def transfer(self, from_campaign, to_campaign, time_ns):
        """Apply a transfer (R27); True if it gave ownership away."""
        return self._apply(EVENT_TRANSFER, from_campaign, time_ns, to_campaign=to_campaign)

    def give_back(self, dialer, time_ns):
        """Apply what a dialer gave back (R23)."""
        rules_apply_give_back(&self.hold, dialer, time_ns)

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
        """Return who holds the record, or None.

        (kind, campaign, since, until or None, dialer or 0, reserved until or None, last attempt or
        None)
        """
        return _holder(rules_holder(&self.hold, now_ns))

    def last_attempt(self, now_ns):
        """Return the record's last attempt, held or free; None if none counts any more (R24)."""
        return rules_holder(&self.hold, now_ns).last_attempt_ns or None

    def _apply(
        self, kind, campaign, time_ns, include_reservations=False, duration_ns=None, to_campaign=0
    ):
        cdef Event event
        event.seq = self.hold.event_seq + 1
        event.kind = kind
        event.campaign = campaign
        event.to_campaign = to_campaign
        event.time_ns = time_ns
        event.include_reservations = include_reservations
        event.duration_ns = _ns(duration_ns)
        return bool(rules_apply_event(&self.hold, &event))


cdef int64_t _ns(value) except? -1:
    return NEVER_NS if value is None else value


cdef Policy _policy(values) except *:
    cdef Policy policy
    enabled, duration_ns, window_ns, ttl_ns, enabled_since_ns = values
    policy.enabled = enabled
    policy.duration_ns = _ns(duration_ns)
    policy.renewal_window_ns = DEFAULT_WINDOW if window_ns is None else window_ns
    policy.reservation_ttl_ns = ttl_ns
    policy.enabled_since_ns = enabled_since_ns
    return policy


cdef _holder(Holder holder):
    if holder.kind == NOBODY:
        return None
    return (
        <int> holder.kind, holder.campaign, holder.since_ns,
        None if holder.until_ns == NEVER_NS else holder.until_ns,
        0 if holder.dialer & FORMER_CAMPAIGN else holder.dialer,
        holder.reserved_until_ns or None, holder.last_attempt_ns or None,
    )


# --- wrap-up codes --------------------------------------------------------------------------------

def code_fold(str code):
    """Return the folded form of a code (R26)."""
    encoded = code.encode()
    folded = bytearray(len(encoded) + 1)
    size = fold_code(slice_of(<const char *> encoded, len(encoded)), <char *> folded)
    return bytes(folded[:size]).decode()


def code_category(str code):
    """Return the category that a code names in front; "" where it names none."""
    encoded = code.encode()
    cdef Slice category = category_of(slice_of(<const char *> encoded, len(encoded)))
    return category.data[:category.size].decode()
