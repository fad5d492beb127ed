"""When a campaign held a record for certain, worked out from its own log and the administrator's.

Owns: the conservative windows that the checker compares. A window begins when the answer had come
and ends before the earliest moment at which the hold could have ended: lengths count from when the
request was sent, and a release ends a hold from when it was asked for. So a window may be too
short, never too long, and two overlapping ones are a fault of the server beyond doubt. Pure
functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ownerd.client import Decision, Outcome
from ownerd.demo.logbook import Claimed, Entry, GaveBack, PolicySet, ReleaseMade, Reported

FOREVER_NS = 2**63 - 1
MARGIN_NS = 5_000_000
OWNERSHIP_BEGINS = {Outcome.ACQUIRED.name, Outcome.RENEWED.name}


@dataclass(frozen=True, slots=True)
class Hold:
    """A stretch of time, begin to end, in which one campaign surely held a record."""

    begin_ns: int
    end_ns: int

    def covers(self, begin_ns: int, end_ns: int) -> bool:
        """Say whether a stretch lies wholly inside."""
        return self.begin_ns <= begin_ns and end_ns <= self.end_ns

    def holds_at(self, at_ns: int) -> bool:
        """Say whether a moment lies inside."""
        return self.begin_ns <= at_ns < self.end_ns

    def overlaps(self, begin_ns: int, end_ns: int) -> bool:
        """Say whether a stretch has a moment in common."""
        return self.begin_ns < end_ns and begin_ns < self.end_ns


class AdminTimeline:
    """The policies and releases of a run, in the order in which they were asked for."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._policies = sorted(
            (entry for entry in entries if isinstance(entry, PolicySet)), key=_asked
        )
        self._releases = [entry for entry in entries if isinstance(entry, ReleaseMade)]

    def claim_end_ns(self, campaign_id: str, claim: Claimed) -> int:
        """Return the earliest end of what a grant gave, if nothing is reported or given back."""
        end_ns = claim.ask_ns + min(
            (_shortened(policy.reservation_ttl_ns) for policy in self._possible(claim)), default=0
        )
        return min(end_ns, self._release_ns(campaign_id, claim.ask_ns, True, False))

    def ownership_end_ns(self, campaign_id: str, report: Reported) -> int:
        """Return the earliest end of the ownership that a report began."""
        release_ns = self._release_ns(campaign_id, report.ask_ns, False, True)
        return min(self._expiry_ns(report), release_ns)

    def _release_ns(
        self, campaign_id: str, since_ns: int, reservations: bool, ownership: bool
    ) -> int:
        """Return when the first release since then could have ended such a hold of a campaign."""
        return min(
            (
                release.ask_ns
                for release in self._releases
                if release.answer_ns > since_ns
                and (release.campaign_ids is None or campaign_id in release.campaign_ids)
                and (
                    (reservations and release.include_reservations)
                    or (ownership and release.include_ownership)
                )
            ),
            default=FOREVER_NS,
        )

    def _expiry_ns(self, report: Reported) -> int:
        """Return the earliest expiration of the ownership that a report began.

        A change of the duration makes every living ownership end at the change plus the new
        duration, sooner or later than before (R12); saving the same duration moves nothing.
        """
        end_ns = report.ask_ns + min(
            (_shortened(policy.duration_ns) for policy in self._possible(report)), default=0
        )
        for policy in self._changes(report):
            surely_alive = report.answer_ns <= policy.ask_ns and policy.answer_ns < end_ns
            changed_ns = _expiry_after(policy)
            end_ns = changed_ns if surely_alive else min(end_ns, changed_ns)
        return end_ns

    def _possible(self, request: Claimed | Reported) -> list[PolicySet]:
        """Return the policies that may have been in force when a request was decided."""
        before = [policy for policy in self._policies if policy.answer_ns <= request.ask_ns]
        during = [
            policy
            for policy in self._policies
            if policy.ask_ns < request.answer_ns and policy.answer_ns > request.ask_ns
        ]
        return before[-1:] + during

    def _changes(self, request: Claimed | Reported) -> list[PolicySet]:
        """Return the policies set since a request was sent that changed the duration."""
        pairs = zip(self._policies, self._policies[1:], strict=False)
        return [
            new
            for old, new in pairs
            if new.answer_ns > request.ask_ns and new.duration_ns != old.duration_ns
        ]


def _asked(entry: PolicySet | Claimed | Reported) -> int:
    return entry.ask_ns


def _expiry_after(change: PolicySet) -> int:
    return min(change.ask_ns + _shortened(change.duration_ns), FOREVER_NS)


def _shortened(length_ns: int | None) -> int:
    """Return a length less what the server's clock may run fast."""
    return FOREVER_NS if length_ns is None else length_ns - slack_ns(length_ns) - MARGIN_NS


def slack_ns(length_ns: int) -> int:
    """Return by how much two clocks may differ over a length, twice the 0.1 % of R19."""
    return length_ns // 500


def find_holds(campaign_id: str, entries: Sequence[Entry], admin: AdminTimeline) -> list[Hold]:
    """Return the certain holds of one campaign on one record, joined where they touch.

    `entries` are the campaign's entries about the record, and what its dialers gave back; some may
    have been under way at once.
    """
    reports = _reports(entries)
    reservations = _reservations(campaign_id, entries, admin)
    holds = [hold for _, _, hold in reservations]
    lasting = [(claim, end_ns) for claim, end_ns, _ in reservations]
    for report in reports:
        if report.outcome in OWNERSHIP_BEGINS:
            begin_ns = _ownership_begin_ns(report, reports, lasting)
            holds.append(Hold(begin_ns, admin.ownership_end_ns(campaign_id, report)))
    return _joined(holds)


def find_reservations(
    campaign_id: str, entries: Sequence[Entry], admin: AdminTimeline
) -> list[Hold]:
    """Return when one dialer of a campaign had a record reserved for certain, from its entries."""
    return _joined([hold for _, _, hold in _reservations(campaign_id, entries, admin)])


def _reports(entries: Sequence[Entry]) -> list[Reported]:
    """Return the reports that may have done something: one that comes again does nothing."""
    return sorted((e for e in entries if isinstance(e, Reported) and not e.again), key=_asked)


def _reservations(
    campaign_id: str, entries: Sequence[Entry], admin: AdminTimeline
) -> list[tuple[Claimed, int, Hold]]:
    """Return the granted claims, each with its earliest end if nothing is reported, and its hold.

    Whatever its dialer gives back ends it, and whatever is reported ends the hold for certain.
    """
    granted = [e for e in entries if isinstance(e, Claimed) and e.decision == Decision.GRANTED.name]
    found = []
    for claim in granted:
        given_back_ns = [
            entry.ask_ns
            for entry in entries
            if isinstance(entry, GaveBack)
            and entry.dialer_id == claim.dialer_id
            and entry.answer_ns > claim.ask_ns
        ]
        lasts_ns = min([admin.claim_end_ns(campaign_id, claim), *given_back_ns])
        reported_ns = [r.ask_ns for r in _reports(entries) if r.answer_ns > claim.ask_ns]
        end_ns = min([lasts_ns, *reported_ns])
        found.append((claim, lasts_ns, Hold(claim.answer_ns, end_ns)))
    return found


def _ownership_begin_ns(
    report: Reported, reports: Sequence[Reported], reservations: Sequence[tuple[Claimed, int]]
) -> int:
    """Return from when on the campaign that made a valid attempt held the record for certain.

    While the report was under way a reservation still held the record, if it lasted and no other
    report ended it: then there is no gap between the two.
    """
    for claim, end_ns in reservations:
        if claim.answer_ns <= report.ask_ns and end_ns >= report.answer_ns:
            enders = [
                other
                for other in reports
                if other.answer_ns > claim.ask_ns and other.ask_ns < report.answer_ns
            ]
            if enders == [report]:
                return report.ask_ns
    return report.answer_ns


def _joined(holds: list[Hold]) -> list[Hold]:
    joined: list[Hold] = []
    for hold in sorted(holds, key=lambda hold: hold.begin_ns):
        if hold.begin_ns >= hold.end_ns:
            continue
        if joined and hold.begin_ns <= joined[-1].end_ns:
            last = joined.pop()
            hold = Hold(last.begin_ns, max(last.end_ns, hold.end_ns))
        joined.append(hold)
    return joined
