"""Two servers and real etcd: one is killed, the other leads, and nothing granted is lost."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cluster_servers import eventually, leads, make_list, server, status
from harness import ServerProcess
from real_etcd import Member, etcd_members

pytest.importorskip("ownerd.cluster.node")

from ownerd.v1 import admin_pb2, dial_pb2


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Member]]:
    with etcd_members(tmp_path_factory.mktemp("etcd"), 1) as members:
        yield members


def refusal(standby: ServerProcess) -> str:
    """Return what a standby says to a claim, which is made at its admin address."""
    claim = dial_pb2.ClaimRequest(list_id="list", record_id="1", campaign_id="red")
    with pytest.raises(grpc.RpcError) as told:
        standby.dial_stub(standby.admin_address).Claim(claim, timeout=10)
    assert told.value.code() is grpc.StatusCode.UNAVAILABLE
    return str(told.value.details())


def check_holders(leader: ServerProcess, granted: dict[str, set[str]]) -> None:
    """Check that each campaign holds what it was granted, of some of its records."""
    stub = leader.dial_stub()
    for name, records in granted.items():
        for record in sorted(records)[:: max(1, len(records) // 200)]:
            request = dial_pb2.GetHolderRequest(list_id="list", record_id=record)
            assert stub.GetHolder(request, timeout=10).holder.campaign_id == name


class Campaign:
    """Claims one record after the other from whoever leads, until it is told to stop."""

    def __init__(self, name: str, servers: list[ServerProcess], records: list[str]) -> None:
        self.name = name
        self.stubs = [each.dial_stub() for each in servers]
        self.records = records
        self.granted: list[str] = []
        self.gaps: list[float] = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        at, last = 0, time.monotonic()
        for record in self.records:
            while not self.stopping.is_set():
                request = dial_pb2.ClaimRequest(
                    list_id="list", record_id=record, campaign_id=self.name
                )
                try:
                    answer = self.stubs[at].Claim(request, timeout=1)
                except grpc.RpcError:
                    at = (at + 1) % len(self.stubs)
                    time.sleep(0.02)
                    continue
                now = time.monotonic()
                self.gaps.append(now - last)
                last = now
                if answer.decision == dial_pb2.CLAIM_DECISION_GRANTED:
                    self.granted.append(record)
                break

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.mark.parametrize("way", ["kill", "stop", "transfer"])
def test_r29_another_node_leads_and_no_record_is_granted_twice(
    etcd: list[Member], tmp_path: Path, way: str
) -> None:
    first = server(tmp_path, etcd, "a", way, "--cluster-create")
    second = server(tmp_path, etcd, "b", way)
    with first, second:
        eventually(lambda: leads(first), "the first leads")
        assert status(second, "/readyz") == 503 and status(second, "/livez") == 200
        make_list(first)
        records = [str(i) for i in range(20_000)]
        campaigns = [
            Campaign("red", [first, second], records),
            Campaign("blue", [first, second], records[::-1]),
        ]
        try:
            eventually(lambda: all(len(each.granted) > 100 for each in campaigns), "they dial")
            before = [len(each.granted) for each in campaigns]
            if way == "transfer":
                request = admin_pb2.TransferLeadershipRequest()
                assert first.admin_stub().TransferLeadership(request, timeout=20).node == "b"
            else:
                first.kill() if way == "kill" else first.ask_to_stop()
            eventually(lambda: leads(second), "the second leads")
            eventually(
                lambda: all(
                    len(each.granted) > was + 100
                    for each, was in zip(campaigns, before, strict=True)
                ),
                "they dial on",
            )
        finally:
            for each in campaigns:
                each.stop()
        red, blue = (set(each.granted) for each in campaigns)
        assert not red & blue
        check_holders(second, {"red": red, "blue": blue})
        if way == "stop":
            assert first.wait() == 0
            return
        if way == "transfer":
            eventually(lambda: "does, at b." in refusal(first), "the first follows the second")
            return
        # Whoever was killed is one that follows, and leads again when it is wanted.
        first.start()
        eventually(lambda: "does, at b." in refusal(first), "the first follows the second")
        second.kill()
        eventually(lambda: leads(first), "the first leads again")
        check_holders(first, {"red": red, "blue": blue})


def test_a_standby_names_the_leader_and_shows_what_it_has(
    etcd: list[Member], tmp_path: Path
) -> None:
    first = server(tmp_path, etcd, "a", "shown", "--cluster-create")
    second = server(tmp_path, etcd, "b", "shown")
    with first, second:
        eventually(lambda: leads(first), "the first leads")
        make_list(first)
        eventually(
            lambda: "a does, at a.example:7411" in refusal(second), "the leader's address is told"
        )
        with pytest.raises(grpc.RpcError) as told:
            make_list(second)
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
        listed = admin_pb2.ListContactListsRequest()
        eventually(
            lambda: len(second.admin_stub().ListContactLists(listed, timeout=10).lists) == 1,
            "the standby shows the list",
        )


def test_a_node_without_a_name_or_with_a_wrong_cluster_says_so(tmp_path: Path) -> None:
    from harness import ServerDidNotStart

    for arguments, said in (
        (["--cluster", "etcd://127.0.0.1:1/x"], "--node"),
        (["--cluster", "127.0.0.1:1", "--node", "a"], "etcd://HOST:PORT"),
        (
            ["--cluster", "etcd://127.0.0.1:1/x", "--node", "a", "--advertise-dial", "0.0.0.0:1"],
            "advertise_dial",
        ),
    ):
        with pytest.raises(ServerDidNotStart) as told:
            ServerProcess(tmp_path / "data", *arguments).start()
        assert said in str(told.value) or said in json.dumps(str(told.value))


def test_a_port_that_is_kept_for_a_leaders_dials_is_no_other_listeners(
    etcd: list[Member], tmp_path: Path
) -> None:
    from harness import ServerDidNotStart

    node = server(tmp_path, etcd, "a", "ports", "--cluster-create")
    dial = node.arguments[node.arguments.index("--dial-listen") + 1]
    node.arguments = (*node.arguments, "--admin-listen", dial)
    with pytest.raises(ServerDidNotStart, match="dial_listen has it") as told:
        node.start()
    assert told.value.exit_code == 5
