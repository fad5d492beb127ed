"""`ownerctl transfer`: give all ownership of one campaign to another (R27)."""

from typing import Annotated

from cyclopts import Parameter

from ownerd.ctl.commands.options import InSession, Reason, Session, Yes
from ownerd.ctl.connect import completions
from ownerd.ctl.terminal import confirm
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind
from ownerd.v1 import admin_pb2 as pb

COLUMNS = (
    Column("from_campaign_id", "From"),
    Column("to_campaign_id", "To"),
    Column("list_id", "List"),
    Column("transferred_count", "Transferred", Kind.COUNT),
    Column("dry_run", "Dry run", Kind.FLAG),
    Column("revision", "Revision", Kind.NUMBER),
)


def transfer(
    from_campaign_id: Annotated[
        str, Parameter(help="Campaign that gives.", negative="", completer=completions.campaigns)
    ],
    to_campaign_id: Annotated[
        str, Parameter(help="Campaign that receives.", negative="", completer=completions.campaigns)
    ],
    /,
    *,
    list_id: Annotated[
        str, Parameter(name="--list", help="In this list.", completer=completions.lists)
    ] = "",
    all_lists: Annotated[bool, Parameter(negative="", help="In all lists.")] = False,
    reason: Reason = "",
    yes: Yes = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Only show what it would do.")] = False,
    session: InSession,
) -> None:
    """Give all ownership of one campaign to another.

    As for a rerun or a clone of it. Expirations stay. Says how many records that are and asks;
    --yes skips both.
    """
    if bool(list_id) == all_lists:
        raise CtlError(Exit.USAGE, "say where: exactly one of --list and --all-lists")
    if not (yes or dry_run):
        confirm.need_terminal("transfer")
    request = pb.TransferOwnershipRequest(
        list_id=list_id,
        all_lists=all_lists,
        from_campaign_id=from_campaign_id,
        to_campaign_id=to_campaign_id,
        reason=reason,
    )
    connection = session.connection
    if dry_run or not yes:
        would = connection.try_out(connection.admin.TransferOwnership, request)
        what = _what(request, would.transferred_count)
        if dry_run:
            return _print(f"Would transfer {what}.", request, would, session, dry_run=True)
        if not would.transferred_count:
            nothing = f"Nothing to transfer: campaign {from_campaign_id} owns nothing there."
            return _print(nothing, request, would, session)
        confirm.confirm(f"Transfer {what}?")
    answer = connection.change(connection.admin.TransferOwnership, request)
    what = _what(request, answer.transferred_count)
    _print(f"Transferred {what}.", request, answer, session)


def _what(request: pb.TransferOwnershipRequest, count: int) -> str:
    where = f"list {request.list_id}" if request.list_id else "all lists"
    return (
        f"{confirm.counted(count, 'record')} of {where} from campaign {request.from_campaign_id}"
        f" to campaign {request.to_campaign_id}"
    )


def _print(
    message: str,
    request: pb.TransferOwnershipRequest,
    answer: pb.TransferOwnershipResponse,
    session: Session,
    *,
    dry_run: bool = False,
) -> None:
    row = {
        "from_campaign_id": request.from_campaign_id,
        "to_campaign_id": request.to_campaign_id,
        "list_id": request.list_id or None,
        "transferred_count": answer.transferred_count,
        "dry_run": dry_run,
        "revision": answer.revision or None,
    }
    session.printer.done(message, COLUMNS, row)
