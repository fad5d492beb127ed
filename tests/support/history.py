"""Histories of concurrent calls, and the checks that they must pass.

An `Op` is one call as its client saw it: when it was sent, when its answer came, what it said. The
checks know the rules, not the server: `violations` returns a sentence for each thing in a history
that no correct server could have answered.

Three independent doubts, each able to find what the others miss:

- `window_violations` trusts nothing but the clients' clock: a grant is good from its return until
  its sending plus the length of the hold; the windows of two campaigns on a record never overlap.
- `order_violations` holds the revisions to real time: a call sent after another's answer shows a
  revision that is not older.
- `replay_violations` replays each record's calls in the order of their revisions and asks whether
  any order within a revision, and any instant between sending and answer, explains all of them.

Calls whose outcome is unknown promise nothing; records with such calls are not replayed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from subject import MS, Holder

# Half the slew that R19 allows over the holds used here, and the reading of two clocks.
MARGIN_NS = 10 * MS
FOREVER_NS = 1 << 62

CLAIMED = ("GRANTED", "DENIED")
REFUSED = ("DENIED", "REJECTED")
TAKEN = ("OWNERSHIP_ACQUIRED", "OWNERSHIP_RENEWED")


@dataclass(frozen=True)
class Op:
    """One call of one client. Times are the client's monotonic clock in nanoseconds.

    `kind` is claim, attempt, holder, release (of the whole list), stop (of a campaign's
    reservations) or duration (a change to `length_ns`). `what` is the answer, None if unknown.
    """

    kind: str
    campaign_id: str
    record_id: str
    invoke_ns: int
    return_ns: int
    what: str | None = None
    holder: Holder | None = None
    revision: int = 0
    counts: bool = True
    length_ns: int = 0

    def __str__(self) -> str:
        times = f"{self.invoke_ns / 1e6:.3f}..{self.return_ns / 1e6:.3f} ms"
        shown = f" by {self.holder.campaign_id} ({self.holder.kind})" if self.holder else ""
        return (
            f"{self.campaign_id} {self.kind} {self.record_id} [{times}] at revision "
            f"{self.revision}: {self.what}{shown}"
        )


@dataclass(frozen=True)
class Settings:
    """The policy that the history ran under."""

    reservation_ttl_ns: int
    duration_ns: int


def violations(history: Iterable[Op], policy: Settings) -> list[str]:
    """Return what is wrong with a history of one contact list; empty if nothing is."""
    ops = list(history)
    return [
        *window_violations(ops, policy),
        *order_violations(ops),
        *replay_violations(ops, policy),
    ]


def by_record(ops: Iterable[Op]) -> Iterator[tuple[str, list[Op]]]:
    """Yield each record with its calls and, among them, the changes of the whole list."""
    bulk = [op for op in ops if not op.record_id]
    single: dict[str, list[Op]] = defaultdict(list)
    for op in ops:
        if op.record_id:
            single[op.record_id].append(op)
    for record_id, found in single.items():
        yield record_id, found + bulk


# ---- windows: what dialers rely on


@dataclass(frozen=True)
class Window:
    """A time in which a campaign has been promised a record, and the answer that promised it."""

    start_ns: int
    end_ns: int
    op: Op


def window_violations(ops: list[Op], policy: Settings) -> list[str]:
    """Find promises to two campaigns on one record that hold at the same instant."""
    found: list[str] = []
    for _, record_ops in by_record(ops):
        windows = sorted(_windows(record_ops, policy), key=lambda window: window.start_ns)
        latest: dict[str, Window] = {}
        for window in windows:
            for campaign_id, other in latest.items():
                if campaign_id != window.op.campaign_id and other.end_ns >= window.start_ns:
                    found.append(f"one record was promised twice: {other.op} | {window.op}")
            mine = latest.get(window.op.campaign_id)
            if mine is None or mine.end_ns < window.end_ns:
                latest[window.op.campaign_id] = window
    return found


def _windows(ops: list[Op], policy: Settings) -> Iterator[Window]:
    duration_changes = [op for op in ops if op.kind == "duration"]
    for op in ops:
        if op.kind == "claim" and op.what == "GRANTED":
            length_ns, enders = policy.reservation_ttl_ns, ("attempt", "stop")
            if any(other.what in TAKEN and other.campaign_id == op.campaign_id for other in ops):
                # An owner is granted without a reservation: what ends its ownership ends this.
                enders += ("release", "duration")
        elif op.what in TAKEN:
            length_ns, enders = policy.duration_ns, ("release", "duration")
            # Whichever duration was in force, the shortest that it can have been is promised.
            length_ns = min([length_ns, *(change.length_ns for change in duration_changes)])
        else:
            continue
        end_ns = op.invoke_ns + length_ns - MARGIN_NS
        for other in ops:
            mine = other.kind in ("release", "duration") or other.campaign_id == op.campaign_id
            # What ends the hold counts from its sending, unless it was over before this call.
            if other.kind in enders and mine and other.return_ns > op.invoke_ns and other is not op:
                end_ns = min(end_ns, other.invoke_ns)
        yield Window(op.return_ns, end_ns, op)


# ---- order: what revisions promise


def order_violations(ops: list[Op]) -> list[str]:
    """Find answers that show an older revision than one that had been answered before."""
    found: list[str] = []
    known = [op for op in ops if op.what is not None]
    returned = sorted(known, key=lambda op: op.return_ns)
    latest: Op | None = None
    position = 0
    for op in sorted(known, key=lambda op: op.invoke_ns):
        while position < len(returned) and returned[position].return_ns < op.invoke_ns:
            if latest is None or returned[position].revision > latest.revision:
                latest = returned[position]
            position += 1
        if latest is not None and op.revision < latest.revision + (op.what in TAKEN):
            found.append(f"the revision went back or stood still: {latest} | {op}")
    return found


# ---- replay: whether anything explains the answers


@dataclass(frozen=True)
class Span:
    """The end of a hold, known to lie between two instants."""

    earliest_ns: int = -FOREVER_NS
    latest_ns: int = -FOREVER_NS

    def surely(self, op: Op) -> bool:
        """Whether the hold lasted through the whole call."""
        return self.earliest_ns > op.return_ns + MARGIN_NS

    def maybe(self, op: Op) -> bool:
        """Whether the hold lasted into the call."""
        return self.latest_ns > op.invoke_ns - MARGIN_NS


NOTHING = Span()


@dataclass(frozen=True)
class State:
    """A record in the replay; the duration in force travels with it."""

    duration_ns: int
    campaign_id: str = ""
    owned: Span = field(default=NOTHING)
    reserved: Span = field(default=NOTHING)


def replay_violations(ops: list[Op], policy: Settings) -> list[str]:
    """Find records whose answers nothing explains."""
    found = []
    for record_id, record_ops in by_record(ops):
        if all(op.what is not None for op in record_ops):
            stuck = _Replay(record_ops, policy).run()
            if stuck is not None:
                found.append(f"nothing explains record {record_id} from here on: {stuck}")
    return found


class _Replay:
    """A depth-first search over the orders within each revision; revisions keep theirs."""

    def __init__(self, ops: list[Op], policy: Settings) -> None:
        self.policy = policy
        self.ops = sorted(ops, key=lambda op: (op.revision, op.return_ns))
        self.furthest = 0

    def run(self) -> Op | None:
        """Return the call at which every order fails, or None if one explains everything."""
        start = State(self.policy.duration_ns)
        seen: set[tuple[int, frozenset[int], State]] = set()
        stack: list[tuple[int, frozenset[int], State]] = [(0, frozenset(), start)]
        while stack:
            point = stack.pop()
            if point in seen:
                continue
            seen.add(point)
            base, done, state = point
            if base == len(self.ops):
                return None
            stack.extend(self._steps(base, done, state))
        return self.ops[min(self.furthest, len(self.ops) - 1)]

    def _steps(
        self, base: int, done: frozenset[int], state: State
    ) -> list[tuple[int, frozenset[int], State]]:
        """The points that can follow: one more call of the first revision that is not through."""
        steps = []
        for index in reversed(self._candidates(base, done)):
            after = self._apply(state, self.ops[index])
            if after is None:
                continue
            next_base, next_done = base, done | {index}
            while next_base in next_done:
                next_done = next_done - {next_base}
                next_base += 1
            self.furthest = max(self.furthest, next_base)
            steps.append((next_base, next_done, after))
        return steps

    def _candidates(self, base: int, done: frozenset[int]) -> list[int]:
        """Calls of the current revision that no other undone call must precede in real time."""
        undone = []
        for index in range(base, len(self.ops)):
            if self.ops[index].revision != self.ops[base].revision:
                break
            if index not in done:
                undone.append(index)
        first_return_ns = min(self.ops[index].return_ns for index in undone)
        return [index for index in undone if self.ops[index].invoke_ns <= first_return_ns]

    def _apply(self, state: State, op: Op) -> State | None:
        """Return the state after the call, or None if it cannot have been answered so."""
        if op.kind == "release":
            return replace(state, owned=NOTHING)
        if op.kind == "stop":
            mine = state.campaign_id == op.campaign_id
            return replace(state, reserved=NOTHING) if mine else state
        if op.kind == "duration":
            span = _span(op, op.length_ns) if state.owned.maybe(op) else NOTHING
            if span is not NOTHING and not state.owned.surely(op):
                # It may have ended just before the change: then it was not revived.
                span = Span(min(state.owned.earliest_ns, span.earliest_ns), span.latest_ns)
            return replace(state, duration_ns=op.length_ns, owned=span)
        return self._apply_to_record(state, op)

    def _apply_to_record(self, state: State, op: Op) -> State | None:
        maybe = state.owned.maybe(op) or state.reserved.maybe(op)
        surely = state.owned.surely(op) or state.reserved.surely(op)
        mine = state.campaign_id == op.campaign_id
        if op.kind == "holder":
            return _seen(state, op, maybe, surely)
        if op.what in REFUSED:
            other = not mine and maybe and op.holder is not None
            return state if other and _shows(state, op) else None
        if not mine and surely:
            return None
        if op.kind == "claim":
            return self._granted(state, op, mine)
        return _reported(state, op, mine)

    def _granted(self, state: State, op: Op, mine: bool) -> State | None:
        if op.what != "GRANTED":
            return None
        owned = state.owned if mine and state.owned.maybe(op) else NOTHING
        reserved = _span(op, self.policy.reservation_ttl_ns)
        if owned.earliest_ns > reserved.latest_ns + MARGIN_NS:
            return state
        if owned.latest_ns > reserved.earliest_ns - MARGIN_NS:
            # The owner may have needed no reservation.
            before_ns = state.reserved.earliest_ns if mine else -FOREVER_NS
            reserved = Span(before_ns, reserved.latest_ns)
        return State(state.duration_ns, op.campaign_id, owned, reserved)


def _span(op: Op, length_ns: int) -> Span:
    return Span(op.invoke_ns + length_ns, op.return_ns + length_ns)


def _shows(state: State, op: Op) -> bool:
    """Whether the holder in the answer can be the one in the state."""
    assert op.holder is not None
    span = state.owned if op.holder.kind == "OWNED" else state.reserved
    hidden = op.holder.kind == "RESERVED" and state.owned.surely(op)
    return op.holder.campaign_id == state.campaign_id and span.maybe(op) and not hidden


def _seen(state: State, op: Op, maybe: bool, surely: bool) -> State | None:
    if op.holder is None:
        return None if surely else state
    return state if maybe and _shows(state, op) else None


def _reported(state: State, op: Op, mine: bool) -> State | None:
    """An attempt that was not rejected (R8 to R10, in an enabled list)."""
    owned_maybe = mine and state.owned.maybe(op)
    owned_surely = mine and state.owned.surely(op)
    taken = State(state.duration_ns, op.campaign_id, _span(op, state.duration_ns))
    if op.what == "OWNERSHIP_ACQUIRED":
        return None if owned_surely or not op.counts else taken
    if op.what == "OWNERSHIP_RENEWED":
        return taken if owned_maybe and op.counts else None
    if op.what == "OWNERSHIP_KEPT":
        return replace(state, reserved=NOTHING) if owned_maybe else None
    if op.what == "RESERVATION_CLEARED" and not op.counts and not owned_surely:
        return State(state.duration_ns)
    return None
