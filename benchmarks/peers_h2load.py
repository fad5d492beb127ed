"""ownerd's native listener under an ordinary HTTP/2 client: nghttp2's own h2load.

It costs more than our native load, and knows no gRPC: a call that fails has its HTTP status 200,
so the call is made once by gRPC before, and must be granted. It sends one call over and over, whose
records are in memory after the first; how look-ups in a large list do is what the rows of our own
load show. Latency is that of every call, as h2load logs it.
"""

import re
from pathlib import Path
from typing import Any

import grpc

import ownerd
from benchmarks import dialport, peers, processes, records
from ownerd.engine.engine import DIAL_METHODS
from ownerd.v1 import dial_pb2

_PACKAGE = "nghttp2-client"
_ANSWER_S = 30.0
_GRANTED = dial_pb2.CLAIM_DECISION_GRANTED


class OwnerdByH2load:
    """`ownerd serve` under h2load."""

    name = "ownerd, native listener, h2load"

    def version(self) -> str:
        """See `peers.Contender`."""
        peers.find("h2load", _PACKAGE)
        if dialport.NATIVE not in dialport.kinds():
            raise peers.Missing("this build has none")
        return ownerd.__version__

    def why_not(self, shape: peers.Shape) -> str:
        """See `peers.Contender`."""
        return ""

    def measure(self, task: peers.Task) -> peers.Figures:
        """See `peers.Contender`."""
        plan = task.known.plan(
            records.OPEN_LIST, batch_records=task.shape.batch_records, pick_seed=task.pick_seed
        )
        kind, message = plan.requests(1)[0]
        method = f"/ownerd.v1.DialService/{DIAL_METHODS[kind]}"
        body = task.directory / "body"
        body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        with dialport.serving(Path(task.store), dialport.NATIVE, task.directory) as server:
            address = server.addresses["dial"]
            _check_granted(address, method, message)
            _load(task, f"http://{address}{method}", body, task.warm_up_s)
            cpu_s = server.cpu_s()
            count, seconds, latencies_us = _load(
                task, f"http://{address}{method}", body, task.seconds
            )
            cpu_s = server.cpu_s() - cpu_s
            own_bytes = processes.own_bytes(server.pid)
        decisions = count * task.shape.batch_records
        return peers.Figures(
            decisions_per_s=decisions / seconds,
            p50_ms=latencies_us[len(latencies_us) // 2] / 1e3,
            p99_ms=latencies_us[len(latencies_us) * 99 // 100] / 1e3,
            server_cpu_us=cpu_s / decisions * 1e6,
            granted_share=1.0,
            own_bytes=own_bytes,
        )


def _check_granted(address: str, method: str, message: bytes) -> None:
    with grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary(method)(message, timeout=_ANSWER_S)
    answered: Any
    if method.endswith("Batch"):
        answered = set(dial_pb2.ClaimBatchResponse.FromString(answer).decisions)
    else:
        answered = {dial_pb2.ClaimResponse.FromString(answer).decision}
    if answered != {_GRANTED}:
        raise RuntimeError(f"ownerd answered {answered}")


def _load(task: peers.Task, url: str, body: Path, seconds: float) -> tuple[int, float, list[int]]:
    """Make calls for some seconds; return how many, in what time, and how long each took, sorted.

    How many fit into the time is tried first: what h2load makes by time, it does not count well.
    """
    count = 2 * task.shape.in_flight
    while True:
        said, log = _h2load(task, url, body, count)
        found = re.search(r"finished in ([\d.]+)(m?s|us),", said)
        done = re.search(r"(\d+) succeeded, 0 failed, 0 errored, 0 timeout", said)
        if found is None or done is None:
            raise RuntimeError(f"h2load: {said}")
        took_s = float(found[1]) / {"s": 1.0, "ms": 1e3, "us": 1e6}[found[2]]
        if took_s >= 0.7 * seconds:
            return int(done[1]), took_s, sorted(log)
        # So few calls guess the rate badly: no more than four times as long at once.
        count = max(2 * count, int(count * min(seconds / took_s, 4.0)))


def _h2load(task: peers.Task, url: str, body: Path, count: int) -> tuple[str, list[int]]:
    log = task.directory / "h2load.log"
    log.unlink(missing_ok=True)
    connections = min(dialport.CONNECTIONS, task.shape.in_flight)
    command = [peers.find("h2load", _PACKAGE), "-t", "1", "-n", str(count)]
    command += ["-c", str(connections), "-m", str(task.shape.in_flight // connections)]
    command += ["--log-file", str(log), "-d", str(body)]
    command += ["-H", "te: trailers", "-H", "content-type: application/grpc", url]
    said = peers.run_tool(command)
    return said, [int(line.split("\t")[2]) for line in log.read_text().splitlines()]
