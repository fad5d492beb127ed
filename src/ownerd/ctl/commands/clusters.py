"""`ownerctl cluster`: the nodes of the server's cluster, another leader, and a node less."""

from typing import Annotated

from cyclopts import App, Parameter

from ownerd.ctl.commands.options import InSession, Reason, Yes
from ownerd.ctl.terminal import confirm
from ownerd.ctl.terminal.exits import Exit
from ownerd.ctl.terminal.output import Column, Kind, Row
from ownerd.v1 import admin_pb2 as pb

app = App(name="cluster", help="Show the nodes of a cluster, and say who leads.")

ROLES = {
    pb.NODE_ROLE_LEADER: "leader",
    pb.NODE_ROLE_STANDBY: "standby",
    pb.NODE_ROLE_ABSENT: "absent",
}

COLUMNS = (
    Column("node", "Node"),
    Column("role", "Role"),
    Column("dial", "Dial", spare=1),
    Column("admin", "Administration"),
    Column("applied_revision", "Applied", Kind.NUMBER),
    Column("flushed_revision", "Flushed", Kind.NUMBER, spare=2),
    Column("lag_revisions", "Behind", Kind.COUNT),
    Column("lag", "For", Kind.ROUGH_LENGTH, absent="never level"),
    Column("clock_difference", "Clock off", Kind.ROUGH_LENGTH, in_list=False),
)
TRANSFERRED = (
    Column("node", "Leads next"),
    Column("former_epoch", "Epoch that ended", Kind.NUMBER),
    Column("revision", "Revision", Kind.NUMBER),
)
REMOVED = (Column("node", "Node"), Column("revision", "Revision", Kind.NUMBER))


@app.command
def status(*, session: InSession) -> Exit:
    """Show the nodes of the server's cluster: who leads, and how far behind each one is.

    Any node answers. Exit code 16 if nobody leads, a node is absent, or etcd does not answer.
    """
    connection = session.connection
    answer = connection.ask(connection.admin.GetClusterStatus, pb.GetClusterStatusRequest())
    session.printer.rows(
        "nodes",
        COLUMNS,
        [node_row(each) for each in answer.nodes],
        empty="No node has registered yet.",
        extra={
            "cluster": answer.cluster,
            "answered_by": answer.answered_by,
            "leader": answer.leader or None,
            "epoch": answer.epoch,
            "first_revision": answer.first_revision,
            "last_revision": answer.last_revision,
            "etcd_error": answer.etcd_error or None,
        },
    )
    leads = f"{answer.leader} leads" if answer.leader else "nobody leads now"
    session.printer.hint(
        f"Cluster {answer.cluster}: {leads}, epoch {answer.epoch}; etcd's log has revisions"
        f" {answer.first_revision} to {answer.last_revision}, says node {answer.answered_by}."
    )
    if answer.etcd_error:
        session.printer.hint(f"As seen last: {answer.etcd_error}.")
    well = answer.leader and not answer.etcd_error and all(each.alive for each in answer.nodes)
    return Exit.OK if well else Exit.ALARM


@app.command
def transfer(
    node: Annotated[str, Parameter(help="Which node; without: the one that is closest.")] = "",
    /,
    *,
    reason: Reason = "",
    yes: Yes = False,
    session: InSession,
) -> None:
    """Have another node lead. Asks; --yes does not.

    Dials and changes are refused for a fraction of a second. If no node has all of the log within
    5 seconds, the leader leads on.
    """
    to = f"node {node}" if node else "the closest node"
    confirm.ask("hand over", f"Have {to} lead?", yes=yes)
    connection = session.connection
    request = pb.TransferLeadershipRequest(node=node, reason=reason)
    answer = connection.change(connection.admin.TransferLeadership, request)
    row = {"node": answer.node, "former_epoch": answer.former_epoch, "revision": answer.revision}
    session.printer.done(f"Handed over to node {answer.node}.", TRANSFERRED, row)


@app.command
def remove(
    node: Annotated[str, Parameter(help="The node; it must not run.")],
    /,
    *,
    reason: Reason = "",
    yes: Yes = False,
    session: InSession,
) -> None:
    """Have a node belong to the cluster no more. Asks; --yes does not.

    The log is not kept for it any longer: if it comes back later, it may need a backup.
    """
    confirm.ask("remove it", f"Remove node {node} from the cluster?", yes=yes)
    connection = session.connection
    request = pb.RemoveNodeRequest(node=node, reason=reason)
    answer = connection.change(connection.admin.RemoveNode, request)
    row = {"node": node, "revision": answer.revision}
    session.printer.done(f"Removed node {node}.", REMOVED, row)


def node_row(node: pb.ClusterNode) -> Row:
    """Return a node as raw values."""
    return {
        "node": node.node,
        "role": ROLES.get(node.role),
        "dial": node.dial or None,
        "admin": node.admin or None,
        "applied_revision": node.applied_revision,
        "flushed_revision": node.flushed_revision,
        "lag_revisions": node.lag_revisions,
        "lag": node.lag.ToNanoseconds() if node.HasField("lag") else None,
        "clock_difference": (
            node.clock_difference.ToNanoseconds() if node.HasField("clock_difference") else None
        ),
    }
