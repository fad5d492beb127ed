"""A dialer beside those who flood either listener: its latency, and the memory that a flood leaves.

The dialer is known and comes from another address. Each flood is one of somebody without a token.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from benchmarks import dialport, flooding, processes
from benchmarks.run import Run

DIALER_PER_S = 5_000
KEPT_SHARE = 0.1

_FLOOD_S = 2.0
_MEMORY_LIMIT_S = 300.0


def measure(run: Run) -> None:
    """Measure and report every flood on both listeners."""
    if dialport.NATIVE not in dialport.kinds():
        run.report.note("no native listener in this build; floods are not measured")
        return
    for listener in ("dial", "admin"):
        for kind in flooding.KINDS:
            _measure(run, listener, kind)
    run.report.show("floods", "A dialer beside a flood by strangers")


def _measure(run: Run, listener: str, kind: str) -> None:
    protection = dialport.Protection(token=True)
    store = run.filled(run.scale.largest)
    with dialport.serving(store, dialport.NATIVE, run.directory, protection) as server:
        quiet = _dial(run, server)
        before = server.memory().own_bytes
        with _flooded(server.addresses[listener], kind):
            time.sleep(_FLOOD_S)
            found = _dial(run, server)
            most = server.memory().own_bytes
        begin_s = time.monotonic()
        while server.memory().own_bytes > (1 + KEPT_SHARE) * before:
            if time.monotonic() - begin_s > _MEMORY_LIMIT_S:
                break
            time.sleep(0.5)
        after = server.memory().own_bytes
    run.report.add(
        "floods",
        {
            "listener": listener,
            "flood": kind,
            "p99 quiet": quiet.p99_ms,
            "p99 ms": found.p99_ms,
            "times": found.p99_ms / quiet.p99_ms,
            "errors": found.error_count,
            "own MiB before": before / (1 << 20),
            "in it": most / (1 << 20),
            "after": after / (1 << 20),
            "kept": after / before,
            "after s": time.monotonic() - begin_s,
        },
    )


def _dial(run: Run, server: processes.Server) -> dialport.Measured:
    store = run.filled(run.scale.largest)
    return dialport.drive(
        server,
        run.known,
        in_flight=256,
        rate_per_s=DIALER_PER_S,
        seconds=run.scale.seconds,
        warm_up_s=run.scale.warm_up_s,
        pick_seed=run.pick_seed(),
        shown=dialport.credentials(store, run.directory, dialport.Protection(token=True)),
    )


@contextmanager
def _flooded(address: str, kind: str) -> Iterator[None]:
    process = processes.start_module("benchmarks.flooding", stdin=subprocess.PIPE)
    try:
        assert process.stdin
        job = flooding.Job(address=address, kind=kind)
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.flush()
        yield
        process.stdin.close()
        process.wait(processes.STOP_DEADLINE_S)
    finally:
        if process.poll() is None:
            processes.stop(process)
