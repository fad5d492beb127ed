"""The engine in process, by its native load: list sizes, key orders, mixes, calls in flight.

Every row is a fresh process on a store in which each record of the list exists already, and every
decision writes; see `inprocess` for the caveats.
"""

from typing import Any

from benchmarks import bare_disk, inprocess
from benchmarks.run import Run

BATCH = 1_000
BATCHES_IN_FLIGHT = 8
IN_FLIGHT = (1, 16, 256)
MIXES = ((3, 1), (1, 1))
SUSTAINED = "sustained"
BATCHES_RANDOM = "batches, random"
ENGINE = "engine in process"
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)


def measure(run: Run) -> None:
    """Measure and report every row."""
    for size in run.scale.sizes:
        run.filled(size)
    run.report.show("fills", "Filled in key order, in batches of 10,000")
    for size in run.scale.sizes:
        _row(run, BATCHES_RANDOM, size)
    _row(run, "batches, in key order", run.scale.largest, in_order=True)
    for claims, attempts in MIXES:
        name = f"batches, {claims} claims : {attempts} attempts"
        _row(run, name, run.scale.largest, claims=claims, attempts=attempts)
    for in_flight in IN_FLIGHT:
        _row(
            run,
            f"Claim, {in_flight} in flight",
            run.scale.largest,
            batch_records=1,
            in_flight=in_flight,
        )
    for size in run.scale.sizes[:-1]:
        _row(
            run, f"Claim, {IN_FLIGHT[-1]} in flight", size, batch_records=1, in_flight=IN_FLIGHT[-1]
        )
    run.report.show(
        "engine", f"The engine in process; batches of {BATCH:,}, {BATCHES_IN_FLIGHT} in flight"
    )
    run.report.show_groups("engine", "Commits by records in them")
    _measure_offered(run)


def measure_sustained(run: Run) -> None:
    """Measure and report batches on the largest list for long enough to flush several times."""
    found = _drive(run, run.scale.largest, seconds=run.scale.sustained_s)
    run.report.add(SUSTAINED, _engine_row(BATCHES_RANDOM, run.scale.largest, found))
    run.report.show(SUSTAINED, f"The engine in process, sustained {run.scale.sustained_s:g} s")
    run.report.show_groups(SUSTAINED, "Commits by records in them")


def _measure_offered(run: Run) -> None:
    """Claim at shares of the peak rate, whether or not earlier calls were answered."""
    peak = next(
        row["decisions/s"]
        for row in run.report.rows("engine")
        if row["load"] == f"Claim, {IN_FLIGHT[-1]} in flight"
    )
    for share in SHARES:
        bare_ms = bare_disk.wait_ms(run.directory, run.scale.seconds, 0.99)
        found = _drive(
            run,
            run.scale.largest,
            batch_records=1,
            in_flight=4 * IN_FLIGHT[-1],
            rate_per_s=share * peak,
        )
        run.report.add(
            "engine offered",
            {
                "contender": ENGINE,
                "share": share,
                "offered/s": share * peak,
                "decisions/s": found.decisions_per_s,
                "p50 ms": found.p50_ms,
                "p99 ms": found.p99_ms,
                "p99.9 ms": found.p999_ms,
                "max ms": found.max_ms,
                "bare p99 ms": bare_ms,
                "engine us": found.engine_cpu_us,
            },
        )
    run.report.show("engine offered", "The engine in process, latency at a share of the peak rate")


def _drive(run: Run, size: int, **more: Any) -> inprocess.Driven:
    settings = {
        "in_flight": BATCHES_IN_FLIGHT,
        "batch_records": BATCH,
        "seconds": run.scale.seconds,
        "warm_up_s": run.scale.warm_up_s,
    } | more
    job = inprocess.Drive(
        store=str(run.filled(size)),
        seed=run.seed,
        record_count=size,
        pick_seed=run.pick_seed(),
        **settings,
    )
    found: inprocess.Driven = run.do(job, inprocess.Driven)
    return found


def _row(run: Run, name: str, size: int, **more: Any) -> None:
    run.report.add("engine", _engine_row(name, size, _drive(run, size, **more)))


def _engine_row(name: str, size: int, found: inprocess.Driven) -> dict[str, Any]:
    """Return a result under the names that the report prints."""
    return {
        "load": name,
        "records": size,
        "decisions/s": found.decisions_per_s,
        "lowest second": found.lowest_second,
        "p50 ms": found.p50_ms,
        "p99 ms": found.p99_ms,
        "p99.9 ms": found.p999_ms,
        "max ms": found.max_ms,
        "writer us": found.writer_cpu_us,
        "engine us": found.engine_cpu_us,
        "load cores": found.load_core_share,
        "group": found.group_mean,
        "bytes out": found.written_bytes,
        "write amp.": found.written_bytes / inprocess.RECORD_BYTES,
        "own MiB": found.own_bytes / (1 << 20),
        "store MiB": found.store_bytes / (1 << 20),
        "errors": sum(found.errors.values()),
        "answers": found.answers,
        "group sizes": found.group_sizes,
        "by second": found.by_second,
    }
