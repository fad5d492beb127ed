"""Has another node lead: asked for by an administrator, or because this server stops.

The leader answers nothing any more, waits until the other has all that the log has, says who is to
be next, and resigns. That it is level is a matter of time alone, not of what is kept: whoever leads
next reads the log to its end first.

Blocking; on whatever thread wants it, one at a time.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from ownerd.native import Engine, EtcdUnavailableError, Refused
from ownerd.server import cluster_view
from ownerd.server.errors import EtcdSilent, NodeNotFound, NoHandOver
from ownerd.server.principals import ITSELF
from ownerd.v1 import admin_pb2

PATIENCE_S = 5.0
_LOOK_S = 0.02
NOBODY = "nobody does just now; ask again in a moment"

log = structlog.get_logger("ownerd.cluster")


class HandOver:
    """How a node that leads has another one lead.

    Args:
        engine: the node's.
        node: it.
        roster: says who else there is.
        hold_back: has this node not stand for a while.
    """

    def __init__(
        self, engine: Engine, node: Any, roster: Any, hold_back: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._node = node
        self._roster = roster
        self._hold_back = hold_back
        self._lock = threading.Lock()

    def candidate(self, wanted: str) -> str:
        """Return who could lead in a moment; `wanted` "": whoever is closest.

        Raises:
            NodeNotFound, NoHandOver, EtcdSilent
        """
        seen = self._look()
        if wanted and wanted not in seen.nodes:
            raise NodeNotFound(wanted, seen.nodes)
        if wanted == self._node.node_id:
            raise NoHandOver(f"the node {wanted!r} leads already")
        nodes = {
            each.node: each
            for each in cluster_view.nodes_of(seen, self._engine.time_ns)
            if each.alive and each.node != self._node.node_id
        }
        if wanted and wanted not in nodes:
            raise NoHandOver(f"the node {wanted!r} is not alive")
        if not nodes:
            raise NoHandOver("no other node is alive")
        found = nodes[wanted] if wanted else max(nodes.values(), key=lambda n: n.applied_revision)
        if found.lag_s is None or found.lag_s > PATIENCE_S:
            raise NoHandOver(f"the node {found.node!r} is {found.lag_revisions:,} revisions behind")
        return found.node

    def to(self, node_id: str) -> None:
        """Have a node lead.

        Raises:
            NoHandOver: it did not become level; this node leads on.
            Refused: this node leads no more, for another reason.
        """
        with self._lock:
            self._engine.stand_by(NOBODY)
            found = ""
            try:
                found = self._level(node_id, PATIENCE_S)
            finally:
                if not found:
                    self._go_on()
            if not found:
                raise NoHandOver(
                    f"the node {node_id!r} did not have all of the log within {PATIENCE_S:.0f} s"
                )
            self._resign(found)

    def leave(self) -> None:
        """Have another node lead, if there is one; resign anyway. Nothing is in flight any more."""
        with self._lock:
            if self._node.fate != "leading":
                return
            note = admin_pb2.AuditEntry(
                principal=ITSELF,
                action="ResignLeadership",
                reason="the server stops",
                detail=json.dumps({"node": self._node.node_id, "epoch": self._node.epoch}),
            )
            with suppress(Refused):
                self._engine.note_event(note=note.SerializeToString(deterministic=True))
            self._engine.stand_by(NOBODY)
            self._resign(self._level("", PATIENCE_S))

    # ---- steps

    def _look(self) -> Any:
        try:
            return self._roster.look()
        except EtcdUnavailableError as error:
            raise EtcdSilent(str(error)) from None

    def _level(self, wanted: str, patience_s: float) -> str:
        """Return a node that has the whole log, once there is one; "": it takes too long."""
        deadline = time.monotonic() + patience_s
        while self._node.fate == "leading":
            others: dict[str, Any] = {}
            with suppress(EtcdUnavailableError):
                seen = self._roster.look()
                others = {
                    name: told.applied_revision
                    for name, told in cluster_view.others_alive(seen, self._node.node_id).items()
                    if wanted in ("", name)
                }
                if not others:
                    break
            level = [name for name in others if others[name] >= self._node.head_revision]
            if level:
                return level[0]
            if time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_S)
        return ""

    def _go_on(self) -> None:
        """Lead on, if this node still does."""
        self._engine.lead()
        if self._node.fate != "leading":
            self._engine.stand_by(NOBODY)

    def _resign(self, next_node: str) -> None:
        self._hold_back()
        with suppress(EtcdUnavailableError):
            self._roster.put_next(next_node, self._node.epoch)
        known = self._node.resign()
        log.info(
            "cluster_resigned",
            node=self._node.node_id,
            epoch=self._node.epoch,
            to=next_node or None,
            known=known,
        )
