"""Durable claims of ownerd beside Redis, PostgreSQL and etcd making the same decision.

A claim takes a record that is free or one's own, for a day, and is synced before the answer. Every
contender is a fresh process and is given random records of the same number; contenders take turns,
round by round, and a figure is that of the round with the median rate. A peer that is not installed
is skipped and named.

Caveats: each server is loaded by the tool that suits it, and all share the same cores with it:
redis-benchmark, pgbench, and ownerd's own native load for itself and etcd; ownerd also by h2load,
which is nobody's own. Memory is taken after the load, when PostgreSQL's backends have ended. The
peers begin with no record held; ownerd's list holds all of them. A record drawn twice is denied by
Redis and etcd, which write nothing for it, as `granted` shows; ownerd and PostgreSQL renew the
claim and write again. The p50 and p99 of pipelined Redis are until the first answer of a thousand,
of other batches until the last.
"""

from collections.abc import Sequence

from benchmarks import dialport, peers
from benchmarks.peers_etcd import Etcd
from benchmarks.peers_h2load import OwnerdByH2load
from benchmarks.peers_ownerd import OwnerdEngine, OwnerdServer
from benchmarks.peers_postgres import Postgres
from benchmarks.peers_redis import Redis
from benchmarks.run import Run

SHAPES = (
    peers.Shape("Claim, one at a time", 1, 1),
    peers.Shape("Claim, 16 in flight", 16, 1),
    peers.Shape("Claim, 256 in flight", 256, 1),
    peers.Shape("batches of 1,000, 8 in flight", 8, 1_000),
)


def measure(run: Run) -> None:
    """Measure and report every row."""
    contenders = _present(run)
    for shape in SHAPES:
        able = [contender for contender in contenders if not contender.why_not(shape)]
        for _ in range(run.scale.rounds):
            for contender in able:
                _measure_once(run, contender, shape)
        for contender in contenders:
            if why := contender.why_not(shape):
                run.report.note(f"{contender.name} has no {shape.name}: {why}")
    run.report.keep_medians("peers", ("load", "contender"), "decisions/s")
    run.report.show("peers", f"Durable claims beside peers, {run.scale.largest:,} records")


def _present(run: Run) -> Sequence[peers.Contender]:
    """Return the contenders that can run here; name the others."""
    every: list[peers.Contender] = [
        OwnerdEngine(),
        OwnerdServer(dialport.NATIVE),
        OwnerdByH2load(),
        OwnerdServer(dialport.GRPCIO),
        Redis(),
        Postgres(),
        Etcd(),
    ]
    found = []
    skipped = run.report.data.setdefault("skipped", {})
    versions = run.report.data.setdefault("contenders", {})
    for contender in every:
        try:
            versions[contender.name] = contender.version()
        except peers.Missing as why:
            skipped[contender.name] = str(why)
            run.report.note(f"{contender.name} is skipped: {why}")
        else:
            found.append(contender)
    run.report.note(", ".join(f"{name} {version}" for name, version in versions.items()))
    return found


def _measure_once(run: Run, contender: peers.Contender, shape: peers.Shape) -> None:
    with run.fresh() as directory:
        task = peers.Task(
            shape,
            run.scale.largest,
            run.seed,
            run.pick_seed(),
            run.scale.seconds,
            run.scale.warm_up_s,
            directory,
            run.filled(run.scale.largest),
        )
        figures = contender.measure(task)
    run.report.add("peers", {"load": shape.name, "contender": contender.name, **figures.row()})
