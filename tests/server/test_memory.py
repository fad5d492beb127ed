"""Memory goes back to the system: when the watch gives some, and what is left after a flood."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ServerProcess, poll
from raw_http2 import DIAL, RawClient, framed
from subject import DAY, Policy
from subject_grpc import GrpcSubject

from ownerd.server.memory import MemoryWatch
from ownerd.server.workers import Workers
from ownerd.v1 import dial_pb2

MIB = 1 << 20
INITIAL_WINDOW_SIZE = 4


class Process:
    """What the watch sees of a process, made up."""

    def __init__(self) -> None:
        self.resident = 40 * MIB
        self.used = 10 * MIB
        self.trim_count = 0
        self.pinned = 0  # what no trim gives back

    def give_back(self) -> None:
        self.trim_count += 1
        self.resident = self.used + 30 * MIB + self.pinned

    def watch(self, workers: Workers) -> MemoryWatch:
        return MemoryWatch(workers, lambda: self.resident, lambda: self.used, self.give_back)


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = asyncio.run(_workers())
    yield workers
    workers.close()


async def _workers() -> Workers:
    return Workers()


def look(watch: MemoryWatch, times: int = 1) -> None:
    async def run() -> None:
        for _ in range(times):
            await watch.look()

    asyncio.run(run())


def test_what_a_flood_leaves_is_given_back_once(process: Process, workers: Workers) -> None:
    watch = process.watch(workers)
    look(watch)
    assert process.trim_count == 1, "what is found at the start may be left of a flood"
    process.resident, process.used = 890 * MIB, 860 * MIB
    look(watch, 3)
    assert process.trim_count == 1, "all of it is used"
    process.used = 10 * MIB
    process.resident = 700 * MIB
    look(watch, 3)
    assert (process.trim_count, process.resident) == (2, 40 * MIB)


def test_what_a_trim_in_the_middle_of_a_flood_could_not_give_is_given_after(
    process: Process, workers: Workers
) -> None:
    watch = process.watch(workers)
    look(watch)
    process.resident, process.pinned = 400 * MIB, 20 * MIB
    look(watch, 2)
    assert process.resident == 60 * MIB
    process.pinned = 0
    look(watch)
    assert process.resident == 40 * MIB


def test_what_cannot_be_given_back_is_left_in_the_end(process: Process, workers: Workers) -> None:
    watch = process.watch(workers)
    look(watch)
    process.resident, process.pinned = 400 * MIB, 20 * MIB
    look(watch, 100)
    assert process.trim_count < 20
    assert watch.interval_s == pytest.approx(1)


def test_memory_in_use_is_left_alone(process: Process, workers: Workers) -> None:
    watch = process.watch(workers)
    look(watch)
    for _ in range(10):
        process.used += 10 * MIB
        process.resident += 10 * MIB
        look(watch)
    assert process.trim_count == 1


def test_memory_that_is_needed_again_and_again_is_left_alone_for_longer(
    process: Process, workers: Workers
) -> None:
    watch = process.watch(workers)
    look(watch)
    first_s = watch.interval_s
    for _ in range(20):
        process.resident += 50 * MIB
        look(watch)
    assert watch.interval_s > 10 * first_s
    look(watch)
    assert watch.interval_s == first_s


def test_a_system_that_tells_nothing_is_left_alone(workers: Workers) -> None:
    process = Process()
    look(MemoryWatch(workers, lambda: None, lambda: 1, process.give_back))
    look(MemoryWatch(workers, lambda: 1, lambda: None, process.give_back))
    assert process.trim_count == 0


@pytest.mark.unsanitized("address", "thread", reason="its runtime keeps freed memory for a while")
def test_the_memory_of_a_flood_is_gone_when_its_peers_are(tmp_path: Path) -> None:
    pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    request = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="B")
    request.record_ids.extend(f"record-{number:05}" for number in range(200))
    with ServerProcess(tmp_path / "data") as process:
        subject = GrpcSubject(process.dial_stub(), process.admin_stub())
        subject.create_list("list", Policy(True, None, None, DAY))
        subject.claim_batch("list", "A", list(request.record_ids))
        before = _resident(process.pid)
        _flood(process.dial_address, framed(request.SerializeToString()), process.pid, before)
        poll(lambda: _resident(process.pid) < before * 1.1 + 4 * MIB, "the memory to be back", 30)


def _flood(address: str, body: bytes, pid: int, before: int) -> None:
    clients = [RawClient(address, {INITIAL_WINDOW_SIZE: 0}) for _ in range(200)]
    for client in clients:
        frames = [
            client.call_frames(client.new_stream(), DIAL + "ClaimBatch", body) for _ in range(30)
        ]
        client.send(*(frame for each in frames for frame in each))
    poll(lambda: _resident(pid) > before + 30 * MIB, "the flood")
    for client in clients:
        client.socket.close()


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
    raise AssertionError("no RssAnon")
