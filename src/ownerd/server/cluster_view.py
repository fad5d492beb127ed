"""What is to be read from a look at a cluster: roles, lag, and who should not lead next.

Judges only; asks nobody and keeps nothing.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Role = Literal["leader", "standby", "absent"]

# A standby that lags by more does not stand while a closer one lives.
STANDING_LAG_S = 1.0


class Member(NamedTuple):
    """Who leads, and where it is called."""

    node: str
    dial: str
    admin: str


class NodeView(NamedTuple):
    """One node of the cluster; `lag_s` None: it has never been level."""

    node: str
    role: Role
    alive: bool
    dial: str
    admin: str
    applied_revision: int
    flushed_revision: int
    lag_revisions: int
    lag_s: float | None


def member_of(value: bytes | None) -> Member | None:
    """Return whom the leader's key names; None: nobody, or nobody who is understood."""
    try:
        told = json.loads(value or b"")
        return Member(told["node"], told["dial"], told["admin"])
    except (ValueError, KeyError, TypeError):
        return None


def nodes_of(seen: Any, now_ns: int) -> list[NodeView]:
    """Return the nodes of a cluster that was seen (`native.Roster.look`), by name.

    Args:
        seen: what was seen.
        now_ns: the cluster's time then.
    """
    leader = member_of(seen.leader)
    leads = leader.node if leader is not None else ""
    return [_node(name, seen, leads, now_ns) for name in sorted(seen.nodes)]


def _node(name: str, seen: Any, leads: str, now_ns: int) -> NodeView:
    told = seen.nodes[name]
    alive = name in seen.alive
    role: Role = "leader" if name == leads else "standby" if alive else "absent"
    behind = 0 if role == "leader" else max(0, seen.head_revision - told.applied_revision)
    lag_s: float | None = 0.0
    if behind:
        lag_s = max(0, now_ns - told.level_time_ns) / 1e9 if told.level_time_ns else None
    return NodeView(
        name,
        role,
        alive,
        told.dial,
        told.admin,
        told.applied_revision,
        told.flushed_revision,
        behind,
        lag_s,
    )


def others_alive(seen: Any, node_id: str) -> Mapping[str, Any]:
    """Return what the other nodes that are alive registered, by name."""
    return {
        name: told for name, told in seen.nodes.items() if name != node_id and name in seen.alive
    }


def closer(seen: Any, node_id: str, applied: int, behind_s: float) -> str:
    """Return who should lead rather than a node that lags by more than a second; "": nobody."""
    if behind_s <= STANDING_LAG_S:
        return ""
    ahead = {
        told.applied_revision: name
        for name, told in others_alive(seen, node_id).items()
        if told.applied_revision > applied
    }
    return ahead[max(ahead)] if ahead else ""


def wished(seen: Any, node_id: str) -> str:
    """Return who else was to lead when the last epoch was handed over, and is alive; "": nobody."""
    if seen.resigned and seen.next_node in others_alive(seen, node_id):
        return str(seen.next_node)
    return ""
