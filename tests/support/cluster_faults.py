"""Faults of a cluster under load, each with a history that the demo's checker judges.

    python tests/support/cluster_faults.py --rounds 10 --only freeze_leader

Two nodes, each with a relay of its own in front of every member of a real etcd, are dialed by
campaigns: half of the dialers go on to the next node after a failure, half stay with one node and
wait for it, so that what a node answers late is in the history. A fault happens while they dial;
afterwards somebody has to lead, and dialing to go on, unless the fault is one that every node must
refuse. The checker finds two holders of one record, a hold that ended early, and an answer that is
older than one that was given before it was asked for.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import msgspec
from etcd_api import pb
from google.protobuf.duration_pb2 import Duration
from harness import ServerProcess, poll
from load import Dialer, Threads, logs_of, said
from real_etcd import Member, etcd_members
from relay import Relay

from ownerd.demo.checker import FAIL_OVER_LATE_NS, check
from ownerd.demo.etcd_process import free_ports
from ownerd.demo.logbook import Dialed, Entry, Opened, PolicySet, Reported
from ownerd.demo.verdict import Violation
from ownerd.v1 import admin_pb2, dial_pb2, dial_pb2_grpc

LEASE_S = 2
PATIENCE_S = 60.0
SECOND = 10**9
POLICY = PolicySet(0, 0, 3 * SECOND, 3 * SECOND, revision=0)
RECORDS = [str(number) for number in range(12)]
CAMPAIGNS = "ABCDABCD"
ALLOWED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


class HistoryIsWrong(Exception):
    """The checker found something, or a node did what it must not."""


@dataclass
class Persistent(Dialer):
    """A dialer that goes on after a failure: with the next node, or with the same one."""

    others: tuple[dial_pb2_grpc.DialServiceStub, ...] = ()
    call_s: float = 1.0
    tells_times: bool = True
    answers: int = 0

    def run(self, stopping: threading.Event) -> None:
        """Dial until told to stop."""
        while not stopping.is_set():
            super().run(stopping)
            if self.others:
                self.stub, self.others = self.others[0], (*self.others[1:], self.stub)
            stopping.wait(0.02)

    def attempt(
        self, record_id: str, code: str, reservation_id: int, *, timed: bool
    ) -> Reported | None:
        return super().attempt(record_id, code, reservation_id, timed=timed and self.tells_times)

    def _call(self, method: Callable[..., Any], request: object) -> tuple[Any, int, int]:
        ask_ns = time.monotonic_ns()
        answer = None
        try:
            answer = method(request, timeout=self.call_s)
            self.answers += 1
        except grpc.RpcError as error:
            self.errors.append(error.code())
        return answer, ask_ns, time.monotonic_ns()


class Cluster:
    """Two nodes, a relay for each of them to each member of etcd, and dialers."""

    def __init__(self, directory: Path, members: list[Member], stack: ExitStack) -> None:
        self.directory = directory
        self.members = members
        self.stack = stack
        self.relays: dict[str, list[Relay]] = {}
        self.nodes: dict[str, ServerProcess] = {}
        self.dialers: list[Persistent] = []
        self.must_refuse = False  # the fault is one after which nobody may lead
        self.tells_times = True
        self.allowed = ALLOWED  # as ends of calls

    # --- its parts

    def add(
        self, name: str, *more: str, environment: dict[str, str] | None = None
    ) -> ServerProcess:
        """Start a node."""
        node = self.make(name, self.directory / name, *more, environment=environment)
        self.nodes[name] = node
        self.stack.enter_context(_ended(node))
        return node.start()

    def make(
        self, name: str, data: Path, *more: str, environment: dict[str, str] | None = None
    ) -> ServerProcess:
        """Return a node that is not started."""
        relays = [
            self.stack.enter_context(Relay(lambda member=member: member.address))
            for member in self.members
        ]
        self.relays[name] = relays
        dial, admin, metrics = free_ports(3)
        return ServerProcess(
            data,
            *("--cluster", f"etcd://{','.join(each.address for each in relays)}/shop"),
            *("--node", name, "--cluster-lease-s", str(LEASE_S)),
            *("--dial-listen", f"127.0.0.1:{dial}", "--admin-listen", f"127.0.0.1:{admin}"),
            *("--advertise-dial", f"127.0.0.1:{dial}", "--advertise-admin", f"127.0.0.1:{admin}"),
            *("--metrics-listen", f"127.0.0.1:{metrics}", "--map-bytes", "256MiB"),
            *more,
            environment=environment,
        )

    def begin(
        self, first: dict[str, str] | None = None, second: dict[str, str] | None = None
    ) -> None:
        """Start both nodes, of which the first leads, and make the list."""
        node = self.add("a", "--cluster-create", environment=first)
        self.await_leader("a")
        policy = admin_pb2.OwnershipPolicy(
            enabled=True,
            duration=Duration(seconds=(POLICY.duration_ns or 0) // SECOND),
            reservation_ttl=Duration(seconds=POLICY.reservation_ttl_ns // SECOND),
            renewal_window=Duration(),
        )
        node.admin_stub().CreateContactList(
            admin_pb2.CreateContactListRequest(list_id="list", policy=policy), timeout=10
        )
        self.add("b", environment=second)

    def make_dialers(self, seed: int) -> None:
        """Make the dialers, which are not started."""
        for number, campaign_id in enumerate(CAMPAIGNS):
            nodes = list(self.nodes.values())
            at = number // 4 % len(nodes)
            stubs = [node.dial_stub() for node in nodes[at:] + nodes[:at]]
            roams = number % 4 < 2
            self.dialers.append(
                Persistent(
                    stubs[0],
                    "list",
                    campaign_id,
                    RECORDS,
                    seed + number,
                    dialer_id=f"dialer {number}",
                    others=tuple(stubs[1:]) if roams else (),
                    call_s=1.0 if roams else 8.0,
                    tells_times=self.tells_times,
                )
            )

    # --- what is seen of it

    def leads(self, name: str) -> bool:
        """Tell whether a node says that it leads."""
        node = self.nodes[name]
        if not node.running:
            return False
        try:
            with urllib.request.urlopen(
                f"http://{node.address('metrics')}/readyz", timeout=1
            ) as page:
                return int(page.status) == 200
        except (urllib.error.URLError, OSError):
            return False

    def await_leader(self, *names: str) -> str:
        """Wait until one of some nodes leads, by default any, and return its name."""
        wanted = names or tuple(self.nodes)
        return poll(
            lambda: next((name for name in wanted if self.leads(name)), None),
            f"one of {wanted} to lead",
            PATIENCE_S,
        )

    def other(self, name: str) -> str:
        """Return the other node's name."""
        return next(each for each in self.nodes if each != name)

    def answers(self) -> int:
        """Return how many answers came."""
        return sum(dialer.answers for dialer in self.dialers)

    def dial_on(self, count: int = 300) -> None:
        """Wait until so many more answers have come."""
        wanted = self.answers() + count
        poll(lambda: self.answers() >= wanted, f"{count} more answers", PATIENCE_S)

    def await_ends(self) -> None:
        """Wait until each node has ended, having found the log to be another one."""
        self.must_refuse = True
        for name, node in self.nodes.items():
            poll(lambda node=node: not node.running, f"{name} to refuse the log", PATIENCE_S)
            assert "cluster_left" in node.log_text, node.log_text


@contextmanager
def _ended(node: ServerProcess) -> Iterator[None]:
    """Have a node end, frozen or not, without a wait."""
    try:
        yield
    finally:
        node.send(signal.SIGCONT)
        if node.running:
            node.kill()
        node.__exit__()


# --- the faults ---------------------------------------------------------------------------------


def kill_leader(cluster: Cluster) -> None:
    """The leader's process is gone; later it is there again."""
    cluster.nodes["a"].kill()
    cluster.await_leader("b")
    cluster.nodes["a"].start()


def freeze_leader(cluster: Cluster) -> None:
    """The leader stands still for longer than its lease, and goes on where it was."""
    cluster.nodes["a"].send(signal.SIGSTOP)
    cluster.await_leader("b")
    cluster.dial_on(200)
    cluster.nodes["a"].send(signal.SIGCONT)


def cut_leader(cluster: Cluster) -> None:
    """The leader cannot reach etcd, its clients reach it."""
    for relay in cluster.relays["a"]:
        relay.hold()
    cluster.await_leader("b")
    cluster.dial_on(200)
    for relay in cluster.relays["a"]:
        relay.go_on()


def cut_standby(cluster: Cluster) -> None:
    """The standby cannot reach etcd for a while, and then it has to lead."""
    for relay in cluster.relays["b"]:
        relay.hold()
    cluster.dial_on(600)
    time.sleep(LEASE_S)
    for relay in cluster.relays["b"]:
        relay.go_on()
    cluster.nodes["a"].kill()
    cluster.await_leader("b")
    cluster.nodes["a"].start()


def kill_etcd_leader(cluster: Cluster) -> None:
    """The member of etcd that leads is gone, in the middle of transactions."""
    status = [member.ask("Maintenance", "Status", pb.StatusRequest()) for member in cluster.members]
    at = next(i for i, each in enumerate(status) if each.leader == each.header.member_id)
    cluster.members[at].kill()
    cluster.dial_on()
    cluster.members[at].start()


def lose_majority(cluster: Cluster) -> None:
    """Two of three members of etcd are gone for longer than a lease."""
    for member in cluster.members[:2]:
        member.kill()
    time.sleep(2 * LEASE_S)
    if any(cluster.leads(name) for name in cluster.nodes):
        raise HistoryIsWrong("a node leads without a majority of etcd")
    for member in cluster.members[:2]:
        member.start()


def compact_past_standby(cluster: Cluster) -> None:
    """What the standby's watch would go on with is compacted away."""
    for relay in cluster.relays["b"]:
        relay.hold()
    cluster.dial_on(400)
    member = cluster.members[0]
    revision = member.ask("KV", "Range", pb.RangeRequest(key=b"x")).header.revision
    member.ask("KV", "Compact", pb.CompactionRequest(revision=revision, physical=True))
    for relay in cluster.relays["b"]:
        relay.cut()
        relay.go_on()
    cluster.dial_on(200)
    cluster.nodes["a"].kill()
    cluster.await_leader("b")
    cluster.nodes["a"].start()


def one_id_twice(cluster: Cluster) -> None:
    """A second process says that it is the leader's node."""
    twin = cluster.make("a", cluster.directory / "twin")
    with _ended(twin):
        twin.launch()
        poll(lambda: not twin.running, "the second of the name to refuse", PATIENCE_S)
        assert "another process is the node" in twin.log_text, twin.log_text
    if not cluster.leads("a"):
        raise HistoryIsWrong("the first of the name leads no more")


def lose_news(cluster: Cluster) -> None:
    """The standby, which loses events of its watch, has to lead."""
    cluster.dial_on(600)
    cluster.nodes["a"].kill()
    cluster.await_leader("b")
    cluster.nodes["a"].start()


def wipe_etcd(cluster: Cluster) -> None:
    """The data of etcd are gone."""
    member = cluster.members[0]
    member.kill()
    shutil.rmtree(member.directory / "data")
    member.start()
    cluster.await_ends()


def restore_etcd(cluster: Cluster) -> None:
    """The data of etcd are those of a while ago."""
    member = cluster.members[0]
    member.kill()
    shutil.copytree(member.directory / "data", member.directory / "former")
    member.start()
    cluster.await_leader()
    cluster.dial_on(200)
    member.kill()
    shutil.rmtree(member.directory / "data")
    (member.directory / "former").rename(member.directory / "data")
    member.start()
    cluster.await_ends()


def fill_etcd(cluster: Cluster) -> None:
    """etcd is full, until somebody makes room; meanwhile what changes nothing is answered."""
    member, junk = cluster.members[0], 0
    with suppress(grpc.RpcError):
        for junk in range(400):
            put = pb.TxnRequest()
            put.success.add().request_put.CopyFrom(
                pb.PutRequest(key=b"junk/%d" % junk, value=bytes(100_000))
            )
            member.ask("KV", "Txn", put)  # gently: nobody is to wait for the disk
            time.sleep(0.01)
    full = grpc.StatusCode.RESOURCE_EXHAUSTED
    poll(lambda: any(full in each.errors for each in cluster.dialers), "a refusal", PATIENCE_S)
    stub = cluster.nodes["a"].dial_stub()
    for _ in range(8):
        stub.GetHolder(dial_pb2.GetHolderRequest(list_id="list", record_id="1"), timeout=5)
        time.sleep(LEASE_S / 4)
    gone = pb.TxnRequest()
    gone.success.add().request_delete_range.CopyFrom(
        pb.DeleteRangeRequest(key=b"junk/", range_end=b"junk0")
    )
    revision = member.ask("KV", "Txn", gone).header.revision
    member.ask("KV", "Compact", pb.CompactionRequest(revision=revision, physical=True))
    member.ask("Maintenance", "Defragment", pb.DefragmentRequest())
    for each in member.ask("Maintenance", "Alarm", pb.AlarmRequest()).alarms:
        disarm = pb.AlarmRequest(action=2, memberID=each.memberID, alarm=each.alarm)
        member.ask("Maintenance", "Alarm", disarm)
    cluster.await_leader("a")
    cluster.allowed = ALLOWED | {full}


@dataclass(frozen=True)
class Fault:
    """A fault, and the cluster that it happens to."""

    happens: Callable[[Cluster], None]
    members: int = 1
    first: tuple[tuple[str, str], ...] = ()
    second: tuple[tuple[str, str], ...] = ()
    flags: tuple[str, ...] = ()  # of etcd
    # By which a hold may last too long: a standby that heard nothing for a while goes on from what
    # the leader said before, as late as it then comes.
    late_ns: int = FAIL_OVER_LATE_NS


def _off(seconds: int) -> tuple[tuple[str, str], ...]:
    return (("OWNERD_WALL_OFFSET_S", str(seconds)),)


FAULTS = {
    "kill_leader": Fault(kill_leader),
    "freeze_leader": Fault(freeze_leader),
    "cut_leader": Fault(cut_leader),
    "cut_standby": Fault(cut_standby, late_ns=60 * SECOND),
    "kill_etcd_leader": Fault(kill_etcd_leader, members=3),
    "lose_majority": Fault(lose_majority, members=3),
    "compact_past_standby": Fault(compact_past_standby, late_ns=60 * SECOND),
    "one_id_twice": Fault(one_id_twice),
    "standby_ahead": Fault(kill_leader, second=_off(3600)),
    "standby_behind": Fault(kill_leader, second=_off(-3600)),
    "leader_ahead": Fault(kill_leader, first=_off(3600)),
    "leader_behind": Fault(kill_leader, first=_off(-3600)),
    "lose_news": Fault(lose_news, second=(("OWNERD_LOSE_EVENTS", "5"),), late_ns=60 * SECOND),
    "wipe_etcd": Fault(wipe_etcd),
    "restore_etcd": Fault(restore_etcd),
    "fill_etcd": Fault(fill_etcd, flags=("--quota-backend-bytes", "16777216")),
}


# --- a round ------------------------------------------------------------------------------------


def run_round(name: str, directory: Path, seed: int) -> str:
    """Have a fault happen under load, and check what was answered; return what was counted.

    Raises:
        HistoryIsWrong: what was answered cannot be right.
        TimeoutError: the cluster did not come to itself.
    """
    fault = FAULTS[name]
    with ExitStack() as stack:
        members = stack.enter_context(
            etcd_members(directory / "etcd", fault.members, flags=fault.flags)
        )
        cluster = Cluster(directory, members, stack)
        cluster.tells_times = not any("WALL" in key for key, _ in (*fault.first, *fault.second))
        cluster.begin(dict(fault.first), dict(fault.second))
        cluster.make_dialers(seed)
        try:
            with Threads(*(dialer.run for dialer in cluster.dialers)):
                cluster.dial_on()
                fault.happens(cluster)
                if not cluster.must_refuse:
                    cluster.await_leader()
                    cluster.dial_on()
        except BaseException:
            for node, process in cluster.nodes.items():
                print(f"--- node {node}\n" + "\n".join(process.log_lines[-30:]), file=sys.stderr)
            for dialer in cluster.dialers:
                last = Counter(dialer.errors[-100:])
                print(f"{dialer.dialer_id}: {dialer.answers} answers, {last}", file=sys.stderr)
            raise
        return judge(cluster.dialers, cluster.allowed, fault.late_ns)


def judge(dialers: list[Persistent], allowed: set[grpc.StatusCode], late_ns: int) -> str:
    """Check a history; return what was counted in it."""
    errors = {error for dialer in dialers for error in dialer.errors} - allowed
    if errors:
        raise HistoryIsWrong(f"calls ended with {errors}")
    logs = logs_of(dialers)
    verdict = check(logs, [POLICY], late_ns=late_ns)
    if verdict.violations:
        shown = "\n".join(str(each) for each in verdict.violations[:5])
        print(history_of(logs, verdict.violations[0]), file=sys.stderr)
        raise HistoryIsWrong(f"{len(verdict.violations)} violations, the first:\n{shown}")
    counts = said(logs)
    return ", ".join(f"{count} {answer}" for answer, count in counts.most_common())


def history_of(logs: dict[str, list[Entry]], violation: Violation) -> str:
    """Return all calls on the record of a violation, a line each, in the order of their answers."""
    calls = [
        (entry.answer_ns, campaign_id, entry)
        for campaign_id, entries in logs.items()
        for entry in entries
        if getattr(entry, "record_id", violation.record_id) == violation.record_id
        and not isinstance(entry, Opened | Dialed)
    ]
    lines = [f"{violation}, at {violation.at_ns}"]
    for answer_ns, campaign_id, entry in sorted(calls, key=lambda call: call[0]):
        more = {key: value for key, value in msgspec.structs.asdict(entry).items() if value}
        took_ms = (answer_ns - more.pop("ask_ns")) / 1e6
        lines.append(f"{campaign_id} {more} took {took_ms:.1f} ms")
    return "\n".join(lines)


def main() -> int:
    """Run rounds by hand; the exit code says whether all were right."""
    parser = argparse.ArgumentParser(description="faults of a cluster under load")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=sorted(FAULTS), action="append")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    wrong = 0
    for name in given.only or FAULTS:
        for number in range(given.rounds):
            seed = random.randrange(2**32) if given.seed is None else given.seed + number
            directory = Path(tempfile.mkdtemp(prefix=f"cluster-{name}-"))
            begun = time.monotonic()
            try:
                told = run_round(name, directory, seed)
            except (HistoryIsWrong, AssertionError, TimeoutError) as error:
                wrong += 1
                told = f"WRONG: {error}"
            with suppress(OSError):
                shutil.rmtree(directory)
            print(
                f"{name} {number} seed {seed} {time.monotonic() - begun:.1f} s: {told}", flush=True
            )
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(main())
