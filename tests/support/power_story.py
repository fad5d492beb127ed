"""What a store must hold after a power cut: the marks of a workload, read, and the check.

`Story` reads the marks up to a cut. `Check` opens a store that the cut left and compares the two:
every answered call is there, of each client the one call in flight is there or is not, nothing else
is. Everything that can be seen is compared, exactly: the clock of the workload is manual.

The oracle is `model`; each list has a model to itself, because its client makes one call at a time.
"""

import pickle
import random
from pathlib import Path
from typing import Any, NamedTuple

from model import START_NS, Model
from subject import DAY, MS, Holder, Refusal
from subject_engine import EngineSubject

from ownerd.api.task import Refused

MAP_BYTES = 128 << 20
WHOLE_COUNT = 12
LOCK_FILE = "lock.mdb"
CAMPAIGNS = ("A", "B", "C")
SMALL = [str(number * 7) for number in range(100)] + [f"{n:03}" + "-text" * 18 for n in range(40)]
LARGE = [f"{number * 7919 % 10007:05}-large" for number in range(1200)]
RECORDS = {"first": SMALL, "second": SMALL, "large": LARGE}
"""The contact lists and every record that is ever asked for."""
DIALS = ("claim", "attempt", "claim_batch", "attempt_batch")
Call = tuple[str, tuple[Any, ...]]


class Mark(NamedTuple):
    """One mark in the log; `number` is the call's, `list_id` is empty if it concerns every list."""

    what: str
    """asked, answered, refused; or time: from now on the clock shows `time_ns`."""
    number: int = 0
    list_id: str = ""
    call: Call | None = None
    revision: int = 0
    time_ns: int = 0


def read_mark(data: bytes) -> Mark:
    """Return a mark as it was put into the log."""
    mark: Mark = pickle.loads(data)
    return mark


class Lost(Exception):
    """A store is not what the story says; the message says where."""


def perform(subject: Any, call: Call) -> Any:
    """Make a call on an implementation of the rules."""
    name, arguments = call
    return getattr(subject, name)(*arguments)


class Story:
    """What was asked and answered up to a moment, from the marks."""

    def __init__(self) -> None:
        self.models = {list_id: Model() for list_id in RECORDS}
        self.in_flight: dict[str, Mark] = {}
        self.answered: dict[int, Mark] = {}
        self.released_counts: dict[int, int] = {}
        self.revision = 0
        self.time_ns = START_NS
        self._shown: dict[str, Any] = {}

    def take(self, data: bytes) -> None:
        """Take the next mark."""
        mark = read_mark(data)
        if mark.what == "asked":
            self.in_flight[mark.list_id] = mark
            return
        if mark.what == "time":
            self.time_ns = mark.time_ns
            for model in self.models.values():
                model.time_ns = model.clock_ns = mark.time_ns
            self._shown.clear()
            return
        del self.in_flight[mark.list_id]
        if mark.what == "answered":
            self._answered(mark)

    def _answered(self, mark: Mark) -> None:
        assert mark.call is not None
        self.revision = max(self.revision, mark.revision)
        if mark.call[0] not in DIALS:
            self.answered[mark.number] = mark
        for list_id in [mark.list_id] if mark.list_id else RECORDS:
            result = perform(self.models[list_id], mark.call)
            self._shown.pop(list_id, None)
        if mark.call[0].startswith("release"):
            self.released_counts[mark.number] = result

    def without(self, list_id: str) -> Any:
        """What the list shows if the call in flight was not made."""
        if list_id not in self._shown:
            self._shown[list_id] = model_shows(self.models[list_id], list_id)
        return self._shown[list_id]

    def made(self, list_id: str, mark: Mark) -> tuple[Model, Any]:
        """Return a list's model after the call in flight, and what that call answered."""
        assert mark.call is not None
        model = copy_of(self.models[list_id])
        try:
            return model, perform(model, mark.call)
        except Refusal:
            return model, None


def copy_of(model: Model) -> Model:
    """Return a model of its own in the same state."""
    copied: Model = pickle.loads(pickle.dumps(model))
    return copied


def model_shows(model: Model, list_id: str) -> Any:
    """Return all that can be seen of a list in the model."""
    if list_id not in model.lists:
        return None
    holders = [model.holder(list_id, record_id) for record_id in RECORDS[list_id]]
    seen = [holder and _of_a_snapshot(holder) for holder in holders]
    whole = holders[:WHOLE_COUNT]
    return _roughly(
        (model.policy(list_id), model.owners(list_id), model.owned(list_id), seen, whole)
    )


def store_shows(subject: EngineSubject, list_id: str) -> Any:
    """Return all that can be seen of a list in the store, in the same form."""
    if subject.engine.get_list(list_id) is None:
        return None
    with subject.engine.snapshot(list_id) as snapshot:
        owned, after = snapshot.records(b"", 10_000, None)
        if after or snapshot.count_owned(None) != len(owned):
            raise Lost(f"{list_id}: {len(owned)} owned, counted {snapshot.count_owned(None)}")
    holders = subject.holders(list_id, RECORDS[list_id])
    whole = [subject.holder(list_id, record_id) for record_id in RECORDS[list_id][:WHOLE_COUNT]]
    return _roughly((subject.policy(list_id), subject.owners(list_id), owned, holders, whole))


def _roughly(shown: Any) -> Any:
    """Return what is shown, times to the millisecond.

    Every decision has an instant of its own, a nanosecond after the one before it while the clock
    stands; which of the calls under way comes first is not known.
    """
    if isinstance(shown, int):
        return shown // MS if shown >= START_NS - DAY else shown
    if isinstance(shown, list | tuple):
        return [_roughly(each) for each in shown]
    return shown


def _of_a_snapshot(holder: Holder) -> Holder:
    return Holder(*holder[:5])


Entries = dict[int, tuple[int, int | None]]


class Check:
    """Compares one store with a story; `run` raises Lost, or whatever the store raises."""

    def __init__(self, directory: Path, story: Story, chance: random.Random) -> None:
        self.story = story
        self.chance = chance
        self.subject = EngineSubject(directory, start_ns=story.time_ns, map_bytes=MAP_BYTES)
        self.models = dict(story.models)
        self.counts = dict(story.released_counts)

    def run(self) -> None:
        """Look at everything, vacuum, look again, and write; then close the store."""
        try:
            if self.subject.engine.revision < self.story.revision:
                raise Lost(f"revision {self.subject.revision()}, {self.story.revision} was seen")
            entries = self._audit()
            expected = {list_id: self._expected(list_id, entries) for list_id in RECORDS}
            self._compare_names()
            self._compare_counts(entries)
            self._compare_requests(entries)
            self.subject.vacuum()
            self._compare_again(expected)
            self._write()
        finally:
            self.subject.close()

    def _audit(self) -> Entries:
        """Return entry id and count by number of call; R21: those answered, those in flight."""
        found: Entries = {}
        for entry_id, _, _, count, note in self.subject.engine.audit(0, 1_000_000):
            if int(note) in found:
                raise Lost(f"call {int(note)} has two audit entries")
            found[int(note)] = (entry_id, count)
        in_flight = {mark.number for mark in self.story.in_flight.values()}
        missing = self.story.answered.keys() - found.keys()
        invented = found.keys() - self.story.answered.keys() - in_flight
        if missing or invented:
            raise Lost(f"audit entries missing: {sorted(missing)}, invented: {sorted(invented)}")
        return found

    def _expected(self, list_id: str, entries: Entries) -> Any:
        """Return what the list shows, once that is what it may show."""
        found = store_shows(self.subject, list_id)
        mark = self.story.in_flight.get(list_id) or self.story.in_flight.get("")
        may_be_made = mark is not None and (mark.call[0] in DIALS or mark.number in entries)
        must_be_made = may_be_made and mark.number in entries
        if not must_be_made and found == self.story.without(list_id):
            return found
        if may_be_made:
            self.models[list_id], result = self.story.made(list_id, mark)
            if mark.call[0].startswith("release"):
                self.counts[mark.number] = result
            if found == model_shows(self.models[list_id], list_id):
                return found
        expected = model_shows(self.models[list_id], list_id)
        asked = f"call {mark.number} {mark.call[0]}" if mark else "nothing"
        raise Lost(f"{list_id}, in flight {asked}: {difference(found, expected)}")

    def _compare_names(self) -> None:
        names = {k: name for model in self.models.values() for k, name in model.names.items()}
        if self.subject.campaigns() != names:
            raise Lost(f"campaigns {self.subject.campaigns()}, expected {names}")
        codes = next(iter(self.models.values())).codes()
        if self.subject.codes() != codes:
            raise Lost(f"codes {self.subject.codes()}, expected {codes}")

    def _compare_counts(self, entries: Entries) -> None:
        """R15: a count that was answered is stored, one that was not can still be had."""
        pending = self.subject.engine.pending_counts()
        for number, (entry_id, count) in entries.items():
            expected = self.counts.get(number)
            if count is None and number not in self.story.answered and entry_id in pending:
                count = self.subject.engine.count_released(entry_id)
            if expected is not None and count != expected:
                raise Lost(f"call {number} released {count}, expected {expected}")

    def _compare_requests(self, entries: Entries) -> None:
        """R20: the answer to each answered change is kept, with what the caller gave to keep."""
        numbers = [mark.number for mark in self.story.in_flight.values()]
        numbers += sorted(self.story.answered)[-3:]
        numbers += self.chance.sample(sorted(entries), min(10, len(entries)))
        for number in numbers:
            try:
                outcome = self.subject.engine.request(str(number))
            except Refused as refused:
                # An image is a copy, and may have begun an incarnation: it knows the request, and
                # says no more.
                if refused.reason != "OTHER_INCARNATION" or number not in entries:
                    raise
                continue
            if (outcome is not None) != (number in entries):
                raise Lost(f"call {number}: audit {number in entries}, request {outcome}")
            if outcome is not None and outcome.memo != b"%d" % number:
                raise Lost(f"call {number}: memo {outcome.memo!r}")

    def _compare_again(self, expected: dict[str, Any]) -> None:
        """A vacuum changes nothing that can be seen, and leaves what is held or remembered."""
        for list_id, shown in expected.items():
            if (found := store_shows(self.subject, list_id)) != shown:
                raise Lost(f"{list_id}, vacuumed: {difference(found, shown)}")
        kept_count = sum(
            holder is not None or self.models[list_id].remembers(list_id, record_id)
            for list_id, shown in expected.items()
            if shown
            for record_id, holder in zip(RECORDS[list_id], shown[3], strict=True)
        )
        if (record_count := self.subject.engine.stats()["record_count"]) != kept_count:
            raise Lost(f"{record_count} records are stored, {kept_count} are held or remembered")

    def _write(self) -> None:
        """The store takes calls again and keeps them."""
        there = [list_id for list_id, model in self.models.items() if list_id in model.lists]
        if not there:
            return
        list_id = self.chance.choice(there)
        model = copy_of(self.models[list_id])
        model.last_instant_ns = self.subject.time_ns
        record_ids = self.chance.sample(RECORDS[list_id], 20)
        self._do_both(model, ("claim_batch", (list_id, "A", record_ids)))
        attempts = [(record_id, "Busy") for record_id in record_ids]
        self._do_both(model, ("attempt_batch", (list_id, "A", attempts)))
        self.subject.reopen()
        found, shown = store_shows(self.subject, list_id), model_shows(model, list_id)
        if found != shown:
            raise Lost(f"{list_id}, written and reopened: {difference(found, shown)}")

    def _do_both(self, model: Model, call: Call) -> None:
        found, expected = perform(self.subject, call), perform(model, call)
        if found.what != expected.what:
            raise Lost(f"{call}: {found.what}, expected {expected.what}")


def difference(found: Any, expected: Any) -> str:
    """Say briefly in what two lists, as shown, differ."""
    if found is None or expected is None:
        return f"the list is {'absent' if found is None else 'there'}"
    names, parts = ("policy", "owners", "owned", "holders", "whole holders"), []
    for name, left, right in zip(names, found, expected, strict=True):
        if left != right:
            few = [(a, b) for a, b in zip(left, right, strict=False) if a != b][:2]
            parts.append(f"{name}: {len(left)} found, {len(right)} expected, such as {few}")
    return "; ".join(parts)
