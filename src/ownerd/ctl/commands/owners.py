"""`ownerctl owners`: which campaigns own and reserve records of a list, and how many."""

from ownerd.ctl.commands.options import InSession, ListId
from ownerd.ctl.terminal import times
from ownerd.ctl.terminal.output import Column, Kind, Row
from ownerd.v1 import admin_pb2 as pb


def _never(row: Row) -> str:
    return "never" if row.get("owned_count") else ""


_EXPIRES = Column("earliest_expire_time", "First expires (UTC)", Kind.TIME, absent=_never)
HOLD_COLUMNS = (
    Column("campaign_id", "Campaign"),
    Column("campaign_name", "Name"),
    Column("owned_count", "Owned", Kind.COUNT),
    Column("reserved_count", "Reserved", Kind.COUNT),
    _EXPIRES,
)
ACTIVITY_COLUMNS = (
    Column("granted_claim_count", "Granted", Kind.COUNT),
    Column("denied_claim_count", "Denied", Kind.COUNT),
    Column("denied_by_campaign_id", "Mostly by"),
    Column("rejected_attempt_count", "Rejected", Kind.COUNT),
    Column("lapsed_reservation_count", "Lapsed", Kind.COUNT),
    *(
        Column(key, title, Kind.COUNT, in_list=False)
        for key, title in (
            ("uncontrolled_claim_count", "Uncontrolled"),
            ("ownership_acquired_count", "Acquired"),
            ("ownership_renewed_count", "Renewed"),
            ("ownership_kept_count", "Kept"),
            ("reservation_cleared_count", "Cleared"),
            ("not_controlled_count", "Not controlled"),
        )
    ),
)
COLUMNS = (*HOLD_COLUMNS[:-1], *ACTIVITY_COLUMNS, _EXPIRES)


def owners(list_id: ListId, /, *, session: InSession) -> None:
    """Show the campaigns that own or reserve records of a list, or ask for them.

    What they asked and were told is counted since the server started.
    """
    connection = session.connection
    answer = connection.ask(connection.admin.ListOwners, pb.ListOwnersRequest(list_id=list_id))
    now_ns = answer.time.ToNanoseconds()
    session.printer.rows(
        "owners",
        COLUMNS,
        owner_rows(answer),
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


def owner_rows(answer: pb.ListOwnersResponse) -> list[Row]:
    """Return each campaign that holds anything or asked, as raw values, by id."""
    held = {owner.campaign_id: owner_row(owner) for owner in answer.owners}
    asked = {each.campaign_id: activity_row(each) for each in answer.activity}
    nothing = activity_row(pb.Activity())
    return [
        {
            "campaign_id": name,
            "owned_count": 0,
            "reserved_count": 0,
            **held.get(name, {}),
            **asked.get(name, nothing),
        }
        for name in sorted(held | asked)
    ]


def activity_row(activity: pb.Activity) -> Row:
    """Return what a campaign asked and was told as raw values."""
    row = {column.key: getattr(activity, column.key) for column in ACTIVITY_COLUMNS}
    return {**row, "denied_by_campaign_id": activity.denied_by_campaign_id or None}


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
