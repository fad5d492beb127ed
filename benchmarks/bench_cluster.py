"""A cluster beside what it is built on: claims through the log in etcd, and a transaction of etcd's
for each claim, on the same three members; and how long a fail-over takes.

Three members of etcd and two nodes share the machine with the load, in every measurement. A
fail-over is the longest time between two answers to a caller that claims without a pause, from when
the leader is killed, or asked to stop, until the next one answers; its client has both addresses.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import dialport, peers_etcd, processes, records
from benchmarks.run import Run
from ownerd.client import Client, ClientError, Policy
from ownerd.demo.etcd_process import EtcdError, EtcdMembers, free_ports
from ownerd.load import http2 as load_http2

IN_FLIGHT = 256
LEASE_S = 5
OURS, THEIRS = "Claim on a cluster", "one etcd transaction a claim"
KILLED, STOPPED = "leader killed", "leader stopped"

_CONNECTIONS = 4
_BODIES = 200_000
_LEADS_S = 60.0


class Node(NamedTuple):
    """A server of the cluster."""

    process: subprocess.Popen[bytes]
    dial: str
    admin: str


def measure(run: Run) -> None:
    """Measure and report every row."""
    if dialport.NATIVE not in dialport.kinds():
        run.report.note("no native dial listener in this build; a cluster is not measured")
        return
    try:
        for _ in range(run.scale.rounds):
            with run.fresh() as directory, EtcdMembers(directory) as members:
                _measure_round(run, directory, members.addresses)
    except EtcdError as error:
        run.report.note(str(error))
        return
    run.report.keep_medians("cluster", ("load",), "decisions/s")
    run.report.keep_medians("fail-over", ("what",), "seconds")
    run.report.show("cluster", f"{IN_FLIGHT} in flight, three etcd members and two nodes")
    run.report.show("fail-over", f"Longest time without an answer, by a lease of {LEASE_S} s")


def _measure_round(run: Run, directory: Path, etcd: Sequence[str]) -> None:
    with ExitStack() as running:
        nodes = [running.enter_context(_serving(directory, etcd, "a", ["--cluster-create"]))]
        with Client(nodes[0].dial, admin_target=nodes[0].admin) as client:
            _wait_for(client)
        nodes.append(running.enter_context(_serving(directory, etcd, "b", [])))
        dials, admins = (",".join(each) for each in zip(*(node[1:] for node in nodes), strict=True))
        with Client(dials, admin_target=admins) as client:
            policy = Policy(
                enabled=True,
                duration=timedelta(seconds=records.OPEN_DURATION_S),
                reservation_ttl=timedelta(seconds=records.OPEN_TTL_S),
            )
            client.create_list(records.OPEN_LIST, policy)
            _measure_claims(run, _leader(nodes))
            _measure_transactions(run, etcd)
            for what, number in ((STOPPED, signal.SIGTERM), (KILLED, signal.SIGKILL)):
                leader = _leader(nodes)
                run.report.add(
                    "fail-over", {"what": what, "seconds": _fail_over(client, leader, number)}
                )
                leader.process.wait(processes.STOP_DEADLINE_S)
                name = "ab"[nodes.index(leader)]
                nodes[nodes.index(leader)] = running.enter_context(
                    _serving(directory, etcd, name, [], leader)
                )
                time.sleep(LEASE_S)  # it is level again


@contextmanager
def _serving(
    directory: Path, etcd: Sequence[str], name: str, more: list[str], former: Node | None = None
) -> Iterator[Node]:
    """Run a node while the context lasts, on the addresses that it had before."""
    dial, admin = (
        (former.dial, former.admin) if former else (f"127.0.0.1:{port}" for port in free_ports(2))
    )
    arguments = ["serve", "--no-auth", "--data", str(directory / name), "--metrics-listen", ""]
    arguments += ["--dial-listen", dial, "--admin-listen", admin]
    arguments += ["--cluster", f"etcd://{','.join(etcd)}/bench", "--node", name]
    arguments += ["--cluster-lease-s", str(LEASE_S), *more]
    with (directory / f"{name}.log").open("ab") as log:
        process = processes.start_module(
            "ownerd.server", arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield Node(process, dial, admin)
    finally:
        if process.poll() is None:
            processes.stop(process)


def _wait_for(client: Client) -> None:
    """Wait until a node leads.

    Raises:
        RuntimeError: none does.
    """
    deadline_s = time.monotonic() + _LEADS_S
    while True:
        try:
            client.status()
            return
        except ClientError as error:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"no node leads: {error}") from None
            time.sleep(0.1)


def _leader(nodes: Sequence[Node]) -> Node:
    """Return the node that takes dials.

    Raises:
        RuntimeError: none does.
    """
    deadline_s = time.monotonic() + _LEADS_S
    while time.monotonic() < deadline_s:
        for node in nodes:
            with Client(node.dial, timeout_s=1.0) as client:
                try:
                    client.holder(records.OPEN_LIST, "0")
                    return node
                except ClientError:
                    pass
        time.sleep(0.1)
    raise RuntimeError("no node takes dials")


def _row(load: str, found: Any) -> dict[str, Any]:
    return {
        "load": load,
        "decisions/s": found.calls / found.seconds,
        "p50 ms": found.latency.quantile_ns(0.5) / 1e6,
        "p99 ms": found.latency.quantile_ns(0.99) / 1e6,
    }


def _measure_claims(run: Run, leader: Node) -> None:
    plan = run.known.plan(records.OPEN_LIST, pick_seed=run.pick_seed())
    found = load_http2.drive(
        leader.dial,
        plan,
        in_flight=IN_FLIGHT,
        connections=_CONNECTIONS,
        seconds=run.scale.seconds,
        warm_up_s=run.scale.warm_up_s,
    )
    if found.errors:
        raise RuntimeError(f"claims on a cluster ended with {found.errors}")
    run.report.add("cluster", _row(OURS, found))


def _measure_transactions(run: Run, etcd: Sequence[str]) -> None:
    picks = run.known.picks(run.pick_seed(), _BODIES)
    found = load_http2.drive_requests(
        etcd[0],
        "/etcdserverpb.KV/Txn",
        [peers_etcd.transaction(pick) for pick in picks],
        in_flight=IN_FLIGHT,
        connections=_CONNECTIONS,
        seconds=run.scale.seconds,
        warm_up_s=run.scale.warm_up_s,
    )
    if found.errors:
        raise RuntimeError(f"etcd answered with {found.errors}")
    run.report.add("cluster", _row(THEIRS, found))


def _fail_over(client: Client, leader: Node, number: int) -> float:
    """End the leader; return the longest time, in seconds, between two answers to one caller."""
    longest_s, ended = 0.0, False
    client.claim(records.OPEN_LIST, "0", records.CLAIMER)
    os.kill(leader.process.pid, number)
    last_s = time.monotonic()
    while not ended:
        ended = leader.process.poll() is not None  # one more answer comes from the next leader
        client.claim(records.OPEN_LIST, "0", records.CLAIMER)
        now_s = time.monotonic()
        longest_s, last_s = max(longest_s, now_s - last_s), now_s
    return longest_s
