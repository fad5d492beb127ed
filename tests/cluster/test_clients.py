"""What clients of a cluster see: a standby refuses them at once, a fail-over fails no call."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cluster_servers import eventually
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import ServerDidNotStart, ServerProcess, listeners
from real_etcd import Member, etcd_members

pytest.importorskip("ownerd.cluster.node")

from ownerd.client import Client, Decision, Policy
from ownerd.client.fail_over import LEADER_ONLY
from ownerd.client.requests.watches import Following
from ownerd.ctl import cli
from ownerd.ctl.commands.watches import revisions
from ownerd.ctl.connect.access import Access
from ownerd.ctl.connect.channel import Connection
from ownerd.ctl.terminal.exits import Exit
from ownerd.demo.etcd_process import free_ports
from ownerd.v1 import admin_pb2

LEASE_S = 2
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Member]]:
    with etcd_members(tmp_path_factory.mktemp("etcd"), 1) as members:
        yield members


class Node(ServerProcess):
    """A node of a cluster whose addresses stay the same."""

    def __init__(
        self, directory: Path, etcd: list[Member], name: str, cluster: str, *more: str
    ) -> None:
        self.dial, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
        super().__init__(
            directory / name,
            *("--cluster", f"etcd://{etcd[0].address}/{cluster}"),
            *("--node", name, "--cluster-lease-s", str(LEASE_S), "--map-bytes", "256MiB"),
            *("--dial-listen", self.dial, "--advertise-dial", self.dial, "--admin-listen", admin),
            *more,
        )

    @property
    def dial_address(self) -> str:
        return self.dial


def takes_dials(each: ServerProcess) -> bool:
    host, _, port = each.dial_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def health(each: ServerProcess) -> health_pb2_grpc.HealthStub:
    return health_pb2_grpc.HealthStub(each.channel(each.admin_address))


def health_of(each: ServerProcess, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=f"ownerd.v1.{service}")
    return int(health(each).Check(request, timeout=10).status)


class Watcher:
    """What a watch of the health of DialService, at an admin address, has told so far."""

    def __init__(self, each: ServerProcess) -> None:
        self.told: list[int] = []
        request = health_pb2.HealthCheckRequest(service="ownerd.v1.DialService")
        self.call = health(each).Watch(request)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for answer in self.call:
                self.told.append(answer.status)
        except grpc.RpcError:
            pass


class Ending:
    """How a stream has ended, once it has."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.code: grpc.StatusCode | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for _ in self.call:
                pass
        except grpc.RpcError as error:
            self.code = error.code()


@pytest.mark.parametrize("kind", ["native", "grpcio"])
def test_a_standby_refuses_connections_until_it_leads(
    etcd: list[Member], tmp_path: Path, kind: str
) -> None:
    first = Node(tmp_path, etcd, "a", kind, *listeners(kind), "--cluster-create")
    second = Node(tmp_path, etcd, "b", kind, *listeners(kind))
    with first, second:
        eventually(lambda: takes_dials(first), "the first leads")
        assert not takes_dials(second)
        services = ("DialService", "AdminService")
        assert [health_of(first, each) for each in services] == [SERVING, SERVING]
        assert [health_of(second, each) for each in services] == [NOT_SERVING, SERVING]
        was, will_be = Watcher(first), Watcher(second)
        eventually(lambda: was.told == [SERVING] and will_be.told == [NOT_SERVING], "they watch")

        request = admin_pb2.GetServerStatusRequest()
        ask = second.admin_stub().GetServerStatus
        ask(request, timeout=10)
        with pytest.raises(grpc.RpcError) as told:
            ask(request, timeout=10, metadata=[LEADER_ONLY])
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "does not lead" in str(told.value.details())
        first.admin_stub().GetServerStatus(request, timeout=10, metadata=[LEADER_ONLY])

        following = Ending(
            first.admin_stub().Watch(admin_pb2.WatchRequest(), metadata=[LEADER_ONLY])
        )

        # Frozen for longer than its lease, it finds out that it leads no more.
        first.send(signal.SIGSTOP)
        try:
            eventually(lambda: takes_dials(second), "the second leads")
        finally:
            first.send(signal.SIGCONT)
        eventually(lambda: not takes_dials(first), "the first takes no dials any more")
        eventually(
            lambda: was.told == [SERVING, NOT_SERVING] and will_be.told == [NOT_SERVING, SERVING],
            "watchers are told",
        )
        eventually(lambda: following.code is grpc.StatusCode.UNAVAILABLE, "its feed ends")
        # And may lead again, by the same port.
        second.kill()
        eventually(lambda: takes_dials(first), "the first leads again")
        assert first.dial_stub() is not None and health_of(first, "DialService") == SERVING
        assert was.told == [SERVING, NOT_SERVING, SERVING]


@pytest.mark.parametrize("kind", ["native", "grpcio"])
def test_a_dial_port_that_is_in_use_is_found_out_at_the_start(
    etcd: list[Member], tmp_path: Path, kind: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        each = Node(
            tmp_path,
            etcd,
            "a",
            f"taken-{kind}",
            *listeners(kind),
            "--cluster-create",
            *("--dial-listen", at),
        )
        with pytest.raises(ServerDidNotStart) as told:
            each.start()
        assert told.value.exit_code == 5 and "dial_listen" in told.value.log_text


class Dialer:
    """One client that claims one record after the other, and notes what it was told."""

    def __init__(self, nodes: list[ServerProcess]) -> None:
        self.client = Client(
            ",".join(each.dial_address for each in nodes),
            admin_target=",".join(each.admin_address for each in nodes),
        )
        self.decisions: list[Decision] = []
        self.revisions: list[int] = []
        self.longest_s = 0.0
        self.error: BaseException | None = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self.stopping.wait(0.005):
                began_s = time.monotonic()
                found = self.client.claim("list", str(len(self.decisions)), "red")
                self.longest_s = max(self.longest_s, time.monotonic() - began_s)
                self.decisions.append(found.decision)
                self.revisions.append(found.revision)
        except BaseException as error:
            self.error = error

    def goes_on(self) -> None:
        """Wait for some more answers."""
        count = len(self.decisions) + 20
        eventually(lambda: self.error is not None or len(self.decisions) > count, "it dials")
        assert self.error is None

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.client.close()


def test_r20_no_call_of_a_client_fails_when_the_leader_is_killed_or_frozen(
    etcd: list[Member], tmp_path: Path, capsys: Any
) -> None:
    first = Node(tmp_path, etcd, "a", "calls", "--cluster-create")
    second = Node(tmp_path, etcd, "b", "calls")
    nodes = [first, second]
    with first, second:
        eventually(lambda: takes_dials(first), "the first leads")
        admins = ",".join(each.admin_address for each in reversed(nodes))
        with Client(admins) as admin:
            admin.create_list("list", Policy(enabled=True, duration=timedelta(days=1)))
            dialer = Dialer(nodes)
            watch = {"from_revision": 1, "include_reservations": True}
            follower = Client(admins)
            connection = Connection(Access(server=admins))
            seen = Seen(each.number for each in follower.watch("list", **watch) if each.events)
            printed = Seen(
                message.revision
                for message, events in revisions(Following("list", **watch), connection)
                if any(not each.HasField("progress") for each in events)
            )
            try:
                dialer.goes_on()
                first.kill()
                assert admin.upsert_campaign("red", "Red") > 0
                dialer.goes_on()
                assert not takes_dials(first.start())
                second.send(signal.SIGSTOP)
                try:
                    dialer.goes_on()
                    assert admin.owners("list").total_reserved_count
                    # That a node is frozen may be an alarm already.
                    asked = ["--server", admins, "--timeout", "60", "status"]
                    assert cli.main(asked) in (Exit.OK, Exit.ALARM)
                finally:
                    second.send(signal.SIGCONT)
                assert first.admin_address in capsys.readouterr().out
                dialer.goes_on()
                for each in (seen, printed):
                    each.catches_up(dialer.revisions[-1])
            finally:
                dialer.stop()
                follower.close()
                connection.close()
        assert dialer.error is None
        assert set(dialer.decisions) == {Decision.GRANTED}
        assert dialer.revisions == sorted(dialer.revisions)
        for each in (seen, printed):
            assert each.revisions == sorted(set(each.revisions))


class Seen:
    """The revisions that a watch has shown, without an end."""

    def __init__(self, shown: Iterator[int]) -> None:
        self.revisions: list[int] = []
        self.error: BaseException | None = None
        self._shown = shown
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for each in self._shown:
                self.revisions.append(each)
        except BaseException as error:
            self.error = error

    def catches_up(self, revision: int) -> None:
        eventually(lambda: bool(self.revisions) and self.revisions[-1] >= revision, f"{self.error}")
