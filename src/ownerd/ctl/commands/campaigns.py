"""`ownerctl campaign`: names of campaigns, and signals about them (R16)."""

from typing import Annotated

from cyclopts import App, Parameter

from ownerd.ctl.commands.options import CampaignId, InSession, Reason, Session, Yes
from ownerd.ctl.connect import completions
from ownerd.ctl.terminal import confirm
from ownerd.ctl.terminal.output import Column, Kind
from ownerd.v1 import admin_pb2 as pb

app = App(name="campaign", help="Name campaigns; tell the server that one stopped.")

COLUMNS = (Column("campaign_id", "Campaign"), Column("name", "Name"))
SET_COLUMNS = (*COLUMNS, Column("revision", "Revision", Kind.NUMBER))
SIGNAL_COLUMNS = (
    Column("campaign_id", "Campaign"),
    Column("signal", "Signal"),
    Column("list_id", "List"),
    Column("ended_reservation_count", "Reservations ended", Kind.COUNT),
    Column("revision", "Revision", Kind.NUMBER),
)

DELETED = (
    Column("campaign_id", "Campaign"),
    Column("released_count", "Released", Kind.COUNT),
    Column("revision", "Revision", Kind.NUMBER),
)

OneList = Annotated[
    str,
    Parameter(
        name="--list", help="In this list only; all lists without.", completer=completions.lists
    ),
]


@app.command(name="set")
def name_campaign(
    campaign_id: CampaignId,
    /,
    *,
    name: Annotated[str, Parameter(help="What people call it; empty: its id.")],
    reason: Reason = "",
    session: InSession,
) -> None:
    """Register a campaign, or change its name."""
    request = pb.UpsertCampaignRequest(campaign_id=campaign_id, name=name, reason=reason)
    connection = session.connection
    answer = connection.change(connection.admin.UpsertCampaign, request)
    campaign = answer.campaign
    row = {"campaign_id": campaign.campaign_id, "name": campaign.name, "revision": answer.revision}
    message = f"Campaign {campaign.campaign_id} is named {campaign.name}."
    session.printer.done(message, SET_COLUMNS, row)


@app.command(name=["list", "ls"])
def list_all(*, session: InSession) -> None:
    """List all campaigns that the server knows."""
    connection = session.connection
    pages = connection.pages(connection.admin.ListCampaigns, pb.ListCampaignsRequest())
    session.printer.rows(
        "campaigns",
        COLUMNS,
        ({"campaign_id": c.campaign_id, "name": c.name} for page in pages for c in page.campaigns),
        empty="The server knows no campaigns yet; it learns one at its first granted claim.",
    )


@app.command
def delete(
    campaign_id: CampaignId,
    /,
    *,
    force: Annotated[
        bool, Parameter(negative="", help="Even if it holds records, which ends its holds.")
    ] = False,
    reason: Reason = "",
    yes: Yes = False,
    session: InSession,
) -> None:
    """Delete a campaign with its name: one that is gone, or was imported by mistake.

    Asks if that ends ownership or reservations; --yes does not.
    """
    request = pb.DeleteCampaignRequest(campaign_id=campaign_id, force=force, reason=reason)
    connection = session.connection
    if force and not yes:
        _ask_to_delete(request, session)
    answer = connection.change(connection.admin.DeleteCampaign, request)
    released = confirm.counted(answer.released_count, "record")
    row = {
        "campaign_id": campaign_id,
        "released_count": answer.released_count,
        "revision": answer.revision,
    }
    ended = f"; {released} released" if answer.released_count else ""
    session.printer.done(f"Deleted campaign {campaign_id}{ended}.", DELETED, row)


@app.command
def stop(
    campaign_id: CampaignId,
    /,
    *,
    list_id: OneList = "",
    end_reservations: Annotated[
        bool,
        Parameter(
            negative="",
            help="End its reservations, for one whose dialers are dead. Asks; --yes does not.",
        ),
    ] = False,
    reason: Reason = "",
    yes: Yes = False,
    session: InSession,
) -> None:
    """Say that a campaign stopped: changes nothing, calls in progress finish.

    Is kept in the audit log.
    """
    signal = pb.CAMPAIGN_SIGNAL_STOPPED
    request = pb.SignalCampaignRequest(
        campaign_id=campaign_id, list_id=list_id, signal=signal, reason=reason
    )
    if not end_reservations:
        _send(request, session, "stopped; nothing else changed")
        return
    request.end_reservations = True
    if not yes:
        _ask(request, session)
    _send(request, session, "stopped; {ended} ended")


@app.command
def recycle(
    campaign_id: CampaignId, /, *, list_id: OneList = "", reason: Reason = "", session: InSession
) -> None:
    """Say that a campaign was recycled: changes no ownership, is kept in the audit log."""
    signal = pb.CAMPAIGN_SIGNAL_RECYCLED
    _signal(campaign_id, list_id, signal, reason, session, "recycled; ownership is unchanged")


@app.command
def reset(
    campaign_id: CampaignId, /, *, list_id: OneList = "", reason: Reason = "", session: InSession
) -> None:
    """Say that a campaign was reset: changes no ownership, is kept in the audit log."""
    signal = pb.CAMPAIGN_SIGNAL_RESET
    _signal(campaign_id, list_id, signal, reason, session, "reset; ownership is unchanged")


def _ask_to_delete(request: pb.DeleteCampaignRequest, session: Session) -> None:
    """Ask if the deletion would end anything."""
    would = session.connection.try_out(session.connection.admin.DeleteCampaign, request)
    counts = ((would.released_count, "owned record"), (would.reserved_count, "reservation"))
    ends = [confirm.counted(count, noun) for count, noun in counts if count]
    if ends:
        question = f"Delete campaign {request.campaign_id}, and free {' and '.join(ends)}?"
        confirm.ask("delete it", question, yes=False)


def _ask(request: pb.SignalCampaignRequest, session: Session) -> None:
    """Say how many dials are in progress, and ask: others may begin meanwhile."""
    would = session.connection.try_out(session.connection.admin.SignalCampaign, request)
    dials = confirm.counted(would.ended_reservation_count, "dial")
    question = (
        f"End the reservations of {dials} in progress of campaign {request.campaign_id}"
        f" ({_where(request)})? Others may then call the same people."
    )
    confirm.ask("end them", question, yes=False)


def _signal(
    campaign_id: str,
    list_id: str,
    signal: pb.CampaignSignal,
    reason: str,
    session: Session,
    outcome: str,
) -> None:
    request = pb.SignalCampaignRequest(
        campaign_id=campaign_id, list_id=list_id, signal=signal, reason=reason
    )
    _send(request, session, outcome)


def _send(request: pb.SignalCampaignRequest, session: Session, outcome: str) -> None:
    connection = session.connection
    answer = connection.change(connection.admin.SignalCampaign, request)
    row = {
        "campaign_id": request.campaign_id,
        "signal": outcome.split(";")[0],
        "list_id": request.list_id or None,
        "ended_reservation_count": answer.ended_reservation_count,
        "revision": answer.revision,
    }
    ended = confirm.counted(answer.ended_reservation_count, "reservation")
    what = f"{request.campaign_id} {outcome.format(ended=ended)} ({_where(request)})"
    session.printer.done(f"Campaign {what}.", SIGNAL_COLUMNS, row)


def _where(request: pb.SignalCampaignRequest) -> str:
    return f"list {request.list_id}" if request.list_id else "all lists"
