"""How many decisions ownerd makes over grpcio, beside the same transport with nothing behind it.

    python -m benchmarks.bench_dial [--records 1000000] [--seconds 4] [--rounds 3] [--json FILE]

Measures, on one list of `records` records, claims that are each granted, written and synced before
the answer, claims that are denied, and batches; the peer is grpc.aio with handlers that answer at
once with bytes of ownerd's own. Contenders take turns, round by round, under the same load client,
and a figure is the median of its rounds. Then a duration change and a release of a list of as many
owned records, while claims go on; and, for reference, batches through the engine with no transport.

Caveats: the client is Python too, so its own work is part of each latency; a closed load's latency
is the number in flight over the rate; the disk's sync time, printed with the machine's facts,
bounds how soon a claim can be answered.
"""

import itertools
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cyclopts
import grpc
import msgspec

from benchmarks import inprocess, processes, records, settling
from benchmarks.load import Job, Load
from benchmarks.report import Report, facts, percentile
from ownerd.v1 import dial_pb2

DURATION_S = 30 * 86_400
RESERVATION_TTL_S = 86_400
FILL_RECORDS = 10_000
WARM_UP_S = 0.5
EMPTY_SHARE_TARGET = 0.8
IN_FORCE_TARGET_MS = 10.0

_FILL_DEPTH = 3
_CALL_S = 60.0
_PACED_SHARE = 0.5
_BATCH_BODIES = 100


class Run(NamedTuple):
    """One run of the benchmark: its size, its place, its report."""

    record_count: int
    seconds: float
    rounds: int
    in_flight: int
    batches_in_flight: int
    batch_records: int
    settle_limit_s: float
    seed: int
    cores: processes.Cores
    directory: Path
    report: Report
    job_numbers: Iterator[int]

    @property
    def known(self) -> records.Records:
        """The records of the run."""
        return records.Records(self.seed, self.record_count)

    @property
    def store(self) -> Path:
        """Where ownerd keeps its data."""
        return self.directory / "store"

    def job(self, target: str, method: str, list_ids: list[str], **more: Any) -> Job:
        """Return a load with this run's records and a sample file of its own."""
        number = next(self.job_numbers)
        return Job(
            target=target, method=method, list_ids=list_ids, record_count=self.record_count,
            seed=self.seed, pick_seed=self.seed + number,
            samples_path=str(self.directory / f"samples-{number}"), **more,
        )  # fmt: skip


class Kind(NamedTuple):
    """One kind of call that is measured."""

    name: str
    method: str
    list_id: str
    in_flight: int
    batch_records: int
    expected: int  # the ClaimDecision that every answer must hold


def main(
    *,
    records: Annotated[
        int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=1_000))
    ] = 1_000_000,
    seconds: float = 4.0,
    rounds: int = 3,
    in_flight: int = 64,
    batches_in_flight: int = 8,
    batch_records: int = 1_000,
    settle_limit_s: float = 30.0,
    seed: int = 1,
    pinned: bool = True,
    directory: Path | None = None,
    json: Path | None = None,
) -> None:
    """Measure claims over grpcio and changes of a whole list.

    Args:
        records: Records in each of the two lists.
        seconds: Length of one round.
        rounds: Rounds of each contender.
        in_flight: Claims in flight, over four connections.
        batches_in_flight: Batches in flight.
        batch_records: Records in a batch.
        settle_limit_s: How long to wait for a change to be settled.
        seed: Seed of record ids and picks.
        pinned: One core for the server and another for the client, where there are two.
        directory: Where to put the temporary store; it decides which disk is measured.
        json: File to write everything to.
    """
    with _scratch(directory) as scratch:
        run = Run(
            records, seconds, rounds, in_flight, batches_in_flight, batch_records, settle_limit_s,
            seed, processes.choose_cores(pinned), scratch, Report("ownerd over grpcio"),
            itertools.count(1),
        )  # fmt: skip
        with processes.pinned_to(run.cores.client):
            _measure(run)
        if json is not None:
            run.report.write(json)


@contextmanager
def _scratch(parent: Path | None) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ownerd-bench-", dir=parent)).resolve()
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _measure(run: Run) -> None:
    found = facts(run.directory) | {
        "placement": run.cores.text, "seed": run.seed, "records per list": run.record_count,
        "load": f"{run.in_flight} claims or {run.batches_in_flight} batches in flight over 4 "
        f"connections, {run.rounds} rounds of {run.seconds:g} s",
    }  # fmt: skip
    run.report.show_facts(found)
    arguments = ["serve", "--data", str(run.store), "--metrics-listen", ""]
    arguments += ["--dial-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    arguments += ["--dial-listener", "grpcio"]
    with processes.serving(
        "ownerd", "ownerd.server.main", arguments, ("dial", "admin"), run.cores, run.directory
    ) as ownerd:
        look_ups = records.look_ups(run.known, records.OWNED_LIST, run.seed, 5_000)
        admin = settling.Admin(ownerd.addresses["admin"], ownerd.addresses["dial"], look_ups)
        _fill(run, admin, ownerd.addresses["dial"])
        claims_per_s = _measure_dials(run, ownerd)
        _measure_changes(run, admin, ownerd, _PACED_SHARE * claims_per_s)
    _measure_engine(run)


def _fill(run: Run, admin: settling.Admin, target: str) -> None:
    for list_id in records.LIST_IDS:
        admin.create_list(list_id, DURATION_S, RESERVATION_TTL_S)
    with grpc.insecure_channel(target) as channel:
        waiting: list[grpc.Future] = []
        for method, body in records.fillings(run.known, FILL_RECORDS):
            call = channel.unary_unary(f"/ownerd.v1.DialService/{method}")
            waiting.append(call.future(body, timeout=_CALL_S))
            if len(waiting) == _FILL_DEPTH:
                waiting.pop(0).result()
        for future in waiting:
            future.result()


# --- claims


def _measure_dials(run: Run, ownerd: processes.Server) -> float:
    """Measure every kind of call; return granted claims per second."""
    granted, denied = dial_pb2.CLAIM_DECISION_GRANTED, dial_pb2.CLAIM_DECISION_DENIED
    kinds = [
        Kind("Claim, granted", "Claim", records.OPEN_LIST, run.in_flight, 1, granted),
        Kind("Claim, denied", "Claim", records.OWNED_LIST, run.in_flight, 1, denied),
        Kind(
            f"ClaimBatch of {run.batch_records:,}, granted", "ClaimBatch", records.OPEN_LIST,
            run.batches_in_flight, run.batch_records, granted,
        ),
    ]  # fmt: skip
    answers = run.directory / "answers.json"
    answers.write_text(json.dumps(_answers(run, ownerd.addresses["dial"])), "utf-8")
    with processes.serving(
        "empty handler", "benchmarks.empty", [str(answers)], ("dial",), run.cores, run.directory
    ) as empty:
        rows = [row for kind in kinds for row in _measure_kind(run, kind, (ownerd, empty))]
    run.report.show_table(
        "dial", "Claims over grpcio, medians of rounds", ("call", "contender"), rows
    )
    for kind in kinds:
        ours, theirs = (row["calls/s"] for row in rows if row["call"] == kind.name)
        share = ours / theirs
        target = f"{EMPTY_SHARE_TARGET}"
        name = f"{kind.name}: ownerd / empty handler"
        if kind is kinds[0]:
            run.report.show_verdict(name, share, target, share >= EMPTY_SHARE_TARGET)
        else:
            run.report.note(f"{name}: {share:.3f}")
    return float(rows[0]["calls/s"])


def _answers(run: Run, target: str) -> dict[str, str]:
    """Return an answer of ownerd to each rpc that the peer is measured with, in hex."""
    claim = records.claims(run.known, [records.OPEN_LIST], run.seed, 1)[0]
    batch = records.claim_batches(run.known, records.OPEN_LIST, run.seed, 1, run.batch_records)[0]
    with grpc.insecure_channel(target) as channel:
        return {
            method: channel.unary_unary(f"/ownerd.v1.DialService/{method}")(
                body, timeout=_CALL_S
            ).hex()
            for method, body in (("Claim", claim), ("ClaimBatch", batch))
        }


def _measure_kind(
    run: Run, kind: Kind, servers: tuple[processes.Server, ...]
) -> list[dict[str, Any]]:
    """Return a row per contender; they take turns."""
    rounds: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
    for _ in range(run.rounds):
        for server in servers:
            rounds[server.name].append(_measure_round(run, kind, server))
    return [
        {"call": kind.name, "contender": name}
        | {key: statistics.median(each[key] for each in found) for key in found[0]}
        | {"rounds": found}
        for name, found in rounds.items()
    ]


def _measure_round(run: Run, kind: Kind, server: processes.Server) -> dict[str, Any]:
    job = run.job(
        server.addresses["dial"], kind.method, [kind.list_id], in_flight=kind.in_flight,
        seconds=run.seconds, warm_up_s=WARM_UP_S, batch_records=kind.batch_records,
        bodies=50_000 if kind.batch_records == 1 else _BATCH_BODIES,
    )  # fmt: skip
    cpu_s = server.cpu_s()
    summary, samples = Load(job, run.cores).finish()
    cpu_s = server.cpu_s() - cpu_s
    if server.name == "ownerd":
        _check_decisions(kind, summary.last_answer)
    latencies = samples.between(summary.begin_ns, summary.end_ns)
    all_calls = len(samples.between(0, summary.end_ns))
    seconds = (summary.end_ns - summary.begin_ns) / 1e9
    memory = server.memory()
    return {
        "calls/s": len(latencies) / seconds,
        "decisions/s": len(latencies) * kind.batch_records / seconds,
        **_percentiles(latencies),
        "server CPU us/call": cpu_s / all_calls * 1e6,
        "server core share": cpu_s / (seconds + WARM_UP_S),
        "client core share": summary.core_share,
        "own MiB": memory.own_bytes / (1 << 20),
        "mapped MiB": memory.file_bytes / (1 << 20),
    }


def _check_decisions(kind: Kind, answer: bytes) -> None:
    if kind.batch_records > 1:
        found = set(dial_pb2.ClaimBatchResponse.FromString(answer).decisions)
    else:
        found = {dial_pb2.ClaimResponse.FromString(answer).decision}
    if found != {kind.expected}:
        raise RuntimeError(f"{kind.name}: a decision was {found}, not {kind.expected}")


def _percentiles(latencies: list[int]) -> dict[str, float]:
    return {
        f"{name} ms": percentile(latencies, share) / 1e6
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
    }


# --- changes of a whole list


def _measure_changes(
    run: Run, admin: settling.Admin, ownerd: processes.Server, rate_per_s: float
) -> None:
    job = run.job(
        ownerd.addresses["dial"], "Claim", list(records.LIST_IDS), rate_per_s=rate_per_s,
        bodies=50_000,
    )  # fmt: skip
    load = Load(job, run.cores)
    try:
        changes = []
        for make in (admin.change_duration, admin.release_all):
            settling.pause()
            changes.append(make(run.settle_limit_s))
        _, samples = load.finish()
    finally:
        load.close()
    run.report.show_table(
        "changes",
        f"Changes of a whole list under {rate_per_s:,.0f} claims/s, half of them on that list",
        ("change",),
        [_change_row(run, change, samples) for change in changes],
    )
    for change in changes:
        in_force_ms = (change.committed_ns - change.sent_ns) / 1e6
        run.report.show_verdict(
            f"{change.name}: in force, ms after it was sent", in_force_ms,
            f"{IN_FORCE_TARGET_MS:g}", in_force_ms <= IN_FORCE_TARGET_MS,
        )  # fmt: skip
    run.report.note(
        "in force: server time of the commit, after the rpc was sent. first seen: the first answer "
        "of a prober that shows it. wrong probes: answers that did not fit their revision."
    )


def _change_row(run: Run, change: settling.Change, samples: Any) -> dict[str, Any]:
    end_ns = change.settled_ns or change.answered_ns + int(run.settle_limit_s * 1e9)
    quiet_ns = int(settling.QUIET_S * 1e9)
    before = samples.between(change.sent_ns - quiet_ns, change.sent_ns)
    during = samples.between(change.sent_ns, end_ns)

    def ms(at_ns: int) -> float:
        return (at_ns - change.sent_ns) / 1e6

    row = {
        "change": change.name,
        "records": run.record_count if change.released is None else change.released,
        "in force ms": ms(change.committed_ns),
        "first seen ms": ms(change.seen_ns),
        "answered ms": ms(change.answered_ns),
        "settled s": None if change.settled_ns is None else ms(change.settled_ns) / 1e3,
        "claims/s": len(during) / ((end_ns - change.sent_ns) / 1e9),
        "probes": change.probes,
        "wrong probes": change.wrong_probes,
    }
    for name, latencies in (("before", before), ("settling", during)):
        row |= {f"{key} {name}": value for key, value in _percentiles(latencies).items()}
    return row


# --- no transport


def _measure_engine(run: Run) -> None:
    job = inprocess.Job(
        store=str(run.store), record_count=run.record_count, seed=run.seed,
        batch_records=run.batch_records, threads=run.batches_in_flight, seconds=run.seconds,
    )  # fmt: skip
    with processes.pinned_to(run.cores.server):
        answer = processes.run_module("benchmarks.inprocess", msgspec.json.encode(job))
    result = msgspec.json.decode(answer, type=inprocess.Result)
    calls = len(result.latencies_ns)
    row = {
        "call": f"ClaimBatch of {run.batch_records:,}",
        "calls/s": calls / result.seconds,
        "decisions/s": calls * run.batch_records / result.seconds,
        **_percentiles(result.latencies_ns),
    }
    run.report.show_table(
        "engine", "For reference: Engine.dial in one process, no transport", ("call",), [row]
    )


if __name__ == "__main__":
    cyclopts.run(main)
