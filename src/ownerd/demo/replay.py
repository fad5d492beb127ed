"""Whether anything explains the answers: their revisions, and the calls of each record in order.

Owns: two checks that know the rules and the revisions, beside the windows of `holds`, which trust
no revision. `order_violations` holds the revisions to real time: a call that was sent after
another's answer shows a revision that is not older. `replay_violations` replays the calls of a
record in the order of their revisions and asks whether any order within a revision, and any instant
between sending and answer, explains all of them, in a list whose policy is enabled. Calls without a
revision promise nothing; a record with such a call is not replayed. Whoever leads after a fail-over
goes on from the time of a message that was under way for a moment: by so much a hold may last
longer, and never shorter (R3). Pure functions.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ownerd.client import Decision, HoldKind, Outcome
from ownerd.demo.holds import FOREVER_NS, MARGIN_NS, OWNERSHIP_BEGINS, slack_ns
from ownerd.demo.logbook import (
    AdminCall,
    ByCampaign,
    Claimed,
    Entry,
    GaveBack,
    Looked,
    PolicySet,
    RecordCall,
    ReleaseMade,
    Reported,
)
from ownerd.demo.verdict import Fault, Violation


class Call(NamedTuple):
    """One call, with the campaign that made it; the administrator's id is empty."""

    campaign_id: str
    entry: RecordCall | GaveBack | AdminCall

    @property
    def revision(self) -> int:
        """The revision of the answer; only of calls that have one."""
        assert self.entry.revision is not None
        return self.entry.revision

    def found(self, fault: Fault, *before: "Call") -> Violation:
        """Return what is wrong with this call."""
        record_id = getattr(self.entry, "record_id", "")
        seen = (*(call.entry for call in before), self.entry)
        return Violation(fault, record_id, self.campaign_id, "", self.entry.answer_ns, seen)


def order_violations(logs: ByCampaign, admin: Sequence[Entry]) -> Iterator[Violation]:
    """Find answers that show an older revision than one that had been answered before."""
    calls = [
        *(Call(*made) for made in _calls_on_records(logs)),
        *_given_back(logs),
        *_calls_on_the_list(admin),
    ]
    known = [call for call in calls if call.entry.revision is not None]
    returned = sorted(known, key=lambda call: call.entry.answer_ns)
    latest: Call | None = None
    position = 0
    for call in sorted(known, key=lambda call: call.entry.ask_ns):
        while returned[position].entry.answer_ns < call.entry.ask_ns:
            if latest is None or returned[position].revision > latest.revision:
                latest = returned[position]
            position += 1
        if latest is not None and call.revision < latest.revision + _takes(call.entry):
            yield call.found(Fault.OLDER_REVISION, latest)


def _takes(entry: RecordCall | GaveBack | AdminCall) -> bool:
    """Say whether a call made the campaign own the record anew, which is a revision of its own."""
    return isinstance(entry, Reported) and entry.outcome in OWNERSHIP_BEGINS


def replay_violations(
    logs: ByCampaign, admin: Sequence[Entry], *, late_ns: int = 0
) -> Iterator[Violation]:
    """Find records whose answers nothing explains, where a hold may last `late_ns` too long."""
    records: dict[str, list[Call]] = defaultdict(list)
    for campaign_id, entry in _calls_on_records(logs):
        records[entry.record_id].append(Call(campaign_id, entry))
    on_the_list = [*_calls_on_the_list(admin), *_given_back(logs)]
    for calls in records.values():
        calls += on_the_list
        if all(call.entry.revision is not None for call in calls):
            stuck = _Replay(calls, late_ns).run()
            if stuck is not None:
                yield stuck.found(Fault.UNEXPLAINED)


def _calls_on_records(logs: ByCampaign) -> Iterator[tuple[str, RecordCall]]:
    for campaign_id, entries in logs.items():
        for entry in entries:
            if isinstance(entry, RecordCall):
                yield campaign_id, entry


def _given_back(logs: ByCampaign) -> list[Call]:
    return [
        Call(campaign_id, entry)
        for campaign_id, entries in logs.items()
        for entry in entries
        if isinstance(entry, GaveBack)
    ]


def _calls_on_the_list(admin: Sequence[Entry]) -> list[Call]:
    return [Call("", entry) for entry in admin if isinstance(entry, AdminCall)]


class Span(NamedTuple):
    """The end of a hold, known to lie between two instants."""

    earliest_ns: int
    latest_ns: int

    def surely(self, entry: RecordCall | GaveBack | AdminCall) -> bool:
        """Say whether the hold lasted through the whole call."""
        return self.earliest_ns > entry.answer_ns + MARGIN_NS

    def maybe(self, entry: RecordCall | GaveBack | AdminCall) -> bool:
        """Say whether the hold lasted into the call."""
        return self.latest_ns > entry.ask_ns - MARGIN_NS


_NOTHING = Span(-FOREVER_NS, -FOREVER_NS)


@dataclass(frozen=True, slots=True)
class _State:
    """A record in the replay; the lengths in force travel with it."""

    duration_ns: int | None = 0
    reservation_ttl_ns: int = 0
    campaign_id: str = ""
    owned: Span = _NOTHING
    reserved: Span = _NOTHING
    dialer_id: str = ""
    reservation_id: int = 0
    late_ns: int = 0

    def span(self, entry: RecordCall | AdminCall, length_ns: int | None) -> Span:
        """Return when a hold ends that such a call began."""
        if length_ns is None:
            return Span(FOREVER_NS, FOREVER_NS)
        slack = slack_ns(length_ns)
        latest_ns = entry.answer_ns + length_ns + slack + self.late_ns
        return Span(entry.ask_ns + length_ns - slack, latest_ns)


class _Point(NamedTuple):
    """How far a replay is: all calls before `base` and those of `done` have been applied."""

    base: int
    done: frozenset[int]
    state: _State


class _Replay:
    """A depth-first search over the orders within each revision; revisions keep theirs."""

    def __init__(self, calls: Sequence[Call], late_ns: int) -> None:
        self.calls = sorted(calls, key=lambda call: (call.revision, call.entry.answer_ns))
        self.begin = _State(late_ns=late_ns)
        self.furthest = 0

    def run(self) -> Call | None:
        """Return the call at which every order fails, or None if one explains everything."""
        seen: set[_Point] = set()
        stack = [_Point(0, frozenset(), self.begin)]
        while stack:
            point = stack.pop()
            if point in seen:
                continue
            seen.add(point)
            if point.base == len(self.calls):
                return None
            stack.extend(self._steps(point))
        return self.calls[min(self.furthest, len(self.calls) - 1)]

    def _steps(self, point: _Point) -> Iterator[_Point]:
        """Yield what can follow: one more call of the first revision that is not through."""
        for index in reversed(self._candidates(point)):
            state = _after(point.state, self.calls[index])
            if state is None:
                continue
            base, done = point.base, point.done | {index}
            while base in done:
                done -= {base}
                base += 1
            self.furthest = max(self.furthest, base)
            yield _Point(base, done, state)

    def _candidates(self, point: _Point) -> list[int]:
        """Return the calls of the revision that no other undone call must precede in real time."""
        undone = []
        for index in range(point.base, len(self.calls)):
            if self.calls[index].revision != self.calls[point.base].revision:
                break
            if index not in point.done:
                undone.append(index)
        first_answer_ns = min(self.calls[index].entry.answer_ns for index in undone)
        return [index for index in undone if self.calls[index].entry.ask_ns <= first_answer_ns]


def _after(state: _State, call: Call) -> _State | None:
    """Return the state after a call, or None if it cannot have been answered so."""
    match call.entry:
        case PolicySet() as policy:
            return _policy_set(state, policy)
        case ReleaseMade(campaign_ids=campaign_ids) as release:
            if campaign_ids is not None and state.campaign_id not in campaign_ids:
                return state
            owned = _NOTHING if release.include_ownership else state.owned
            reserved = _NOTHING if release.include_reservations else state.reserved
            return replace(state, owned=owned, reserved=reserved)
        case GaveBack(dialer_id=dialer_id):
            if (state.campaign_id, state.dialer_id) == (call.campaign_id, dialer_id):
                return replace(state, reserved=_NOTHING)
            return state
        case entry:
            return _asked(state, call.campaign_id, entry)


def _policy_set(state: _State, policy: PolicySet) -> _State:
    """Let every living ownership end that long after the change of the duration (R12)."""
    owned = state.owned
    if policy.duration_ns != state.duration_ns:
        owned = state.span(policy, policy.duration_ns) if state.owned.maybe(policy) else _NOTHING
        if owned is not _NOTHING and not state.owned.surely(policy):
            # It may have ended just before the change: then it was not revived.
            owned = Span(min(state.owned.earliest_ns, owned.earliest_ns), owned.latest_ns)
    return replace(
        state,
        duration_ns=policy.duration_ns,
        reservation_ttl_ns=policy.reservation_ttl_ns,
        owned=owned,
    )


def _asked(state: _State, campaign_id: str, entry: RecordCall) -> _State | None:
    mine = state.campaign_id == campaign_id
    maybe = state.owned.maybe(entry) or state.reserved.maybe(entry)
    surely = state.owned.surely(entry) or state.reserved.surely(entry)
    if isinstance(entry, Looked):
        if entry.holder_id is None:
            return None if surely else state
        return state if maybe and _shows(state, entry) else None
    if _is_refused(entry):
        theirs = not mine or (isinstance(entry, Claimed) and _another_dials(state, entry))
        return state if theirs and maybe and _shows(state, entry) else None
    if not mine and surely:
        return None
    if isinstance(entry, Claimed):
        return _granted(state, campaign_id, entry)
    return _reported(state, campaign_id, entry)


def _another_dials(state: _State, claim: Claimed) -> bool:
    """Say whether another dialer of the campaign may have the record reserved (R22)."""
    return state.dialer_id not in ("", claim.dialer_id) and state.reserved.maybe(claim)


def _is_refused(entry: Claimed | Reported) -> bool:
    if isinstance(entry, Claimed):
        return entry.decision == Decision.DENIED.name
    return entry.outcome == Outcome.REJECTED.name


def _shows(state: _State, entry: RecordCall) -> bool:
    """Say whether the holder in the answer can be the one in the state."""
    is_owner = entry.holder_kind == HoldKind.OWNED.name
    span = state.owned if is_owner else state.reserved
    hidden = not is_owner and state.owned.surely(entry)
    return entry.holder_id == state.campaign_id and span.maybe(entry) and not hidden


def _granted(state: _State, campaign_id: str, claim: Claimed) -> _State | None:
    if claim.decision != Decision.GRANTED.name:
        return None
    mine = state.campaign_id == campaign_id
    if mine and _another_dials(state, claim) and state.reserved.surely(claim):
        return None
    return replace(
        state,
        campaign_id=campaign_id,
        owned=state.owned if mine and state.owned.maybe(claim) else _NOTHING,
        reserved=state.span(claim, state.reservation_ttl_ns),
        dialer_id=claim.dialer_id,
        reservation_id=claim.reservation_id,
    )


def _reported(state: _State, campaign_id: str, report: Reported) -> _State | None:
    """Return the state after an attempt that was not rejected (R8 to R10)."""
    mine = state.campaign_id == campaign_id
    owned_maybe = mine and state.owned.maybe(report)
    owned_surely = mine and state.owned.surely(report)
    if report.again:
        return _repeated(state, report, owned_maybe, owned_surely)
    reported_on = report.reservation_id in (0, state.reservation_id)
    ended = state if mine and not reported_on else replace(state, reserved=_NOTHING)
    owned = state.span(report, state.duration_ns)
    taken = replace(ended, campaign_id=campaign_id, owned=owned)
    match report.outcome:
        case Outcome.ACQUIRED.name:
            return None if owned_surely or report.valid is False else taken
        case Outcome.RENEWED.name:
            return taken if owned_maybe and report.valid is not False else None
        case Outcome.KEPT.name:
            return ended if owned_maybe else None
        case Outcome.RESERVATION_CLEARED.name if report.valid is not True and not owned_surely:
            if mine and not reported_on and state.reserved.maybe(report):
                return replace(ended, owned=_NOTHING)
            return replace(ended, campaign_id="", owned=_NOTHING, reserved=_NOTHING)
    return None


def _repeated(
    state: _State, report: Reported, owned_maybe: bool, owned_surely: bool
) -> _State | None:
    """Return the state after a report that comes again: the one before it (R24)."""
    if report.outcome == Outcome.KEPT.name:
        return state if owned_maybe else None
    if report.outcome == Outcome.RESERVATION_CLEARED.name:
        return None if owned_surely else state
    return None
