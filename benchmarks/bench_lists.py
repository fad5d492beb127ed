"""Many lists of which nothing changes, and a list that is released all the time."""

from typing import Any

import msgspec

from benchmarks import processes, sweeping
from benchmarks.run import Run

# As shares of the largest list, so that a quick run is quick.
LISTS = 1 / 100
EVENTS = 1 / 1_000
RECORDS = 1 / 100
VACUUM_LIMIT_S = 60.0


def measure(run: Run) -> None:
    """Measure and report every row."""
    _measure_crowd(run)
    _measure_events(run)


def _do(job: sweeping.Job, result_type: Any) -> Any:
    answer = processes.run_module("benchmarks.sweeping", msgspec.json.encode(job))
    return msgspec.json.decode(answer, type=result_type)


def _measure_crowd(run: Run) -> None:
    list_count = int(run.scale.largest * LISTS)
    with run.fresh() as store:
        job = sweeping.Crowd(
            store=str(store), seed=run.seed, list_count=list_count, seconds=run.scale.seconds
        )
        found = _do(job, sweeping.Swept)
    run.report.add(
        "sweeps",
        {
            "lists": list_count,
            "p50 quiet": found.quiet_p50_ms,
            "p99 quiet": found.quiet_p99_ms,
            "p50 first": found.first_p50_ms,
            "p99 first": found.first_p99_ms,
            "p50 later": found.later_p50_ms,
            "p99 later": found.later_p99_ms,
            "written idle KiB/s": found.idle_bytes_per_s / 1024,
            "made s": found.made_s,
        },
    )
    run.report.show("sweeps", "Claims while lists that nobody changes are swept every second; ms")


def _measure_events(run: Run) -> None:
    record_count = int(run.scale.largest * RECORDS)
    event_count = int(run.scale.largest * EVENTS)
    with run.fresh() as store:
        job = sweeping.Events(
            store=str(store),
            seed=run.seed,
            record_count=record_count,
            event_count=event_count,
            seconds=2 * run.scale.seconds,
            limit_s=VACUUM_LIMIT_S,
        )
        found = _do(job, sweeping.Released)
    run.report.add(
        "releases",
        {
            "callers": sweeping.RELEASERS,
            "records": record_count,
            "releases": found.release_count,
            "ms, first second": found.first_ms,
            "ms, last second": found.last_ms,
            "most events": found.most_events,
        },
    )
    run.report.show("releases", "A list released by several callers all the time, with counts")
    run.report.add(
        "events",
        {
            "events": event_count,
            "records": record_count,
            "append ms, first": found.append_first_ms,
            "append ms, last": found.append_last_ms,
            "GetHolder us": found.look_us,
            "ListOwners s": found.owners_s,
            "counted and vacuumed s": found.vacuum_s,
        },
    )
    run.report.show("events", "A list of many events that no record has seen and nobody counted")
