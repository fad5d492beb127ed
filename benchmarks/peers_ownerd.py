"""ownerd itself: its engine in one process with its callers, and its server over grpcio.

Requests are made before the clock starts: so many, then again from the first. A claim that is
repeated moves its reservation's end, so it is written and synced like any other.
"""

import msgspec

import ownerd
from benchmarks import inprocess, peers, processes, records, settling
from benchmarks.load import Job, Load
from benchmarks.report import percentile
from ownerd.v1 import dial_pb2

_CLAIM_BODIES = 200_000
_BATCH_BODIES = 1_000
_RESERVED_S = 86_400
_OWNED_S = 30 * _RESERVED_S


class OwnerdEngine:
    """`Engine.dial` from as many threads as calls are in flight; no transport."""

    name = "ownerd engine"

    def version(self) -> str:
        """See `peers.Contender`."""
        return ownerd.__version__

    def why_not(self, shape: peers.Shape) -> str:
        """See `peers.Contender`."""
        return ""

    def measure(self, task: peers.Task) -> peers.Figures:
        """See `peers.Contender`; processor time and memory are its callers' too."""
        job = inprocess.Job(
            store=str(task.directory / "store"), record_count=task.record_count, seed=task.seed,
            batch_records=task.shape.batch_records, threads=task.shape.in_flight,
            seconds=task.seconds, warm_up_s=task.warm_up_s, bodies=_bodies(task), fresh=True,
        )  # fmt: skip
        with processes.pinned_to(task.cores.server | task.cores.client):
            answer = processes.run_module("benchmarks.inprocess", msgspec.json.encode(job))
        result = msgspec.json.decode(answer, type=inprocess.Result)
        _check_granted(task, result.last_answer)
        decisions = len(result.latencies_ns) * task.shape.batch_records
        return peers.Figures(
            decisions_per_s=decisions / result.seconds,
            p50_ms=percentile(result.latencies_ns, 0.5) / 1e6,
            p99_ms=percentile(result.latencies_ns, 0.99) / 1e6,
            server_cpu_us=result.core_share * result.seconds / decisions * 1e6,
            granted_share=1.0,  # every claim is the same campaign's
            own_bytes=result.own_bytes,
        )


class OwnerdGrpcio:
    """`ownerd serve` under the Python load client."""

    name = "ownerd over grpcio"

    def version(self) -> str:
        """See `peers.Contender`."""
        return ownerd.__version__

    def why_not(self, shape: peers.Shape) -> str:
        """See `peers.Contender`."""
        return ""

    def measure(self, task: peers.Task) -> peers.Figures:
        """See `peers.Contender`."""
        arguments = ["serve", "--data", str(task.directory / "store"), "--metrics-listen", ""]
        arguments += ["--dial-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        with processes.serving(
            "ownerd", "ownerd.server.main", arguments, ("dial", "admin"), task.cores, task.directory
        ) as server:
            dial = server.addresses["dial"]
            admin = settling.Admin(server.addresses["admin"], dial, [])
            admin.create_list(records.OPEN_LIST, _OWNED_S, _RESERVED_S)
            cpu_s = server.cpu_s()
            summary, samples = Load(_job(task, dial), task.cores).finish()
            cpu_s = server.cpu_s() - cpu_s
            own_bytes = processes.own_bytes(server.pid)
        _check_granted(task, summary.last_answer)
        each = task.shape.batch_records
        calls = len(samples.between(0, summary.end_ns))
        latencies_ns = samples.between(summary.begin_ns, summary.end_ns)
        seconds = (summary.end_ns - summary.begin_ns) / 1e9
        return peers.Figures(
            decisions_per_s=len(latencies_ns) * each / seconds,
            p50_ms=percentile(latencies_ns, 0.5) / 1e6,
            p99_ms=percentile(latencies_ns, 0.99) / 1e6,
            server_cpu_us=cpu_s / (calls * each) * 1e6,
            granted_share=1.0,
            own_bytes=own_bytes,
        )


def _bodies(task: peers.Task) -> int:
    return _CLAIM_BODIES if task.shape.batch_records == 1 else _BATCH_BODIES


def _job(task: peers.Task, target: str) -> Job:
    return Job(
        target=target, method="Claim" if task.shape.batch_records == 1 else "ClaimBatch",
        list_ids=[records.OPEN_LIST], samples_path=str(task.directory / "samples"),
        record_count=task.record_count, seed=task.seed, pick_seed=task.seed,
        in_flight=task.shape.in_flight, seconds=task.seconds, warm_up_s=task.warm_up_s,
        batch_records=task.shape.batch_records, bodies=_bodies(task),
    )  # fmt: skip


def _check_granted(task: peers.Task, answer: bytes) -> None:
    if task.shape.batch_records > 1:
        found = set(dial_pb2.ClaimBatchResponse.FromString(answer).decisions)
    else:
        found = {dial_pb2.ClaimResponse.FromString(answer).decision}
    if found != {dial_pb2.CLAIM_DECISION_GRANTED}:
        raise RuntimeError(f"{task.shape.name}: a decision of ownerd was {found}")
