"""Two nodes on one log: one decides, the other follows and takes over; nothing granted is lost."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_servers import eventually
from fake_etcd import FakeEtcd
from nodes import HOUR_NS, POLICY, Machine

pytest.importorskip("ownerd.cluster.node")

from ownerd.base.testing import live_objects
from ownerd.engine.engine import CLAIM, Engine, Policy, Refused, StoreError
from ownerd.server.errors import NoHandOver
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


@pytest.mark.debug
def test_a_standby_that_is_looked_at_again_and_again_keeps_no_more(machines: list[Machine]) -> None:
    first, second = machines
    first.engine.upsert_campaign("blue", "blue", note=b"test")

    def campaigns_seen() -> int:
        level(machines)
        with second.engine.snapshot("list"):
            return (live_objects() or {})["Campaign"]

    before = campaigns_seen()
    for i in range(5):
        first.engine.create_list(f"list {i}", POLICY, note=b"test")
        assert campaigns_seen() == before
    # What it was called stays, on both, for those who are still being told of it.
    first.engine.upsert_campaign("blue", "navy", note=b"test")
    assert campaigns_seen() == before + 2


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


def test_nodes_outlive_an_etcd_that_was_away_longer_than_their_leases(
    machines: list[Machine], etcd: FakeEtcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    level(machines)
    monkeypatch.setattr(etcd, "expire", lambda lease: None)  # nor is it let go of
    etcd.deaf = True
    eventually(lambda: not any(each.leads() for each in machines), "nobody leads")
    alive = etcd.rows[b"ownerd/shop/alive/a"].lease
    etcd.deaf = False
    with etcd.guard:  # what says that they are alive stays
        etcd._commit([("delete", LEADER, b"", 0)])
    first = machines[0]
    eventually(lambda: first.leads() or "b does" in first.refusal(), "the first has come back")
    assert etcd.rows[b"ownerd/shop/alive/a"].lease != alive


def test_whoever_leads_again_goes_on_from_its_own_time(
    machines: list[Machine], etcd: FakeEtcd
) -> None:
    first, second = machines
    second.membership.stop()
    told_ns, at_ns = first.engine.time_ns, time.monotonic_ns()
    etcd.deaf = True
    eventually(lambda: not first.leads(), "nobody leads")
    time.sleep(1)
    etcd.deaf = False
    etcd.expire_key(LEADER)
    eventually(first.leads, "the first leads again")
    lost_ns = time.monotonic_ns() - at_ns - (first.engine.time_ns - told_ns)
    assert lost_ns < 10**9 / 2  # of the outage, which was longer than a lease


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


def test_r29_a_hand_over_leaves_nothing_behind_and_the_former_leader_follows(
    machines: list[Machine],
) -> None:
    first, second = machines
    level(machines)
    assert first.claim("1", "red") == "GRANTED"
    with pytest.raises(NoHandOver, match="leads already"):
        first.membership.hand_over.candidate("a")
    assert first.membership.hand_over.candidate("") == "b"
    first.membership.hand_over.to("b")
    with pytest.raises(Refused) as told:
        first.claim("2", "red")
    assert told.value.reason == "NOT_LEADER"
    eventually(second.leads, "the second node leads")
    assert second.claim("1", "blue") == "DENIED"
    eventually(lambda: "b does" in first.refusal(), "the first follows it")
    assert not first.leads()
    # And back, which needs no restart.
    level(machines)
    second.membership.hand_over.to("a")
    eventually(first.leads, "the first node leads again")


def test_a_leader_whose_standby_does_not_get_there_leads_on(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = machines
    level(machines)
    second.freeze()
    assert first.claim("1", "red") == "GRANTED"
    monkeypatch.setattr("ownerd.server.hand_over.PATIENCE_S", 0.3)
    with pytest.raises(NoHandOver, match="did not have all of the log within"):
        first.membership.hand_over.to("b")
    assert first.leads()
    assert first.claim("1", "blue") == "DENIED"
    assert first.claim("2", "blue") == "GRANTED"
    # A server that stops goes without it.
    first.membership.leave()
    assert not first.leads()


def test_a_standby_that_lags_stands_back_until_it_is_level(
    machines: list[Machine], etcd: FakeEtcd
) -> None:
    first, second = machines
    level(machines)
    held = second.be_held()
    level(machines)
    held.holds = True
    for i in range(3):
        assert first.claim(str(i), "red") == "GRANTED"
    eventually(lambda: held.lag_s > 1, "it lags by more than a second")
    etcd.put(b"ownerd/shop/nodes/c", b'{"applied_revision": %d}' % first.engine.revision)
    etcd.put(b"ownerd/shop/alive/c", b"")
    first.freeze()
    etcd.expire_key(LEADER)
    etcd.expire_key(b"ownerd/shop/alive/a")
    asked = held.asked
    eventually(lambda: held.asked > asked + 3, "it looks whether it may stand")
    assert held.stood == 0
    held.holds = False
    eventually(second.leads, "it leads once it is level")
    assert second.claim("0", "blue") == "DENIED"


def test_whoever_is_to_lead_is_waited_for_as_long_as_a_lease(
    machines: list[Machine], etcd: FakeEtcd
) -> None:
    first, second = machines
    held = second.be_held()
    level(machines)
    etcd.put(b"ownerd/shop/nodes/c", b'{"applied_revision": 1000, "level_time_ns": 1}')
    etcd.put(b"ownerd/shop/alive/c", b"")
    asked = held.asked
    first.membership.hand_over.to("c")
    eventually(lambda: held.stood > 0, "nobody waits for ever")
    assert held.asked_first > asked


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
        # The beginning of its epoch, and the entry in the audit.
        eventually(lambda: machine.engine.revision == revision + 2, "it has begun")
        assert machine.claim("1", "blue") == "DENIED"
    finally:
        machine.close()


def test_a_standby_vacuums_by_itself(machines: list[Machine]) -> None:
    first, second = machines
    for i in range(20):
        assert first.claim(str(i), "red") == "GRANTED"
        assert first.report(str(i), "red") == "OWNERSHIP_ACQUIRED"
    first.engine.release("list", None, True, note=b"test")
    eventually(lambda: not first.engine.pending_counts(), "the release is counted")
    level(machines)
    second.engine.vacuum()
    stats = second.engine.stats()
    assert (stats["vacuumed_records"], stats["unsettled_event_count"]) == (20, 0)
    revision = second.engine.revision
    assert first.engine.revision == revision, "nothing of it is in the log"
    first.membership.stop()
    eventually(second.leads, "the second node leads")
    assert [second.claim(str(i), "blue") for i in range(20)] == ["GRANTED"] * 20


def test_r3_a_vacuum_takes_nothing_for_over_before_the_log_is_so_late(
    machines: list[Machine],
) -> None:
    first = machines[0]
    first.engine.create_list("short", Policy(True, HOUR_NS, None, 1_000_000), note=b"test")
    request = dial_pb2.ClaimRequest(list_id="short", record_id="1", campaign_id="red")
    first.engine.dial(CLAIM, request.SerializeToString())
    began = time.monotonic()
    eventually(lambda: time.monotonic() > began + 0.01, "it is over by the clock")
    level(machines)
    for each in machines:
        each.engine.vacuum()
        assert each.engine.stats()["vacuumed_records"] == 0
    first.claim("2", "red")
    level(machines)
    for each in machines:
        each.engine.vacuum()
        assert each.engine.stats()["vacuumed_records"] == 1
