"""Into a cluster and out of it: a store becomes a node, a node begins from another, one leaves."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from backups import archive, restored
from cluster_servers import eventually, leads, make_list, server
from etcd_api import pb
from fake_etcd import FakeEtcd
from harness import ServerDidNotStart, ServerProcess
from nodes import POLICY, Machine
from real_etcd import Member, etcd_members
from sanitizer import patient_s
from tls_files import Authority, Files

pytest.importorskip("ownerd.cluster.node")

from ownerd.base.clock import Clock
from ownerd.cluster.etcd_client import Etcd
from ownerd.cluster.node import Node
from ownerd.engine.engine import CLAIM, CLAIM_BATCH, Engine, Opening, StoreError
from ownerd.server import exits, joining
from ownerd.server.config import Settings
from ownerd.server.log_holds import held
from ownerd.v1 import admin_pb2, admin_pb2_grpc, dial_pb2

UNUSABLE, FAILED = 4, 1


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Member]]:
    with etcd_members(tmp_path_factory.mktemp("etcd"), 1) as members:
        yield members


def claim(each: ServerProcess, *records: str) -> None:
    request = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="red", record_ids=records)
    each.dial_stub().ClaimBatch(request, timeout=10)


def holds(each: ServerProcess, *records: str) -> bool:
    stub = each.dial_stub()
    requests = [dial_pb2.GetHolderRequest(list_id="list", record_id=name) for name in records]
    found = [stub.GetHolder(request, timeout=10).holder.campaign_id for request in requests]
    return found == ["red"] * len(records)


def status(each: ServerProcess) -> admin_pb2.GetServerStatusResponse:
    return each.admin_stub().GetServerStatus(admin_pb2.GetServerStatusRequest(), timeout=10)


def level(one: ServerProcess, other: ServerProcess) -> bool:
    return bool(status(one).revision == status(other).revision)


def ownerd(*arguments: str) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, "-m", "ownerd.server", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=patient_s(60),
    )
    return run.returncode, run.stdout + run.stderr


def test_a_store_that_was_killed_becomes_a_node_and_others_begin_from_it(
    etcd: list[Member], tmp_path: Path
) -> None:
    with ServerProcess(tmp_path / "a", "--map-bytes", "256MiB", auth=True) as alone:
        make_list(alone)
        claim(alone, "1", "2")
        was = status(alone).incarnation_id
        alone.kill()
    first = server(tmp_path, etcd, "a", "joined", "--cluster-create", auth=True)
    second = server(tmp_path, etcd, "b", "joined", auth=True)
    token = ("--cluster-peer-token-file", str(tmp_path / "a" / "admin.token"))
    with first:
        eventually(lambda: leads(first), "the first leads")
        assert holds(first, "1", "2")
        with pytest.raises(ServerDidNotStart) as told:
            second.start()
        assert told.value.exit_code == FAILED and "UNAUTHENTICATED" in told.value.log_text
        assert not (tmp_path / "b" / "records").exists()
        second.arguments = (*second.arguments, *token)
        with second:
            shutil.copy(tmp_path / "a" / "admin.token", tmp_path / "b")
            assert any(each.get("event") == "cluster_joined" for each in second.events)
            claim(first, "3")
            eventually(lambda: level(first, second), "the second follows")
            second.stop()
            # What the second lacks goes from the log, once nobody says that it is missed.
            claim(first, "4")
            gone = pb.DeleteRangeRequest(key=b"ownerd/joined/nodes/b")
            removal = pb.RequestOp(request_delete_range=gone)
            etcd[0].ask("KV", "Txn", pb.TxnRequest(success=[removal]))
            first.restart()
            eventually(lambda: leads(first), "the first leads again")
            trimmed = pb.RangeRequest(key=b"ownerd/joined/trimmed")
            eventually(lambda: etcd[0].ask("KV", "Range", trimmed).kvs, "the log is trimmed")
            second.launch()
            assert second.wait() == UNUSABLE and "cluster join --replace" in second.log_text
            node = second.arguments[: second.arguments.index("--dial-listen")]
            code, said = ownerd(
                *("cluster", "join", "--data", str(tmp_path / "b"), *node, *token),
                *("--dial-listen", "127.0.0.1:1", "--map-bytes", "256MiB"),
            )
            assert code == UNUSABLE and "there is a store" in said
            code, said = ownerd(
                *("cluster", "join", "--data", str(tmp_path / "b"), *node, *token, "--replace"),
                *("--dial-listen", "127.0.0.1:1", "--map-bytes", "256MiB"),
            )
            assert code == 0 and "is the node 'b' of the cluster 'joined'" in said, said
            assert not (tmp_path / "b" / "REPLACED").exists()
            second.start()
            first.stop()
            eventually(lambda: leads(second), "the second leads")
            assert holds(second, "1", "2", "3", "4")
            assert status(second).incarnation_id == was


# ---- in process


@pytest.fixture
def fake() -> Iterator[FakeEtcd]:
    fake = FakeEtcd(addresses=2)
    yield fake
    fake.stop()


@pytest.fixture
def leader(fake: FakeEtcd, tmp_path: Path) -> Iterator[Machine]:
    """The only node, which leads and has granted records 0 to 9."""
    machine = Machine(fake, tmp_path, "a")
    machine.create()
    machine.membership.start()
    eventually(machine.leads, "it leads")
    machine.engine.create_list("list", POLICY, note=b"test")
    for i in range(10):
        assert machine.claim(str(i), "red") == "GRANTED"
    yield machine
    machine.close()


def node_of(fake: FakeEtcd, node_id: str, etcd: Etcd | None = None) -> Node:
    etcd = etcd or Etcd(fake.addresses)
    return Node(etcd, "shop", Clock(), node_id=node_id, member=b"{}", lease_s=1)


def killed(leader: Machine, tmp_path: Path, name: str) -> Settings:
    """Return where a store is as the death of its process would have left the leader's."""
    shutil.copytree(tmp_path / "a", tmp_path / name)
    return Settings(data=str(tmp_path / name), map_bytes=64 << 20, verify_at_start=False)


def alone(settings: Settings) -> tuple[int, int, list[str]]:
    """Serve a store without a cluster; return its incarnation, its revision and who is denied."""
    with Engine(settings.data, map_bytes=64 << 20) as engine:
        found = []
        for i in range(11):
            request = dial_pb2.ClaimRequest(list_id="list", record_id=str(i), campaign_id="blue")
            answer = dial_pb2.ClaimResponse.FromString(
                engine.dial(CLAIM, request.SerializeToString())
            )
            if answer.decision == dial_pb2.CLAIM_DECISION_DENIED:
                found.append(str(i))
        return engine.incarnation, engine.first_revision, found


ALL = [str(i) for i in range(10)]


@pytest.mark.parametrize("with_log", [True, False])
def test_a_node_that_leaves_has_all_that_was_answered_and_is_alone(
    leader: Machine, fake: FakeEtcd, tmp_path: Path, with_log: bool
) -> None:
    settings = killed(leader, tmp_path, "left")
    if with_log:  # the store's own files are no source of truth
        for path in (tmp_path / "left" / "log").iterdir():
            path.unlink()
    asked: list[str] = []
    with pytest.raises(exits.Stop, match="nothing was changed"):
        joining.leave(settings, node_of(fake, "z") if with_log else None, lambda said: False)
    with pytest.raises(StoreError, match="cluster leave"):
        Engine(settings.data, map_bytes=64 << 20)
    lines = joining.leave(
        settings, node_of(fake, "z") if with_log else None, lambda said: not asked.append(said)
    )
    assert "new incarnation" in asked[0] and "new incarnation" in lines[1]
    assert ("is given up" in asked[0]) is not with_log
    begun, first, denied = alone(settings)
    assert denied == ALL and begun != leader.engine.incarnation and first == 2**44
    with pytest.raises(exits.StoreFailed, match="is in no cluster"):
        joining.leave(settings, node_of(fake, "z"), lambda said: True)


def test_a_node_does_not_leave_while_its_log_cannot_be_asked(
    leader: Machine, fake: FakeEtcd, tmp_path: Path
) -> None:
    settings = killed(leader, tmp_path, "left")
    unreachable = Etcd(fake.addresses)
    node = node_of(fake, "z", unreachable)
    unreachable.stop()
    with pytest.raises(exits.Stop, match="--without-log"):
        joining.leave(settings, node, lambda said: True)
    with pytest.raises(StoreError, match="cluster leave"):
        Engine(settings.data, map_bytes=64 << 20)
    with pytest.raises(exits.StoreInUse):
        joining.leave(
            Settings(data=str(tmp_path / "a"), map_bytes=64 << 20), None, lambda said: True
        )


def test_a_store_whose_own_log_is_damaged_leaves_with_what_is_flushed(
    leader: Machine, tmp_path: Path
) -> None:
    settings = killed(leader, tmp_path, "left")
    for path in (tmp_path / "left" / "log").iterdir():
        data = bytearray(path.read_bytes())
        data[data.find(b"red")] ^= 1
        path.write_bytes(data)
    flushed = leader.engine.flushed_revision
    said, _ = joining.leave(settings, None, lambda said: True)
    assert f"up to revision {flushed}." in said and flushed < leader.engine.revision
    with Engine(settings.data, map_bytes=64 << 20) as engine:
        assert engine.first_revision == 2**44


def test_a_backup_of_a_node_is_restored_alone_or_as_a_node(
    leader: Machine, fake: FakeEtcd, tmp_path: Path
) -> None:
    data = archive(leader.engine.backup())
    _, begun = restored(data, tmp_path / "restored")
    assert begun != leader.engine.incarnation
    found = alone(Settings(data=str(tmp_path / "restored")))
    assert found == (begun, 2**44, ALL)


def test_a_node_is_where_it_has_flushed_to_also_in_the_middle_of_a_flush(
    fake: FakeEtcd, tmp_path: Path
) -> None:
    machine = Machine(fake, tmp_path, "a", maintenance_step_ns=0, background=False)
    try:
        machine.create()
        machine.membership.start()
        eventually(machine.leads, "it leads")
        engine = machine.engine
        engine.create_list("list", POLICY, note=b"test")
        names = [str(i) for i in range(1_000)]
        claims = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="red", record_ids=names)
        engine.dial(CLAIM_BATCH, claims.SerializeToString())
        assert engine.maintain(vacuum_all=True)
        while engine.stats()["flushed_records"] == 0:
            assert engine.maintain()
        assert 0 < engine.stats()["flushed_records"] < len(names)
        shutil.copytree(tmp_path / "a", tmp_path / "killed")
        opening = Opening(cluster=node_of(fake, "a"))
        with Engine(str(tmp_path / "killed"), map_bytes=64 << 20, opening=opening) as again:
            assert again.position is not None
            assert again.position[1] == again.revision == again.flushed_revision
    finally:
        machine.close()


def test_a_node_that_joins_holds_the_log_as_long_as_its_session_lasts(
    leader: Machine, fake: FakeEtcd
) -> None:
    node = node_of(fake, "b")
    node.open_session()
    node.pin(3)
    leader.node.register(9)
    assert held(leader.node) == {"a": 9, "b": 3}
    node.register(7)
    assert held(leader.node)["b"] == 3
    node.close_session()
    assert held(leader.node)["b"] == 7


def test_a_new_node_of_no_cluster_says_how_one_begins(fake: FakeEtcd, tmp_path: Path) -> None:
    settings = Settings(data=str(tmp_path / "new"), map_bytes=64 << 20)
    for begin in (joining.begin_if_new, joining.fetch):
        with pytest.raises(exits.StoreFailed, match="--cluster-create"):
            begin(settings, node_of(fake, "b"))


def test_a_new_node_that_is_alone_has_nobody_to_ask(leader: Machine, fake: FakeEtcd) -> None:
    node = node_of(fake, "a")
    leader.membership.stop()
    settings = Settings(data="never", must_exist=True, map_bytes=64 << 20)
    with pytest.raises(exits.Stop, match="there is none to ask"):
        joining.fetch(settings, node)
    with pytest.raises(exits.StoreFailed, match="cluster join"):
        joining.begin_if_new(settings, node)


def test_a_token_goes_to_other_machines_by_tls_only(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    settings = Settings(cluster_peer_token_file=str(token))
    sent = (("authorization", "Bearer secret"),)
    assert joining._credentials(settings, "127.0.0.1:1") == sent
    with pytest.raises(exits.ConfigError, match="cluster_peer_ca"):
        joining._credentials(settings, "b.example:7412")
    for more in ({"insecure": True}, {"cluster_peer_ca": "ca.pem"}):
        trusted = msgspec.structs.replace(settings, **more)
        assert joining._credentials(trusted, "b.example:7412") == sent


class Peer(admin_pb2_grpc.AdminServiceServicer):
    """The administrators' listener of a node in process: it knows callers by certificates."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.asked: list[str] = []
        self.fault = ""

    def BackupStore(self, request: Any, context: Any) -> Iterator[Any]:
        names = context.auth_context().get("x509_subject_alternative_name", [])
        self.asked.append(f"{request.reason} by {b' '.join(names).decode()}")
        data = archive(self.engine.backup())
        if self.fault:
            data = data[:-600]
        for at in range(0, len(data), 1 << 16):
            yield admin_pb2.BackupStoreResponse(data=data[at : at + (1 << 16)])


def test_nodes_call_each_other_by_certificates_and_take_no_damaged_backup(
    leader: Machine, fake: FakeEtcd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    own, peers = authority.issue(), Files(tmp_path / "b-tls", authority.issue("node-b"))
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    served = grpc.server(ThreadPoolExecutor(2))
    peer = Peer(leader.engine)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(peer, served)
    credentials = grpc.ssl_server_credentials(
        [(own.key, own.certificate)], authority.pem, require_client_auth=True
    )
    address = f"localhost:{served.add_secure_port('localhost:0', credentials)}"
    served.start()
    monkeypatch.setattr(joining, "_leader", lambda node: address)
    settings = Settings(
        data=str(tmp_path / "b"),
        map_bytes=64 << 20,
        verify_at_start=False,
        cluster_peer_ca=str(tmp_path / "ca.pem"),
    )
    node = node_of(fake, "b")
    try:
        with pytest.raises(exits.Stop, match=r"gave no backup.*UNAVAILABLE"):
            joining.fetch(settings, node)
        settings = msgspec.structs.replace(
            settings,
            cluster_peer_certificate=str(peers.certificate),
            cluster_peer_key=str(peers.key),
        )
        peer.fault = "cut short"
        with pytest.raises(exits.Stop, match=r"gave no backup.*cut short"):
            joining.fetch(settings, node)
        assert not (tmp_path / "b" / "records").exists()
        peer.fault = ""
        joining.fetch(settings, node)
    finally:
        served.stop(0)
    assert peer.asked == ["for the node b by node-b"] * 2
    assert held(leader.node)["b"] == leader.engine.flushed_revision
    assert leader.node.pinned() == {}
    follower = Machine(fake, tmp_path, "b")
    try:
        follower.membership.start()
        assert leader.claim("10", "red") == "GRANTED"
        eventually(lambda: follower.engine.revision == leader.engine.revision, "it follows")
        assert follower.engine.incarnation == leader.engine.incarnation
    finally:
        follower.close()
