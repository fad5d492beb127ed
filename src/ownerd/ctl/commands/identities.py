"""`ownerctl whoami` and `can-i`: who the server takes you for, and what you may do."""

from ownerd.ctl.commands import principals
from ownerd.ctl.commands.options import InSession
from ownerd.ctl.terminal.exits import Exit
from ownerd.ctl.terminal.output import Column, Kind, Row
from ownerd.v1 import admin_pb2 as pb

_HOW = (
    Column("server", "Server"),
    Column("by", "Known by"),
    Column("asks_nobody", "Asks nobody", Kind.FLAG, in_list=False),
)


def whoami(*, session: InSession) -> None:
    """Show who you are to the server, and what you may do.

    And how it knows, and until when.
    """
    connection = session.connection
    answer = connection.ask(connection.admin.WhoAmI, pb.WhoAmIRequest())
    form = session.printer.form
    columns = (*principals.COLUMNS[form][:1], *_HOW[: 2 if form == "table" else 3])
    row: Row = {
        "principal_id": answer.principal.principal_id,
        "server": connection.server,
        "by": _by(answer),
        "asks_nobody": answer.asks_nobody,
    }
    if not answer.asks_nobody:
        columns += principals.COLUMNS[form][1:]
        row = {**principals.principal_row(answer.principal), **row}
    session.printer.thing(columns, row)


def _by(answer: pb.WhoAmIResponse) -> str:
    if answer.asks_nobody:
        return "nothing: the server asks nobody, and everybody may do everything"
    return f"token {answer.token_id}" if answer.token_id else "a certificate"


def can_i(
    right: principals.ARight,
    /,
    *,
    list_id: principals.OnList = "",
    campaign_id: principals.ForCampaign = "",
    session: InSession,
) -> Exit:
    """Say whether you have a right.

    Exit code 0 for yes, 1 for no.
    """
    return principals.say_whether("", right, list_id, campaign_id, session)
