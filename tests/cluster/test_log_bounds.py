"""The log in etcd has bounds: what goes when, whom it passes, and an etcd that has no room."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_etcd import FakeEtcd

pytest.importorskip("ownerd.cluster.node")

from ownerd.base.clock import Clock
from ownerd.cluster.etcd_client import Etcd
from ownerd.cluster.log_upkeep import LogUpkeep
from ownerd.cluster.node import ClusterError, Node
from ownerd.cluster.testing import Appender
from ownerd.server.alarms import AlarmBoard
from ownerd.server.log_bounds import LogBounds

BEGIN = (0x0123456789ABCDEF, 100, 0, 0)
HEAD = b"ownerd/shop/head"
LEADER = b"ownerd/shop/leader"
BEAT = b"ownerd/shop/beat"
PARTS = b"ownerd/shop/log/"
NODES = b"ownerd/shop/nodes/"


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
        member = b'{"node": "%s", "dial": "x:1", "admin": "x:2"}' % node_id.encode()
        node = Node(aim, "shop", Clock(), node_id=node_id, member=member, lease_s=1)
        if not made:
            node.create(BEGIN)
        made.append((node, aim))
        return node

    yield make
    for node, aim in made:
        aim.stop()
        node.close_session()


def lead(node: Node) -> Appender:
    node.begin(BEGIN)
    node.open_session()
    assert node.stand()
    node.catch_up()
    assert node.lead() is not None
    return Appender(node)


class Flushed:
    """An engine, as the bounds see it."""

    def __init__(self, revision: int) -> None:
        self.flushed_revision = revision
        self.hurried = 0

    def flush_soon(self) -> None:
        self.hurried += 1


class Bounded:
    """A leader with ten entries of 1,000 bytes, and what keeps its log."""

    def __init__(self, node: Node, flushed: int, bound_bytes: int) -> None:
        self.log = lead(node)
        self.engine: Any = Flushed(flushed)
        self.alarms = AlarmBoard()
        self.bounds = LogBounds(self.engine, node, self.alarms, bound_bytes)
        self.bounds.begin()
        for revision in range(101, 111):
            assert self.log.append(revision, bytes(1000))[0] == "ok"

    def up(self) -> set[str]:
        return {name for name, _ in self.alarms.up()}


# --- what goes ------------------------------------------------------------------------------------


def test_what_every_node_has_flushed_goes_and_nothing_more(make: Make, etcd: FakeEtcd) -> None:
    first, second = make("a"), make("b")
    bounded = Bounded(first, flushed=108, bound_bytes=1 << 20)
    second.register(104)
    bounded.bounds.trim()
    assert len(etcd.keys(PARTS)) == 6
    assert bounded.up() == set()
    second.register(110)
    bounded.bounds.trim()
    assert len(etcd.keys(PARTS)) == 2, "the leader itself has flushed no more"


def test_a_node_that_is_absent_is_passed_above_the_bound_alone(make: Make, etcd: FakeEtcd) -> None:
    first, second = make("a"), make("b")
    bounded = Bounded(first, flushed=110, bound_bytes=20_000)
    second.register(102)
    bounded.bounds.trim()
    assert len(etcd.keys(PARTS)) == 8
    for revision in range(111, 131):
        bounded.log.append(revision, bytes(1000))
    bounded.bounds.trim()
    assert len(etcd.keys(PARTS)) == 20, "up to what the leader has flushed"
    assert bounded.up() == {"single_copy"}
    third = make("c")
    third.register(125)
    bounded.bounds.trim()
    assert bounded.up() == set()


def test_a_node_that_runs_is_never_passed(make: Make, etcd: FakeEtcd) -> None:
    first, second = make("a"), make("b")
    bounded = Bounded(first, flushed=110, bound_bytes=2_000)
    second.begin(BEGIN)
    second.open_session()
    second.register(102)
    bounded.bounds.trim()
    assert len(etcd.keys(PARTS)) == 8


def test_of_those_that_are_absent_the_last_one_is_passed_first(make: Make, etcd: FakeEtcd) -> None:
    bounded = Bounded(make("a"), flushed=110, bound_bytes=5_000)
    make("b").register(102)
    make("c").register(106)
    bounded.bounds.trim()
    assert len(etcd.keys(PARTS)) == 4
    assert bounded.up() == set(), "two nodes have everything"


def test_what_is_not_flushed_is_hurried_and_at_the_bound_appends_are_refused(make: Make) -> None:
    bounded = Bounded(make("a"), flushed=100, bound_bytes=16_000)
    bounded.bounds.look()
    assert bounded.engine.hurried == 1
    answers = [bounded.log.append(111 + i, bytes(1000))[0] for i in range(6)]
    assert answers == ["ok"] * 5 + ["full"]
    bounded.bounds.look()
    bounded.engine.flushed_revision = 115
    bounded.bounds.look()
    assert bounded.log.append(116, bytes(1000))[0] == "ok"


def test_the_size_of_the_log_is_known_to_whoever_leads_next(make: Make, etcd: FakeEtcd) -> None:
    first, second = make("a"), make("b")
    bounded = Bounded(first, flushed=104, bound_bytes=1 << 20)
    bounded.bounds.trim()
    size = LogUpkeep(first).size_bytes
    assert 6 * 1000 < size < 6 * 1100
    etcd.expire_key(LEADER)
    last = bounded.log.append(111, b"late")
    assert last[0] == "fenced"
    second.begin((*BEGIN[:1], 104, *_place(etcd, first)))
    second.open_session()
    assert second.stand()
    second.catch_up()
    assert second.lead() is not None
    assert LogUpkeep(second).size_bytes == size


def _place(etcd: FakeEtcd, node: Node) -> tuple[int, int]:
    """Return epoch and checksum of the last entry that is gone."""
    trimmed = etcd.value(b"ownerd/shop/trimmed") or b""
    at = 8 + 16  # behind magic, checksum, the log's id and the revision
    return int.from_bytes(trimmed[at : at + 8], "little"), int.from_bytes(
        trimmed[at + 8 : at + 16], "little"
    )


# --- etcd -----------------------------------------------------------------------------------------


def test_half_of_the_quota_is_an_alarm_and_a_quarter_is_the_bound(
    make: Make, etcd: FakeEtcd
) -> None:
    bounded = Bounded(make("a"), flushed=110, bound_bytes=0)
    assert bounded.bounds.bound_bytes == 512 << 20
    bounded.bounds.look()
    assert bounded.up() == {"single_copy"}
    etcd.quota_bytes, etcd.used_bytes = 8 << 20, 5 << 20
    bounded.bounds.begin()
    bounded.bounds.look()
    assert bounded.bounds.bound_bytes == 2 << 20
    assert "etcd_filling" in bounded.up()
    bounded.bounds.end()
    assert bounded.up() == set()


def test_what_filled_etcd_is_known_to_be_done(make: Make, etcd: FakeEtcd) -> None:
    log = lead(make("a"))
    etcd.faults.append("filled")
    assert log.append(101, b"x")[0] == "ok"
    assert len(etcd.keys(PARTS)) == 1
    assert log.append(102, b"y")[0] == "ok"


def test_a_full_etcd_refuses_writes_and_reads_go_on(make: Make, etcd: FakeEtcd) -> None:
    node = make("a")
    log = lead(node)
    assert log.append(101, b"x")[0] == "ok"
    etcd.full = True
    deadline = time.monotonic() + 20
    while log.guarded_ns() > 0 and time.monotonic() < deadline:
        assert log.append(102, b"y")[0] == "full"
    for _ in range(5):
        assert log.confirm() == "ok"
        assert log.guarded_ns() <= 0, "what leaves no trace guards nothing"
    assert node.fate == "leading"
    etcd.full = False
    assert log.append(102, b"y")[0] == "ok"


def test_a_full_etcd_does_not_prove_one_that_leads_no_more(make: Make, etcd: FakeEtcd) -> None:
    node = make("a")
    log = lead(node)
    etcd.full = True
    etcd.expire_key(LEADER)
    deadline = time.monotonic() + 20
    while log.confirm() == "ok" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert node.fate == "fenced"


def test_a_full_etcd_is_trimmed_and_whoever_is_behind_is_told_so(
    make: Make, etcd: FakeEtcd
) -> None:
    node = make("a")
    log = lead(node)
    places = [log.append(101 + i, b"%d" % i)[1] for i in range(4)]
    etcd.full = True
    assert node.trim(103)
    assert len(etcd.keys(PARTS)) == 2, "the entry itself stays, so that its place is known"
    follower = make("b")
    follower.begin(places[2])
    assert len(follower.catch_up()) == 1
    with pytest.raises(ClusterError, match="begin from a backup"):
        follower.begin(places[0])
    etcd.full = False
    assert node.trim(103)
    follower.begin(places[2])


def test_nobody_begins_to_lead_without_room(make: Make, etcd: FakeEtcd) -> None:
    node = make("a")
    node.begin(BEGIN)
    node.open_session()
    assert node.stand()
    node.catch_up()
    etcd.full = True
    assert node.lead() is None
    assert node.fate == "not leading"


# --- reads ----------------------------------------------------------------------------------------


def test_each_read_is_proved_by_itself_if_that_is_wanted(make: Make, etcd: FakeEtcd) -> None:
    node = make("a")
    log = lead(node)
    LogUpkeep(node).prove_each_read(True)
    assert log.confirm() == "ok"
    assert log.guarded_ns() > 0
    etcd.expire_key(LEADER)
    assert log.confirm() == "fenced"


# --- what was heard -------------------------------------------------------------------------------


def test_what_stood_there_is_no_news_of_a_leader_that_is_gone(make: Make, etcd: FakeEtcd) -> None:
    log = lead(make("a"))
    log.append(101, b"x", 1_000)
    etcd.expire_key(LEADER)
    late = make("b")
    late.begin(BEGIN)
    late.catch_up()
    assert late.heard is None


def test_a_leader_s_time_is_the_newest_that_it_left(make: Make, etcd: FakeEtcd) -> None:
    log = lead(make("a"))
    log.append(101, b"x", 1 << 62)
    late = make("b")
    late.begin(BEGIN)
    heard = late.heard
    assert heard is not None and heard[0] == 1 << 62


def test_an_etcd_that_went_back_is_looked_at_anew(make: Make, etcd: FakeEtcd) -> None:
    log = lead(make("a"))
    follower = make("b")
    log.append(101, b"x")
    rows, revision = dict(etcd.rows), etcd.revision
    log.append(102, b"y")
    follower.begin(BEGIN)
    assert len(follower.catch_up()) == 2
    etcd.rows, etcd.revision = rows, revision
    with pytest.raises(ClusterError, match="emptied, restored"):
        follower.catch_up()


def test_a_leader_s_time_that_comes_late_is_no_step_back(make: Make, etcd: FakeEtcd) -> None:
    log = lead(make("a"))
    follower = make("b")
    log.append(101, b"x", 50 * 10**9)
    follower.begin(BEGIN)
    time.sleep(0.2)
    log.append(102, b"x", 50 * 10**9 + 1)  # as one that was under way since then
    follower.catch_up()
    heard = follower.heard
    assert heard is not None and heard[0] + heard[1] >= 50 * 10**9 + 0.19 * 10**9


def test_the_time_of_the_next_leader_counts_as_it_says_it(make: Make, etcd: FakeEtcd) -> None:
    first, second, third = make("a"), make("b"), make("c")
    log = lead(first)
    log.append(101, b"x", 50 * 10**9)
    for each in (second, third):
        each.begin(BEGIN)
    etcd.expire_key(LEADER)
    later = lead(second)
    later.append(102, b"x", 49 * 10**9)  # it heard the first one late
    third.catch_up()
    heard = third.heard
    assert heard is not None and heard[0] < 50 * 10**9
