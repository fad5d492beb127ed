"""Changes of a whole list while dialers claim: one process, the engine and its native load.

Run as a process on a store with the owned list filled: `python -m benchmarks.changing`, a job as
JSON on stdin, its result as JSON on stdout. A second, open list is filled first, and claims come at
a rate for both: on the open one each writes; on the owned one another campaign's are denied until
the release, then granted. When all has been transferred to one campaign, claims on the owned list
alone are measured: its owner's, each of which writes a reservation, and another's, which are
denied.

A change is in force when its call returns: its commit is synced then. It is vacuumed when no record
is left that has not seen it.
"""

import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks import inprocess, records
from ownerd.engine.engine import Engine
from ownerd.load.engine import drive, fill
from ownerd.load.plan import Plan
from ownerd.load.tally import Latencies

NEW_DURATION_S = 7 * records.DAY_S
OPEN_RECORDS_MAX = 1_000_000
IN_FLIGHT = 256
OPEN_LOAD_IN_FLIGHT = 2_048
RATE_SHARE = 0.5

_SLICE_S = 0.5
_LEAD_S = 0.1
_POLL_S = 0.02
_LIST_OWNERS_TIMES = 3


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to change: the owned list of `record_count` records in `store`."""

    store: str
    seed: int
    record_count: int
    quiet_s: float
    vacuum_limit_s: float


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `counted_ms`: until the count was there, None if it gives none; `vacuumed_s`:
    None if it took longer than the limit."""

    name: str
    in_force_ms: float
    counted_ms: float | None
    count: int | None
    vacuumed_s: float | None
    before_p50_ms: float
    before_p99_ms: float
    during_p50_ms: float
    during_p99_ms: float
    during_max_ms: float
    error_count: int


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Claims on the owned list, as many as there may be, and then at half of that rate."""

    by: str
    decisions_per_s: float
    p50_ms: float
    p99_ms: float
    paced_p50_ms: float
    paced_p99_ms: float
    answers: dict[str, int]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The changes, and what else was seen on the way."""

    open_s: float
    peak_per_s: float
    rate_per_s: float
    list_owners_s: float
    list_owners_under_load_s: float
    changes: list[Change]
    held: list[Held]
    own_bytes: int


class Claims:
    """Claims at a rate on both lists, in slices, for as long as the context lasts."""

    def __init__(self, engine: Engine, plans: list[Plan], rate_per_s: float) -> None:
        self._engine = engine
        self._rate_per_s = rate_per_s / len(plans)
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._claim, args=(plan, number))
            for number, plan in enumerate(plans)
        ]
        self._lock = threading.Lock()
        self.latency = Latencies()
        self.error_count = 0

    def __enter__(self) -> "Claims":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _claim(self, plan: Plan, number: int) -> None:
        while not self._over.is_set():
            found = drive(
                self._engine,
                plan,
                in_flight=OPEN_LOAD_IN_FLIGHT,
                seconds=_SLICE_S,
                warm_up_s=0.0,
                rate_per_s=self._rate_per_s,
            )
            with self._lock:
                self.latency.merge(found.latency)
                self.error_count += sum(found.errors.values())


def measure(job: Job) -> Result:
    """Make the changes one after the other."""
    begin_s = time.monotonic()
    with Engine(job.store) as engine, inprocess.Watch() as watch:
        open_s = time.monotonic() - begin_s
        owned = records.Records(job.seed, job.record_count)
        others = records.Records(job.seed, min(job.record_count, OPEN_RECORDS_MAX))
        _fill_open(engine, others)
        plans = [others.plan(records.OPEN_LIST), owned.plan(records.OWNED_LIST)]
        found = drive(engine, plans[0], in_flight=IN_FLIGHT, seconds=job.quiet_s / 2)
        peak_per_s = found.calls / found.seconds
        rate_per_s = RATE_SHARE * peak_per_s
        list_owners_s = _time_list_owners(engine)
        with Claims(engine, plans, rate_per_s):
            under_load_s = _time_list_owners(engine)
        changes = [
            _watched(job, engine, plans, rate_per_s, "change duration", _change_duration),
            _watched(job, engine, plans, rate_per_s, "transfer to one", _transfer_to_one),
        ]
        held = [
            _claims_on_held(job, engine, owned, by, campaign_id)
            for by, campaign_id in (("the owner", records.OWNERS[0]), ("another", records.CLAIMER))
        ]
        changes.append(_watched(job, engine, plans, rate_per_s, "release all", _release_all))
    return Result(
        open_s=open_s,
        peak_per_s=peak_per_s,
        rate_per_s=rate_per_s,
        list_owners_s=list_owners_s,
        list_owners_under_load_s=under_load_s,
        changes=changes,
        held=held,
        own_bytes=watch.peak_bytes,
    )


def _fill_open(engine: Engine, known: records.Records) -> None:
    engine.create_list(records.OPEN_LIST, inprocess.open_policy(), note=b"")
    plan = known.plan(records.OPEN_LIST, in_order=True, batch_records=inprocess.FILL_RECORDS)
    found = fill(engine, plan, in_flight=inprocess.FILL_IN_FLIGHT)
    if found.records != known.count:
        raise RuntimeError(f"filled {found.records:,} of {known.count:,}: {found.errors}")


def _time_list_owners(engine: Engine) -> float:
    """Return the seconds that the owners of the owned list take, the median of a few times."""
    took_s = []
    for _ in range(_LIST_OWNERS_TIMES):
        begin_s = time.monotonic()
        with engine.snapshot(records.OWNED_LIST) as snapshot:
            owners = list(snapshot.owners())
        took_s.append(time.monotonic() - begin_s)
        if len(owners) < len(records.OWNERS):
            raise RuntimeError(f"{len(owners)} owners found")
    return statistics.median(took_s)


def _change_duration(engine: Engine) -> Any:
    policy = inprocess.owned_policy()._replace(duration_ns=NEW_DURATION_S * inprocess.NS_PER_S)
    return engine.update_policy(records.OWNED_LIST, policy)


def _transfer_to_one(engine: Engine) -> Any:
    for campaign_id in records.OWNERS[1:]:
        outcome = engine.transfer(records.OWNED_LIST, campaign_id, records.OWNERS[0])
    return outcome


def _claims_on_held(
    job: Job, engine: Engine, owned: records.Records, by: str, campaign_id: str
) -> Held:
    """Claim random records of the owned list, all of which OWNERS[0] has; leave no flush behind."""
    plan = owned.plan(records.OWNED_LIST, campaign_ids=(campaign_id,))
    most = drive(engine, plan, in_flight=IN_FLIGHT, seconds=job.quiet_s)
    engine.vacuum()
    paced = drive(
        engine,
        plan,
        in_flight=OPEN_LOAD_IN_FLIGHT,
        seconds=job.quiet_s,
        rate_per_s=RATE_SHARE * most.calls / most.seconds,
    )
    engine.vacuum()
    return Held(
        by=by,
        decisions_per_s=most.calls / most.seconds,
        p50_ms=most.latency.quantile_ns(0.5) / 1e6,
        p99_ms=most.latency.quantile_ns(0.99) / 1e6,
        paced_p50_ms=paced.latency.quantile_ns(0.5) / 1e6,
        paced_p99_ms=paced.latency.quantile_ns(0.99) / 1e6,
        answers={name: count for name, count in most.decisions.items() if count},
    )


def _release_all(engine: Engine) -> Any:
    return engine.release(records.OWNED_LIST, None, False)


def _watched(
    job: Job,
    engine: Engine,
    plans: list[Plan],
    rate_per_s: float,
    name: str,
    make: Callable[[Engine], Any],
) -> Change:
    """Make a change under load; hold the claims meanwhile against those just before."""
    with Claims(engine, plans, rate_per_s):
        time.sleep(job.quiet_s / 2)  # what went before is over, caches are warm
    with Claims(engine, plans, rate_per_s) as before:
        time.sleep(job.quiet_s)
    counted_ms = count = None
    with Claims(engine, plans, rate_per_s) as during:
        time.sleep(_LEAD_S)
        begin_s = time.monotonic()
        outcome = make(engine)
        in_force_s = time.monotonic() - begin_s
        if name.startswith("release"):
            count = engine.count_released(outcome.entry_id)
            counted_ms = (time.monotonic() - begin_s) * 1e3
        vacuumed_s = _vacuumed_s(engine, begin_s, job.vacuum_limit_s)
    return Change(
        name=name,
        in_force_ms=in_force_s * 1e3,
        counted_ms=counted_ms,
        count=count,
        vacuumed_s=vacuumed_s,
        before_p50_ms=before.latency.quantile_ns(0.5) / 1e6,
        before_p99_ms=before.latency.quantile_ns(0.99) / 1e6,
        during_p50_ms=during.latency.quantile_ns(0.5) / 1e6,
        during_p99_ms=during.latency.quantile_ns(0.99) / 1e6,
        during_max_ms=during.latency.max_ns / 1e6,
        error_count=before.error_count + during.error_count,
    )


def _vacuumed_s(engine: Engine, begin_s: float, limit_s: float) -> float | None:
    while (took_s := time.monotonic() - begin_s) < limit_s:
        if engine.stats()["unsettled_event_count"] == 0:
            return took_s
        time.sleep(_POLL_S)
    return None


if __name__ == "__main__":
    result = measure(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    sys.stdout.buffer.write(msgspec.json.encode(result))
