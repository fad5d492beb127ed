"""`ownerctl owners`: which campaigns own and reserve records of a list, and how many."""

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

from cyclopts import Parameter
from rich.console import RenderableType
from rich.text import Text

from ownerd import durations
from ownerd.ctl.commands.options import InSession, Length, Session
from ownerd.ctl.connect import completions
from ownerd.ctl.terminal import times, watching
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind, Row
from ownerd.v1 import admin_pb2 as pb

DAY_NS = 86_400 * durations.NS_PER_SECOND


def _never(row: Row) -> str:
    return "never" if row.get("owned_count") else ""


_EXPIRES = Column("earliest_expire_time", "First expires", Kind.DISTANCE, absent=_never)
HOLD_COLUMNS = (
    Column("campaign_id", "Campaign"),
    Column("campaign_name", "Name", spare=3),
    Column("owned_count", "Owned", Kind.COUNT),
    Column("share", "Share", Kind.SHARE),
    Column("reserved_count", "Reserved", Kind.COUNT),
    Column("expiring_count", "Expiring", Kind.COUNT),
    _EXPIRES,
)
HELD_COLUMNS = tuple(
    column for column in HOLD_COLUMNS if column.key not in ("share", "expiring_count")
)
LIST_COLUMN = Column("list_id", "List")
ACTIVITY_COLUMNS = (
    Column("granted_claim_count", "Granted", Kind.COUNT, spare=2),
    Column("denied_claim_count", "Denied", Kind.COUNT),
    Column("denied_by_campaign_id", "Mostly by", spare=4),
    Column("rejected_attempt_count", "Rejected", Kind.COUNT, spare=5),
    Column("lapsed_reservation_count", "Lapsed", Kind.COUNT, spare=6),
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


def owners(
    list_id: Annotated[
        str, Parameter(help="The contact list; or --all.", completer=completions.lists)
    ] = "",
    /,
    *,
    all_lists: Annotated[
        bool, Parameter(name="--all", negative="", help="Of every list; each is read whole.")
    ] = False,
    expiring: Annotated[
        Length, Parameter(help="Count as expiring what ends within so long; 1d by default.")
    ] = DAY_NS,
    watch: Annotated[
        bool, Parameter(negative="", help="Look again and again, until Ctrl-C.")
    ] = False,
    interval: Annotated[Length, Parameter(help="How long between two looks of --watch.")] = (
        2 * durations.NS_PER_SECOND
    ),
    session: InSession,
) -> Exit:
    """Show which campaigns own and dial records of a list.

    Those too that only asked for some. Of each: its share of what is owned, and how much of that
    expires within a day. What they asked and were told is counted since the server started.
    """
    if bool(list_id) == all_lists:
        raise CtlError(Exit.USAGE, "name the contact list, or say --all")
    columns = (LIST_COLUMN, *COLUMNS) if all_lists else COLUMNS
    empty = (
        "No campaign owns or reserves records of any list."
        if all_lists
        else f"No campaign owns or reserves records of list {list_id}."
    )
    if not watch:
        _print(_looked(list_id, expiring, session), columns, empty, session)
        return Exit.OK
    printer = session.printer
    if printer.form != "table" or not printer.console.is_terminal:
        raise CtlError(Exit.USAGE, "--watch is for a table at a terminal; repeat the command else")

    def look() -> RenderableType:
        seen = _looked(list_id, expiring, session)
        rows = list(printer.sorted(columns, seen.rows))
        if not rows:
            return Text(empty)
        return printer.table(columns, rows, seen.total, seen.now_ns)

    try:
        watching.watch(printer.console, interval / durations.NS_PER_SECOND, look)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.OK


class Looked(NamedTuple):
    """The owners of one list, or of all."""

    rows: Sequence[Row]
    total: Row
    revision: int
    now_ns: int


def _looked(list_id: str, expiring_ns: int, session: Session) -> Looked:
    """Ask for the owners of a list, or of all for "", those that share their ownership once."""
    rows: list[Row] = []
    owned = reserved = ending = revision = now_ns = 0
    for name in [list_id] if list_id else groups(session):
        answer = ask(name, session, expiring_ns)
        rows += [{"list_id": name, **row} for row in owner_rows(answer)]
        owned += answer.total_owned_count
        reserved += answer.total_reserved_count
        ending += answer.total_expiring_count
        revision, now_ns = answer.revision, answer.time.ToNanoseconds()
    total = {
        "list_id" if not list_id else "campaign_id": "total",
        "owned_count": owned,
        "reserved_count": reserved,
        "expiring_count": ending,
    }
    return Looked(rows, total, revision, now_ns or times.now_ns())


def _print(seen: Looked, columns: Sequence[Column], empty: str, session: Session) -> None:
    session.printer.rows(
        "owners",
        columns,
        seen.rows,
        empty=empty,
        total=seen.total,
        extra={
            "total_owned_count": seen.total["owned_count"],
            "total_reserved_count": seen.total["reserved_count"],
            "total_expiring_count": seen.total["expiring_count"],
            "revision": seen.revision,
            "time": times.rfc3339(seen.now_ns),
        },
        now_ns=seen.now_ns,
    )


def ask(list_id: str, session: Session, expiring_ns: int = DAY_NS) -> pb.ListOwnersResponse:
    """Ask for the owners in a list."""
    request = pb.ListOwnersRequest(
        list_id=list_id, expiring_within=durations.to_message(expiring_ns)
    )
    answer: pb.ListOwnersResponse = session.connection.ask(
        session.connection.admin.ListOwners, request
    )
    return answer


def groups(session: Session) -> Iterator[str]:
    """Yield the lists, of those that share their ownership the first only."""
    seen: set[str] = set()
    connection = session.connection
    for page in connection.pages(connection.admin.ListContactLists, pb.ListContactListsRequest()):
        for each in page.lists:
            if each.list_id not in seen:
                yield each.list_id
            seen.update(each.shares_ownership_with)


def owner_rows(answer: pb.ListOwnersResponse) -> list[Row]:
    """Return each campaign that holds anything or asked, as raw values, by id."""
    held = {
        owner.campaign_id: owner_row(owner, answer.total_owned_count) for owner in answer.owners
    }
    asked = {each.campaign_id: activity_row(each) for each in answer.activity}
    nothing = activity_row(pb.Activity())
    return [
        {
            "campaign_id": name,
            "owned_count": 0,
            "share": None,
            "reserved_count": 0,
            "expiring_count": 0,
            **held.get(name, {}),
            **asked.get(name, nothing),
        }
        for name in sorted(held | asked)
    ]


def activity_row(activity: pb.Activity) -> Row:
    """Return what a campaign asked and was told as raw values."""
    row = {column.key: getattr(activity, column.key) for column in ACTIVITY_COLUMNS}
    return {**row, "denied_by_campaign_id": activity.denied_by_campaign_id or None}


def owner_row(owner: pb.Owner, total_owned_count: int) -> Row:
    """Return an owner as raw values; no earliest expiration for one that never expires."""
    expires = owner.HasField("earliest_expire_time")
    return {
        "campaign_id": owner.campaign_id,
        "campaign_name": owner.campaign_name,
        "owned_count": owner.owned_count,
        "share": round(owner.owned_count / total_owned_count, 4) if owner.owned_count else None,
        "reserved_count": owner.reserved_count,
        "expiring_count": owner.expiring_count,
        "earliest_expire_time": owner.earliest_expire_time.ToNanoseconds() if expires else None,
    }
