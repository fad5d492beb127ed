"""What maintenance costs where there is much of it: many lists, or many events of one list.

Run as a process on an empty directory: `python -m benchmarks.sweeping`, a job as JSON on stdin, its
result as JSON on stdout.

- `Crowd`: a store of many lists, of which nothing changes. Maintenance sweeps every second; beside
  it claims come at a low rate for one list, and then none at all.
- `Events`: callers release the same list all the time, each for a campaign that owns nothing there.
  After that events are appended without anybody counting, and what they cost is looked at.
"""

import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks import inprocess, records
from ownerd.engine.engine import GET_HOLDER, Engine
from ownerd.load.engine import drive, fill
from ownerd.v1 import dial_pb2

CLAIMS_PER_S = 2_000.0
IN_FLIGHT = 64
RELEASERS = 4
SWEEP_INTERVAL_S = 1.0
NO_SWEEP_S = 86_400.0

_CLAIMED_RECORDS = 1_000
_LOOKS = 200
_NOBODY = "nobody"


class Crowd(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make `list_count` lists, with one owned record each; measure `seconds` at a time."""

    store: str
    seed: int
    list_count: int
    seconds: float


class Events(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make a list of `record_count` owned records; have it released for `seconds`, then
    `event_count` times without a count, and vacuumed for at most `limit_s`."""

    store: str
    seed: int
    record_count: int
    event_count: int
    seconds: float
    limit_s: float


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """Claims' latency without sweeps, during the first ones and later; what idleness writes."""

    made_s: float
    quiet_p50_ms: float
    quiet_p99_ms: float
    first_p50_ms: float
    first_p99_ms: float
    later_p50_ms: float
    later_p99_ms: float
    idle_bytes_per_s: float


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """Releases, each with its count: the first second's and the last one's. Then the cost of what
    nobody counted; `vacuum_s` is None if it took longer than the limit."""

    release_count: int
    first_ms: float
    last_ms: float
    most_events: int
    append_first_ms: float
    append_last_ms: float
    look_us: float
    owners_s: float
    vacuum_s: float | None


Job = Crowd | Events


def do_crowd(job: Crowd) -> Swept:
    """Measure a store of many lists."""
    known = records.Records(job.seed, _CLAIMED_RECORDS)
    begin_s = time.monotonic()
    with Engine(job.store, vacuum_interval_s=NO_SWEEP_S) as engine:
        engine.create_list(records.OPEN_LIST, inprocess.open_policy())
        for number in range(job.list_count):
            engine.create_list(f"list-{number}", inprocess.owned_policy())
            engine.import_rows(f"list-{number}", [("1", records.OWNERS[0], "", None)], 1)
        made_s = time.monotonic() - begin_s
        quiet = _claims_ms(engine, known, job.seconds)
    with Engine(job.store, vacuum_interval_s=SWEEP_INTERVAL_S) as engine:
        time.sleep(SWEEP_INTERVAL_S)
        first = _claims_ms(engine, known, job.seconds)
        later = _claims_ms(engine, known, job.seconds)
        written = inprocess.written_bytes()
        time.sleep(job.seconds)
        written = inprocess.written_bytes() - written
    return Swept(
        made_s=made_s,
        quiet_p50_ms=quiet[0],
        quiet_p99_ms=quiet[1],
        first_p50_ms=first[0],
        first_p99_ms=first[1],
        later_p50_ms=later[0],
        later_p99_ms=later[1],
        idle_bytes_per_s=written / job.seconds,
    )


def _claims_ms(engine: Engine, known: records.Records, seconds: float) -> tuple[float, float]:
    """Claim at a low rate; return median and p99."""
    found = drive(
        engine,
        known.plan(records.OPEN_LIST),
        in_flight=IN_FLIGHT,
        seconds=seconds,
        rate_per_s=CLAIMS_PER_S,
    )
    return found.latency.quantile_ns(0.5) / 1e6, found.latency.quantile_ns(0.99) / 1e6


def do_events(job: Events) -> Released:
    """Measure a list of many events."""
    known = records.Records(job.seed, job.record_count)
    with Engine(job.store) as engine:
        engine.create_list(records.OWNED_LIST, inprocess.owned_policy())
        engine.upsert_campaign(_NOBODY, "")
        plan = known.plan(
            records.OWNED_LIST,
            in_order=True,
            batch_records=inprocess.FILL_RECORDS,
            claims=0,
            attempts=1,
            campaign_ids=records.OWNERS,
        )
        fill(engine, plan, in_flight=inprocess.FILL_IN_FLIGHT)
        took, most_events = _release_all_the_time(engine, job.seconds)
    with Engine(job.store, background=False) as engine:
        appended_s = [_seconds(lambda: _release(engine)) for _ in range(job.event_count)]
        look_s = statistics.median(
            _seconds(lambda record_id=record_id: _look(engine, record_id))
            for record_id in known.picks(job.seed, _LOOKS)
        )
        owners_s = _seconds(lambda: _owners(engine))
        vacuum_s = _vacuum_s(engine, job.limit_s)
    begin_s, end_s = took[0][0], took[-1][0]
    return Released(
        release_count=len(took),
        first_ms=1e3 * statistics.mean(took_s for at_s, took_s in took if at_s < begin_s + 1),
        last_ms=1e3 * statistics.mean(took_s for at_s, took_s in took if at_s > end_s - 1),
        most_events=most_events,
        append_first_ms=1e3 * statistics.mean(appended_s[:100]),
        append_last_ms=1e3 * statistics.mean(appended_s[-100:]),
        look_us=look_s * 1e6,
        owners_s=owners_s,
        vacuum_s=vacuum_s,
    )


def _release_all_the_time(engine: Engine, seconds: float) -> tuple[list[tuple[float, float]], int]:
    """Release by several callers; return (when, seconds) of each, and the most events seen."""
    took: list[tuple[float, float]] = []
    most_events = 0
    end_s = time.monotonic() + seconds

    def work() -> None:
        while (begin_s := time.monotonic()) < end_s:
            engine.count_released(_release(engine).entry_id)
            took.append((begin_s, time.monotonic() - begin_s))

    threads = [threading.Thread(target=work) for _ in range(RELEASERS)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end_s:
        most_events = max(most_events, engine.stats()["unsettled_event_count"])
        time.sleep(0.05)
    for thread in threads:
        thread.join(60)
    return sorted(took), most_events


def _release(engine: Engine) -> Any:
    return engine.release(records.OWNED_LIST, [_NOBODY], False)


def _look(engine: Engine, record_id: str) -> None:
    request = dial_pb2.GetHolderRequest(list_id=records.OWNED_LIST, record_id=record_id)
    engine.dial(GET_HOLDER, request.SerializeToString())


def _owners(engine: Engine) -> None:
    with engine.snapshot(records.OWNED_LIST) as snapshot:
        snapshot.owners()


def _vacuum_s(engine: Engine, limit_s: float) -> float | None:
    begin_s = time.monotonic()
    while engine.maintain():
        if time.monotonic() - begin_s > limit_s:
            return None
    return time.monotonic() - begin_s


def _seconds(make: Callable[[], object]) -> float:
    begin_s = time.monotonic()
    make()
    return time.monotonic() - begin_s


def main() -> None:
    """Do the job on stdin."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    result = do_crowd(job) if isinstance(job, Crowd) else do_events(job)
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
