"""What every peer of ownerd has in common: how it is found, started, measured and ended.

A peer is a server from the machine's packages, started on loopback in a fresh process with a fresh
directory and a free port, given one shape of load by a tool of its own, and ended by its pid. A
module per peer holds the rest.
"""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from benchmarks import processes, records

RESERVATION_S = 86_400
TOOL_DEADLINE_S = 120.0

_POLL_S = 0.02
_LOG_END = 2_000


class Missing(Exception):
    """A peer cannot run on this machine; the message says what to install or to do."""


class Shape(NamedTuple):
    """One kind of load: calls in flight, each with a number of claims in it."""

    name: str
    in_flight: int
    batch_records: int


class Task(NamedTuple):
    """One measurement: what to claim, for how long, in which fresh directory.

    `store` is ownerd's: one in which every record exists.
    """

    shape: Shape
    record_count: int
    seed: int
    pick_seed: int
    seconds: float
    warm_up_s: float
    directory: Path
    store: Path

    @property
    def known(self) -> records.Records:
        """The records that may be claimed."""
        return records.Records(self.seed, self.record_count)


class Figures(NamedTuple):
    """What was measured.

    `granted_share` counts claims that were won, and so written. `own_bytes` is the server's memory
    just after the load, without mapped files and the page cache.
    """

    decisions_per_s: float
    p50_ms: float
    p99_ms: float
    server_cpu_us: float  # per decision
    granted_share: float
    own_bytes: int

    def row(self) -> dict[str, Any]:
        """Return the figures under the names that the report prints."""
        return {
            "decisions/s": self.decisions_per_s,
            "p50 ms": self.p50_ms,
            "p99 ms": self.p99_ms,
            "server us": self.server_cpu_us,
            "granted": self.granted_share,
            "own MiB": self.own_bytes / (1 << 20),
        }


class Contender(Protocol):
    """Somebody who makes durable claims."""

    name: str

    def version(self) -> str:
        """Return what the contender says it is.

        Raises:
            Missing: it cannot run here.
        """

    def why_not(self, shape: Shape) -> str:
        """Return why it has no such load, or nothing if it has."""

    def measure(self, task: Task) -> Figures:
        """Start it, load it, end it."""


def find(program: str, package: str, also: Sequence[Path] = ()) -> str:
    """Return the path of a program: from `also`, directories searched first, or from PATH.

    Raises:
        Missing: there is none.
    """
    places = os.pathsep.join([*map(str, also), os.environ.get("PATH", os.defpath), "/usr/sbin"])
    found = shutil.which(program, path=places)
    if found is None:
        raise Missing(f"no {program}; on Debian: apt-get install {package}")
    return found


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run_tool(command: Sequence[str], user: str | None = None, **options: Any) -> str:
    """Run a program of a peer to its end; return its stdout.

    Raises:
        RuntimeError: it failed; the message has the end of what it said.
    """
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=TOOL_DEADLINE_S,
        check=False,
        **options,
        **_as_user(user),
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-_LOG_END:]
        raise RuntimeError(f"{command[0]} failed with exit code {done.returncode}:\n{said}")
    return done.stdout


def account_other_than_root(account: str) -> str | None:
    """Return the account for a server that refuses to run as root; None: the present one will do.

    Raises:
        Missing: this is root, and there is no such account.
    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(account)
    except KeyError:
        raise Missing(f"it does not run as root, and there is no account {account}") from None
    return account


@contextmanager
def running(
    command: Sequence[str], ready: str, task: Task, user: str | None = None
) -> Iterator[int]:
    """Run a server while the context lasts, from the moment its log says `ready`; yield its pid.

    Raises:
        RuntimeError: it does not get ready; the message has the end of its log.
    """
    log_path = task.directory / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=task.directory,
            **_as_user(user),
        )
    try:
        deadline_s = time.monotonic() + processes.START_DEADLINE_S
        while ready not in (said := log_path.read_text("utf-8", "replace")):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"{command[0]} does not get ready:\n{said[-_LOG_END:]}")
            time.sleep(_POLL_S)
        yield process.pid
    finally:
        processes.stop(process)


def _as_user(user: str | None) -> dict[str, Any]:
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}
