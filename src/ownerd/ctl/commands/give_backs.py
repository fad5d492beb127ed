"""`ownerctl give-back`: end what a dead dialer has reserved (R23)."""

from typing import Annotated

from cyclopts import Parameter

from ownerd.ctl.commands.options import CampaignId, InSession, Session, Yes
from ownerd.ctl.connect import completions
from ownerd.ctl.terminal import confirm
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind
from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import dial_pb2

COLUMNS = (
    Column("campaign_id", "Campaign"),
    Column("dialer_id", "Dialer"),
    Column("list_id", "List"),
    Column("revision", "Revision", Kind.NUMBER),
)


def give_back(
    campaign_id: CampaignId,
    dialer_id: Annotated[str, Parameter(help="Dialer, as its claims name it.", negative="")],
    /,
    *,
    list_id: Annotated[
        str,
        Parameter(
            name="--list",
            help="In this list only; all that you may dial without.",
            completer=completions.lists,
        ),
    ] = "",
    yes: Yes = False,
    session: InSession,
) -> None:
    """End all reservations of one dialer.

    As for a node that died with records claimed ahead. No ownership changes. Asks first; --yes does
    not.
    """
    where = f"list {list_id}" if list_id else "all lists"
    if not yes:
        confirm.need_terminal("give back")
        dials = _dials(campaign_id, list_id, session)
        confirm.confirm(
            f"End the reservations of dialer {dialer_id} of campaign {campaign_id}"
            f" ({where}{dials})? Others may then call the same people."
        )
    request = dial_pb2.GiveBackRequest(
        campaign_id=campaign_id, dialer_id=dialer_id, list_id=list_id
    )
    answer = session.connection.ask(session.connection.dial.GiveBack, request)
    row = {
        "campaign_id": campaign_id,
        "dialer_id": dialer_id,
        "list_id": list_id or None,
        "revision": answer.revision,
    }
    message = f"Dialer {dialer_id} of campaign {campaign_id} has nothing reserved ({where})."
    session.printer.done(message, COLUMNS, row)


def _dials(campaign_id: str, list_id: str, session: Session) -> str:
    """Return how many dials of the campaign are in progress; "" for whoever may not know."""
    trial = pb.SignalCampaignRequest(
        campaign_id=campaign_id,
        list_id=list_id,
        signal=pb.CAMPAIGN_SIGNAL_STOPPED,
        end_reservations=True,
        dry_run=True,
    )
    try:
        would = session.connection.ask(session.connection.admin.SignalCampaign, trial)
    except CtlError as error:
        if error.exit_code is Exit.PERMISSION:
            return ""
        raise
    dials = confirm.counted(would.ended_reservation_count, "dial")
    return f"; the campaign has {dials} in progress there"
