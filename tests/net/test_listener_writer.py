"""Who decides a call: the thread that read it, where nobody is the writer; else the writer's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from native_listener import Loopback, claim_request
from raw_http2 import DIAL

from ownerd.v1 import dial_pb2

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

CALLS = 100


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Loopback]:
    """A listener with one thread."""
    with Loopback(tmp_path) as loopback:
        yield loopback


def writer_wakes() -> int:
    """Return how often the threads of writers have waited."""
    found = 0
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text() == "ownerd-writer\n":
            lines = (task / "status").read_text().splitlines()
            found += int(next(line for line in lines if line.startswith("voluntary")).split()[1])
    return found


def claim(loopback: Loopback, count: int, size: int) -> None:
    """Make calls one after the other; each must be granted."""
    with loopback.client() as client:
        for number in range(count):
            ids = [f"{number}-{item}" for item in range(size)]
            request = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="A", record_ids=ids)
            reply = client.call(DIAL + "ClaimBatch", request.SerializeToString())
            answer = dial_pb2.ClaimBatchResponse.FromString(reply.message)
            assert list(answer.decisions) == [dial_pb2.CLAIM_DECISION_GRANTED] * size


def test_a_call_that_comes_alone_is_decided_by_the_thread_that_read_it(loopback: Loopback) -> None:
    claim(loopback, 1, 1)
    wakes = writer_wakes()
    claim(loopback, CALLS, 1)
    assert writer_wakes() - wakes < CALLS // 2  # maintenance asks the writer now and then


def test_a_call_of_many_records_is_left_to_the_writer(loopback: Loopback) -> None:
    wakes = writer_wakes()
    claim(loopback, CALLS, 50)
    assert writer_wakes() - wakes >= CALLS


def test_what_the_thread_that_read_it_decided_is_what_the_writer_goes_on_from(
    loopback: Loopback,
) -> None:
    revision = loopback.subject.engine.revision
    with loopback.client() as client:
        for number in range(CALLS):
            reply = client.call(DIAL + "Claim", claim_request(str(number)))
            answer = dial_pb2.ClaimResponse.FromString(reply.message)
            assert answer.decision == dial_pb2.CLAIM_DECISION_GRANTED
            assert answer.revision == revision + 2 * number + 1
            loopback.subject.engine.upsert_campaign("B", str(number))  # the writer's own thread
    assert loopback.subject.engine.revision == revision + 2 * CALLS
