"""The feed: how long an event takes from the answer to a reader, and what readers cost the writer.

Claims come at a fixed rate while attempts are reported beside them, and one reader follows the list
without reservations. Then the most claims that are answered, with such a reader and without, taking
turns.
"""

from concurrent.futures import ThreadPoolExecutor

import msgspec

from benchmarks import dialport, following, processes, records
from benchmarks.run import Run

CLAIMS_PER_S = 50_000
REPORTS_PER_S = 5_000
IN_FLIGHT = 256
ALONE, FOLLOWED = "nobody follows", "one follows"


def measure(run: Run) -> None:
    """Measure and report every row."""
    if dialport.NATIVE not in dialport.kinds():
        run.report.note("no native dial listener in this build; the feed is not measured")
        return
    _measure_delay(run)
    for _ in range(run.scale.rounds):
        for who in (ALONE, FOLLOWED):
            _measure_rate(run, who)
    run.report.keep_medians("followed", ("claims while",), "decisions/s")
    run.report.show("followed", "The most claims, with a reader of the feed and without")


def _job(run: Run, server: processes.Server, reports_per_s: int) -> bytes:
    return msgspec.json.encode(
        following.Job(
            dial=server.addresses["dial"],
            admin=server.addresses["admin"],
            list_id=records.OPEN_LIST,
            reports_per_s=reports_per_s,
            seconds=run.scale.seconds + run.scale.warm_up_s,
        )
    )


def _drive(run: Run, server: processes.Server, rate_per_s: float) -> dialport.Measured:
    return dialport.drive(
        server,
        run.known,
        in_flight=IN_FLIGHT,
        seconds=run.scale.seconds,
        warm_up_s=run.scale.warm_up_s,
        pick_seed=run.pick_seed(),
        rate_per_s=rate_per_s,
    )


def _measure_delay(run: Run) -> None:
    store = run.filled(run.scale.largest)
    with (
        dialport.serving(store, dialport.NATIVE, run.directory) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        job = _job(run, server, REPORTS_PER_S)
        follower = pool.submit(processes.run_module, "benchmarks.following", job)
        claims = _drive(run, server, CLAIMS_PER_S)
        found = msgspec.json.decode(follower.result(), type=following.Result)
    run.report.add(
        "feed",
        {
            "claims/s": claims.decisions_per_s,
            "reports/s": (found.event_count + found.late_count)
            / (run.scale.seconds + run.scale.warm_up_s),
            "events": found.event_count,
            "missing": found.late_count,
            "p50 ms": found.p50_ms,
            "p99 ms": found.p99_ms,
            "max ms": found.max_ms,
        },
    )
    run.report.show("feed", "From the answer of a report to its event at a reader")


def _measure_rate(run: Run, who: str) -> None:
    store = run.filled(run.scale.largest)
    with (
        dialport.serving(store, dialport.NATIVE, run.directory) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        follower = None
        if who == FOLLOWED:
            job = _job(run, server, 0)
            follower = pool.submit(processes.run_module, "benchmarks.following", job)
        claims = _drive(run, server, 0.0)
        if follower is not None:
            follower.result()
    run.report.add("followed", {"claims while": who, **claims.row()})
