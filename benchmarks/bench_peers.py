"""Durable claims of ownerd beside Redis, PostgreSQL and etcd making the same decision.

    python -m benchmarks.bench_peers [--records 10000000] [--seconds 3] [--rounds 2] [--json FILE]

A claim takes a record that is free, for a day, and is synced before the answer. Every contender
starts with no record held, in a fresh process with a fresh directory, and is given random records
of the same number; contenders take turns, round by round, and a figure is the median of its rounds.
A peer that is not installed is skipped and named. Nothing but loopback is used.

Caveats: each server is loaded by the tool that suits it, and all share the same cores with it
unless `--pinned`: redis-benchmark and pgbench are native; the client over grpcio (ownerd's server,
etcd) is Python and often the limit itself. The engine is called from Python threads in its own
process, so it pays for no transport, and its CPU and memory are its callers' too. Memory is taken
after the load, when PostgreSQL's backends have ended. A record drawn twice is denied by Redis and
etcd, which write nothing for it, as `granted share` shows; ownerd and PostgreSQL renew the claim
and write again. The p50 and p99 of pipelined Redis are until the first answer of a thousand, of
other batches until the last.
"""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cyclopts

from benchmarks import peers, processes
from benchmarks.peers_etcd import Etcd
from benchmarks.peers_ownerd import OwnerdEngine, OwnerdGrpcio
from benchmarks.peers_postgres import Postgres
from benchmarks.peers_redis import Redis
from benchmarks.report import Report, facts

WARM_UP_S = 0.5
SHAPES = (
    peers.Shape("Claim, 64 in flight", 64, 1),
    peers.Shape("Claim, 256 in flight", 256, 1),
    peers.Shape("Batches of 1,000, 8 in flight", 8, 1_000),
)
CONTENDERS: tuple[peers.Contender, ...] = (
    OwnerdEngine(), OwnerdGrpcio(), Redis(), Postgres(), Etcd()
)  # fmt: skip


def main(
    *,
    records: Annotated[
        int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=1_000))
    ] = 10_000_000,
    seconds: Annotated[int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=1))] = 3,
    rounds: Annotated[int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=1))] = 2,
    seed: int = 1,
    pinned: bool = False,
    directory: Path | None = None,
    json: Path | None = None,
) -> None:
    """Measure durable claims of ownerd and its peers.

    Args:
        records: Records that may be claimed.
        seconds: Length of one measurement.
        rounds: Measurements of each contender under each load.
        seed: Seed of record ids and picks.
        pinned: One core for the server and another for its load, where there are two.
        directory: Where to put the temporary stores; it decides which disk is measured.
        json: File to write everything to.
    """
    report = Report("ownerd and its peers")
    with _scratch(directory) as scratch:
        cores = processes.choose_cores(pinned)
        contenders = _present(report)
        report.show_facts(facts(scratch) | {
            "contenders": {contender.name: contender.version() for contender in contenders},
            "placement": cores.text, "seed": seed, "records": records,
            "load": f"{rounds} rounds of {seconds} s",
        })  # fmt: skip
        for shape in SHAPES:
            task = peers.Task(shape, records, seed, seconds, WARM_UP_S, scratch, cores)
            _measure_shape(report, contenders, task, rounds)
    if json is not None:
        report.write(json)


@contextmanager
def _scratch(parent: Path | None) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ownerd-bench-", dir=parent)).resolve()
    path.chmod(0o711)  # a server that does not run as root has its own directory in it
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _present(report: Report) -> list[peers.Contender]:
    """Return the contenders that can run here; name the others."""
    found = []
    report.data["skipped"] = {}
    for contender in CONTENDERS:
        try:
            contender.version()
        except peers.Missing as why:
            report.data["skipped"][contender.name] = str(why)
            report.note(f"{contender.name} is skipped: {why}")
        else:
            found.append(contender)
    return found


def _measure_shape(
    report: Report, contenders: Sequence[peers.Contender], task: peers.Task, rounds: int
) -> None:
    """Measure one kind of load with every contender that has it; print the table."""
    able = [contender for contender in contenders if not contender.why_not(task.shape)]
    found: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in able}
    for _ in range(rounds):
        for contender in able:
            found[contender.name].append(_measure_once(contender, task))
    rows = [
        {"contender": name}
        | {key: statistics.median(each[key] for each in rows) for key in rows[0]}
        | {"rounds": rows}
        for name, rows in found.items()
    ]
    ours = [row["decisions/s"] for row in rows[:2]]
    for row in rows:
        row["ownerd engine / it"] = ours[0] / row["decisions/s"]
        row["ownerd over grpcio / it"] = ours[1] / row["decisions/s"]
    report.show_table(task.shape.name, task.shape.name, ("contender",), rows)
    for contender in contenders:
        if why := contender.why_not(task.shape):
            report.note(f"{contender.name} has no such load: {why}")


def _measure_once(contender: peers.Contender, task: peers.Task) -> dict[str, Any]:
    with _scratch(task.directory) as fresh:
        return contender.measure(task._replace(directory=fresh)).row()


if __name__ == "__main__":
    cyclopts.run(main)
