"""What ownerd is to reach beside what was measured: reached, missed, or not measured.

Each target names the figure that it is held against; a figure that the run did not produce, because
a part was left out, a peer is not installed or a listener was not built, is not measured.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import bench_cluster, bench_dial, bench_engine, bench_feed, bench_peers, dialport
from benchmarks.peers_h2load import OwnerdByH2load
from benchmarks.peers_ownerd import OwnerdServer
from benchmarks.peers_redis import Redis
from benchmarks.report import Report

ONE, SIXTEEN, UNARY, BATCHES = (shape.name for shape in bench_peers.SHAPES)
NATIVE, GRPCIO = OwnerdServer(dialport.NATIVE).name, OwnerdServer(dialport.GRPCIO).name
ORDINARY = OwnerdByH2load.name


class Missing(Exception):
    """The run has no such figure."""


class Target(NamedTuple):
    """What is to be reached: a limit, and which side of it is good."""

    name: str
    figure: Callable[["Figures"], float]
    limit: float
    at_least: bool
    unit: str


class Figures:
    """Looks up figures of a report."""

    def __init__(self, report: Report, largest: int, smallest: int) -> None:
        self._report = report
        self.largest = largest
        self.smallest = smallest

    def one(self, key: str, figure: str, **members: Any) -> float:
        """Return a figure of the only row under `key` with these members.

        Raises:
            Missing: there is no such row, or it has no such figure.
        """
        for row in self._report.rows(key):
            if all(row.get(name) == value for name, value in members.items()):
                if row.get(figure) is None:
                    break
                return float(row[figure])
        raise Missing

    def most(self, key: str, figure: str) -> float:
        """Return the greatest of a figure under `key`; raises Missing if there is none."""
        found = [row[figure] for row in self._report.rows(key) if row.get(figure) is not None]
        if not found:
            raise Missing
        return float(max(found))

    def peer(self, load: str, contender: str) -> float:
        """Return the decisions a second of a contender beside its peers."""
        return self.one("peers", "decisions/s", load=load, contender=contender)

    def dial(self, load: bench_dial.Shape, contender: str, figure: str = "decisions/s") -> float:
        """Return a figure of the dial port."""
        return self.one("dial", figure, load=load.name, contender=contender)


def _size_share(figures: Figures) -> float:
    small, large = (
        figures.one("engine", "decisions/s", load=bench_engine.BATCHES_RANDOM, records=size)
        for size in (figures.smallest, figures.largest)
    )
    return large / small


def _dial_size_share(figures: Figures) -> float:
    small, large = (
        figures.one("dial sizes", "decisions/s", records=size)
        for size in (figures.smallest, figures.largest)
    )
    return large / small


def _stranger_share(figures: Figures) -> float:
    alone, beside = (
        figures.one("dial strangers", "p99 ms", **{"wrong tokens/s": rate})
        for rate in (0, bench_dial.WRONG_PER_S)
    )
    return beside / alone


def _vacuum_share(change: str) -> Callable[[Figures], float]:
    def share(figures: Figures) -> float:
        during = figures.one("changes", "p99 vacuum", change=change)
        return during / figures.one("changes", "p99 before", change=change)

    return share


def _protected_share(protection: dialport.Protection) -> Callable[["Figures"], float]:
    return lambda figures: (
        figures.dial(bench_dial.CLAIMS, bench_dial.protected(protection))
        / figures.dial(bench_dial.CLAIMS, dialport.NATIVE)
    )


def _beside_redis(load: str, contender: str) -> Callable[[Figures], float]:
    return lambda figures: figures.peer(load, contender) / figures.peer(load, Redis.name)


def _in_force(change: str) -> Callable[[Figures], float]:
    return lambda figures: figures.one("changes", "in force ms", change=change)


def _own_mb(figures: Figures) -> float:
    """Return the most own memory of any process over the largest list, in MB."""
    found = []
    for key in (bench_engine.SUSTAINED, "owners"):
        try:
            found.append(figures.most(key, "own MiB"))
        except Missing:
            continue
    if not found:
        raise Missing
    return max(found) * (1 << 20) / 1e6


TARGETS = (
    Target(
        "engine in process, batches, sustained",
        lambda f: f.most(bench_engine.SUSTAINED, "decisions/s"),
        500_000,
        True,
        "decisions/s",
    ),
    Target(
        "Claim, native listener, 256 in flight",
        lambda f: f.dial(bench_dial.CLAIMS, dialport.NATIVE),
        150_000,
        True,
        "claims/s",
    ),
    Target(
        "the same by h2load beside Redis SET NX EX, appendfsync always",
        _beside_redis(UNARY, ORDINARY),
        1.7,
        True,
        "x",
    ),
    Target("the same, 16 in flight", _beside_redis(SIXTEEN, ORDINARY), 1.2, True, "x"),
    Target("the same, one at a time", _beside_redis(ONE, ORDINARY), 0.9, True, "x"),
    Target(
        "Claim, 256 in flight, server's processor time",
        lambda f: f.dial(bench_dial.CLAIMS, dialport.NATIVE, "server us"),
        10,
        False,
        "us a claim",
    ),
    Target(
        "the same with a token beside without",
        _protected_share(dialport.Protection(token=True)),
        0.9,
        True,
        "x",
    ),
    Target(
        "the same over TLS beside plaintext",
        _protected_share(dialport.Protection(tls=True)),
        0.75,
        True,
        "x",
    ),
    Target(
        "the same, p99 at half of the peak rate",
        lambda f: f.one("dial offered", "p99 ms", contender=dialport.NATIVE, share=0.5),
        2,
        False,
        "ms",
    ),
    Target(
        "ClaimBatch of 1,000, native listener",
        lambda f: f.dial(bench_dial.BATCHES, dialport.NATIVE),
        1_000_000,
        True,
        "decisions/s",
    ),
    Target(
        "the same beside Redis pipelined by 1,000", _beside_redis(BATCHES, NATIVE), 2, True, "x"
    ),
    Target("the same by h2load", _beside_redis(BATCHES, ORDINARY), 1.6, True, "x"),
    Target(
        "ClaimBatch of 1,000 on grpcio beside Redis pipelined",
        _beside_redis(BATCHES, GRPCIO),
        2,
        True,
        "x",
    ),
    Target(
        "Claim on grpcio beside an empty grpc.aio handler",
        lambda f: (
            f.dial(bench_dial.CLAIMS, dialport.GRPCIO) / f.dial(bench_dial.CLAIMS, bench_dial.EMPTY)
        ),
        0.9,
        True,
        "x",
    ),
    Target("largest list beside the smallest, engine, batches", _size_share, 1 / 2, True, "x"),
    Target(
        "largest list beside the smallest, native listener, Claim",
        _dial_size_share,
        2 / 3,
        True,
        "x",
    ),
    Target("p99 beside 10,000 wrong tokens a second", _stranger_share, 2, False, "x of alone"),
    Target(
        "p99 beside the worst flood", lambda f: f.most("floods", "times"), 2, False, "x of alone"
    ),
    Target("memory five minutes after it", lambda f: f.most("floods", "kept"), 1.1, False, "x"),
    Target("change duration, in force", _in_force("change duration"), 10, False, "ms"),
    Target("release all, in force", _in_force("release all"), 10, False, "ms"),
    Target(
        "release all, counted",
        lambda f: f.one("changes", "counted ms", change="release all"),
        1_000,
        False,
        "ms",
    ),
    Target(
        "change duration, claims' p99 in the vacuum",
        _vacuum_share("change duration"),
        2,
        False,
        "x of before",
    ),
    Target(
        "release all, claims' p99 in the vacuum",
        _vacuum_share("release all"),
        2,
        False,
        "x of before",
    ),
    Target("ListOwners", lambda f: f.most("owners", "idle s"), 1, False, "s"),
    Target("memory beside the page cache", _own_mb, 200, False, "MB"),
    Target(
        "an event of the feed, from the answer to the reader, p99",
        lambda f: f.most("feed", "p99 ms"),
        50,
        False,
        "ms",
    ),
    Target(
        "Claim with a reader of the feed beside without",
        lambda f: (
            f.one("followed", "decisions/s", **{"claims while": bench_feed.FOLLOWED})
            / f.one("followed", "decisions/s", **{"claims while": bench_feed.ALONE})
        ),
        0.9,
        True,
        "x",
    ),
    Target(
        "Claim on a cluster beside one etcd transaction a claim, 256 in flight",
        lambda f: (
            f.one("cluster", "decisions/s", load=bench_cluster.OURS)
            / f.one("cluster", "decisions/s", load=bench_cluster.THEIRS)
        ),
        5,
        True,
        "x",
    ),
    Target(
        "longest time without an answer, leader killed",
        lambda f: f.one("fail-over", "seconds", what=bench_cluster.KILLED),
        2 * bench_cluster.LEASE_S,
        False,
        "s",
    ),
    Target(
        "longest time without an answer, leader stopped",
        lambda f: f.one("fail-over", "seconds", what=bench_cluster.STOPPED),
        1,
        False,
        "s",
    ),
    Target("start after a crash", lambda f: f.most("restart", "seconds"), 2, False, "s"),
)


def show(report: Report, largest: int, smallest: int) -> None:
    """Print and keep every target beside its figure."""
    figures = Figures(report, largest, smallest)
    for target in TARGETS:
        try:
            value = target.figure(figures)
        except Missing:
            report.keep("targets", _row(target, None, "not measured"))
            continue
        reached = value >= target.limit if target.at_least else value <= target.limit
        report.keep("targets", _row(target, value, "reached" if reached else "MISSED"))
    report.show("targets", f"Targets, lists of up to {largest:,} records")


def _row(target: Target, value: float | None, verdict: str) -> dict[str, Any]:
    return {
        "what": target.name,
        "measured": value,
        "target": f"{'at least' if target.at_least else 'at most'} {_spelt_limit(target.limit)}",
        "unit": target.unit,
        "verdict": verdict,
    }


def _spelt_limit(limit: float) -> str:
    return f"{limit:,.0f}" if limit >= 100 else f"{limit:.3g}"
