"""Keeps the log that a cluster has in etcd within its bounds, while this node leads.

Every ten seconds what every node has flushed is removed, and etcd is asked how it is. Above
`cluster_log_bytes` a node that does not run is no reason to keep anything; then fewer than two
nodes may have everything, which is an alarm. What this node has not flushed is never removed:
where that comes near the bound its flush is hurried, then appends wait, and at the bound they are
refused.

One thread's.
"""

import time
from collections import deque

import structlog

from ownerd import native
from ownerd.native import Engine, EtcdUnavailableError
from ownerd.server import sizes
from ownerd.server.alarms import AlarmBoard
from ownerd.server.log_holds import held

QUOTA_BYTES = 2 << 30  # etcd's own default, where it does not tell
_ROUND_S = 10.0
_MOST_SAMPLES = 10_000

log = structlog.get_logger("ownerd.cluster")


class LogBounds:
    """What is kept of the log, and what is told of its size.

    Args:
        engine: this node's.
        node: likewise.
        alarms: where `single_copy`, `etcd_filling` and `etcd_full` go up.
        bound_bytes: of the log in etcd; 0: a quarter of etcd's quota.
    """

    def __init__(
        self,
        engine: Engine,
        node: "native.Node",
        alarms: AlarmBoard | None = None,
        bound_bytes: int = 0,
    ) -> None:
        self._engine = engine
        self._node = node
        self._alarms = alarms or AlarmBoard()
        self._given_bytes = bound_bytes
        self._quota_bytes = QUOTA_BYTES
        self._upkeep = native.LogUpkeep(node)
        # Of the log's end as it was: a revision, and how many bytes there were up to it at least.
        self._samples: deque[tuple[int, int]] = deque(maxlen=_MOST_SAMPLES)
        self._flushed_bytes = 0
        self._round_at = 0.0

    @property
    def bound_bytes(self) -> int:
        """How large the log may be before a node that does not run is passed."""
        return self._given_bytes or self._quota_bytes // 4

    def begin(self) -> None:
        """Begin to lead."""
        self._samples.clear()
        self._flushed_bytes = self._upkeep.end_bytes
        self._round_at = 0.0

    def look(self) -> None:
        """Do what is due; several times a second, while this node leads."""
        self._hurry()
        if time.monotonic() >= self._round_at:
            self._round_at = time.monotonic() + _ROUND_S
            try:
                self._ask_etcd()
                self.trim()
            except EtcdUnavailableError as error:
                log.warning("log_not_trimmed", cause=str(error))

    def end(self) -> None:
        """Lead no more: others tell what is wrong."""
        for name in ("single_copy", "etcd_filling", "etcd_full"):
            self._alarms.set(name, None)

    # ---- this node's own flush

    def _hurry(self) -> None:
        """Say how much is not flushed, and have it flushed if that is much."""
        end_bytes = self._upkeep.end_bytes  # first: the revision has these, and perhaps more
        revision, flushed = self._node.head_revision, self._engine.flushed_revision
        if not self._samples or self._samples[-1][0] != revision:
            self._samples.append((revision, end_bytes))
        while self._samples and self._samples[0][0] <= flushed:
            self._flushed_bytes = self._samples.popleft()[1]
        self._upkeep.bound(self._flushed_bytes, self.bound_bytes)
        if end_bytes - self._flushed_bytes > self.bound_bytes // 4:
            self._engine.flush_soon()

    # ---- what others need

    def trim(self) -> None:
        """Remove what nobody needs any more.

        Raises:
            EtcdUnavailableError: etcd does not answer.
        """
        nodes = {**held(self._node), self._node.node_id: self._engine.flushed_revision}
        self._trim_to(min(nodes.values()))
        alive = self._upkeep.alive() | {self._node.node_id}
        for name in sorted(nodes.keys() - alive, key=lambda name: nodes[name]):
            if self._upkeep.size_bytes <= self.bound_bytes:
                break
            kept = {other: flushed for other, flushed in nodes.items() if flushed > nodes[name]}
            kept |= {other: nodes[other] for other in nodes.keys() & alive}
            if self._trim_to(min(kept.values())):
                log.warning("absent_node_passed", absent=name, revision=min(kept.values()))
        self._tell_copies(nodes)

    def _trim_to(self, revision: int) -> bool:
        return revision > self._upkeep.trimmed_revision and self._node.trim(revision)

    def _tell_copies(self, nodes: dict[str, int]) -> None:
        """Raise the alarm where only one node has what is gone from the log."""
        trimmed = self._upkeep.trimmed_revision
        have = sorted(name for name, flushed in nodes.items() if flushed >= trimmed)
        is_single = self._upkeep.has_trimmed and len(have) < 2
        self._alarms.set(
            "single_copy",
            f"only the node {have[0]} has everything: what it flushed is gone from the log, and no "
            "other node had it; join another one by a backup of it"
            if is_single and have
            else None,
        )

    # ---- etcd

    def _ask_etcd(self) -> None:
        """Look how full etcd is.

        Raises:
            EtcdUnavailableError: it does not answer.
        """
        _, used_bytes, quota_bytes = self._upkeep.etcd()
        self._quota_bytes = quota_bytes or QUOTA_BYTES
        self._alarms.set(
            "etcd_filling",
            f"etcd's database has {sizes.spell(used_bytes)} in use, more than half of its quota of "
            f"{sizes.spell(self._quota_bytes)}: see what else is in it, and whether a node that is "
            "gone for good is still registered"
            if 2 * used_bytes > self._quota_bytes
            else None,
        )
        self._alarms.set(
            "etcd_full",
            "etcd has raised NOSPACE and takes no writes: claims that change anything are refused; "
            "defragment each member (etcdctl defrag), then etcdctl alarm disarm"
            if self._upkeep.etcd_is_full()
            else None,
        )
