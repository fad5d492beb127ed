"""The reference: claims through `Engine.dial`, in one process, with no transport at all.

Run as a process on a store that no server has open: `python -m benchmarks.inprocess`, a Job as
JSON on stdin, the Result as JSON on stdout.
"""

import itertools
import os
import sys
import threading
import time

import msgspec

from benchmarks import processes, records
from ownerd.engine import CLAIM, CLAIM_BATCH, Engine, Policy

_JOIN_S = 30.0
_PICK_SEED = 99
_STACK_BYTES = 256 << 10


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to claim in which store: `threads` callers, each with one call at a time.

    `batch_records` 1 measures Claim. `fresh`: the store is new, and its list is created first.
    """

    store: str
    record_count: int
    seed: int
    batch_records: int
    threads: int
    seconds: float
    warm_up_s: float = 0.0
    bodies: int = 100
    fresh: bool = False


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds measured, and the nanoseconds that each call took, sorted.

    `core_share`, over the time measured, and `own_bytes`, at its end, are the whole process's: the
    engine's and its callers', with the requests they had ready.
    """

    seconds: float
    latencies_ns: list[int]
    core_share: float
    own_bytes: int
    last_answer: bytes


def measure(job: Job) -> Result:
    """Claim until the time is over."""
    kind, bodies = _calls(job)
    with Engine(job.store) as engine:
        if job.fresh:
            day_ns = 86_400 * 10**9
            engine.create_list(records.OPEN_LIST, Policy(True, 30 * day_ns, None, day_ns), note=b"")
        return _claim(job, engine, kind, bodies)


def _calls(job: Job) -> tuple[int, list[bytes]]:
    known = records.Records(job.seed, job.record_count)
    if job.batch_records == 1:
        return CLAIM, records.claims(known, [records.OPEN_LIST], _PICK_SEED, job.bodies)
    return CLAIM_BATCH, records.claim_batches(
        known, records.OPEN_LIST, _PICK_SEED, job.bodies, job.batch_records
    )


def _claim(job: Job, engine: Engine, kind: int, bodies: list[bytes]) -> Result:
    turns = itertools.cycle(bodies)
    latencies: list[int] = []
    begin_ns = time.monotonic_ns() + int(job.warm_up_s * 1e9)
    end_ns = begin_ns + int(job.seconds * 1e9)

    def claim() -> None:
        while (sent_ns := time.monotonic_ns()) < end_ns:
            engine.dial(kind, next(turns))
            if sent_ns >= begin_ns:
                latencies.append(time.monotonic_ns() - sent_ns)

    threading.stack_size(_STACK_BYTES)
    threads = [threading.Thread(target=claim) for _ in range(job.threads)]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, (begin_ns - time.monotonic_ns()) / 1e9))
    begin_cpu_s = time.process_time()
    for thread in threads:
        thread.join(job.seconds + _JOIN_S)
    seconds = (time.monotonic_ns() - begin_ns) / 1e9
    core_share = (time.process_time() - begin_cpu_s) / seconds
    return Result(
        seconds=seconds, latencies_ns=sorted(latencies), core_share=core_share,
        own_bytes=processes.own_bytes(os.getpid()), last_answer=engine.dial(kind, bodies[0]),
    )  # fmt: skip


if __name__ == "__main__":
    result = measure(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    sys.stdout.buffer.write(msgspec.json.encode(result))
