"""`ownerctl export --since`: what changed in a list after a revision, and what ended.

It is read from the changes that the server keeps. Where they do not say it record by record, all
that is owned now is the answer: whoever has an older export compares.
"""

from contextlib import closing
from typing import NamedTuple

import grpc

from ownerd.client.errors import error_info
from ownerd.client.requests.watches import Following
from ownerd.ctl.commands.watches import revisions
from ownerd.ctl.connect.channel import Connection
from ownerd.ctl.terminal.exits import CtlError
from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import dial_pb2

# Reasons for which a revision cannot be gone on from.
_GONE = {
    "REVISION_NOT_KEPT": "what came after revision {since} is not kept any more",
    "OTHER_INCARNATION": "revision {since} is of another incarnation of the store",
}
_ABOUT_RECORDS = ("record", "rejected", "policy", "progress", "reservations_ended")


class Since(NamedTuple):
    """What changed, by record: a row without a campaign is one that nobody owns now.

    `why_all` is set where it is not known record by record, and the rows are none.
    """

    rows: list[pb.OwnershipRow]
    revision: int
    incarnation_id: str
    why_all: str


def changed_since(list_id: str, since: int, incarnation: str, connection: Connection) -> Since:
    """Return what changed after a revision up to now.

    Raises:
        CtlError: The server said no, or was not reached.
    """
    status = connection.ask(connection.admin.GetServerStatus, pb.GetServerStatusRequest())
    following = Following(list_id, since, incarnation)
    rows: dict[str, pb.OwnershipRow] = {}
    why_all = ""
    try:
        with closing(revisions(following, connection)) as found:
            for message, events in found:
                for event in events:
                    why_all = why_all or _taken(event, rows)
                if why_all or message.revision >= status.revision:
                    break
    except CtlError as error:
        why_all = _why(error).format(since=since)
        if not why_all:
            raise
    if why_all or following.revision is None:
        return Since([], status.revision, status.incarnation_id, why_all)
    kept = [_now(row, status.time.ToNanoseconds()) for row in rows.values()]
    return Since(kept, following.revision, following.incarnation_id, "")


def _taken(event: pb.WatchEvent, rows: dict[str, pb.OwnershipRow]) -> str:
    """Take an event; return why it says nothing of single records, "" if it does."""
    kind = event.WhichOneof("kind") or ""
    if kind == "record":
        rows[event.record.record_id] = _row(event.record)
        return ""
    if kind in _ABOUT_RECORDS:
        return ""
    return f"the list was changed as a whole ({kind.replace('_', ' ')})"


def _row(event: pb.RecordEvent) -> pb.OwnershipRow:
    row = pb.OwnershipRow(record_id=event.record_id)
    holder = event.holder
    if holder.kind == dial_pb2.HOLD_KIND_OWNED:
        row.campaign_id, row.campaign_name = holder.campaign_id, holder.campaign_name
        row.acquire_time.CopyFrom(holder.acquire_time)
        if holder.HasField("expire_time"):
            row.expire_time.CopyFrom(holder.expire_time)
    return row


def _now(row: pb.OwnershipRow, now_ns: int) -> pb.OwnershipRow:
    """Return a row as it is now: what has expired since it changed is nobody's."""
    if row.HasField("expire_time") and row.expire_time.ToNanoseconds() <= now_ns:
        return pb.OwnershipRow(record_id=row.record_id)
    return row


def _why(error: CtlError) -> str:
    cause = error.__cause__
    info = error_info(cause) if isinstance(cause, grpc.RpcError) else None
    return "" if info is None else _GONE.get(info.reason, "")
