"""Changes of a whole list, its owners listed, and a start after a crash, on the largest list."""

import subprocess

import msgspec

from benchmarks import changing, crashing, processes
from benchmarks.run import Run

VACUUM_LIMIT_S = 180.0
CRASH_S = 180.0


def measure(run: Run) -> None:
    """Measure and report every row."""
    _measure_changes(run)
    _measure_crash(run)


def _measure_changes(run: Run) -> None:
    job = changing.Job(
        store=str(run.filled(run.scale.largest, owned=True)),
        seed=run.seed,
        record_count=run.scale.largest,
        quiet_s=max(1.0, run.scale.seconds),
        vacuum_limit_s=VACUUM_LIMIT_S,
    )
    answer = processes.run_module("benchmarks.changing", msgspec.json.encode(job))
    found = msgspec.json.decode(answer, type=changing.Result)
    run.drop_store(run.scale.largest, owned=True)  # no longer what its name says
    for change in found.changes:
        run.report.add(
            "changes",
            {
                "change": change.name,
                "records": run.scale.largest,
                "in force ms": change.in_force_ms,
                "counted ms": change.counted_ms,
                "vacuumed s": change.vacuumed_s,
                "p50 before": change.before_p50_ms,
                "p50 vacuum": change.during_p50_ms,
                "p99 before": change.before_p99_ms,
                "p99 vacuum": change.during_p99_ms,
                "max vacuum": change.during_max_ms,
                "errors": change.error_count,
            },
        )
    run.report.show("changes", f"A whole list changed under {found.rate_per_s:,.0f} claims/s; ms")
    for held in found.held:
        run.report.add(
            "held",
            {
                "claims by": held.by,
                "records": run.scale.largest,
                "decisions/s": held.decisions_per_s,
                "p50": held.p50_ms,
                "p99": held.p99_ms,
                "p50 paced": held.paced_p50_ms,
                "p99 paced": held.paced_p99_ms,
                "answers": ", ".join(f"{count:,} {name}" for name, count in held.answers.items()),
            },
        )
    run.report.show("held", "Claims on owned records; ms, paced at half of the most")
    run.report.add(
        "owners",
        {
            "what": "ListOwners",
            "records": run.scale.largest,
            "idle s": found.list_owners_s,
            "under load s": found.list_owners_under_load_s,
            "open s": found.open_s,
            "own MiB": found.own_bytes / (1 << 20),
        },
    )
    run.report.show("owners", "Owners of a whole list counted, in process")


def _measure_crash(run: Run) -> None:
    store = str(run.filled(run.scale.largest))
    died = _crash(run, store)
    answer = processes.run_module(
        "benchmarks.crashing", msgspec.json.encode(crashing.Open(store=store))
    )
    opened = msgspec.json.decode(answer, type=crashing.Opened)
    if opened.revision < died.revision:
        raise RuntimeError(f"revision {died.revision} was answered, {opened.revision} is there")
    run.report.add(
        "restart",
        {
            "what": "start after kill -9",
            "operations": died.operations,
            "unflushed records": died.unflushed,
            "seconds": opened.seconds,
        },
    )
    run.report.show("restart", f"Start after a crash, {run.scale.largest:,} records in the store")


def _crash(run: Run, store: str) -> crashing.Died:
    job = crashing.Crash(
        store=store,
        seed=run.seed,
        record_count=run.scale.largest,
        pick_seed=run.pick_seed(),
        operations=run.scale.journal_records,
    )
    process = processes.start_module(
        "benchmarks.crashing", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        said, _ = process.communicate(msgspec.json.encode(job), timeout=CRASH_S)
    finally:
        if process.poll() is None:
            processes.stop(process)
    return msgspec.json.decode(said, type=crashing.Died)
