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

_WIDTH_MIN = 120
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
    """The output of one run; also kept as data for `--json`."""

    def __init__(self, title: str) -> None:
        console = Console()
        self._console = console if console.width >= _WIDTH_MIN else Console(width=_WIDTH_MIN)
        self.data: dict[str, Any] = {"benchmark": title}
        self._console.print(f"[bold]{title}[/bold]")

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False)

    def show_facts(self, found: Mapping[str, Any]) -> None:
        """Print and keep the conditions of the run."""
        self.data["facts"] = dict(found)
        for key, value in found.items():
            if isinstance(value, Mapping):
                value = ", ".join(f"{name} {version}" for name, version in value.items())
            self.note(f"  {key}: {value}")

    def show_table(
        self, key: str, caption: str, heading: Sequence[str], subjects: Sequence[Mapping[str, Any]]
    ) -> None:
        """Print what was measured of each subject, a column each; keep it under `key`.

        Args:
            heading: the members that head a subject's column; the others are rows, apart from
                those that hold more than one value.
        """
        self.data[key] = list(subjects)
        table = Table(title=caption, title_justify="left", title_style="bold")
        table.add_column("")
        for subject in subjects:
            table.add_column("\n".join(str(subject[part]) for part in heading), justify="right")
        for name, value in subjects[0].items():
            if name not in heading and not isinstance(value, list):
                table.add_row(name, *(_spelt(subject[name]) for subject in subjects))
        self._console.print(table)

    def show_verdict(self, name: str, value: float, target: str, reached: bool) -> None:
        """Print a figure beside its target, and keep it."""
        self.data.setdefault("verdicts", {})[name] = {
            "value": value, "target": target, "reached": reached
        }  # fmt: skip
        mark = "[green]reached[/green]" if reached else "[red]missed[/red]"
        self.note(f"{name}: [bold]{_spelt(value)}[/bold] (target: {target}) {mark}")

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(self.data, indent=2) + "\n", "utf-8")


def _spelt(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.3g}"
