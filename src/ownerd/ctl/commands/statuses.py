"""`ownerctl status`: how the server is."""

from ownerd.ctl.commands.clusters import ROLES
from ownerd.ctl.commands.options import InSession
from ownerd.ctl.terminal.exits import Exit
from ownerd.ctl.terminal.output import Column, Kind, Row
from ownerd.v1 import admin_pb2 as pb

COLUMNS = (
    Column("server", "Server"),
    Column("version", "Version"),
    Column("lmdb_version", "LMDB"),
    Column("dial_listener", "Dial listener", absent="not said"),
    Column("start_time", "Started (UTC)", Kind.TIME),
    Column("uptime", "Uptime", Kind.ROUGH_LENGTH),
    Column("time", "Server time (UTC)", Kind.TIME),
    Column("clock_offset", "Clock offset", Kind.ROUGH_LENGTH),
    Column("revision", "Revision", Kind.NUMBER),
    Column("oldest_revision", "Changes kept from", Kind.NUMBER),
    Column("list_count", "Contact lists", Kind.COUNT),
    Column("campaign_count", "Campaigns", Kind.COUNT),
    Column("record_count", "Records stored", Kind.COUNT),
    Column("store_bytes", "Store", Kind.BYTES),
    Column("map_bytes", "Store may grow to", Kind.BYTES),
    Column("disk_free_bytes", "Disk free", Kind.BYTES),
    Column("queue_depth", "Queued dials", Kind.COUNT),
    Column("unsettled_event_count", "Events to vacuum", Kind.COUNT),
    Column("incarnation_id", "Incarnation", absent="not said"),
    Column("cluster", "Cluster", absent="none"),
    Column("node", "Node"),
    Column("role", "Role"),
    Column("epoch", "Epoch", Kind.NUMBER),
    Column("leader", "Leader"),
    Column("alarms", "Alarms", Kind.TEXTS, absent="none"),
    Column("alarm_messages", "", Kind.TEXTS),
)
PLAIN_FIELDS = (
    "version lmdb_version revision list_count campaign_count record_count store_bytes map_bytes"
    " disk_free_bytes queue_depth unsettled_event_count oldest_revision"
).split()


def status(*, session: InSession) -> Exit:
    """Show the server's version, sizes, backlog and alarms.

    Exit code 16 if an alarm is up.
    """
    connection = session.connection
    answer = connection.ask(connection.admin.GetServerStatus, pb.GetServerStatusRequest())
    session.printer.thing(
        COLUMNS, status_row(connection.server, answer), now_ns=answer.time.ToNanoseconds()
    )
    return Exit.ALARM if answer.alarms else Exit.OK


def status_row(server: str, answer: pb.GetServerStatusResponse) -> Row:
    """Return the status as raw values."""
    return {
        "server": server,
        **{name: getattr(answer, name) for name in PLAIN_FIELDS},
        "incarnation_id": answer.incarnation_id or None,
        "dial_listener": answer.dial_listener or None,
        "start_time": answer.start_time.ToNanoseconds(),
        "uptime": answer.uptime.ToNanoseconds(),
        "time": answer.time.ToNanoseconds(),
        "clock_offset": answer.clock_offset.ToNanoseconds(),
        **_membership(answer),
        "alarms": [alarm.name for alarm in answer.alarms],
        "alarm_messages": [alarm.message for alarm in answer.alarms],
    }


def _membership(answer: pb.GetServerStatusResponse) -> Row:
    """Return what the server is in its cluster; all None: it is in none."""
    member = answer.cluster
    return {
        "cluster": member.cluster or None,
        "node": member.node or None,
        "role": ROLES.get(member.role),
        "epoch": member.epoch or None,
        "leader": member.leader or None,
    }
