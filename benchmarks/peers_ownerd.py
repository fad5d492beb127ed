"""ownerd itself: its engine in process, and its dial port by each kind of listener.

Its list is filled: every record exists already, and a repeated claim moves its reservation's end,
so each claim looks up, writes and syncs. The peers begin empty.
"""

from pathlib import Path

import msgspec

import ownerd
from benchmarks import dialport, inprocess, peers, processes

ENGINE = "ownerd engine"


class OwnerdEngine:
    """The engine under its native load; no transport."""

    name = ENGINE

    def version(self) -> str:
        """See `peers.Contender`."""
        return ownerd.__version__

    def why_not(self, shape: peers.Shape) -> str:
        """See `peers.Contender`."""
        return ""

    def measure(self, task: peers.Task) -> peers.Figures:
        """See `peers.Contender`; memory is its load's too."""
        job = inprocess.Drive(
            store=str(task.store),
            seed=task.seed,
            record_count=task.record_count,
            pick_seed=task.pick_seed,
            in_flight=task.shape.in_flight,
            seconds=task.seconds,
            warm_up_s=task.warm_up_s,
            batch_records=task.shape.batch_records,
        )
        answer = processes.run_module("benchmarks.inprocess", msgspec.json.encode(job))
        found = msgspec.json.decode(answer, type=inprocess.Driven)
        _check_granted(found.answers)
        return peers.Figures(
            decisions_per_s=found.decisions_per_s,
            p50_ms=found.p50_ms,
            p99_ms=found.p99_ms,
            server_cpu_us=found.engine_cpu_us,
            granted_share=1.0,
            own_bytes=found.own_bytes,
        )


class OwnerdServer:
    """`ownerd serve` under the native HTTP/2 load."""

    def __init__(self, kind: str) -> None:
        self.name = f"ownerd, {kind} listener"
        self._kind = kind

    def version(self) -> str:
        """See `peers.Contender`."""
        if self._kind not in dialport.kinds():
            raise peers.Missing("this build has none")
        return ownerd.__version__

    def why_not(self, shape: peers.Shape) -> str:
        """See `peers.Contender`."""
        return ""

    def measure(self, task: peers.Task) -> peers.Figures:
        """See `peers.Contender`."""
        with dialport.serving(Path(task.store), self._kind, task.directory) as server:
            found = dialport.drive(
                server,
                task.known,
                in_flight=task.shape.in_flight,
                seconds=task.seconds,
                warm_up_s=task.warm_up_s,
                pick_seed=task.pick_seed,
                batch_records=task.shape.batch_records,
            )
            own_bytes = processes.own_bytes(server.pid)
        _check_granted(found.answers)
        return peers.Figures(
            decisions_per_s=found.decisions_per_s,
            p50_ms=found.p50_ms,
            p99_ms=found.p99_ms,
            server_cpu_us=found.server_cpu_us,
            granted_share=1.0,
            own_bytes=own_bytes,
        )


def _check_granted(answers: dict[str, int]) -> None:
    if set(answers) != {"granted"}:
        raise RuntimeError(f"ownerd answered {answers}")
