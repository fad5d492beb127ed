"""`ownerctl owners`: which campaigns own and reserve records of a list, and how many."""

from ownerd.ctl.commands.options import InSession, ListId
from ownerd.ctl.terminal import times
from ownerd.ctl.terminal.output import Column, Kind, Row
from ownerd.v1 import admin_pb2 as pb


def _never(row: Row) -> str:
    return "never" if row.get("owned_count") else ""


COLUMNS = (
    Column("campaign_id", "Campaign"),
    Column("campaign_name", "Name"),
    Column("owned_count", "Owned", Kind.COUNT),
    Column("reserved_count", "Reserved", Kind.COUNT),
    Column("earliest_expire_time", "First expires (UTC)", Kind.TIME, absent=_never),
)


def owners(list_id: ListId, /, *, session: InSession) -> None:
    """Show the campaigns that own or reserve records of a list."""
    connection = session.connection
    answer = connection.ask(connection.admin.ListOwners, pb.ListOwnersRequest(list_id=list_id))
    now_ns = answer.time.ToNanoseconds()
    session.printer.rows(
        "owners",
        COLUMNS,
        [owner_row(owner) for owner in answer.owners],
        empty=f"No campaign owns or reserves records of list {list_id}.",
        total=_total(answer),
        extra={
            "total_owned_count": answer.total_owned_count,
            "total_reserved_count": answer.total_reserved_count,
            "revision": answer.revision,
            "time": times.rfc3339(now_ns),
        },
        now_ns=now_ns,
    )


def _total(answer: pb.ListOwnersResponse) -> Row:
    return {
        "campaign_id": "total",
        "owned_count": answer.total_owned_count,
        "reserved_count": answer.total_reserved_count,
    }


def owner_row(owner: pb.Owner) -> Row:
    """Return an owner as raw values; no earliest expiration for one that never expires."""
    expires = owner.HasField("earliest_expire_time")
    return {
        "campaign_id": owner.campaign_id,
        "campaign_name": owner.campaign_name,
        "owned_count": owner.owned_count,
        "reserved_count": owner.reserved_count,
        "earliest_expire_time": owner.earliest_expire_time.ToNanoseconds() if expires else None,
    }
