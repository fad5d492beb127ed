"""The log over etcd: what is appended is in it once, whoever leads, whatever etcd does not say."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_etcd import FakeEtcd

pytest.importorskip("ownerd.cluster.node")

from ownerd.base.clock import Clock
from ownerd.cluster.etcd_client import Etcd
from ownerd.cluster.node import ClusterError, Node, NodeInUseError
from ownerd.cluster.testing import Appender

LOG_ID = 0x0123456789ABCDEF
BEGIN = (LOG_ID, 100, 0, 0)
HEAD = b"ownerd/shop/head"
LEADER = b"ownerd/shop/leader"
BEAT = b"ownerd/shop/beat"
PARTS = b"ownerd/shop/log/"
R = 0.6  # of the lease that the fake grants, 1 s


@pytest.fixture
def etcd() -> Iterator[FakeEtcd]:
    fake = FakeEtcd(addresses=2)
    yield fake
    fake.stop()


Make = Callable[..., Node]


@pytest.fixture
def make(etcd: FakeEtcd) -> Iterator[Make]:
    """Return what makes nodes of one cluster, whose log is made with the first."""
    made: list[tuple[Node, Etcd]] = []

    def make(node_id: str = "a") -> Node:
        aim = Etcd(etcd.addresses)
        node = Node(aim, "shop", Clock(), node_id=node_id, member=node_id.encode(), lease_s=1)
        if not made:
            node.create(BEGIN)
        made.append((node, aim))
        return node

    yield make
    for node, aim in made:
        aim.stop()
        node.close_session()


def lead(node: Node, position: tuple[int, int, int, int] = BEGIN) -> Appender:
    """Have a node lead, with all that came before caught up."""
    node.begin(position)
    node.open_session()
    assert node.stand()
    node.catch_up()
    assert node.lead() is not None
    return Appender(node)


def values(entries: list[tuple[tuple[int, int, int, int], int, int, bytes]]) -> list[bytes]:
    """Return the values of the one row that each entry has."""
    return [rows[-1:] for _, _, _, rows in entries]


def follow_on(node: Node, count: int) -> list[Any]:
    """Follow until so many entries have come, whatever else is told meanwhile."""
    found: list[Any] = []
    deadline = time.monotonic() + 20
    while len(found) < count and time.monotonic() < deadline:
        found += node.follow(0.5)
    return found


def test_what_is_appended_is_followed_once_and_in_order(make: Make) -> None:
    leader, follower = make("a"), make("b")
    log = lead(leader)
    follower.begin(BEGIN)
    positions = [log.append(101 + i, b"%d" % i, 1_000 + i)[1] for i in range(5)]
    entries = follower.catch_up()
    assert values(entries) == [b"0", b"1", b"2", b"3", b"4"]
    assert [entry[0] for entry in entries] == positions
    assert [entry[1] for entry in entries] == list(range(1_000, 1_005))
    assert follower.follow(0.05) == []
    log.append(106, b"5")
    assert values(follow_on(follower, 1)) == [b"5"]


@pytest.mark.parametrize("size", [0, (512 << 10) - 7, 512 << 10, 2_000_000])
def test_a_large_entry_is_cut_and_put_together(make: Make, etcd: FakeEtcd, size: int) -> None:
    leader, follower = make("a"), make("b")
    log = lead(leader)
    follower.begin(BEGIN)
    assert log.append(101, bytes(size))[0] == "ok"
    ((position, _, count, rows),) = follower.catch_up()
    assert (position[1], count, len(rows) - size < 12) == (101, 1, True)
    parts = etcd.keys(PARTS)
    assert len(parts) == max(1, -(-len(rows) // (512 << 10)))
    assert max(len(etcd.value(part) or b"") for part in parts) <= (512 << 10) + 72
    assert log.append(102, b"x")[0] == "ok"
    assert values(follow_on(follower, 1)) == [b"x"]


# --- unknown outcomes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faults", [["lose"], ["drop"], ["refuse"], ["lose", "lose"], ["refuse", "drop", "lose"]]
)
def test_an_unknown_outcome_is_resolved_with_the_same_bytes(
    make: Make, etcd: FakeEtcd, faults: list[str]
) -> None:
    log = lead(make("a"))
    before = len(etcd.transactions)
    etcd.faults.extend(faults)
    assert log.append(101, b"x")[0] == "ok"
    sent = [each for each in etcd.transactions[before:] if each.success[0].request_put.key != BEAT]
    assert len(sent) == len(faults) + 1
    assert len({each.SerializeToString() for each in sent}) == 1
    assert log.append(102, b"y")[0] == "ok"
    follower = make("b")
    follower.begin(BEGIN)
    assert values(follower.catch_up()) == [b"x", b"y"]


def test_what_is_done_long_after_it_was_given_up_changes_nothing(
    make: Make, etcd: FakeEtcd
) -> None:
    log = lead(make("a"))
    etcd.faults.append("late")
    assert log.append(101, b"x")[0] == "ok"
    assert log.append(102, b"y")[0] == "ok"
    head = etcd.value(HEAD)
    etcd.do_late()
    assert etcd.value(HEAD) == head
    assert log.append(103, b"z")[0] == "ok"


def test_without_a_decision_nobody_knows_and_nothing_is_appended_any_more(
    make: Make, etcd: FakeEtcd
) -> None:
    node = make("a")
    log = lead(node)
    etcd.faults.append("lose")
    etcd.faults.extend(["drop"] * 100)
    assert log.append(101, b"x")[0] == "unknown"
    assert node.fate == "undecided" and node.end_reason(0) == "undecided"
    etcd.faults.clear()
    before = len(etcd.transactions)
    assert log.append(101, b"y")[0] == "fenced"
    assert log.confirm() == "fenced"
    assert len(etcd.transactions) == before


def test_the_log_says_what_became_of_an_unknown_outcome(make: Make, etcd: FakeEtcd) -> None:
    first, second = make("a"), make("b")
    log = lead(first)
    etcd.faults.append("lose")
    etcd.faults.extend(["drop"] * 100)
    assert log.append(101, b"x")[0] == "unknown"
    etcd.faults.clear()
    etcd.expire_key(LEADER)
    second.begin(BEGIN)
    second.open_session()
    assert second.stand()
    assert values(second.catch_up()) == [b"x"]


def test_no_room_in_etcd_changes_nothing(make: Make, etcd: FakeEtcd) -> None:
    log = lead(make("a"))
    etcd.faults.append("full")
    assert log.append(101, b"x")[0] == "full"
    assert etcd.keys(PARTS) == []
    assert log.append(101, b"y")[0] == "ok"


# --- the fence ----------------------------------------------------------------------------------


def test_whoever_no_longer_has_the_key_appends_nothing(make: Make, etcd: FakeEtcd) -> None:
    # The head is as it was: only the key tells.
    node = make("a")
    log = lead(node)
    etcd.expire_key(LEADER)
    assert log.append(101, b"x")[0] == "fenced"
    assert node.fate == "fenced"
    assert etcd.keys(PARTS) == []


def test_a_head_that_moved_is_not_written_over(make: Make, etcd: FakeEtcd) -> None:
    # The key is as it was: only the head tells.
    node = make("a")
    log = lead(node)
    etcd.put(HEAD, etcd.value(HEAD) or b"")
    assert log.append(101, b"x")[0] == "fenced"
    assert etcd.keys(PARTS) == []


def test_the_next_leader_removes_an_entry_that_is_not_whole(make: Make, etcd: FakeEtcd) -> None:
    first, second, third = make("a"), make("b"), make("c")
    log = lead(first)
    third.begin(BEGIN)
    etcd.faults.extend(["pass", "pass", *["drop"] * 100])
    assert log.append(101, bytes(2_000_000))[0] == "unknown"
    etcd.faults.clear()
    assert third.follow(0.1) == []
    assert len(etcd.keys(PARTS)) == 2
    etcd.expire_key(LEADER)
    log = lead(second)
    assert etcd.keys(PARTS) == []
    assert log.append(101, b"x")[0] == "ok"
    assert values(follow_on(third, 1)) == [b"x"]


# --- what may be told from memory ---------------------------------------------------------------


def test_keep_alives_prove_nothing(make: Make, etcd: FakeEtcd) -> None:
    node = make("a")
    log = lead(node)
    assert log.confirm() == "ok"
    etcd.faults.extend(["drop"] * 1000)
    kept = etcd.keep_alives
    deadline = time.monotonic() + 20
    while etcd.keep_alives < kept + 3 and time.monotonic() < deadline:
        # Also while nothing is decided yet, and the node leads as far as it knows.
        assert log.guarded_ns() > 0 or log.confirm() != "ok"
        time.sleep(0.005)
    assert log.confirm() != "ok"


def test_an_idle_leader_beats_and_may_go_on_telling(make: Make, etcd: FakeEtcd) -> None:
    leader, follower = make("a"), make("b")
    log = lead(leader)
    follower.begin(BEGIN)
    beats = etcd.rows[BEAT].version if BEAT in etcd.rows else 0
    follower.follow(3 * R)
    assert etcd.rows[BEAT].version >= beats + 3
    assert log.confirm() == "ok"
    heard = follower.heard
    assert heard is not None and heard[1] < 3 * R * 1e9


def test_what_is_not_proved_is_proved_by_a_transaction(make: Make, etcd: FakeEtcd) -> None:
    node = make("a")
    log = lead(node)
    etcd.faults.extend(["refuse"] * 3)
    assert log.confirm() == "ok"
    etcd.expire_key(LEADER)
    deadline = time.monotonic() + 20
    while log.confirm() == "ok" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert node.fate == "fenced"


def test_the_next_leader_waits_longer_than_the_last_one_may_tell(
    make: Make, etcd: FakeEtcd
) -> None:
    first, second = make("a"), make("b")
    lead(first)
    second.begin(BEGIN)
    second.open_session()
    second.follow(0.3)
    etcd.expire_key(LEADER)
    assert second.stand()
    second.catch_up()
    wait_s = second.lead()
    assert wait_s is not None
    heard = second.heard
    assert 0 < wait_s <= 1.01 * R
    assert heard is None or wait_s + heard[1] / 1e9 > R


def test_after_one_that_resigned_nobody_waits(make: Make, etcd: FakeEtcd) -> None:
    first, second = make("a"), make("b")
    log = lead(first)
    log.append(101, b"x")
    assert first.resign() and first.fate == "resigned"
    assert log.confirm() == "fenced" and log.append(102, b"y")[0] == "fenced"
    second.begin(BEGIN)
    second.open_session()
    assert second.stand()
    assert values(second.catch_up()) == [b"x"]
    assert second.lead() == 0.0


# --- following ----------------------------------------------------------------------------------


def test_a_lost_watch_event_is_read_instead(make: Make, etcd: FakeEtcd) -> None:
    leader, follower = make("a"), make("b")
    log = lead(leader)
    follower.begin(BEGIN)
    follower.follow(0.1)
    etcd.lost_events = 1
    log.append(101, b"x")
    log.append(102, b"y")
    assert values(follow_on(follower, 2)) == [b"x", b"y"]
    assert follower.figures()["resyncs"] > 1


def test_a_watch_that_was_compacted_goes_on_by_reading(make: Make, etcd: FakeEtcd) -> None:
    leader, follower = make("a"), make("b")
    log = lead(leader)
    follower.begin(BEGIN)
    log.append(101, b"x")
    etcd.compact()
    log.append(102, b"y")
    assert values(follow_on(follower, 2)) == [b"x", b"y"]


def test_a_trimmed_log_is_followed_from_where_it_begins(make: Make, etcd: FakeEtcd) -> None:
    leader, follower = make("a"), make("b")
    log = lead(leader)
    places = [log.append(101 + i, b"%d" % i)[1] for i in range(4)]
    assert leader.trim(102)
    assert len(etcd.keys(PARTS)) == 2
    follower.begin(places[1])
    assert values(follower.catch_up()) == [b"2", b"3"]
    with pytest.raises(ClusterError, match="join --replace"):
        follower.begin(places[0])
    assert log.append(105, b"4")[0] == "ok"


# --- which log ----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", range(4))
def test_another_log_than_the_one_that_a_store_was_in_is_refused(
    make: Make, etcd: FakeEtcd, field: int
) -> None:
    log = lead(make("a"))
    position = list(log.append(101, b"x")[1])
    node = make("b")
    node.begin((position[0], position[1], position[2], position[3]))
    position[field] += 1
    with pytest.raises(ClusterError, match="not the one"):
        node.begin((position[0], position[1], position[2], position[3]))


def test_an_emptied_etcd_is_no_log(make: Make, etcd: FakeEtcd) -> None:
    node = make("a")
    node.begin(BEGIN)
    etcd.rows.clear()
    with pytest.raises(ClusterError, match="emptied"):
        node.begin(BEGIN)
    with pytest.raises(ClusterError, match="emptied"):
        node.catch_up()


def test_a_log_is_made_once(make: Make) -> None:
    make("a")
    with pytest.raises(ClusterError, match="has a log"):
        make("b").create((1, 0, 0, 0))


def test_a_second_node_of_the_same_name_is_refused(make: Make, etcd: FakeEtcd) -> None:
    first, second = make("a"), make("a")
    first.open_session()
    with pytest.raises(NodeInUseError, match="another process"):
        second.open_session()
    first.close_session()
    second.open_session()


def test_a_lease_that_ran_out_is_noticed(make: Make, etcd: FakeEtcd) -> None:
    node = make("a")
    node.open_session()
    etcd.expire_key(b"ownerd/shop/alive/a")
    deadline = time.monotonic() + 20
    while not node.session_lost and time.monotonic() < deadline:
        time.sleep(0.02)
    assert node.session_lost


def test_nodes_say_what_they_have_flushed(make: Make) -> None:
    first, second = make("a"), make("b")
    first.register(17)
    second.register(4)
    first.register(18)
    assert second.registered() == {"a": 18, "b": 4}


def test_a_session_whose_end_etcd_did_not_hear_of_is_gone_on_with(
    make: Make, etcd: FakeEtcd
) -> None:
    # As after a while without a majority: the lease was not let go of, and lives on.
    node = make("a")
    node.open_session()
    etcd.ignores_revokes = True
    node.close_session()
    assert etcd.value(b"ownerd/shop/alive/a") is not None
    node.open_session()
    with pytest.raises(NodeInUseError, match="another process"):
        make("a").open_session()
