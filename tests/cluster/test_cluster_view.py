"""What is read from a look at a cluster: lag, who stands back, and what is an alarm."""

import time
from typing import Any

import pytest

pytest.importorskip("ownerd.cluster.node")

from ownerd.cluster.roster import (
    EtcdUnavailableError,
    Registration,
    Seen,
    registration_of,
    registration_value,
)
from ownerd.server import cluster_view
from ownerd.server.alarms import AlarmBoard
from ownerd.server.cluster_watch import CLOCK_ALARM_S, LAG_ALARM_S, ClusterWatch, Found

SECOND_NS = 10**9
NOW_NS = 1_000 * SECOND_NS
LEADER = b'{"node": "a", "dial": "a:1", "admin": "a:2"}'


def seen(**changes: Any) -> Seen:
    """Return a cluster of three at revision 100: a leads, b is level, c is behind."""
    found = Seen(
        nodes={
            "a": Registration(applied_revision=100),
            "b": Registration(applied_revision=100, level_time_ns=NOW_NS - SECOND_NS),
            "c": Registration(applied_revision=40, level_time_ns=NOW_NS - 20 * SECOND_NS),
        },
        alive=frozenset("abc"),
        leader=LEADER,
        epoch=7,
        head_revision=100,
        first_revision=1,
        resigned=False,
        next_node="",
    )
    return found._replace(**changes)


def test_a_registration_is_read_also_as_earlier_versions_wrote_it() -> None:
    assert registration_of(b"17") == Registration(flushed_revision=17)
    written = registration_value(LEADER, applied_revision=3, flushed_revision=2)
    assert registration_of(written, 9) == Registration("a:1", "a:2", 3, 2, mod_revision=9)
    # What a later version adds, or writes otherwise, is left out.
    assert registration_of(b'{"flushed_revision": 5, "dial": 6, "more": []}').flushed_revision == 5
    for damaged in (b"", b"{", b"[]", b"null", b'"x"', b"\xff"):
        assert registration_of(damaged) == Registration()


def test_the_lag_is_how_long_a_node_has_not_been_level() -> None:
    nodes = {each.node: each for each in cluster_view.nodes_of(seen(), NOW_NS)}
    assert [(each.role, each.lag_revisions, each.lag_s) for each in nodes.values()] == [
        ("leader", 0, 0.0),
        ("standby", 0, 0.0),
        ("standby", 60, 20.0),
    ]
    nodes["a"] = cluster_view.nodes_of(seen(leader=None, alive=frozenset("bc")), NOW_NS)[0]
    assert (nodes["a"].role, nodes["a"].alive) == ("absent", False)
    never = cluster_view.nodes_of(seen(nodes={"d": Registration(applied_revision=1)}), NOW_NS)[0]
    assert (never.lag_revisions, never.lag_s) == (99, None)


def test_a_standby_that_lags_by_more_than_a_second_leaves_it_to_a_closer_one() -> None:
    gone = seen(leader=None, alive=frozenset("bc"))
    assert cluster_view.closer(gone, "c", 40, 1.1) == "b"
    assert cluster_view.closer(gone, "c", 40, 0.9) == ""
    assert cluster_view.closer(gone, "b", 100, 5.0) == ""  # nobody is closer
    assert cluster_view.closer(gone._replace(alive=frozenset("c")), "c", 40, 99.0) == ""


def test_whoever_was_wished_for_is_waited_for_while_it_lives() -> None:
    handed = seen(leader=None, resigned=True, next_node="b")
    assert cluster_view.wished(handed, "c") == "b"
    assert cluster_view.wished(handed, "b") == ""
    assert cluster_view.wished(handed._replace(alive=frozenset("c")), "c") == ""
    assert cluster_view.wished(handed._replace(resigned=False), "c") == ""  # it died since


class Member:
    """A node as its watch sees it."""

    def __init__(self, node_id: str = "a", role: str = "leader") -> None:
        self.node_id, self.role, self.lease_s = node_id, role, 2.0


def alarms_of(member: Member, looks: list[tuple[float, Found]]) -> dict[str, str]:
    """Return the alarms after some looks, each at its time."""
    board = AlarmBoard()
    watch = ClusterWatch(member, board)  # type: ignore[arg-type]
    for at_s, found in looks:
        watch.tell(found, at_s)
    return dict(board.up())


def found(cluster: Seen, **changes: Any) -> Found:
    nodes = tuple(cluster_view.nodes_of(cluster, NOW_NS))
    return Found(cluster, nodes)._replace(**changes)


def test_the_leader_tells_of_every_node_that_lags_and_a_standby_of_itself() -> None:
    assert (
        "node c is 60 revisions behind, for 20 s"
        in alarms_of(Member(), [(0, found(seen()))])["node_lags"]
    )
    assert alarms_of(Member("b", "standby"), [(0, found(seen()))]) == {}
    assert set(alarms_of(Member("c", "standby"), [(0, found(seen()))])) == {"node_lags"}


def test_a_node_that_never_was_level_is_an_alarm_once_that_lasts() -> None:
    new = found(seen(nodes={"c": Registration(applied_revision=1)}))
    assert alarms_of(Member(), [(0, new), (LAG_ALARM_S - 1, new)]) == {}
    assert set(alarms_of(Member(), [(0, new), (LAG_ALARM_S, new)])) == {"node_lags"}


def test_a_node_is_absent_once_its_lease_could_have_been_renewed() -> None:
    level = {name: Registration(applied_revision=100) for name in "abc"}
    without = found(seen(nodes=level, alive=frozenset("ab")))
    back = found(seen(nodes=level))
    assert alarms_of(Member(), [(0, without), (1, without)]) == {}
    assert set(alarms_of(Member(), [(0, without), (2, without)])) == {"node_absent"}
    assert alarms_of(Member(), [(0, without), (2, without), (3, back)]) == {}
    assert alarms_of(Member(), [(0, without), (1, back), (2, without)]) == {}
    assert alarms_of(Member("b", "standby"), [(0, without), (9, without)]) == {}


def test_clocks_that_differ_are_an_alarm() -> None:
    level = seen(nodes={name: Registration(applied_revision=100) for name in "abc"})
    off = found(level, differences_s={"b": CLOCK_ALARM_S, "c": 1.0})
    assert "b is +60 s off" in alarms_of(Member(), [(0, off)])["node_clocks_differ"]
    assert alarms_of(Member("c", "standby"), [(0, off)]) == {}  # b is not its leader
    led = found(level, differences_s={"a": -CLOCK_ALARM_S})
    assert set(alarms_of(Member("c", "standby"), [(0, led)])) == {"node_clocks_differ"}


def test_a_cluster_that_nobody_leads_is_an_alarm_at_each_node() -> None:
    nobody = found(seen(leader=None, nodes={}))
    silent = found(seen(nodes={}), error="etcd does not answer")
    member = Member("b", "standby")
    assert alarms_of(member, [(0, nobody), (3, nobody)]) == {}
    assert "no node leads" in alarms_of(member, [(0, nobody), (4, nobody)])["no_leader"]
    assert "etcd does not" in alarms_of(member, [(0, silent), (4, silent)])["no_leader"]
    assert alarms_of(member, [(0, nobody), (4, nobody), (5, found(seen(nodes={})))]) == {}


class Etcd:
    """Tells what it is told to, or nothing."""

    def __init__(self, told: list[Seen | None]) -> None:
        self.told = told

    def look(self) -> Seen:
        found = self.told.pop(0)
        if found is None:
            raise EtcdUnavailableError("etcd does not answer")
        return found


def looks_of(told: list[Seen | None]) -> list[Found]:
    """Return what a watch finds in look after look."""
    member = Member()
    member.roster, member.time_ns = Etcd(told), NOW_NS  # type: ignore[attr-defined]
    watch = ClusterWatch(member, AlarmBoard())  # type: ignore[arg-type]
    return [watch.look() for _ in range(len(told))]


def registered(mod_revision: int, ahead_s: float) -> Seen:
    wall_ns = time.time_ns() + int(ahead_s * SECOND_NS)
    return seen(nodes={"b": Registration(wall_ns=wall_ns, mod_revision=mod_revision)})


def test_clocks_are_compared_as_of_a_registration_that_has_just_come() -> None:
    old, new = registered(1, -500), registered(2, 300)
    first, second, third = looks_of([old, new, new])
    assert first.differences_s == {}  # nobody knows how long it has stood there
    assert 200 < second.differences_s["b"] <= 300
    assert third.differences_s == second.differences_s
    # Nor of one that came while etcd did not answer.
    *_, last = looks_of([old, None, new])
    assert last.differences_s == {}


def test_what_was_seen_last_stays_where_etcd_does_not_answer() -> None:
    first, second, third = looks_of([seen(), None, seen(epoch=8)])
    assert (first.error, third.error) == ("", "")
    assert second == first._replace(error="etcd does not answer")
    assert third.seen.epoch == 8
