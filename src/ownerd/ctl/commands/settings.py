"""`ownerctl settings`: what is set for the whole store."""

from typing import Annotated, Literal

from cyclopts import App, Parameter
from google.protobuf.field_mask_pb2 import FieldMask

from ownerd.ctl.commands.options import InSession, Reason
from ownerd.ctl.terminal.output import Column, Row
from ownerd.v1 import admin_pb2 as pb

app = App(name="settings", help="Show and change what is set for the whole store.")

COLUMNS = (Column("unknown_wrap_up_code", "Unknown wrap-up code"),)
MEANINGS = {
    "refuse": pb.UNKNOWN_CODE_MEANING_REFUSE,
    "attempt": pb.UNKNOWN_CODE_MEANING_ATTEMPT,
    "no-attempt": pb.UNKNOWN_CODE_MEANING_NO_ATTEMPT,
}


@app.command(name=["show", "get"])
def show(*, session: InSession) -> None:
    """Show the settings in force."""
    connection = session.connection
    answer = connection.ask(connection.admin.GetStoreSettings, pb.GetStoreSettingsRequest())
    session.printer.thing(COLUMNS, _row(answer.settings))


@app.command(name="set")
def change(
    *,
    unknown_wrap_up_code: Annotated[
        Literal["refuse", "attempt", "no-attempt"],
        Parameter(help="What an attempt with an unknown wrap-up code is."),
    ],
    reason: Reason = "",
    session: InSession,
) -> None:
    """Change a setting, for every call after it."""
    connection = session.connection
    request = pb.UpdateStoreSettingsRequest(
        settings=pb.StoreSettings(unknown_wrap_up_code=MEANINGS[unknown_wrap_up_code]),
        update_mask=FieldMask(paths=["unknown_wrap_up_code"]),
        reason=reason,
    )
    answer = connection.change(connection.admin.UpdateStoreSettings, request)
    session.printer.thing(COLUMNS, _row(answer.settings), message="Changed the settings.")


def _row(settings: pb.StoreSettings) -> Row:
    names = {number: name for name, number in MEANINGS.items()}
    return {"unknown_wrap_up_code": names.get(settings.unknown_wrap_up_code)}
