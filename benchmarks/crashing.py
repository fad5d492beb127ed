"""A process that dies by kill -9 with many operations not yet flushed, and one that opens after it.

Run as a process: `python -m benchmarks.crashing`, a job as JSON on stdin. The first kind says on
stdout how many operations it has had answered, then kills itself; the second opens the store, says
how long that took, and closes it.
"""

import os
import signal
import sys
import time

import msgspec

from benchmarks import records
from ownerd.engine.engine import Engine
from ownerd.load.engine import drive

BATCH = 1_000
IN_FLIGHT = 8

_SLICE_S = 0.25
_STUCK_SLICES = 20
_LIMIT_S = 60.0
_MEMTABLE_BYTES = 1 << 30  # takes all of them, so that none is flushed before the kill


class Crash(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Claim `operations` random records with background maintenance off, then die."""

    store: str
    seed: int
    record_count: int
    pick_seed: int
    operations: int


class Open(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Open the store and close it again."""

    store: str


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What opening took, and the revision it came to."""

    seconds: float
    revision: int


class Died(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered before the kill, the last revision, and records not flushed by then.

    A record that was claimed twice counts once among them.
    """

    operations: int
    unflushed: int
    revision: int


def crash(job: Crash) -> None:
    """Do what the job says; does not return."""
    plan = records.Records(job.seed, job.record_count).plan(
        records.OPEN_LIST, batch_records=BATCH, pick_seed=job.pick_seed
    )
    engine = Engine(job.store, background=False, memtable_bytes=_MEMTABLE_BYTES)
    deadline_s = time.monotonic() + _LIMIT_S
    done = stuck = 0
    while done < job.operations and stuck < _STUCK_SLICES and time.monotonic() < deadline_s:
        drive(engine, plan, in_flight=IN_FLIGHT, seconds=_SLICE_S, warm_up_s=0.0)
        before, done = done, engine.stats()["records"]
        stuck = stuck + 1 if done == before else 0  # refused: it takes no more until it is flushed
    unflushed = engine.stats()["unflushed_record_count"]
    died = Died(operations=done, unflushed=unflushed, revision=engine.revision)
    sys.stdout.buffer.write(msgspec.json.encode(died))
    sys.stdout.buffer.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def open_after(job: Open) -> Opened:
    """Open the store."""
    begin_s = time.monotonic()
    engine = Engine(job.store)
    seconds = time.monotonic() - begin_s
    revision = engine.revision
    engine.close()
    return Opened(seconds=seconds, revision=revision)


if __name__ == "__main__":
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Crash | Open)
    if isinstance(job, Crash):
        crash(job)
    sys.stdout.buffer.write(msgspec.json.encode(open_after(job)))
