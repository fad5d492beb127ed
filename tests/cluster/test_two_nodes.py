"""Two nodes on one log: one decides, the other follows and takes over; nothing granted is lost."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_servers import eventually
from fake_etcd import FakeEtcd
from nodes import POLICY, Machine

pytest.importorskip("ownerd.cluster.node")

from ownerd.engine.engine import CLAIM, Engine, Refused, StoreError
from ownerd.v1 import dial_pb2

LEADER = b"ownerd/shop/leader"


@pytest.fixture
def etcd() -> Iterator[FakeEtcd]:
    fake = FakeEtcd(addresses=2)
    yield fake
    fake.stop()


@pytest.fixture
def machines(etcd: FakeEtcd, tmp_path: Path) -> Iterator[list[Machine]]:
    """Two machines, of which the first leads and has a list."""
    first, second = Machine(etcd, tmp_path, "a"), Machine(etcd, tmp_path, "b")
    made = [first, second]
    first.create()
    first.membership.start()
    eventually(first.leads, "the first node leads")
    first.engine.create_list("list", POLICY, note=b"test")
    second.join()
    second.membership.start()
    yield made
    for each in made:
        each.close()
    assert [each.failures for each in made] == [[] for _ in made]


def level(machines: list[Machine]) -> None:
    """Wait until both are at the same revision."""
    first, second = machines
    eventually(lambda: first.engine.revision == second.engine.revision, "the second is level")


def test_a_standby_has_what_the_leader_granted_and_decides_nothing(machines: list[Machine]) -> None:
    first, second = machines
    assert first.claim("1", "red") == "GRANTED"
    assert first.report("1", "red") == "OWNERSHIP_ACQUIRED"
    level(machines)
    with second.engine.snapshot("list") as snapshot:
        assert [(owner[0], owner[2]) for owner in snapshot.owners()] == [("red", 1)]
    for ask in (lambda: second.claim("1", "red"), lambda: second.report("1", "red")):
        with pytest.raises(Refused, match="does not lead its cluster: a does, at a:7411") as told:
            ask()
        assert (told.value.code, told.value.reason) == (14, "NOT_LEADER")
    with pytest.raises(Refused, match="does not lead"):
        second.engine.create_list("other", POLICY, note=b"test")


def test_r29_the_next_leader_knows_what_the_last_one_answered(
    machines: list[Machine], etcd: FakeEtcd
) -> None:
    first, second = machines
    for i in range(20):
        assert first.claim(str(i), "red") == "GRANTED"
    first.freeze()
    etcd.expire_key(LEADER)
    eventually(second.leads, "the second node leads")
    assert [second.claim(str(i), "blue") for i in range(20)] == ["DENIED"] * 20
    assert second.claim("20", "blue") == "GRANTED"
    with pytest.raises(Refused) as told:
        first.claim("20", "red")
    assert told.value.code == 14


def test_r29_a_leader_that_is_cut_off_tells_nothing_from_memory(
    machines: list[Machine], etcd: FakeEtcd
) -> None:
    first, _ = machines
    assert first.claim("1", "red") == "GRANTED"
    assert first.claim("1", "blue") == "DENIED"
    etcd.faults.extend(["drop"] * 10_000)
    refused = False
    deadline = time.monotonic() + 30
    while not refused and time.monotonic() < deadline:
        try:
            assert first.claim("1", "blue") == "DENIED"
        except Refused as error:
            refused = error.code == 14
    assert refused
    assert not first.leads()


def test_an_unknown_outcome_is_told_as_such_and_the_log_decides(
    machines: list[Machine], etcd: FakeEtcd
) -> None:
    first, _ = machines
    level(machines)
    etcd.faults.append("lose")
    etcd.faults.extend(["drop"] * 10_000)
    with pytest.raises(Refused) as told:
        first.claim("1", "red")
    assert (told.value.code, told.value.reason) == (14, "OUTCOME_UNKNOWN")
    etcd.faults.clear()
    eventually(lambda: any(each.leads() for each in machines), "somebody leads")
    leader = next(each for each in machines if each.leads())
    assert leader.claim("1", "blue") == "DENIED"


def test_whoever_resigns_is_followed_at_once_and_follows(
    machines: list[Machine], etcd: FakeEtcd
) -> None:
    first, second = machines
    assert first.claim("1", "red") == "GRANTED"
    level(machines)
    first.membership.stop()
    eventually(second.leads, "the second node leads")
    assert second.claim("1", "blue") == "DENIED"
    eventually(lambda: second.roles == ["leader"], "it says so")
    assert first.roles == ["leader", "standby"]


def test_a_node_goes_on_from_what_it_has_flushed(
    machines: list[Machine], etcd: FakeEtcd, tmp_path: Path
) -> None:
    first, second = machines
    for i in range(10):
        first.claim(str(i), "red")
    level(machines)
    second.close()
    for i in range(10, 20):
        first.claim(str(i), "red")
    etcd.expire_key(b"ownerd/shop/alive/b")
    machines[1] = again = Machine(etcd, tmp_path, "b")
    assert again.engine.position is not None
    again.membership.start()
    level(machines)
    first.freeze()
    etcd.expire_key(LEADER)
    eventually(again.leads, "the second node leads")
    assert [again.claim(str(i), "blue") for i in range(20)] == ["DENIED"] * 20


def test_a_store_of_a_cluster_is_not_served_alone(machines: list[Machine], tmp_path: Path) -> None:
    machines[1].close()
    with pytest.raises(StoreError, match="--cluster"):
        Engine(str(tmp_path / "b"), map_bytes=64 << 20)


def test_a_store_that_was_not_stopped_cleanly_makes_no_cluster(
    etcd: FakeEtcd, tmp_path: Path
) -> None:
    alone = Engine(str(tmp_path / "a"), map_bytes=64 << 20)
    alone.create_list("list", POLICY, note=b"test")
    copied = tmp_path / "copy"
    shutil.copytree(tmp_path / "a", copied / "a")
    alone.close()
    with pytest.raises(StoreError, match="not stopped cleanly"):
        Machine(etcd, copied, "a")


def test_a_store_becomes_the_first_node_with_all_that_it_has(
    etcd: FakeEtcd, tmp_path: Path
) -> None:
    alone = Engine(str(tmp_path / "a"), map_bytes=64 << 20)
    alone.create_list("list", POLICY, note=b"test")
    request = dial_pb2.ClaimRequest(list_id="list", record_id="1", campaign_id="red")
    alone.dial(CLAIM, request.SerializeToString())
    revision = alone.revision
    alone.close()
    machine = Machine(etcd, tmp_path, "a")
    try:
        machine.create()
        machine.membership.start()
        eventually(machine.leads, "it leads")
        assert machine.engine.revision == revision + 1
        assert machine.claim("1", "blue") == "DENIED"
    finally:
        machine.close()
