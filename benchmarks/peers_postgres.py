"""PostgreSQL: a claim is an INSERT that takes a record which is free, expired or one's own.

The load is pgbench's, prepared statements, one connection per call in flight; its picks are seeded.
A batch is one statement over `unnest` of an array of distinct ids, sorted so that two batches never
wait for each other in a circle. pgbench cannot send a thousand picks of its own, so the arrays lie
ready in a table. Checkpoints are spaced out and the buffers are large, which favours PostgreSQL.
"""

import itertools
import math
import random
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import peers, processes, records
from benchmarks.report import percentile

_PACKAGE = "postgresql"
_ACCOUNT = "postgres"
_READY = "database system is ready to accept connections"
_BATCHES = 1_000
_THREADS = 2  # of pgbench
_SCHEMA = """
CREATE TABLE claims (list_id text, record_id text, campaign_id text NOT NULL,
  expire_time timestamptz NOT NULL, PRIMARY KEY (list_id, record_id));
CREATE TABLE batches (number int PRIMARY KEY, record_ids text[] NOT NULL);
"""
_CLAIM = """INSERT INTO claims AS held (list_id, record_id, campaign_id, expire_time)
  SELECT '{list_id}', record_id, '{campaign_id}', now() + interval '{ttl_s} seconds' FROM {source}
  ON CONFLICT (list_id, record_id) DO UPDATE
  SET campaign_id = excluded.campaign_id, expire_time = excluded.expire_time
  WHERE held.expire_time <= now() OR held.campaign_id = excluded.campaign_id;
"""
_ONE = "(VALUES ((:pick)::text)) AS picked (record_id)"
_BATCH = "unnest((SELECT record_ids FROM batches WHERE number = :pick)) AS picked (record_id)"


class Postgres:
    """The peer."""

    name = "PostgreSQL"

    def version(self) -> str:
        """See `peers.Contender`."""
        for program in ("initdb", "pgbench", "psql"):
            _program(program)
        peers.account_other_than_root(_ACCOUNT)
        said = peers.run_tool([_program("postgres"), "--version"])
        return said.split()[2]

    def why_not(self, shape: peers.Shape) -> str:
        """See `peers.Contender`."""
        return ""

    def measure(self, task: peers.Task) -> peers.Figures:
        """See `peers.Contender`."""
        user = peers.account_other_than_root(_ACCOUNT)
        data = task.directory / "data"
        if user is not None:
            shutil.chown(task.directory, user)
        initialise = [
            _program("initdb"),
            "-D",
            str(data),
            "-U",
            "bench",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
        ]
        peers.run_tool(initialise, user, cwd=task.directory)
        port = str(peers.free_port())
        with peers.running(_server_command(task, data, port), _READY, task, user) as pid:
            _prepare(task, port)
            once = _load(task, port, pid, ["-t", "1"])
            seconds = math.ceil(once.wall_s + task.warm_up_s + task.seconds)
            found = _load(task, port, pid, ["-T", str(seconds)])
            own_bytes = processes.own_bytes(pid)
        return _figures(task, once, found, own_bytes)


class _Load(NamedTuple):
    """A run of pgbench: when transactions ended and what they took, in microseconds."""

    calls_us: list[tuple[int, int]]
    wall_s: float
    server_cpu_s: float


def _figures(task: peers.Task, once: _Load, found: _Load, own_bytes: int) -> peers.Figures:
    """Return what came after the warm-up; `once`, a call per connection, is what connecting costs.

    Processor time is that of the whole run without that of `once`, over the calls.
    """
    begin_us = found.calls_us[0][0] + int(task.warm_up_s * 1e6)
    latencies_us = sorted(took for end, took in found.calls_us if end > begin_us)
    seconds = (found.calls_us[-1][0] - begin_us) / 1e6
    calls = len(found.calls_us) - len(once.calls_us)
    cpu_s = found.server_cpu_s - once.server_cpu_s
    return peers.Figures(
        decisions_per_s=len(latencies_us) * task.shape.batch_records / seconds,
        p50_ms=percentile(latencies_us, 0.5) / 1e3,
        p99_ms=percentile(latencies_us, 0.99) / 1e3,
        server_cpu_us=cpu_s / (calls * task.shape.batch_records) * 1e6,
        granted_share=1.0,  # every claim is the same campaign's
        own_bytes=own_bytes,
    )


def _program(name: str) -> str:
    newest_first = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda path: float(path.parent.name),
        reverse=True,
    )
    return peers.find(name, _PACKAGE, newest_first[:1])


def _server_command(task: peers.Task, data: Path, port: str) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "max_connections": str(task.shape.in_flight + 10),
        "fsync": "on",
        "synchronous_commit": "on",
        "shared_buffers": "1GB",
        "max_wal_size": "16GB",
        "checkpoint_timeout": "1h",
    }
    options = itertools.chain.from_iterable(("-c", f"{k}={v}") for k, v in settings.items())
    return [_program("postgres"), "-D", str(data), *options]


def _at(port: str) -> list[str]:
    return ["-h", "127.0.0.1", "-p", port, "-U", "bench"]


def _prepare(task: peers.Task, port: str) -> None:
    """Make the tables, and the batches if any are claimed."""
    script = _SCHEMA
    if task.shape.batch_records > 1:
        chance = random.Random(task.seed)
        script += "COPY batches FROM STDIN;\n"
        for number in range(_BATCHES):
            picks = chance.sample(range(task.record_count), task.shape.batch_records)
            ids = ",".join(sorted(map(task.known.id, picks)))
            script += f"{number}\t{{{ids}}}\n"
        script += "\\.\nVACUUM ANALYZE batches;\n"
    command = [_program("psql"), *_at(port), "-d", "postgres", "-q", "-v", "ON_ERROR_STOP=1"]
    peers.run_tool(command, input=script)


def _load(task: peers.Task, port: str, pid: int, length: Sequence[str]) -> _Load:
    """Claim for as long as the options in `length` say."""
    script = task.directory / "claim.sql"
    script.write_text(_script(task), "utf-8")
    log = f"calls{length[0]}"
    command = [
        _program("pgbench"),
        *_at(port),
        "-n",
        "-M",
        "prepared",
        "-f",
        str(script),
        "-c",
        str(task.shape.in_flight),
        "-j",
        str(_THREADS),
        *length,
        "-l",
        "--log-prefix",
        str(task.directory / log),
        f"--random-seed={task.seed}",
        "postgres",
    ]
    cpu_s, begin_s = processes.cpu_s(pid), time.monotonic()
    peers.run_tool(command)
    wall_s = time.monotonic() - begin_s
    return _Load(_read_logs(task.directory.glob(f"{log}.*")), wall_s, processes.cpu_s(pid) - cpu_s)


def _script(task: peers.Task) -> str:
    batched = task.shape.batch_records > 1
    claim = _CLAIM.format(
        list_id=records.OPEN_LIST,
        campaign_id=records.CLAIMER,
        ttl_s=peers.RESERVATION_S,
        source=_BATCH if batched else _ONE,
    )
    last = (_BATCHES if batched else task.record_count) - 1
    return f"\\set pick random(0, {last})\n{claim}"


def _read_logs(paths: Iterable[Path]) -> list[tuple[int, int]]:
    """Read the logs of pgbench's threads, in the order in which transactions ended.

    A line per transaction: client, number, latency in us, script, end in s and in us.
    """
    lines = (line.split() for path in paths for line in path.read_text("utf-8").splitlines())
    return sorted((int(line[4]) * 1_000_000 + int(line[5]), int(line[2])) for line in lines)
