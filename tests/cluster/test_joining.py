"""Into a cluster and out of it: a store becomes a node, a node begins from another, one leaves."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from etcd_api import pb
from harness import ServerDidNotStart, ServerProcess
from nodes import eventually, leads, make_list, server
from real_etcd import Member, etcd_members
from sanitizer import patient_s

pytest.importorskip("ownerd.cluster.node")

from ownerd.v1 import admin_pb2, dial_pb2

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
        [sys.executable, "-m", "ownerd.server.cli", *arguments],
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
