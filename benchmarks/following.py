"""One reader of the feed, and the reports whose events it waits for; a process of its own.

Reads a Job from stdin and writes a Result to stdout, as JSON. The delay of an event is the time
from the answer of its report to the message at the reader, both by this process's clock.
"""

import sys
import threading
import time

import grpc
import msgspec

from benchmarks import report
from ownerd.v1 import admin_pb2, admin_pb2_grpc, dial_pb2, dial_pb2_grpc

BATCH = 50
LAST_WORDS_S = 2.0


class Job(msgspec.Struct):
    """Where the server listens, and what is to be reported for how long; 0 reports: only read."""

    dial: str
    admin: str
    list_id: str
    reports_per_s: int
    seconds: float


class Result(msgspec.Struct):
    """Delays of events in milliseconds, and how many there were."""

    event_count: int
    late_count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def follow(job: Job) -> Result:
    """Report and read; return the delays."""
    arrived: dict[int, float] = {}
    answered: dict[int, tuple[float, int]] = {}
    with grpc.insecure_channel(job.admin) as channel, grpc.insecure_channel(job.dial) as other:
        watch = admin_pb2_grpc.AdminServiceStub(channel).Watch(
            admin_pb2.WatchRequest(list_ids=[job.list_id])
        )
        next(watch)
        reader = threading.Thread(target=_read, args=(watch, arrived), daemon=True)
        reader.start()
        _report(job, dial_pb2_grpc.DialServiceStub(other), answered)
        time.sleep(LAST_WORDS_S)
        watch.cancel()
        reader.join(LAST_WORDS_S)
    delays = sorted(
        max(0.0, arrived[revision] - time_s) * 1e3
        for revision, (time_s, count) in answered.items()
        if revision in arrived
        for _ in range(count)
    )
    late = sum(count for revision, (_, count) in answered.items() if revision not in arrived)
    if not delays:
        return Result(0, late, 0.0, 0.0, 0.0)
    return Result(
        len(delays),
        late,
        report.percentile(delays, 0.5),
        report.percentile(delays, 0.99),
        delays[-1],
    )


def _read(watch: grpc.Call, arrived: dict[int, float]) -> None:
    try:
        for message in watch:  # type: ignore[attr-defined]
            arrived[message.revision] = time.monotonic()
    except grpc.RpcError:
        pass


def _report(
    job: Job, dial: dial_pb2_grpc.DialServiceStub, answered: dict[int, tuple[float, int]]
) -> None:
    """Report attempts on records of our own, at the rate; or wait for as long."""
    begin_s = due_s = time.monotonic()
    sent = 0
    while time.monotonic() < begin_s + job.seconds:
        if not job.reports_per_s:
            time.sleep(0.1)
            continue
        request = dial_pb2.ReportAttemptBatchRequest(list_id=job.list_id, campaign_id="feed")
        for _ in range(BATCH):
            request.attempts.add(record_id=f"feed-{sent}", wrap_up_code="Busy")
            sent += 1
        answer = dial.ReportAttemptBatch(request)
        now_s = time.monotonic()
        _, count = answered.get(answer.revision, (now_s, 0))
        answered[answer.revision] = (now_s, count + BATCH)
        due_s += BATCH / job.reports_per_s
        time.sleep(max(0.0, due_s - time.monotonic()))


def main() -> None:
    """Do the job on stdin."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(follow(job)))


if __name__ == "__main__":
    main()
