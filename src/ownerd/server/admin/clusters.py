"""The cluster that this server is a node of: seen, handed over, and rid of nodes."""

from collections.abc import Mapping
from typing import Any

from ownerd import limits
from ownerd.native import EtcdUnavailableError
from ownerd.server import cluster_view
from ownerd.server.admin import convert, validate
from ownerd.server.admin.audited_change import Change, audited
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.server.cluster_watch import Cluster, Found
from ownerd.server.errors import EtcdSilent, NoCluster, NodeAlive, NodeNotFound
from ownerd.v1 import admin_pb2

_ROLES: Mapping[str, admin_pb2.NodeRole] = {
    "leader": admin_pb2.NODE_ROLE_LEADER,
    "standby": admin_pb2.NODE_ROLE_STANDBY,
    "absent": admin_pb2.NODE_ROLE_ABSENT,
}


def membership_of(context: AdminContext) -> admin_pb2.ClusterMembership | None:
    """Return what this server is in its cluster, as it knows itself; None: it is in none."""
    if context.cluster is None:
        return None
    member = context.cluster.membership
    leader = member.leader
    return admin_pb2.ClusterMembership(
        cluster=member.name,
        node=member.node_id,
        role=_ROLES[member.role],
        epoch=member.epoch,
        **(
            {"leader": leader.node, "leader_dial": leader.dial, "leader_admin": leader.admin}
            if leader is not None
            else {}
        ),
    )


def _of(context: AdminContext) -> Cluster:
    if context.cluster is None:
        raise NoCluster
    return context.cluster


def _get(
    context: AdminContext, _: admin_pb2.GetClusterStatusRequest, caller: Caller
) -> admin_pb2.GetClusterStatusResponse:
    cluster = _of(context)
    found = cluster.watch.look()
    answer = admin_pb2.GetClusterStatusResponse(
        cluster=cluster.membership.name,
        answered_by=cluster.membership.node_id,
        etcd_error=found.error,
    )
    if found.seen is not None:
        leader = cluster_view.member_of(found.seen.leader)
        answer.leader = leader.node if leader is not None else ""
        answer.epoch = found.seen.epoch
        answer.first_revision = found.seen.first_revision
        answer.last_revision = found.seen.head_revision
        answer.nodes.extend(_node(each, found) for each in found.nodes)
    return answer


def _node(node: cluster_view.NodeView, found: Found) -> admin_pb2.ClusterNode:
    answer = admin_pb2.ClusterNode(
        node=node.node,
        role=_ROLES[node.role],
        alive=node.alive,
        dial=node.dial,
        admin=node.admin,
        applied_revision=node.applied_revision,
        flushed_revision=node.flushed_revision,
        lag_revisions=node.lag_revisions,
    )
    if node.lag_s is not None:
        answer.lag.CopyFrom(convert.duration_of(int(node.lag_s * 1e9)))
    difference_s = found.differences_s.get(node.node)
    if difference_s is not None:
        answer.clock_difference.CopyFrom(convert.duration_of(int(difference_s * 1e9)))
    return answer


@audited(admin_pb2.TransferLeadershipResponse)
def _transfer(
    context: AdminContext,
    request: admin_pb2.TransferLeadershipRequest,
    change: Change[admin_pb2.TransferLeadershipResponse],
) -> admin_pb2.TransferLeadershipResponse:
    validate.text("node", request.node, limits.NODE_BYTES, required=False)
    member = _of(context).membership
    first = change.first_answer()
    if first is not None and (member.role, member.epoch) != ("leader", first.former_epoch):
        return first  # else it was not handed over then
    answer = admin_pb2.TransferLeadershipResponse(node=request.node, former_epoch=member.epoch)
    if member.role == "leader":  # else the writer refuses, and says who does
        answer.node = member.hand_over.candidate(request.node)
    detail = {"node": answer.node, "epoch": answer.former_epoch}
    answer = change.make(context.engine.note_event, detail=detail, answer=answer)
    member.hand_over.to(answer.node)
    return answer


@audited(admin_pb2.RemoveNodeResponse)
def _remove(
    context: AdminContext,
    request: admin_pb2.RemoveNodeRequest,
    change: Change[admin_pb2.RemoveNodeResponse],
) -> admin_pb2.RemoveNodeResponse:
    validate.text("node", request.node, limits.NODE_BYTES)
    roster = _of(context).membership.roster
    try:
        is_repeat = change.first_answer() is not None
        if not is_repeat and not context.engine.standing_by:
            _check_removal(request.node, roster.look())
        answer = change.make(context.engine.note_event, detail={"node": request.node})
        if not roster.remove(request.node) and not is_repeat:
            raise NodeAlive(request.node)
    except EtcdUnavailableError as error:
        raise EtcdSilent(str(error)) from None
    return answer


def _check_removal(node: str, seen: Any) -> None:
    if node in seen.alive:
        raise NodeAlive(node)
    if node not in seen.nodes:
        raise NodeNotFound(node, seen.nodes)


HANDLERS: Mapping[str, Handler] = {
    "GetClusterStatus": _get,
    "TransferLeadership": _transfer,
    "RemoveNode": _remove,
}
