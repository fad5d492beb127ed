"""The reference: ClaimBatch through `Engine.dial`, in one process, with no transport at all.

Run as a process on a store that no server has open: `python -m benchmarks.inprocess`, a Job as
JSON on stdin, the Result as JSON on stdout.
"""

import itertools
import sys
import threading
import time

import msgspec

from benchmarks import records
from ownerd.engine import CLAIM_BATCH, Engine

_JOIN_S = 30.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to claim in which store: `threads` callers, each with one batch at a time."""

    store: str
    record_count: int
    seed: int
    batch_records: int
    threads: int
    seconds: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds measured, and the nanoseconds that each call took, sorted."""

    seconds: float
    latencies_ns: list[int]


def measure(job: Job) -> Result:
    """Claim until the time is over."""
    known = records.Records(job.seed, job.record_count)
    bodies = records.claim_batches(known, records.OPEN_LIST, 99, 100, job.batch_records)
    turns = itertools.cycle(bodies)
    latencies: list[int] = []
    with Engine(job.store) as engine:
        begin_s = time.monotonic()

        def claim() -> None:
            while time.monotonic() < begin_s + job.seconds:
                sent_ns = time.monotonic_ns()
                engine.dial(CLAIM_BATCH, next(turns))
                latencies.append(time.monotonic_ns() - sent_ns)

        threads = [threading.Thread(target=claim) for _ in range(job.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(job.seconds + _JOIN_S)
        seconds = time.monotonic() - begin_s
    return Result(seconds=seconds, latencies_ns=sorted(latencies))


if __name__ == "__main__":
    result = measure(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    sys.stdout.buffer.write(msgspec.json.encode(result))
