"""The engine in one process with its native load: filled, driven, and measured from within.

Run as a process on a store that no server has open: `python -m benchmarks.inprocess`, a job as
JSON on stdin, its result as JSON on stdout.

Caveats: the load's threads share the machine's cores with the engine; their processor time is
measured and left out of the engine's. Memory is the whole process's, Python included.
"""

import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from benchmarks import records
from ownerd.engine.engine import Engine, Policy
from ownerd.load.engine import drive, fill
from ownerd.load.tally import LoadResult

NS_PER_S = 10**9
FILL_RECORDS = 10_000
FILL_IN_FLIGHT = 6
FILL_LIMIT_S = 900.0
# One record as the store keeps it: key of 13 bytes, a reservation's value of 24, checksum of 4.
RECORD_BYTES = 41

_WATCH_S = 0.2


class Fill(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make a list and decide every record of it once, in key order.

    `owned`: by attempts of OWNERS on the owned list; otherwise by claims of CLAIMER on the open
    one.
    """

    store: str
    seed: int
    record_count: int
    owned: bool


class Drive(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Load a filled store's open list; see `ownerd.load.engine.drive` for the members."""

    store: str
    seed: int
    record_count: int
    pick_seed: int
    in_flight: int
    seconds: float
    warm_up_s: float
    batch_records: int = 1
    claims: int = 1
    attempts: int = 0
    in_order: bool = False
    threads: int = 1
    rate_per_s: float = 0.0


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """How a fill went; the seconds include flushing what it left and closing the store."""

    records_per_s: float
    seconds: float
    close_s: float
    store_bytes: int
    own_bytes: int


class Driven(msgspec.Struct, frozen=True, kw_only=True):
    """What a load measured; times of processors are microseconds a decision.

    `group_sizes` counts the commits by the records in them, a power of two each; empty where the
    engine does not count them, then `group_mean` is all there is. `written_bytes` are those that
    the process gave the kernel for the disk, a decision.
    """

    decisions_per_s: float
    lowest_second: float
    answers: dict[str, int]
    errors: dict[str, int]
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    writer_cpu_us: float
    engine_cpu_us: float
    load_core_share: float
    group_mean: float
    group_sizes: list[int]
    written_bytes: float
    own_bytes: int
    store_bytes: int
    by_second: list[int]


Job = Fill | Drive


class Watch:
    """Looks at the process's own memory while its context lasts; `peak_bytes` is the most."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, own_bytes())
            if self._over.wait(_WATCH_S):
                return


def own_bytes() -> int:
    """Return this process's resident memory that is no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def written_bytes() -> int:
    """Return the bytes that this process has given the kernel to write to disks."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def store_bytes(store: str) -> int:
    """Return the disk space that a store's files take."""
    return sum(path.stat().st_blocks << 9 for path in Path(store).rglob("*") if path.is_file())


def open_policy() -> Policy:
    """Return the policy of the open list."""
    return Policy(
        True,
        records.OPEN_DURATION_S * NS_PER_S,
        records.OPEN_WINDOW_S * NS_PER_S,
        records.OPEN_TTL_S * NS_PER_S,
    )


def owned_policy() -> Policy:
    """Return the policy of the owned list."""
    return Policy(True, records.OWNED_DURATION_S * NS_PER_S, None, records.DAY_S * NS_PER_S)


def do_fill(job: Fill) -> Filled:
    """Fill a store; it is closed when this returns."""
    known = records.Records(job.seed, job.record_count)
    if job.owned:
        plan = known.plan(
            records.OWNED_LIST,
            in_order=True,
            batch_records=FILL_RECORDS,
            claims=0,
            attempts=1,
            campaign_ids=records.OWNERS,
        )
    else:
        plan = known.plan(records.OPEN_LIST, in_order=True, batch_records=FILL_RECORDS)
    begin_s = time.monotonic()
    with Watch() as watch, Engine(job.store) as engine:
        if job.owned:
            engine.create_list(records.OWNED_LIST, owned_policy(), note=b"")
        else:
            engine.create_list(records.OPEN_LIST, open_policy(), note=b"")
        filled_s = time.monotonic()
        found = fill(engine, plan, in_flight=FILL_IN_FLIGHT, limit_s=FILL_LIMIT_S)
        answered_s = time.monotonic()
    if found.errors or found.records != job.record_count:
        raise RuntimeError(f"filled {found.records:,} of {job.record_count:,}: {found.errors}")
    end_s = time.monotonic()
    return Filled(
        records_per_s=found.records / (answered_s - filled_s),
        seconds=end_s - begin_s,
        close_s=end_s - answered_s,
        store_bytes=store_bytes(job.store),
        own_bytes=watch.peak_bytes,
    )


def do_drive(job: Drive) -> Driven:
    """Load a filled store."""
    plan = records.Records(job.seed, job.record_count).plan(
        records.OPEN_LIST,
        batch_records=job.batch_records,
        claims=job.claims,
        attempts=job.attempts,
        in_order=job.in_order,
        pick_seed=job.pick_seed,
    )
    with Engine(job.store) as engine, Watch() as watch:
        before, written = engine.stats(), written_bytes()
        load = drive(
            engine,
            plan,
            in_flight=job.in_flight,
            threads=job.threads,
            seconds=job.seconds,
            warm_up_s=job.warm_up_s,
            rate_per_s=job.rate_per_s,
        )
        after, written = engine.stats(), written_bytes() - written
    if not load.records:
        raise RuntimeError(f"the engine decided nothing: {load.errors}")
    return _driven(job, load, before, after, written, watch.peak_bytes)


def _driven(
    job: Drive, load: LoadResult, before: dict, after: dict, written: int, peak_bytes: int
) -> Driven:
    def ms(share: float) -> float:
        return load.latency.quantile_ns(share) / 1e6

    decided = after["records"] - before["records"]
    groups = after["changed_groups"] - before["changed_groups"]
    sizes = zip(after.get("group_sizes", ()), before.get("group_sizes", ()), strict=True)
    return Driven(
        decisions_per_s=load.records / load.seconds,
        lowest_second=min(load.records_by_second[: int(load.seconds)], default=0),
        answers=load.decisions | load.outcomes,
        errors=load.errors,
        p50_ms=ms(0.5),
        p99_ms=ms(0.99),
        p999_ms=ms(0.999),
        max_ms=load.latency.max_ns / 1e6,
        writer_cpu_us=load.writer_cpu_s / load.records * 1e6,
        engine_cpu_us=(load.process_cpu_s - load.load_cpu_s) / load.records * 1e6,
        load_core_share=load.load_cpu_s / load.seconds,
        group_mean=decided / max(1, groups),
        group_sizes=[late - early for late, early in sizes],
        written_bytes=written / decided,
        own_bytes=peak_bytes,
        store_bytes=store_bytes(job.store),
        by_second=load.records_by_second,
    )


def main() -> None:
    """Do the job on stdin."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    result = do_fill(job) if isinstance(job, Fill) else do_drive(job)
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
