"""What a benchmark prints and writes: facts about the machine, tables, JSON.

Everything here comes from the run; no figure is typed in.
"""

import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import ownerd
from benchmarks.processes import ROOT

_WIDTH_MIN = 200  # a narrower terminal wraps lines; that is better than cells cut short
_SYNCS = 100


def percentile(ordered: Sequence[int], share: float) -> float:
    """Return the value that `share` (0 to 1) of an ordered sequence does not exceed."""
    if not ordered:
        return float("nan")
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


def facts(directory: Path) -> dict[str, Any]:
    """Return what the figures depend on besides ownerd: machine, disk, versions, commit."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load average, 1 min": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {
            "ownerd": ownerd.__version__,
            **{name: metadata.version(name) for name in ("grpcio", "lmdb", "protobuf")},
        },
        "file system": _file_system(directory),
        "append and fdatasync of 4 KiB, us": round(_sync_us(directory), 1),
    }


def _commit() -> str:
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(directory: Path) -> str:
    """Return the type of the file system that a directory is on; tmpfs makes nothing durable."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    held = [(len(place), kind) for place, kind in mounts if directory.is_relative_to(place)]
    kind = max(held)[1] if held else "unknown"
    return f"{kind} (in memory: no figure of this run is durable)" if kind == "tmpfs" else kind


def _sync_us(directory: Path) -> float:
    """Return the median time of appending a page to a file and syncing it, on the store's disk."""
    took_ns = []
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        for _ in range(_SYNCS):
            begin_ns = time.monotonic_ns()
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
            took_ns.append(time.monotonic_ns() - begin_ns)
    return statistics.median(took_ns) / 1e3


class Report:
    """The output of one run: tables as they come, and all of it as data for `--json`."""

    def __init__(self, title: str) -> None:
        console = Console()
        self._console = console if console.width >= _WIDTH_MIN else Console(width=_WIDTH_MIN)
        self.data: dict[str, Any] = {"benchmark": title}
        self._console.print(f"[bold]{title}[/bold]")

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def show_facts(self, found: Mapping[str, Any]) -> None:
        """Print and keep the conditions of the run."""
        self.data["facts"] = dict(found)
        for key, value in found.items():
            if isinstance(value, Mapping):
                value = ", ".join(f"{name} {version}" for name, version in value.items())
            self.note(f"  {key}: {value}")

    def keep(self, key: str, row: Mapping[str, Any]) -> None:
        """Keep a row under `key`."""
        self.data.setdefault(key, []).append(dict(row))

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Keep a row under `key`, and say on one line that it is there."""
        self.keep(key, row)
        subject = " ".join(value for value in row.values() if isinstance(value, str))
        figures = [f"{name} {_spelt(value)}" for name, value in row.items() if _is_figure(value)]
        self.note(f"  . {subject}: {', '.join(figures[:5])}")

    def rows(self, key: str) -> list[dict[str, Any]]:
        """Return what was added under `key`."""
        return self.data.get(key, [])

    def keep_medians(self, key: str, subject: Sequence[str], figure: str) -> None:
        """Of the rows under `key` with the same `subject` members keep that of the median `figure`.

        The figures of all of them stay in it, under `rounds`.
        """
        rounds: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in self.rows(key):
            rounds.setdefault(tuple(row[name] for name in subject), []).append(row)
        self.data[key] = [
            sorted(rows, key=lambda row: float(row[figure]))[(len(rows) - 1) // 2]
            | {"rounds": [row[figure] for row in rows]}
            for rows in rounds.values()
        ]

    def show(self, key: str, caption: str) -> None:
        """Print the rows under `key`: a column for each text and figure, none for the rest."""
        if not (rows := self.rows(key)):
            return
        self.note(f"\n[bold]{caption}[/bold]")
        table = Table(box=None, padding=(0, 2, 0, 0))
        names = [n for n, v in rows[0].items() if isinstance(v, str) or _is_figure(v)]
        for name in names:
            justify = "left" if isinstance(rows[0][name], str) else "right"
            table.add_column(name, justify=justify, no_wrap=True)
        for row in rows:
            table.add_row(*(_spelt(row.get(name)) for name in names))
        self._console.print(table)

    def show_groups(self, key: str, caption: str) -> None:
        """Print how many commits had so many records, where the engine counts them."""
        rows = [row for row in self.rows(key) if row["group sizes"]]
        if not rows:
            return
        self._console.print(f"[bold]{caption}[/bold] (share of commits by power of two)")
        for row in rows:
            total = max(1, sum(row["group sizes"]))
            shares = [
                f"{1 << power:,}+: {count / total:.0%}"
                for power, count in enumerate(row["group sizes"])
                if count
            ]
            self.note(f"  {row['load']} of {row['records']:,}: {', '.join(shares)}")

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(self.data, indent=2) + "\n", "utf-8")


def _is_figure(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def _spelt(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.3g}"
