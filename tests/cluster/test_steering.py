"""A cluster seen and steered: status, another leader, a node less; what it tells of itself."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from cluster_servers import eventually, leads, make_list, server
from etcd_api import pb
from harness import ServerProcess
from metric_names import asked_for, of_clusters, shown_on
from real_etcd import Member, etcd_members

pytest.importorskip("ownerd.cluster.node")

from ownerd.ctl.cli import main
from ownerd.server import papers
from ownerd.v1 import admin_pb2, dial_pb2


class Cluster(NamedTuple):
    """Two nodes, of which one or the other leads, and their etcd."""

    etcd: list[Member]
    nodes: dict[str, ServerProcess]

    def roles(self) -> tuple[str, str]:
        """Return which node leads and which follows, once both agree."""
        found: list[str] = []

        def settled() -> bool:
            found[:] = sorted(self.nodes, key=lambda name: not leads(self.nodes[name]))
            told = [self.status(name) for name in found]
            return all(
                each.leader == found[0] and all(node.alive for node in each.nodes) for each in told
            ) and [len(each.nodes) for each in told] == [2, 2]

        eventually(settled, "one node leads and one follows")
        return found[0], found[1]

    def status(self, name: str) -> admin_pb2.GetClusterStatusResponse:
        return (
            self.nodes[name]
            .admin_stub()
            .GetClusterStatus(admin_pb2.GetClusterStatusRequest(), timeout=10)
        )

    def alarms(self, name: str) -> dict[str, str]:
        stub = self.nodes[name].admin_stub()
        found = stub.GetServerStatus(admin_pb2.GetServerStatusRequest(), timeout=10)
        return {each.name: each.message for each in found.alarms}

    def audit(self, name: str, action: str) -> list[admin_pb2.AuditEntry]:
        request = admin_pb2.ListAuditEntriesRequest(filter=admin_pb2.AuditFilter(action=action))
        stub = self.nodes[name].admin_stub()
        return list(stub.ListAuditEntries(request, timeout=10).entries)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("nodes")
    with etcd_members(tmp_path_factory.mktemp("etcd"), 1) as members:
        first = server(directory, members, "a", "steered", "--cluster-create")
        second = server(directory, members, "b", "steered")
        with first, second:
            eventually(lambda: leads(first), "the first leads")
            make_list(first)
            yield Cluster(members, {"a": first, "b": second})


def code_of(call: grpc.RpcError) -> str:
    return str(call.code().name)


def test_every_node_shows_who_leads_and_how_far_each_one_is(cluster: Cluster) -> None:
    leader, standby = cluster.roles()

    def level(status: admin_pb2.GetClusterStatusResponse) -> bool:
        return all(each.applied_revision == status.last_revision for each in status.nodes)

    for name in (leader, standby):
        eventually(lambda name=name: level(cluster.status(name)), "all are level")
        status = cluster.status(name)
        assert (status.cluster, status.answered_by, status.leader) == ("steered", name, leader)
        assert status.epoch > 0 and not status.etcd_error
        nodes = {each.node: each for each in status.nodes}
        assert nodes[leader].role == admin_pb2.NODE_ROLE_LEADER
        assert nodes[standby].role == admin_pb2.NODE_ROLE_STANDBY
        assert {each.dial for each in nodes.values()} == {"a.example:7411", "b.example:7411"}
        assert all(
            each.lag_revisions == 0 and each.lag.ToNanoseconds() == 0 for each in nodes.values()
        )
        found = (
            cluster.nodes[name]
            .admin_stub()
            .GetServerStatus(admin_pb2.GetServerStatusRequest(), timeout=10)
            .cluster
        )
        assert (found.node, found.leader, found.epoch) == (name, leader, status.epoch)
        assert (found.role == admin_pb2.NODE_ROLE_LEADER) == (name == leader)


def test_another_node_leads_when_it_is_told_to_and_the_audit_has_it(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    leader, standby = cluster.roles()
    epoch = cluster.status(leader).epoch
    claim = dial_pb2.ClaimRequest(list_id="list", record_id="moved", campaign_id="red")
    cluster.nodes[leader].dial_stub().Claim(claim, timeout=10)
    server_option = ["--server", cluster.nodes[leader].address("admin"), "--insecure"]
    command = ["cluster", "transfer", standby, "--yes", "--reason", "upkeep", "-o", "json"]
    code = main([*command, *server_option[:2]])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert json.loads(told.out)["node"] == standby
    assert cluster.roles() == (standby, leader)
    assert cluster.status(standby).epoch > epoch
    claim.campaign_id = "blue"
    answer = cluster.nodes[standby].dial_stub().Claim(claim, timeout=10)
    assert answer.decision == dial_pb2.CLAIM_DECISION_DENIED
    handed = cluster.audit(standby, "TransferLeadership")[0]
    assert (handed.reason, json.loads(handed.detail)["node"]) == ("upkeep", standby)
    eventually(
        lambda: json.loads(cluster.audit(standby, "TakeLeadership")[0].detail)["node"] == standby,
        "the election is in the audit",
    )
    assert main(["cluster", "status", *server_option[:2]]) == 0
    shown = capsys.readouterr()
    assert f"{standby} leads" in shown.out + shown.err


def test_what_cannot_lead_is_refused_and_the_leader_leads_on(cluster: Cluster) -> None:
    leader, standby = cluster.roles()
    stub = cluster.nodes[leader].admin_stub()
    for node, code in (("nobody", "NOT_FOUND"), (leader, "FAILED_PRECONDITION")):
        with pytest.raises(grpc.RpcError) as told:
            stub.TransferLeadership(admin_pb2.TransferLeadershipRequest(node=node), timeout=10)
        assert code_of(told.value) == code
    for node, code in (("nobody", "NOT_FOUND"), (standby, "FAILED_PRECONDITION")):
        with pytest.raises(grpc.RpcError) as told:
            stub.RemoveNode(admin_pb2.RemoveNodeRequest(node=node), timeout=10)
        assert code_of(told.value) == code
    with pytest.raises(grpc.RpcError) as told:
        cluster.nodes[standby].admin_stub().TransferLeadership(
            admin_pb2.TransferLeadershipRequest(), timeout=10
        )
    assert code_of(told.value) == "UNAVAILABLE"
    assert cluster.roles() == (leader, standby)


def test_a_node_that_is_gone_is_an_alarm_until_it_is_removed(cluster: Cluster) -> None:
    leader, standby = cluster.roles()
    registered = pb.PutRequest(key=b"ownerd/steered/nodes/gone", value=b"1")
    cluster.etcd[0].ask("KV", "Put", registered)
    eventually(lambda: "NODE_ABSENT" in cluster.alarms(leader), "it is an alarm")
    assert "gone" in cluster.alarms(leader)["NODE_ABSENT"]
    assert "NODE_ABSENT" not in cluster.alarms(standby)
    nodes = {each.node: each for each in cluster.status(leader).nodes}
    assert nodes["gone"].role == admin_pb2.NODE_ROLE_ABSENT
    assert nodes["gone"].flushed_revision == 1  # as earlier versions registered
    cluster.nodes[leader].admin_stub().RemoveNode(
        admin_pb2.RemoveNodeRequest(node="gone", reason="sold"), timeout=10
    )
    assert [each.node for each in cluster.status(leader).nodes] == ["a", "b"]
    assert cluster.audit(leader, "RemoveNode")[0].reason == "sold"
    eventually(lambda: "NODE_ABSENT" not in cluster.alarms(leader), "the alarm ends")


def test_the_metrics_page_has_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    import urllib.request

    leader, standby = cluster.roles()

    def text(name: str) -> str:
        address = cluster.nodes[name].address("metrics")
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as found:
            return str(found.read().decode())

    def page(name: str) -> dict[str, float]:
        return {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in text(name).splitlines()
            if line.startswith("ownerd_cluster_")
        }

    eventually(lambda: 'ownerd_cluster_node_alive{node="b"}' in page(leader), "it has looked")
    of_leader, of_standby = page(leader), page(standby)
    assert (of_leader["ownerd_cluster_leads"], of_standby["ownerd_cluster_leads"]) == (1, 0)
    assert of_leader["ownerd_cluster_epoch"] == of_standby["ownerd_cluster_epoch"] > 0
    assert of_leader["ownerd_cluster_transactions_total"] > 0
    assert of_leader["ownerd_cluster_transaction_seconds_count"] > 0
    papers.write_contrib(tmp_path / "contrib")
    named = of_clusters(asked_for(tmp_path / "contrib"))
    assert len(named) > 5
    assert named - shown_on(text(leader)) == set()


def test_a_leader_that_is_stopped_hands_over_first(cluster: Cluster) -> None:
    leader, standby = cluster.roles()
    epoch = cluster.status(leader).epoch
    cluster.nodes[leader].ask_to_stop()
    eventually(lambda: leads(cluster.nodes[standby]), "the other leads")
    assert cluster.nodes[leader].wait() == 0
    resigned = cluster.audit(standby, "ResignLeadership")[0]
    assert json.loads(resigned.detail) == {"node": leader, "epoch": epoch}
    told = [line for line in cluster.nodes[leader].log_lines if "cluster_resigned" in line]
    assert [json.loads(line)["to"] for line in told] == [standby]
    cluster.nodes[leader].start()
    assert cluster.roles() == (standby, leader)


def test_a_standby_lets_in_whom_the_leader_lets_in(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def made(node: str, *more: str) -> ServerProcess:
        found = server(tmp_path, cluster.etcd, node, "guarded", *more)
        found.auth, found.arguments = True, found.arguments[:-1]  # without --no-auth
        return found

    first, second = made("a", "--cluster-create"), made("b")
    supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    supervisor.bind(str(tmp_path / "notify"))
    supervisor.settimeout(30)
    first.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    with supervisor, first:
        while b"STATUS=leader of the cluster guarded (node a)" not in supervisor.recv(4_096):
            pass
        eventually((first.directory / "admin.token").exists, "there is an administrator")
        with second:
            options = ["--server", second.address("admin"), "--token-file"]
            options.append(str(first.directory / "admin.token"))
            eventually(lambda: main(["cluster", "status", *options]) == 0, "the standby answers")
            assert "a leads" in "".join(capsys.readouterr())


def test_a_server_that_is_alone_says_so(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as alone:
        stub = alone.admin_stub()
        for call, request in (
            (stub.GetClusterStatus, admin_pb2.GetClusterStatusRequest()),
            (stub.TransferLeadership, admin_pb2.TransferLeadershipRequest()),
            (stub.RemoveNode, admin_pb2.RemoveNodeRequest(node="b")),
        ):
            with pytest.raises(grpc.RpcError) as told:
                call(request, timeout=10)
            assert told.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert "is in no cluster" in str(told.value.details())
        status = stub.GetServerStatus(admin_pb2.GetServerStatusRequest(), timeout=10)
        assert not status.HasField("cluster")
