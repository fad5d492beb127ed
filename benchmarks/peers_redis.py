"""Redis: `SET record campaign NX EX ttl`, appended to a file that is synced before the answer.

The load is redis-benchmark's. It draws records with a seed of its own, so runs differ in which
records are claimed, not in how many; a record drawn twice is denied the second time, and nothing
is written for it. It takes a pipeline's latency at its first answer, which Redis may give before it
has read the last command. Snapshots and rewriting of the file are off, which favours Redis.
"""

import csv
import itertools

from benchmarks import peers, processes, records

_PACKAGE = "redis-server redis-tools"
_READY = "Ready to accept connections"
_WARM_UP_CALLS = 20  # per connection


class Redis:
    """The peer; a batch is a pipeline."""

    name = "Redis"

    def version(self) -> str:
        """See `peers.Contender`."""
        for program in ("redis-benchmark", "redis-cli"):
            peers.find(program, _PACKAGE)
        server = peers.find("redis-server", _PACKAGE)
        said = peers.run_tool([server, "--version"])
        return next(word[2:] for word in said.split() if word.startswith("v="))

    def why_not(self, shape: peers.Shape) -> str:
        """See `peers.Contender`."""
        return ""

    def measure(self, task: peers.Task) -> peers.Figures:
        """See `peers.Contender`."""
        port = str(peers.free_port())
        with peers.running(_server_command(task, port), _READY, task) as pid:
            warm_up = _WARM_UP_CALLS * task.shape.in_flight * task.shape.batch_records
            found = _load(task, port, warm_up)
            # So few calls guess the rate badly; the next guess decides how long the run takes.
            found = _load(task, port, int(float(found["rps"]) * task.warm_up_s) + 1)
            count = int(float(found["rps"]) * task.seconds) + 1
            cpu_s, held = processes.cpu_s(pid), _held(task, port)
            found = _load(task, port, count)
            cpu_s, granted = processes.cpu_s(pid) - cpu_s, _held(task, port) - held
            own_bytes = processes.own_bytes(pid)
        return peers.Figures(
            decisions_per_s=float(found["rps"]),
            p50_ms=float(found["p50_latency_ms"]),
            p99_ms=float(found["p99_latency_ms"]),
            server_cpu_us=cpu_s / count * 1e6,
            granted_share=granted / count,
            own_bytes=own_bytes,
        )


def _server_command(task: peers.Task, port: str) -> list[str]:
    settings = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": str(task.directory),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "auto-aof-rewrite-percentage": "0",
    }
    options = itertools.chain.from_iterable((f"--{key}", value) for key, value in settings.items())
    return [peers.find("redis-server", _PACKAGE), *options]


def _load(task: peers.Task, port: str, count: int) -> dict[str, str]:
    """Make `count` claims; return redis-benchmark's figures."""
    command = [
        peers.find("redis-benchmark", _PACKAGE),
        "-h",
        "127.0.0.1",
        "-p",
        port,
        "--csv",
        "-c",
        str(task.shape.in_flight),
        "-P",
        str(task.shape.batch_records),
        "-n",
        str(count),
        "-r",
        str(task.record_count),
        "SET",
        f"{records.OPEN_LIST}:__rand_int__",
        records.CLAIMER,
        "NX",
        "EX",
        str(peers.RESERVATION_S),
    ]
    said = peers.run_tool(command)
    return next(csv.DictReader(line for line in said.splitlines() if line.startswith('"')))


def _held(task: peers.Task, port: str) -> int:
    """Return how many records are held."""
    command = [peers.find("redis-cli", _PACKAGE), "-h", "127.0.0.1", "-p", port, "dbsize"]
    return int(peers.run_tool(command).split()[-1])
