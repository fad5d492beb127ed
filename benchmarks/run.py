"""One run of the benchmarks: how large, where, and what its parts share.

Owns the scratch directory and the filled stores in it: a store is filled once, in a process of its
own, by whichever part asks first, and every part that follows finds it as the one before left it.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks import inprocess, processes, records
from benchmarks.report import Report


class Scale(NamedTuple):
    """How much is measured: list sizes, seconds of one measurement and of the sustained one."""

    sizes: tuple[int, ...]
    seconds: float
    warm_up_s: float
    sustained_s: float
    journal_records: int
    rounds: int

    @property
    def largest(self) -> int:
        """Records of the largest list."""
        return self.sizes[-1]


FULL = Scale((10_000, 1_000_000, 10_000_000), 5.0, 1.0, 60.0, 1_000_000, 3)
QUICK = Scale((10_000, 100_000, 300_000), 1.0, 0.3, 4.0, 50_000, 1)


class Run:
    """What every part of the benchmark is given."""

    def __init__(self, scale: Scale, seed: int, directory: Path, report: Report) -> None:
        self.scale = scale
        self.seed = seed
        self.directory = directory
        self.report = report
        self._numbers = itertools.count(1)
        self._filled: dict[tuple[int, bool], Path] = {}

    def pick_seed(self) -> int:
        """Return a seed for a load's picks that no other load of the run has."""
        return self.seed * 1_000_000 + next(self._numbers)

    @property
    def known(self) -> records.Records:
        """The records of the largest list."""
        return records.Records(self.seed, self.scale.largest)

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """Lend an empty directory on the measured disk, then remove it."""
        with scratch(self.directory) as path:
            yield path

    def do(self, job: inprocess.Job, result_type: Any) -> Any:
        """Do a job in a fresh process on all cores; return its result."""
        answer = processes.run_module("benchmarks.inprocess", msgspec.json.encode(job))
        return msgspec.json.decode(answer, type=result_type)

    def filled(self, record_count: int, *, owned: bool = False) -> Path:
        """Return a store with a list of that many records, each decided once."""
        key = (record_count, owned)
        if key not in self._filled:
            store = self.directory / f"{'owned' if owned else 'open'}-{record_count}"
            job = inprocess.Fill(
                store=str(store), seed=self.seed, record_count=record_count, owned=owned
            )
            found = self.do(job, inprocess.Filled)
            self._filled[key] = store
            self.report.add(
                "fills",
                {
                    "list": store.name,
                    "records": record_count,
                    "records/s": found.records_per_s,
                    "seconds": found.seconds,
                    "close s": found.close_s,
                    "store MiB": found.store_bytes / (1 << 20),
                    "own MiB": found.own_bytes / (1 << 20),
                },
            )
        return self._filled[key]

    def drop_store(self, record_count: int, *, owned: bool = False) -> None:
        """Remove a filled store; the next part that asks has it filled anew."""
        shutil.rmtree(self._filled.pop((record_count, owned)))


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """Lend a temporary directory, in `parent` if it is given."""
    path = Path(tempfile.mkdtemp(prefix="ownerd-bench-", dir=parent)).resolve()
    path.chmod(0o711)  # a server that does not run as root has its own directory in it
    try:
        yield path
    finally:
        shutil.rmtree(path)
