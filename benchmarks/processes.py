"""The processes of a benchmark: started, measured from /proc, ended by their pid.

Servers and their load share all cores: a client costs what it costs, on the same machine.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
START_DEADLINE_S = 20.0
STOP_DEADLINE_S = 15.0
RUN_DEADLINE_S = 1_200.0

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def start_module(
    module: str, arguments: Sequence[str] = (), **options: Any
) -> subprocess.Popen[bytes]:
    """Start `python -m module` from the repository's root, without this user's OWNERD_ settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OWNERD_")}
    environment["OWNERD_LOG_FORMAT"] = "json"
    process: subprocess.Popen[bytes] = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment, **options
    )
    return process


def run_module(module: str, stdin: bytes) -> bytes:
    """Run `python -m module` to its end with `stdin`; return what it wrote to stdout.

    Raises:
        RuntimeError: it failed; it has said why on stderr.
    """
    process = start_module(module, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        answer, _ = process.communicate(stdin, timeout=RUN_DEADLINE_S)
    finally:
        if process.poll() is None:
            stop(process)
    if process.returncode != 0:
        raise RuntimeError(f"{module} failed; see the lines above")
    return answer


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: asked first, killed if it does not listen."""
    process.terminate()
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_DEADLINE_S)


def cpu_s(pid: int) -> float:
    """Return the processor time of a process, of its children, and of those it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS_PER_S + sum(map(cpu_s, _children(pid)))


def own_bytes(pid: int) -> int:
    """Return the memory of a process and its children that is no file's; what they share, once."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    kib = sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon", "Pss_Shmem")))
    return (kib << 10) + sum(map(own_bytes, _children(pid)))


def _children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except (FileNotFoundError, ProcessLookupError):
        return []


class Memory(NamedTuple):
    """Resident bytes of a process: its own, and pages of mapped files (the store's cache)."""

    own_bytes: int
    file_bytes: int


class Server:
    """A contender: a server process that writes a JSON line `listening` for each listener."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log_path: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log_path = log_path
        self.addresses: dict[str, str] = {}

    def wait_until_it_listens(self, listeners: Sequence[str]) -> None:
        """Block until the log names every listener's address.

        Raises:
            RuntimeError: the process ended, or took too long; the message has the end of its log.
        """
        deadline_s = time.monotonic() + START_DEADLINE_S
        while not all(name in self.addresses for name in listeners):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                end = self._log_path.read_text("utf-8", "replace")[-2_000:]
                raise RuntimeError(f"the {self.name} server does not listen; its log ends:\n{end}")
            time.sleep(0.02)
            self.addresses = _listening(self._log_path)

    def cpu_s(self) -> float:
        """Return the processor time that the process has used."""
        return cpu_s(self.pid)

    def memory(self) -> Memory:
        """Return what the process keeps in memory now."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        kib = {
            key: value.split()[0]
            for key, _, value in (line.partition(":") for line in lines)
            if key in ("RssAnon", "RssFile", "RssShmem")
        }
        return Memory(int(kib["RssAnon"]) << 10, (int(kib["RssFile"]) + int(kib["RssShmem"])) << 10)


@contextmanager
def serving(
    name: str, module: str, arguments: Sequence[str], listeners: Sequence[str], directory: Path
) -> Iterator[Server]:
    """Run a contender in a fresh process while the context lasts."""
    log_path = directory / f"{name.replace(' ', '-')}.log"
    with log_path.open("wb") as log:
        process = start_module(module, arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        server = Server(name, process, log_path)
        server.wait_until_it_listens(listeners)
        yield server
    finally:
        stop(process)


def _listening(log_path: Path) -> dict[str, str]:
    found = {}
    for line in log_path.read_text("utf-8", "replace").splitlines():
        if line.startswith("{") and line.endswith("}"):
            event = json.loads(line)
            if event.get("event") == "listening":
                found[event["listener"]] = event["address"]
    return found
