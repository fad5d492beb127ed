"""What bounds the engine from below: LMDB, a group appended as one value, every commit synced.

Each group size is a fresh process on an empty environment. The driver is Python, whose cost per
commit is small beside two syncs. The other limit, an empty grpc.aio handler, is measured with the
dial port.
"""

import statistics
import sys
import tempfile
import time

import lmdb
import msgspec

from benchmarks import processes
from benchmarks.run import Run

GROUPS = (1, 16, 64, 256, 1_000, 4_000)
# What an operation takes in a group: a record's number, a campaign, a time, and a little.
OPERATION_BYTES = 32

_MAP_BYTES = 64 << 30


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Append groups of `group` operations in `directory` for `seconds`."""

    directory: str
    group: int
    seconds: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Commits made, in how many seconds, and the time of the median one."""

    commits: int
    seconds: float
    p50_ms: float
    core_share: float


def measure(run: Run) -> None:
    """Measure and report every group size."""
    for group in GROUPS:
        with tempfile.TemporaryDirectory(dir=run.directory) as directory:
            job = Job(directory=directory, group=group, seconds=run.scale.seconds)
            answer = processes.run_module("benchmarks.bench_limits", msgspec.json.encode(job))
        found = msgspec.json.decode(answer, type=Result)
        run.report.add(
            "limits",
            {
                "limit": "LMDB append, synced",
                "group": group,
                "decisions/s": found.commits * group / found.seconds,
                "commits/s": found.commits / found.seconds,
                "p50 ms": found.p50_ms,
                "cores": found.core_share,
            },
        )
    run.report.show("limits", f"Raw LMDB, {OPERATION_BYTES} bytes an operation")


def append(job: Job) -> Result:
    """Commit one value after the other."""
    took_ns = []
    value = bytes(job.group * OPERATION_BYTES)
    with lmdb.open(job.directory, map_size=_MAP_BYTES) as environment:
        begin_ns, begin_cpu_s = time.monotonic_ns(), time.process_time()
        end_ns = begin_ns + int(job.seconds * 1e9)
        while (now_ns := time.monotonic_ns()) < end_ns:
            with environment.begin(write=True) as transaction:
                transaction.put(len(took_ns).to_bytes(8, "big"), value, append=True)
            took_ns.append(time.monotonic_ns() - now_ns)
        seconds = (time.monotonic_ns() - begin_ns) / 1e9
        cpu_s = time.process_time() - begin_cpu_s
    return Result(
        commits=len(took_ns),
        seconds=seconds,
        p50_ms=statistics.median(took_ns) / 1e6,
        core_share=cpu_s / seconds,
    )


if __name__ == "__main__":
    result = append(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    sys.stdout.buffer.write(msgspec.json.encode(result))
