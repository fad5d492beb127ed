"""The verdict on a run, from the logs alone: did two campaigns dial a record while one held it?

Or two dialers of one campaign, while one of them had it reserved?

Owns: the checks. Nothing of the server is asked or trusted, and no time but that of the host's one
monotonic clock counts. Three independent doubts, each able to find what the others miss: each
record is checked against the windows in which a campaign held it for certain (`holds`); where the
logs have revisions, these must agree with the order of the calls, and something must explain all of
a record's answers (`replay`). What is found is beyond doubt; what happened within the time of one
answer may go unnoticed. A campaign may have made several calls at once. Pure functions, but for
`check_directory`.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from pathlib import Path

from ownerd.client import Decision, Outcome
from ownerd.demo.holds import FOREVER_NS, AdminTimeline, Hold, find_holds, find_reservations
from ownerd.demo.logbook import ByCampaign, Claimed, Dialed, Entry, GaveBack, Reported, read_logs
from ownerd.demo.replay import order_violations, replay_violations
from ownerd.demo.verdict import Fault, Verdict, Violation

# By which a hold may last too long after a fail-over, where a few processors have everything to do:
# the next leader goes on from the time of a message that was under way for a moment.
FAIL_OVER_LATE_NS = 1_000_000_000

_ALLOWED = {Decision.GRANTED.name, Decision.UNCONTROLLED.name}
_PERHAPS_ALLOWED = {*_ALLOWED, None}
_PERHAPS_OWNED = {Outcome.ACQUIRED.name, Outcome.RENEWED.name, Outcome.KEPT.name, None}


def check_directory(directory: Path, *, late_ns: int = 0) -> Verdict:
    """Check the logs of a run in `directory`; `late_ns` is as for `check`."""
    logs = read_logs(directory)
    return check(logs, logs.pop("", []), late_ns=late_ns)


def check(logs: ByCampaign, admin_entries: Sequence[Entry], *, late_ns: int = 0) -> Verdict:
    """Check the campaigns' logs, given by campaign id, and the administrator's.

    Args:
        logs: by campaign id.
        admin_entries: the administrator's.
        late_ns: nanoseconds by which a hold may last too long, in a cluster that failed over.
    """
    verdict = Verdict()
    for entries in _by_record(logs).values():
        _count(verdict, entries)
    verdict.violations = [
        *overlaps(logs, admin_entries),
        *order_violations(logs, admin_entries),
        *replay_violations(logs, admin_entries, late_ns=late_ns),
    ]
    verdict.violations.sort(key=lambda violation: violation.at_ns)
    return verdict


def overlaps(logs: ByCampaign, admin_entries: Sequence[Entry]) -> Iterator[Violation]:
    """Find campaigns that were in each other's way, by their own clocks."""
    admin = AdminTimeline(admin_entries)
    for record_id, entries in _by_record(logs).items():
        yield from _Record(record_id, entries, admin).violations()


def _by_record(logs: ByCampaign) -> dict[str, dict[str, list[Entry]]]:
    records: dict[str, dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for campaign_id, entries in logs.items():
        for entry in entries:
            if isinstance(entry, Claimed | Dialed | Reported):
                records[entry.record_id][campaign_id].append(entry)
        given_back = [entry for entry in entries if isinstance(entry, GaveBack)]
        for by_campaign in records.values() if given_back else ():
            if campaign_id in by_campaign:
                by_campaign[campaign_id] += given_back
    return records


def _count(verdict: Verdict, by_campaign: ByCampaign) -> None:
    dialers = 0
    for entries in by_campaign.values():
        claims = [entry for entry in entries if isinstance(entry, Claimed)]
        dials = sum(isinstance(entry, Dialed) for entry in entries)
        verdict.claim_count += len(claims)
        verdict.grant_count += sum(claim.decision in _ALLOWED for claim in claims)
        verdict.denial_count += sum(claim.decision == Decision.DENIED.name for claim in claims)
        verdict.dial_count += dials
        dialers += dials > 0
    verdict.dialed_record_count += dialers > 0
    verdict.handed_over_count += dialers > 1
    verdict.contended_record_count += len(by_campaign) > 1


class _Record:
    """The checks of one record; entries and holds by campaign, in the order of time."""

    def __init__(self, record_id: str, by_campaign: ByCampaign, admin: AdminTimeline) -> None:
        self.record_id = record_id
        self.entries = by_campaign
        self.admin = admin
        self.claims = {
            name: sorted((e for e in entries if isinstance(e, Claimed)), key=_answered)
            for name, entries in by_campaign.items()
        }
        self.dials = {
            name: [e for e in entries if isinstance(e, Dialed)]
            for name, entries in by_campaign.items()
        }
        self.holds = {
            name: find_holds(name, entries, admin) for name, entries in by_campaign.items()
        }

    def violations(self) -> Iterator[Violation]:
        """Yield what is wrong with the record."""
        for campaign_id in self.entries:
            yield from self._dials_unasked(campaign_id)
            yield from self._denials_for_nobody(campaign_id)
            yield from self._reserved_twice(campaign_id)
        for campaign_id, holder_id in permutations(self.entries, 2):
            yield from self._grants_while_held(campaign_id, holder_id)
            yield from self._dials_while_held(campaign_id, holder_id)
            if campaign_id < holder_id:
                yield from self._holds_at_once(campaign_id, holder_id)

    def _dials_unasked(self, campaign_id: str) -> Iterator[Violation]:
        for dial in self.dials[campaign_id]:
            if not self._was_allowed(campaign_id, dial):
                yield self._found(Fault.DIALED_UNASKED, campaign_id, "", dial.begin_ns)

    def _was_allowed(self, campaign_id: str, dial: Dialed) -> bool:
        """Say whether an answer before a dial allowed it, and no later claim was answered no."""
        claims = [each for each in self.claims[campaign_id] if each.dialer_id == dial.dialer_id]
        before = claims[: bisect_right(claims, dial.begin_ns, key=_answered)]
        last = next((claim for claim in reversed(before) if claim.decision in _ALLOWED), None)
        return last is not None and not any(
            claim.ask_ns >= last.answer_ns for claim in before if claim.decision not in _ALLOWED
        )

    def _reserved_twice(self, campaign_id: str) -> Iterator[Violation]:
        """Find two dialers of the campaign that had the record reserved at once (R22)."""
        by_dialer: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries[campaign_id]:
            if isinstance(entry, Claimed | Reported | GaveBack) and entry.dialer_id:
                by_dialer[entry.dialer_id].append(entry)
        held = {
            dialer_id: find_reservations(campaign_id, entries, self.admin)
            for dialer_id, entries in by_dialer.items()
        }
        for one, other in combinations(held, 2):
            for first in held[one]:
                for second in held[other]:
                    if first.overlaps(second.begin_ns, second.end_ns):
                        at_ns = max(first.begin_ns, second.begin_ns)
                        yield self._found(Fault.RESERVED_TWICE, campaign_id, other, at_ns)

    def _denials_for_nobody(self, campaign_id: str) -> Iterator[Violation]:
        for claim in self.claims[campaign_id]:
            holder_id = claim.holder_id
            if claim.decision != Decision.DENIED.name or holder_id is None:
                continue
            first_ns = self._first_possible_hold_ns(holder_id)
            if claim.answer_ns <= first_ns:
                yield self._found(Fault.DENIED_FOR_NOBODY, campaign_id, holder_id, claim.answer_ns)

    def _first_possible_hold_ns(self, campaign_id: str) -> int:
        """Return the first moment at which a campaign may have come to hold the record."""
        return min(
            (
                entry.ask_ns
                for entry in self.entries.get(campaign_id, ())
                if (isinstance(entry, Claimed) and entry.decision in _PERHAPS_ALLOWED)
                or (isinstance(entry, Reported) and entry.outcome in _PERHAPS_OWNED)
            ),
            default=FOREVER_NS,
        )

    def _grants_while_held(self, campaign_id: str, holder_id: str) -> Iterator[Violation]:
        for claim in self.claims[campaign_id]:
            if claim.decision in _ALLOWED and any(
                hold.covers(claim.ask_ns, claim.answer_ns) for hold in self.holds[holder_id]
            ):
                yield self._found(Fault.GRANTED_WHILE_HELD, campaign_id, holder_id, claim.answer_ns)

    def _dials_while_held(self, campaign_id: str, holder_id: str) -> Iterator[Violation]:
        for dial in self.dials[campaign_id]:
            hold = self._hold_in_the_way(campaign_id, holder_id, dial)
            if hold is None:
                continue
            holder_dials = any(
                Hold(other.begin_ns, other.end_ns).overlaps(dial.begin_ns, dial.end_ns)
                for other in self.dials[holder_id]
            )
            fault = Fault.DIALED_TWICE if holder_dials else Fault.DIALED_WHILE_HELD
            yield self._found(fault, campaign_id, holder_id, max(dial.begin_ns, hold.begin_ns))

    def _hold_in_the_way(self, campaign_id: str, holder_id: str, dial: Dialed) -> Hold | None:
        """Return the holder's hold that a dial ran into, if that was not to be.

        A dial that outlasts its own hold may meet the next campaign's, and of two holds at once the
        first is not to blame.
        """
        allowed = self._was_allowed(campaign_id, dial)
        for hold in self.holds[holder_id]:
            if not hold.overlaps(dial.begin_ns, dial.end_ns):
                continue
            met_ns = max(dial.begin_ns, hold.begin_ns)
            own = next((own for own in self.holds[campaign_id] if own.holds_at(met_ns)), None)
            if not allowed or (own is not None and own.begin_ns >= hold.begin_ns):
                return hold
        return None

    def _holds_at_once(self, campaign_id: str, holder_id: str) -> Iterator[Violation]:
        for hold in self.holds[campaign_id]:
            for other in self.holds[holder_id]:
                if hold.overlaps(other.begin_ns, other.end_ns):
                    at_ns = max(hold.begin_ns, other.begin_ns)
                    yield self._found(Fault.HELD_TWICE, campaign_id, holder_id, at_ns)

    def _found(self, fault: Fault, campaign_id: str, holder_id: str, at_ns: int) -> Violation:
        return Violation(fault, self.record_id, campaign_id, holder_id, at_ns)


def _answered(claim: Claimed) -> int:
    return claim.answer_ns
