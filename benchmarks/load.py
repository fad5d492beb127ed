"""The load client: one process, grpc.aio, bytes in and out, every call timed.

Two kinds of load: *closed*, a fixed number of calls in flight, each followed by the next; and
*paced*, calls due at a fixed rate whether or not earlier ones were answered, with latency counted
from the instant a call was due. Of the clients that grpcio has, asyncio and threads on the blocking
API were about equally fast; either needs about three quarters of a core to keep a server of the
same library busy on another, and `client_core_share` in the report shows how near it came.

Run as a process (`python -m benchmarks.load`): a Job as JSON on the first line of stdin, a Summary
as JSON on stdout. A paced load ends when stdin is closed.
"""

import asyncio
import gc
import itertools
import subprocess
import sys
import time
from array import array
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import msgspec

from benchmarks import processes, records

_DONE_DEADLINE_S = 60.0
# More than a stalled server would be sent by then; later calls wait, and their latency counts it.
_PACED_CALLS_MAX = 512


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to send where. `rate_per_s` 0 is a closed load of `in_flight` calls for `seconds`.

    `path` and `bodies_path` are for a server that is not ownerd: the rpc's full name, and a file
    with a msgpack list of encoded requests.
    """

    target: str
    method: str
    samples_path: str
    list_ids: list[str]
    record_count: int
    seed: int
    pick_seed: int
    in_flight: int = 0
    rate_per_s: float = 0.0
    seconds: float = 0.0
    warm_up_s: float = 0.0
    connections: int = 4
    batch_records: int = 1
    bodies: int = 50_000
    path: str = ""
    bodies_path: str = ""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a load was like on the client's side; times are CLOCK_MONOTONIC in nanoseconds."""

    begin_ns: int
    end_ns: int
    core_share: float
    last_answer: bytes


class Samples:
    """When each call began and how long it took, in nanoseconds, ordered by end of call."""

    def __init__(self, begins: "array[int]", latencies: "array[int]") -> None:
        self._calls = list(zip(begins, latencies, strict=True))

    @classmethod
    def read(cls, path: Path) -> "Samples":
        """Read what a load client wrote."""
        values = array("q")
        values.frombytes(path.read_bytes())
        return cls(values[0::2], values[1::2])

    def between(self, begin_ns: int, end_ns: int) -> list[int]:
        """Return the latencies, sorted, of the calls that began and ended in a span of time."""
        return sorted(
            latency
            for begin, latency in self._calls
            if begin >= begin_ns and begin + latency <= end_ns
        )


# --- the side of the benchmark


class Load:
    """A load client under way."""

    def __init__(self, job: Job, cores: processes.Cores) -> None:
        with processes.pinned_to(cores.client):
            self._process = processes.start_module(
                "benchmarks.load", stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        self._job = job
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(job) + b"\n")
        self._process.stdin.flush()

    def finish(self) -> tuple[Summary, Samples]:
        """Wait for the end of a closed load, or end a paced one; return what was measured.

        Raises:
            RuntimeError: a call failed; the client has said on stderr which way.
        """
        try:
            if self._job.rate_per_s:
                answer, _ = self._process.communicate(timeout=_DONE_DEADLINE_S)
            else:
                answer, _ = self._process.communicate(timeout=self._job.seconds + _DONE_DEADLINE_S)
        finally:
            self.close()
        if self._process.returncode != 0:
            raise RuntimeError("a load client failed; see the lines above")
        samples = Samples.read(Path(self._job.samples_path))
        return msgspec.json.decode(answer, type=Summary), samples

    def close(self) -> None:
        """End the client if it still runs."""
        if self._process.poll() is None:
            processes.stop(self._process)


# --- the client process

Call = Callable[[bytes], Awaitable[bytes]]


class _Client:
    """The calls of one job; every worker appends to the same samples."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._bodies = itertools.cycle(_bodies(job))
        self._values = array("q")
        self._stopping = False
        self._last_answer = b""

    async def run(self) -> Summary:
        """Send the load until it is over."""
        job = self._job
        # Each channel must have a connection of its own.
        alone = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        channels = [
            grpc.aio.insecure_channel(job.target, options=alone) for _ in range(job.connections)
        ]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        path = job.path or f"/ownerd.v1.DialService/{job.method}"
        calls = [channel.unary_unary(path) for channel in channels]
        gc.collect()
        gc.freeze()
        begin_ns = time.monotonic_ns()
        begin_cpu_s = time.process_time()
        await self._send(calls, begin_ns)
        end_ns = time.monotonic_ns()
        share = (time.process_time() - begin_cpu_s) * 1e9 / (end_ns - begin_ns)
        for channel in channels:
            await channel.close()
        Path(job.samples_path).write_bytes(self._values.tobytes())
        return Summary(
            begin_ns=begin_ns + int(job.warm_up_s * 1e9),
            end_ns=end_ns,
            core_share=share,
            last_answer=self._last_answer,
        )

    async def _send(self, calls: list[Call], begin_ns: int) -> None:
        loop = asyncio.get_running_loop()
        if self._job.rate_per_s:
            loop.add_reader(sys.stdin.fileno(), self._stop)
            await self._send_paced(calls, begin_ns)
            return
        loop.call_later(self._job.warm_up_s + self._job.seconds, self._stop)
        async with asyncio.TaskGroup() as group:
            for number in range(self._job.in_flight):
                group.create_task(self._send_in_turn(calls[number % len(calls)]))

    def _stop(self) -> None:
        self._stopping = True

    async def _send_in_turn(self, call: Call) -> None:
        while not self._stopping:
            await self._send_one(call, time.monotonic_ns())

    async def _send_paced(self, calls: list[Call], begin_ns: int) -> None:
        gap_ns = 1e9 / self._job.rate_per_s
        room = asyncio.Semaphore(_PACED_CALLS_MAX)
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                due_ns = begin_ns + int(number * gap_ns)
                if (early_ns := due_ns - time.monotonic_ns()) > 0:
                    await asyncio.sleep(early_ns / 1e9)
                if self._stopping:
                    return
                await room.acquire()
                task = group.create_task(self._send_one(calls[number % len(calls)], due_ns))
                task.add_done_callback(lambda _: room.release())

    async def _send_one(self, call: Call, due_ns: int) -> None:
        answer = await call(next(self._bodies))
        self._values.extend((due_ns, time.monotonic_ns() - due_ns))
        self._last_answer = answer


def _bodies(job: Job) -> list[bytes]:
    if job.bodies_path:
        return msgspec.msgpack.decode(Path(job.bodies_path).read_bytes(), type=list[bytes])
    known = records.Records(job.seed, job.record_count)
    if job.batch_records > 1:
        return records.claim_batches(
            known, job.list_ids[0], job.pick_seed, job.bodies, job.batch_records
        )
    return records.claims(known, job.list_ids, job.pick_seed, job.bodies)


def main() -> int:
    """Run the job on stdin; return the exit code."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    summary = None
    try:
        summary = asyncio.run(_Client(job).run())
    except* grpc.RpcError as errors:
        print(f"a {job.method} failed: {errors.exceptions[0]}", file=sys.stderr)
    if summary is None:
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
