"""`ownerctl wrapup`: what each wrap-up code means for ownership."""

from typing import Annotated

from cyclopts import App, Parameter

from ownerd.ctl.commands.options import InSession, Reason
from ownerd.ctl.connect import completions
from ownerd.ctl.terminal.output import Column, Kind, Row
from ownerd.v1 import admin_pb2 as pb

app = App(name="wrapup", help="Show and change what wrap-up codes mean.")

COLUMNS = (
    Column("code", "Code"),
    Column("category", "Category"),
    Column("counts_as_attempt", "Counts as attempt", Kind.FLAG),
    Column("success", "Success", Kind.FLAG),
)
UNKNOWN_COLUMNS = (
    Column("code", "Code"),
    Column("count", "Reported", Kind.COUNT),
    Column("last_time", "Last (UTC)", Kind.TIME),
)
DELETED = (Column("code", "Code"), Column("revision", "Revision", Kind.NUMBER))

Code = Annotated[str, Parameter(help="The wrap-up code, e.g. Busy.", completer=completions.codes)]


@app.command(name=["list", "ls"])
def list_all(*, session: InSession) -> None:
    """List all wrap-up codes."""
    connection = session.connection
    pages = connection.pages(connection.admin.ListWrapUpCodes, pb.ListWrapUpCodesRequest())
    session.printer.rows(
        "codes",
        COLUMNS,
        (code_row(code) for page in pages for code in page.codes),
        empty="There are no wrap-up codes; every report of an attempt is refused.",
    )


@app.command
def unknown(*, session: InSession) -> None:
    """List the codes that dialers reported since the server started and that it does not know.

    Add one with `ownerctl wrapup set`; what they are until then is in `ownerctl settings`.
    """
    connection = session.connection
    answer = connection.ask(
        connection.admin.ListUnknownWrapUpCodes, pb.ListUnknownWrapUpCodesRequest()
    )
    session.printer.rows(
        "codes",
        UNKNOWN_COLUMNS,
        (
            {"code": code.code, "count": code.count, "last_time": code.last_time.ToNanoseconds()}
            for code in answer.codes
        ),
        empty="Every reported wrap-up code is known.",
    )


@app.command(name="set")
def change(
    code: Code,
    /,
    *,
    category: Annotated[
        str, Parameter(help="The shipped code that it is a kind of; without: itself.")
    ] = "",
    counts_as_attempt: Annotated[
        bool | None, Parameter(help="Whether it makes the caller the owner; without: as category.")
    ] = None,
    success: Annotated[
        bool | None, Parameter(help="Whether the contact was reached; without: as category.")
    ] = None,
    reason: Reason = "",
    session: InSession,
) -> None:
    """Add a wrap-up code, or change what one means."""
    message = pb.WrapUpCode(
        code=code, category=category, counts_as_attempt=counts_as_attempt, success=success
    )
    connection = session.connection
    answer = connection.change(
        connection.admin.UpsertWrapUpCode, pb.UpsertWrapUpCodeRequest(code=message, reason=reason)
    )
    session.printer.thing(COLUMNS, code_row(answer.code), message=f"Saved wrap-up code {code}.")


@app.command
def delete(code: Code, /, *, reason: Reason = "", session: InSession) -> None:
    """Delete a wrap-up code; it is an unknown one from then on."""
    connection = session.connection
    request = pb.DeleteWrapUpCodeRequest(code=code, reason=reason)
    answer = connection.change(connection.admin.DeleteWrapUpCode, request)
    row = {"code": code, "revision": answer.revision}
    session.printer.done(f"Deleted wrap-up code {code}.", DELETED, row)


def code_row(code: pb.WrapUpCode) -> Row:
    """Return a wrap-up code as raw values."""
    return {
        "code": code.code,
        "category": code.category,
        "counts_as_attempt": code.counts_as_attempt,
        "success": code.success,
    }
