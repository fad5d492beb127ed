"""Looks at the cluster once a second: what its alarms, the metrics page and the status tell.

The leader tells of every node, a standby of itself, and each of them that nobody leads. A look that
etcd does not answer leaves what was seen before, and says so.

A thread of its own; what was found may be read on any.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import structlog
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ownerd.native import EtcdUnavailableError
from ownerd.server import cluster_view
from ownerd.server.alarms import AlarmBoard
from ownerd.server.cluster import Membership
from ownerd.server.cluster_view import NodeView

LAG_ALARM_S = 10.0
CLOCK_ALARM_S = 60.0
_LOOK_S = 1.0
_UNLED_LEASES = 2

log = structlog.get_logger("ownerd.cluster")


class Found(NamedTuple):
    """What a look found.

    Attributes:
        seen: as etcd has it; None: there was no look yet.
        nodes: its nodes.
        differences_s: the wall clock of other nodes that are alive minus this one's, by name.
        error: why etcd could not be asked now; "": it could.
    """

    seen: Any = None
    nodes: tuple[NodeView, ...] = ()
    differences_s: Mapping[str, float] = {}
    error: str = ""


class ClusterWatch:
    """What is known of the cluster, and its alarms.

    Args:
        membership: this node's.
        alarms: where they go.
    """

    def __init__(self, membership: Membership, alarms: AlarmBoard) -> None:
        self._membership = membership
        self._alarms = alarms
        self._stop = threading.Event()
        self._since: dict[str, float] = {}
        self._guard = threading.Lock()
        self.found = Found()
        self._thread = threading.Thread(target=self._run, name="ownerd-cluster-look", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            try:
                self.tell(self.look(), time.monotonic())
            except Exception:
                log.exception("cluster_not_looked_at")

    def look(self) -> Found:
        """Look now, and return what was found."""
        before = self.found
        try:
            seen = self._membership.roster.look()
        except EtcdUnavailableError as error:
            found = before._replace(error=str(error))
        else:
            nodes = tuple(cluster_view.nodes_of(seen, self._membership.time_ns))
            found = Found(seen, nodes, self._differences(before, seen))
        with self._guard:
            self.found = found
        return found

    def _differences(self, before: Found, seen: Any) -> dict[str, float]:
        """Return how wall clocks differ: as of a registration that came since the last look."""
        now_ns = time.time_ns()
        differences = {}
        for name, told in cluster_view.others_alive(seen, self._membership.node_id).items():
            former = before.seen.nodes.get(name) if before.seen is not None else None
            is_new = former is not None and former.mod_revision != told.mod_revision
            if is_new and told.wall_ns and not before.error:
                differences[name] = (told.wall_ns - now_ns) / 1e9
            elif name in before.differences_s:
                differences[name] = before.differences_s[name]
        return differences

    # ---- alarms

    def tell(self, found: Found, now_s: float) -> None:
        """Raise what is wrong at a time of the monotonic clock; take down what no longer is."""
        leads = self._membership.role == "leader"
        own = self._membership.node_id
        nodes = [each for each in found.nodes if leads or each.node == own]
        lagging = [self._lags(each, now_s) for each in nodes if each.role == "standby"]
        absent = [self._is_absent(each, now_s) for each in found.nodes] if leads else []
        self._set("node_lags", lagging, "its disk or its way to etcd is too slow")
        self._set("node_absent", absent, "start it, or `ownerctl cluster remove` it")
        self._set("node_clocks_differ", self._clocks(found, leads), "have NTP keep every clock")
        unled = found.seen is not None and not leads and (found.error or found.seen.leader is None)
        self._set("no_leader", [self._unled(bool(unled), found.error, now_s)], "nobody may dial")

    def _set(self, name: str, found: list[str], advice: str) -> None:
        said = [each for each in found if each]
        self._alarms.set(name, f"{'; '.join(said)}: {advice}" if said else None)

    def _lasts(self, what: str, is_so: bool, for_s: float, now_s: float) -> bool:
        """Tell whether something has been so for long enough."""
        if not is_so:
            self._since.pop(what, None)
            return False
        return now_s - self._since.setdefault(what, now_s) >= for_s

    def _lags(self, node: NodeView, now_s: float) -> str:
        never = node.lag_revisions > 0 and node.lag_s is None
        if not self._lasts(f"lag {node.node}", never, LAG_ALARM_S, now_s) and (
            (node.lag_s or 0.0) < LAG_ALARM_S
        ):
            return ""
        since = "since it began" if node.lag_s is None else f"for {node.lag_s:.0f} s"
        return f"the node {node.node} is {node.lag_revisions:,} revisions behind, {since}"

    def _is_absent(self, node: NodeView, now_s: float) -> str:
        lasts = self._lasts(f"absent {node.node}", not node.alive, self._membership.lease_s, now_s)
        return f"the node {node.node} does not run, or has no way to etcd" if lasts else ""

    def _clocks(self, found: Found, leads: bool) -> list[str]:
        leader = next((each.node for each in found.nodes if each.role == "leader"), "")
        return [
            f"the wall clock of {name} is {difference:+.0f} s off that of {own}"
            for own in [self._membership.node_id]
            for name, difference in sorted(found.differences_s.items())
            if abs(difference) >= CLOCK_ALARM_S and (leads or name == leader)
        ]

    def _unled(self, is_so: bool, error: str, now_s: float) -> str:
        if not self._lasts("unled", is_so, _UNLED_LEASES * self._membership.lease_s, now_s):
            return ""
        return error or "no node leads the cluster"


class Cluster(NamedTuple):
    """What a server has of the cluster that it is a node of."""

    membership: Membership
    watch: ClusterWatch


class ClusterCollector(Collector):
    """The cluster as metrics, from the last look."""

    def __init__(self, membership: Membership, watch: ClusterWatch) -> None:
        self._membership = membership
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        member, found = self._membership, self._watch.found
        yield _gauge("leads", "1 on the node that leads.", int(member.role == "leader"))
        yield _gauge("epoch", "Epoch of whoever leads; 0: nobody does.", member.epoch)
        yield from _nodes(found.nodes)
        if found.seen is not None:
            first, last = found.seen.first_revision, found.seen.head_revision
            yield _gauge("trimmed_revision", "Last revision gone from etcd.", first - 1)
            yield _gauge("last_revision", "Last revision of the log.", last)
        figures = member.figures()
        for key, name, text in (
            ("transactions", "transactions", "Transactions sent as the leader, beats included."),
            ("resent", "transactions_resent", "Of them, those sent again for want of an answer."),
            ("appended_bytes", "appended_bytes", "Bytes appended to the log."),
            ("etcd_failures", "etcd_failures", "Calls of etcd that failed, or were cut off."),
            ("resyncs", "resyncs", "Times that the log was read, not watched."),
        ):
            yield CounterMetricFamily(f"ownerd_cluster_{name}", text, value=figures[key])
        yield _lengths(figures["transaction_lengths"], figures["transaction_ns_total"])


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"ownerd_cluster_{name}", text, value=value)


def _nodes(nodes: tuple[NodeView, ...]) -> Iterator[Metric]:
    alive = GaugeMetricFamily("ownerd_cluster_node_alive", "1 if a node is alive.", labels=["node"])
    revisions = GaugeMetricFamily(
        "ownerd_cluster_lag_revisions", "How far a node is behind the log.", labels=["node"]
    )
    seconds = GaugeMetricFamily(
        "ownerd_cluster_lag_seconds", "How long a node has been behind the log.", labels=["node"]
    )
    for node in nodes:
        alive.add_metric([node.node], int(node.alive))
        revisions.add_metric([node.node], node.lag_revisions)
        if node.lag_s is not None:
            seconds.add_metric([node.node], node.lag_s)
    yield from (alive, revisions, seconds)


def _lengths(counts: list[int], total_ns: int) -> Metric:
    family = HistogramMetricFamily(
        "ownerd_cluster_transaction_seconds", "How long transactions of the leader take."
    )
    buckets, below = [], 0
    for i, count in enumerate(counts):
        below += count
        buckets.append(("+Inf" if i == len(counts) - 1 else repr((1 << i) / 1e3), below))
    family.add_metric([], buckets, total_ns / 1e9)
    return family
