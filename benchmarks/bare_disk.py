"""How long the machine alone makes anybody wait who answers only after a sync.

A page is written over and synced, again and again, while one core computes. Who comes while one is
under way waits for it and for the next, as a claim does that comes to a group commit. On a disk
that others share, and on a virtual machine whose host halts it when disk and processors together
have had their share of a period, that tells a wait of ownerd's from one that no program escapes.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import percentile

_PAGE = 4096
_PAGES = 8192
_ARRIVALS_PER_S = 10_000


@contextmanager
def _busy_core() -> Iterator[None]:
    """Have one core compute while the context lasts."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def wait_ms(directory: Path, seconds: float, share: float) -> float:
    """Return the wait, in ms, that `share` (0 to 1) of those who come at any time do not exceed."""
    with _busy_core(), tempfile.NamedTemporaryFile(dir=directory, buffering=0) as file:
        # Blocks that exist are written over, as in a segment of the log.
        for _ in range(_PAGES):
            file.write(bytes(_PAGE))
        os.fsync(file.fileno())
        begun_s = [time.monotonic()]
        while begun_s[-1] < begun_s[0] + seconds:
            os.pwrite(file.fileno(), bytes(_PAGE), len(begun_s) % _PAGES * _PAGE)
            os.fdatasync(file.fileno())
            begun_s.append(time.monotonic())
    return percentile(_waits_ms(begun_s), share)


def _waits_ms(begun_s: list[float]) -> list[float]:
    """Return the waits of arrivals that are equally far apart, the shortest first."""
    waits, at = [], 0
    for number in range(int((begun_s[-2] - begun_s[0]) * _ARRIVALS_PER_S)):
        come_s = begun_s[0] + number / _ARRIVALS_PER_S
        while begun_s[at + 1] <= come_s:
            at += 1
        waits.append((begun_s[min(at + 2, len(begun_s) - 1)] - come_s) * 1e3)
    return sorted(waits)
