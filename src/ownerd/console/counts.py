"""What was counted of lists lately, for one person: how much is held, and what was asked a second.

The server counts claims from its start; what happened between two looks is their difference. A few
lists are followed for the charts; of the others only the last looks are kept. Nothing here asks
the server.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

from ownerd.client import Activity, Owners

FOLLOWED_LISTS = 24
KEPT_LOOKS = 360
"""Of a followed list: half an hour, at one look in 5 seconds."""
SPAN_S = 3.0
"""Seconds that a rate is taken over, at least: over shorter ones it would flicker."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What campaigns asked and were told about a list since the server started."""

    granted: int = 0
    denied: int = 0
    uncontrolled: int = 0
    attempts: int = 0
    acquired: int = 0
    rejected: int = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(*(getattr(self, name) + getattr(other, name) for name in NAMES))

    @classmethod
    def of(cls, activity: Iterable[Activity]) -> "Totals":
        """Return the sums over all campaigns."""
        sums = cls()
        for each in activity:
            sums += cls(
                granted=each.granted_claim_count,
                denied=each.denied_claim_count,
                uncontrolled=each.uncontrolled_claim_count,
                attempts=each.ownership_acquired_count
                + each.ownership_renewed_count
                + each.ownership_kept_count
                + each.reservation_cleared_count
                + each.not_controlled_count
                + each.rejected_attempt_count,
                acquired=each.ownership_acquired_count,
                rejected=each.rejected_attempt_count,
            )
        return sums


NAMES = tuple(each.name for each in fields(Totals))


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a list: when, by our own clock and in seconds, and what was there."""

    at_s: float
    owned: int
    reserved: int
    totals: Totals


@dataclass(frozen=True, slots=True)
class Rates:
    """So many a second between two looks; `at_s` is the later one's."""

    at_s: float
    granted: float
    denied: float
    uncontrolled: float
    attempts: float
    acquired: float
    rejected: float


def rates_between(before: Look, after: Look) -> Rates | None:
    """Return what happened a second; None across a restart of the server, which counts anew."""
    took_s = after.at_s - before.at_s
    steps = [getattr(after.totals, name) - getattr(before.totals, name) for name in NAMES]
    if took_s <= 0 or min(steps) < 0:
        return None
    return Rates(after.at_s, *(step / took_s for step in steps))


class CountBook:
    """The looks at every list that one person took."""

    def __init__(self, span_s: float = SPAN_S) -> None:
        self._span_s = span_s
        self._looks: dict[str, deque[Look]] = {}
        self._followed: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._looks)

    def __iter__(self) -> Iterator[str]:
        return iter(self._looks)

    @property
    def followed(self) -> tuple[str, ...]:
        """The lists that are looked at again and again."""
        return tuple(self._followed)

    def follow(self, list_id: str) -> None:
        """Keep more of a list; the one that was followed first gives way."""
        self._followed.pop(list_id, None)
        self._followed[list_id] = None
        if len(self._followed) > FOLLOWED_LISTS:
            self._followed.pop(next(iter(self._followed)))
        self._looks[list_id] = deque(self._looks.get(list_id, ()), maxlen=KEPT_LOOKS)

    def add(self, list_id: str, owners: Owners, at_s: float) -> None:
        """Take a look down."""
        looks = self._looks.setdefault(list_id, deque(maxlen=3))
        if len(looks) > 1 and looks[-1].at_s - looks[-2].at_s < self._span_s:
            looks.pop()  # too soon after the one before it to be kept
        totals = Totals.of(owners.activity)
        looks.append(Look(at_s, owners.total_owned_count, owners.total_reserved_count, totals))

    def forget(self, known: Iterable[str]) -> None:
        """Drop all lists but those."""
        keep = set(known)
        for list_id in [each for each in self._looks if each not in keep]:
            del self._looks[list_id]
            self._followed.pop(list_id, None)

    def latest(self, list_id: str) -> Look | None:
        """Return the newest look at a list."""
        looks = self._looks.get(list_id)
        return looks[-1] if looks else None

    def rates(self, list_id: str) -> Rates | None:
        """Return what happens a second in a list, by the last two looks."""
        looks = [*self._looks.get(list_id, ())]
        if len(looks) < 2:
            return None
        before = looks[-2]
        if len(looks) > 2 and looks[-1].at_s - before.at_s < self._span_s:
            before = looks[-3]
        return rates_between(before, looks[-1])

    def history(self, list_id: str) -> list[Rates]:
        """Return what happened in a list, the oldest first; without the time of a restart."""
        looks = [*self._looks.get(list_id, ())]
        if len(looks) > 2 and looks[-1].at_s - looks[-2].at_s < self._span_s:
            looks.pop()
        pairs = pairwise(looks)
        return [found for pair in pairs if (found := rates_between(*pair)) is not None]

    def histories(self) -> Mapping[str, list[Rates]]:
        """Return that of every followed list."""
        return {list_id: self.history(list_id) for list_id in self._followed}
