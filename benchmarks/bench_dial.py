"""The dial port: claims over gRPC on a filled list, by each kind of listener, and what limits it.

The native listener is also measured with what protects it: tokens, TLS, both.
The peer is grpc.aio with handlers that answer at once with bytes of ownerd's own. Contenders take
turns, round by round, each a fresh process; a figure is that of the round with the median rate.
Then latency against offered load: claims due at a share of the measured peak, whether or not
earlier ones were answered, beside the disk alone just before; the same claims on a small and on the
largest list; and what a dialer notices of a stranger who tries tokens.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc

from benchmarks import bare_disk, dialport, processes, records
from benchmarks.run import Run
from ownerd.engine.engine import DIAL_METHODS

EMPTY = "empty grpc.aio handler"
PROTECTIONS = (
    dialport.Protection(token=True),
    dialport.Protection(tls=True),
    dialport.Protection(token=True, tls=True),
)
WRONG_PER_S = 10_000
DIALER_PER_S = 20_000
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)

_ANSWER_S = 30.0


class Shape(NamedTuple):
    """One kind of load."""

    name: str
    in_flight: int
    batch_records: int


CLAIMS = Shape("Claim, 256 in flight", 256, 1)
BATCHES = Shape("ClaimBatch of 1,000, 8 in flight", 8, 1_000)


def protected(protection: dialport.Protection) -> str:
    """Return the name of the native listener with a protection."""
    return f"{dialport.NATIVE}, {protection}"


def measure(run: Run) -> None:
    """Measure and report every row."""
    kinds = dialport.kinds()
    if dialport.NATIVE not in kinds:
        run.report.note("no native dial listener in this build; its rows are not measured")
    answers = run.directory / "answers.json"
    for shape in (CLAIMS, BATCHES):
        for _ in range(run.scale.rounds):
            for kind in kinds:
                _round(run, shape, kind, answers)
            if shape is CLAIMS and dialport.NATIVE in kinds:
                for protection in PROTECTIONS:
                    _round(run, shape, dialport.NATIVE, answers, protection)
            _empty_round(run, shape, answers)
    run.report.keep_medians("dial", ("load", "contender"), "decisions/s")
    run.report.show("dial", f"The dial port, random records of {run.scale.largest:,}")
    for kind in kinds:
        _measure_offered(run, kind)
    run.report.show("dial offered", "The dial port, latency at a share of the peak rate")
    if dialport.NATIVE in kinds:
        _measure_sizes(run)
        _measure_strangers(run)


def _round(
    run: Run,
    shape: Shape,
    kind: str,
    answers: Path,
    protection: dialport.Protection = dialport.OPEN,
) -> None:
    store = run.filled(run.scale.largest)
    with dialport.serving(store, kind, run.directory, protection) as server:
        found = dialport.drive(
            server,
            run.known,
            in_flight=shape.in_flight,
            batch_records=shape.batch_records,
            seconds=run.scale.seconds,
            warm_up_s=run.scale.warm_up_s,
            pick_seed=run.pick_seed(),
            shown=dialport.credentials(store, run.directory, protection),
        )
        if not answers.exists():
            answers.write_text(json.dumps(_answers(run, server.addresses["dial"])), "utf-8")
        memory = server.memory()
    run.report.add(
        "dial",
        {
            "load": shape.name,
            "contender": protected(protection) if any(protection) else kind,
            **found.row(),
            "own MiB": memory.own_bytes / (1 << 20),
        },
    )


def _answers(run: Run, target: str) -> dict[str, str]:
    """Return an answer of ownerd to each rpc that the peer is measured with, in hex."""
    found = {}
    with grpc.insecure_channel(target) as channel:
        for shape in (CLAIMS, BATCHES):
            plan = run.known.plan(records.OPEN_LIST, batch_records=shape.batch_records)
            kind, body = plan.requests(1)[0]
            call = channel.unary_unary(f"/ownerd.v1.DialService/{DIAL_METHODS[kind]}")
            found[DIAL_METHODS[kind]] = call(body, timeout=_ANSWER_S).hex()
    return found


@contextmanager
def _empty_server(run: Run, answers: Path) -> Iterator[processes.Server]:
    with processes.serving(
        "empty", "benchmarks.empty", [str(answers)], ("dial",), run.directory
    ) as server:
        yield server


def _empty_round(run: Run, shape: Shape, answers: Path) -> None:
    with _empty_server(run, answers) as server:
        found = dialport.drive(
            server,
            run.known,
            in_flight=shape.in_flight,
            batch_records=shape.batch_records,
            seconds=run.scale.seconds,
            warm_up_s=run.scale.warm_up_s,
            pick_seed=run.pick_seed(),
        )
        memory = server.memory()
    run.report.add(
        "dial",
        {
            "load": shape.name,
            "contender": EMPTY,
            **found.row(),
            "own MiB": memory.own_bytes / (1 << 20),
        },
    )


def _measure_sizes(run: Run) -> None:
    """Measure claims on each size of list, in turn; keep each size's median round."""
    for _ in range(run.scale.rounds):
        for size in run.scale.sizes:
            known = records.Records(run.seed, size)
            with dialport.serving(run.filled(size), dialport.NATIVE, run.directory) as server:
                found = dialport.drive(
                    server,
                    known,
                    in_flight=CLAIMS.in_flight,
                    seconds=run.scale.seconds,
                    warm_up_s=run.scale.warm_up_s,
                    pick_seed=run.pick_seed(),
                )
            run.report.add("dial sizes", {"load": CLAIMS.name, "records": size, **found.row()})
    run.report.keep_medians("dial sizes", ("load", "records"), "decisions/s")
    run.report.show("dial sizes", "The native dial listener by size of the list")


def _measure_strangers(run: Run) -> None:
    """Measure a dialer's latency alone and beside calls with a wrong token, in turn."""
    protection = dialport.Protection(token=True)
    store = run.filled(run.scale.largest)
    with dialport.serving(store, dialport.NATIVE, run.directory, protection) as server:
        for _ in range(run.scale.rounds):
            for wrong_per_s in (0, WRONG_PER_S):
                with dialport.strangers(server, run.known, wrong_per_s, run.scale.seconds):
                    found = dialport.drive(
                        server,
                        run.known,
                        in_flight=CLAIMS.in_flight,
                        rate_per_s=DIALER_PER_S,
                        seconds=run.scale.seconds,
                        warm_up_s=run.scale.warm_up_s,
                        pick_seed=run.pick_seed(),
                        shown=dialport.credentials(store, run.directory, protection),
                    )
                run.report.add(
                    "dial strangers",
                    {"wrong tokens/s": wrong_per_s, "offered/s": DIALER_PER_S, **found.row()},
                )
    run.report.keep_medians("dial strangers", ("wrong tokens/s",), "p99 ms")
    run.report.show("dial strangers", "A dialer beside a stranger who tries tokens")


def _measure_offered(run: Run, kind: str) -> None:
    peak = next(
        row["calls/s"]
        for row in run.report.rows("dial")
        if (row["load"], row["contender"]) == (CLAIMS.name, kind)
    )
    with dialport.serving(run.filled(run.scale.largest), kind, run.directory) as server:
        for share in SHARES:
            bare_ms = bare_disk.wait_ms(run.directory, run.scale.seconds, 0.99)
            found = dialport.drive(
                server,
                run.known,
                in_flight=4 * CLAIMS.in_flight,
                rate_per_s=share * peak,
                seconds=run.scale.seconds,
                warm_up_s=run.scale.warm_up_s,
                pick_seed=run.pick_seed(),
            )
            run.report.add(
                "dial offered",
                {
                    "contender": kind,
                    "share": share,
                    "offered/s": share * peak,
                    "bare p99 ms": bare_ms,
                    **found.row(),
                },
            )
