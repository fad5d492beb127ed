"""A workload for power cuts: an engine in process, under the recorder of `power_recorder.c`.

A few clients at a time, each with a contact list to itself and one call at a time; between their
rounds the clock, the vacuum, changes that concern every list, and now and then a reopening. A mark
goes into the log before each call and after its answer; `power_story` reads them.

Run as a program, life after life, each in a process of its own; only an odd one closes the store:
`power_workload.py DIRECTORY SEED LIFE ROUNDS CALLS [early]`.
"""

import ctypes
import itertools
import os
import pickle
import random
import shutil
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from load import Threads
from model import START_NS
from power_story import CAMPAIGNS, LOCK_FILE, MAP_BYTES, RECORDS, Call, Mark, perform
from subject import DAY, FAIL, HOUR, MINUTE, MS, OVERWRITE, SKIP, Code, Policy, Refusal, Row
from subject_engine import EngineSubject

from ownerd.engine import engine as native

LIFE_NS = 9 * HOUR
HELD = Policy(True, None, None, DAY)
BATCHES = {"first": 12, "second": 40, "large": 300}
CHANGES = (
    "create_list",
    "update_policy",
    "delete_list",
    "release",
    "release_records",
    "upsert_campaign",
    "signal_campaign",
    "upsert_code",
    "import_rows",
)


class Notes:
    """An engine whose changes carry the number of the call: as note, as request id, as memo."""

    def __init__(self, engine: native.Engine) -> None:
        self._engine = engine
        self.calling = threading.local()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        return partial(self._change, found) if name in CHANGES else found

    def _change(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        number = self.calling.number
        given = {"note": b"%d" % number, "request_id": str(number), "memo": b"%d" % number}
        return method(*arguments, **{**options, **given})


def choose(list_id: str, chance: random.Random) -> Call:
    """Return a random call on a list."""
    campaign_id, record_id = chance.choice(CAMPAIGNS), chance.choice(RECORDS[list_id])
    if chance.random() < 0.05:
        campaign_id = f"{list_id}-{chance.randrange(10)}"  # registered when first granted
        return "claim", (list_id, record_id, campaign_id)
    some = chance.sample(RECORDS[list_id], BATCHES[list_id])
    codes = ("Busy", "Busy", "Success", "No Lines")
    attempts = [(name, chance.choice(codes)) for name in some]
    end_ns = chance.choice((None, START_NS + chance.randrange(20) * HOUR))
    rows = [Row(name, campaign_id, "", end_ns) for name in some[: len(some) // 2]]
    policy = Policy(chance.random() < 0.9, chance.choice((None, HOUR, 6 * HOUR)), None, 20 * MINUTE)
    calls: list[tuple[int, Call]] = [
        (20, ("claim", (list_id, record_id, campaign_id))),
        (20, ("attempt", (list_id, record_id, campaign_id, chance.choice(codes)))),
        (10, ("claim_batch", (list_id, campaign_id, some))),
        (10, ("attempt_batch", (list_id, campaign_id, attempts))),
        (2, ("release", (list_id, [campaign_id], chance.random() < 0.5))),
        (1, ("release", (list_id, None))),
        (3, ("release_records", (list_id, some))),
        (2, ("signal", (campaign_id, "STOPPED", list_id, True))),
        (4, ("update_policy", (list_id, policy))),
        (3, ("import_rows", (list_id, rows, chance.choice((FAIL, SKIP, OVERWRITE))))),
        (1, ("delete_list", (list_id, True))),
    ]
    return chance.choices([call for _, call in calls], [weight for weight, _ in calls])[0]


class Workload:
    """One recorded life; `early` marks calls as answered before they are made, to be caught."""

    def __init__(self, directory: str, seed: int, life: int, early: bool = False) -> None:
        self.chance = random.Random(f"{seed} {life}")
        self.life = life
        self.early = early
        self.numbers = itertools.count(1 + life * 1_000_000)
        self.put = ctypes.CDLL(None).power_mark
        start_ns = START_NS + life * LIFE_NS
        self.mark(Mark("time", time_ns=start_ns))
        self.subject = EngineSubject(directory, start_ns, map_bytes=MAP_BYTES)
        self.subject.engine = Notes(self.subject.engine)

    def run(self, rounds: int, calls_per_round: int) -> None:
        """Run to the end of this life."""
        if self.life == 0:
            self._create()
        for number in range(rounds):
            clients = [self._client(list_id, calls_per_round) for list_id in RECORDS]
            with Threads(*clients, lambda stopping: self.subject.vacuum()) as threads:
                threads.join()
            self._between_rounds(number, LIFE_NS // rounds)
        self._keep_lock_file()
        if self.life % 2 == 0:
            os._exit(0)
        self.subject.close()

    def _create(self) -> None:
        for campaign_id in CAMPAIGNS:
            self.call("", ("upsert_campaign", (campaign_id, "")))
        for list_id in RECORDS:
            self.call(list_id, ("create_list", (list_id, HELD)))

    def _keep_lock_file(self) -> None:
        """Copy LMDB's lock file, which is written through memory, as a power cut may leave it."""
        lock_file = Path(self.subject.directory, "records", LOCK_FILE)
        shutil.copy(lock_file, Path(os.environ["POWER_LOG"]).with_name(LOCK_FILE))

    def _client(self, list_id: str, count: int) -> Callable[[threading.Event], None]:
        chance = random.Random(self.chance.random())

        def run(stopping: threading.Event) -> None:
            for _ in range(count):
                call = choose(list_id, chance)
                self.call(list_id, call)
                if call[0] == "delete_list":
                    self.call(list_id, ("create_list", (list_id, HELD)))

        return run

    def _between_rounds(self, number: int, most_ns: int) -> None:
        self.call("", ("upsert_campaign", (self.chance.choice(CAMPAIGNS), f"name {number}")))
        code = Code("Busy", self.chance.random() < 0.5, False)
        self.call("", ("upsert_code", (f"Custom {number % 2}", code)))
        time_ns = self.subject.now_ns() + self.chance.randrange(most_ns // MS) * MS
        self.mark(Mark("time", time_ns=time_ns))
        self.subject.advance_ns(time_ns - self.subject.now_ns())
        self.subject.vacuum()
        if number % 3 == 2:
            self.subject.reopen()
            self.subject.engine = Notes(self.subject.engine)

    def call(self, list_id: str, call: Call) -> None:
        """Make one call, with its marks around it."""
        mark = Mark("asked", next(self.numbers), list_id, call)
        self.mark(mark)
        if self.early:
            self.mark(mark._replace(what="answered"))
        self.subject.engine.calling.number = mark.number
        try:
            perform(self.subject, call)
            answer = mark._replace(what="answered", revision=self.subject.revision())
        except Refusal:
            answer = mark._replace(what="refused")
        if not self.early:
            self.mark(answer)

    def mark(self, mark: Mark) -> None:
        """Put a mark into the log."""
        data = pickle.dumps(mark)
        self.put(data, ctypes.c_size_t(len(data)))


if __name__ == "__main__":
    directory, seed, life, rounds, calls, *early = sys.argv[1:]
    Workload(directory, int(seed), int(life), bool(early)).run(int(rounds), int(calls))
