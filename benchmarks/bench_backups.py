"""Claims while backups of the store are made, one after the other, beside claims without."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import dialport, processes
from benchmarks.run import Run

IN_FLIGHT = 256
_LIMIT_S = 600.0


class Backups:
    """Backups of a server to a file, one after the other, by `ownerctl`."""

    def __init__(self, server: processes.Server, file: Path) -> None:
        self.count = self.byte_count = 0
        self.seconds = 0.0
        self._stopping = threading.Event()
        self._command = [sys.executable, "-m", "ownerd.ctl", "backup", str(file)]
        self._command += ["--overwrite", "-o", "json", "--server", server.addresses["admin"]]

    def run(self) -> None:
        """Make backups until told to stop; the last one counts too."""
        while not self._stopping.is_set():
            begin_s = time.monotonic()
            done = subprocess.run(self._command, capture_output=True, timeout=_LIMIT_S, check=True)
            self.seconds += time.monotonic() - begin_s
            self.count += 1
            self.byte_count += json.loads(done.stdout)["bytes"]

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Make them while the block lasts."""
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join(_LIMIT_S)


def measure(run: Run) -> None:
    """Measure and report claims with and without backups, in turns."""
    kind = dialport.kinds()[0]
    store = run.filled(run.scale.largest)
    with dialport.serving(store, kind, run.directory) as server:
        for _ in range(run.scale.rounds):
            alone = _claims(run, server)
            backups = Backups(server, run.directory / "backup")
            with backups.under_way():
                beside = _claims(run, server)
            run.report.add(
                "backups",
                {
                    "records": run.scale.largest,
                    "claims/s": alone.decisions_per_s,
                    "beside a backup": beside.decisions_per_s,
                    "ratio": beside.decisions_per_s / alone.decisions_per_s,
                    "p99 ms": alone.p99_ms,
                    "p99 beside": beside.p99_ms,
                    "backups": backups.count,
                    "MB": backups.byte_count / max(1, backups.count) / 1e6,
                    "MB/s": backups.byte_count / backups.seconds / 1e6,
                },
            )
    run.report.show("backups", f"Claims, {IN_FLIGHT} in flight, beside backups, one after another")


def _claims(run: Run, server: processes.Server) -> dialport.Measured:
    return dialport.drive(
        server,
        run.known,
        in_flight=IN_FLIGHT,
        seconds=run.scale.seconds,
        warm_up_s=run.scale.warm_up_s,
        pick_seed=run.pick_seed(),
    )
