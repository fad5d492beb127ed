"""All benchmarks by one command: the engine, its peers, its limits, lists, the dial port, the feed.

    python -m benchmarks [--quick] [--only engine,peers] [--rounds 3] [--json FILE] [--plots DIR]

Prints a table for each part and, at the end, the targets beside what was measured.
Every contender is a fresh process; inputs are seeded; nothing but loopback is used. The full run
takes most of an hour and about 20 GB of disk, the quick one a few minutes and no figure of it is
worth quoting.
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cyclopts
import grpc

from benchmarks import (
    bench_backups,
    bench_changes,
    bench_cluster,
    bench_dial,
    bench_engine,
    bench_feed,
    bench_floods,
    bench_limits,
    bench_lists,
    bench_peers,
    plots,
    targets,
)
from benchmarks.report import Report, facts
from benchmarks.run import FULL, QUICK, Run, scratch

PARTS = {
    "sustained": bench_engine.measure_sustained,
    "engine": bench_engine.measure,
    "limits": bench_limits.measure,
    "changes": bench_changes.measure,
    "lists": bench_lists.measure,
    "dial": bench_dial.measure,
    "feed": bench_feed.measure,
    "floods": bench_floods.measure,
    "peers": bench_peers.measure,
    "backups": bench_backups.measure,
    "cluster": bench_cluster.measure,
}


def main(
    *,
    quick: bool = False,
    only: str = "",
    rounds: Annotated[int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=0))] = 0,
    records: int = 0,
    seconds: float = 0.0,
    sustained: float = 0.0,
    seed: int = 1,
    directory: Path | None = None,
    json: Path | None = None,
    plots_directory: Annotated[Path | None, cyclopts.Parameter(name="--plots")] = None,
) -> None:
    """Measure ownerd beside its peers and its targets.

    Args:
        quick: A small run, to see that everything works.
        only: Parts to run, with commas between; by default all of them.
        rounds: Rounds of each contender where contenders take turns; 0: as the scale has it.
        records: Records of the largest list; 0: as the scale has it.
        seconds: Length of one measurement; 0: as the scale has it.
        sustained: Length of the sustained measurement; 0: as the scale has it.
        seed: Seed of record ids and picks.
        directory: Where to put the temporary stores; it decides which disk is measured.
        json: File to write everything to.
        plots_directory: Directory to write pictures to.
    """
    scale = QUICK if quick else FULL
    scale = scale._replace(
        rounds=rounds or scale.rounds,
        seconds=seconds or scale.seconds,
        sizes=(*scale.sizes[:-1], records or scale.largest),
        sustained_s=sustained or scale.sustained_s,
    )
    parts = only.split(",") if only else list(PARTS)
    if unknown := set(parts) - set(PARTS):
        raise SystemExit(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    report = Report("ownerd")
    with scratch(directory) as path:
        run = Run(scale, seed, path, report)
        report.show_facts(facts(path) | {"seed": seed, "scale": scale._asdict()})
        failed = [part for part in parts if not _measured(part, run)]
    targets.show(report, scale.largest, scale.sizes[0])
    if json is not None:
        report.write(json)
    if plots_directory is not None:
        for path in plots.draw(report, plots_directory):
            report.note(f"drawn: {path}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; see the lines above")


def _measured(part: str, run: Run) -> bool:
    """Measure a part; False if it failed, so that the others are measured all the same."""
    try:
        PARTS[part](run)
    except (RuntimeError, OSError, subprocess.SubprocessError, grpc.RpcError) as error:
        run.report.data.setdefault("failed", {})[part] = str(error)
        run.report.note(f"{part} failed: {error}")
        return False
    return True


if __name__ == "__main__":
    cyclopts.run(main)
