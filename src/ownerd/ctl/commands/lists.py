"""`ownerctl list`: contact lists, created, shown and deleted."""

from typing import Annotated

from cyclopts import App, Parameter

from ownerd.ctl.commands import policies
from ownerd.ctl.commands.options import InSession, ListId, PolicyOptions, Reason
from ownerd.ctl.terminal.output import Column, Kind
from ownerd.v1 import admin_pb2 as pb

app = App(name="list", help="Create, show and delete contact lists.")

COLUMNS = (
    Column("list_id", "List"),
    Column("enabled", "Enabled", Kind.FLAG),
    Column("duration", "Duration", Kind.LENGTH, absent="no expiration"),
    Column("renewal_window", "Renewal window", Kind.LENGTH, absent="default"),
    Column("reservation_ttl", "Reservation TTL", Kind.LENGTH),
    *(Column(c.key, c.title, c.kind, in_list=False) for c in policies.COLUMNS[-3:]),
)


@app.command
def create(
    list_id: ListId,
    /,
    *,
    policy: PolicyOptions = PolicyOptions(),
    reason: Reason = "",
    session: InSession,
) -> None:
    """Create a contact list, by default disabled and without expiration."""
    message, _ = policies.policy_message(policy)
    request = pb.CreateContactListRequest(list_id=list_id, policy=message, reason=reason)
    connection = session.connection
    answer = connection.change(connection.admin.CreateContactList, request)
    row = policies.list_row(answer.list)
    session.printer.thing(policies.COLUMNS, row, message=f"Created list {list_id}.")


@app.command
def show(list_id: ListId, /, *, session: InSession) -> None:
    """Show one contact list with its policy."""
    policies.show(list_id, session=session)


@app.command(name=["list", "ls"])
def list_all(*, session: InSession) -> None:
    """List all contact lists."""
    connection = session.connection
    pages = connection.pages(connection.admin.ListContactLists, pb.ListContactListsRequest())
    session.printer.rows(
        "lists",
        COLUMNS,
        (policies.list_row(contact_list) for page in pages for contact_list in page.lists),
        empty="There are no contact lists; make one with: ownerctl list create LIST",
    )


@app.command
def delete(
    list_id: ListId,
    /,
    *,
    force: Annotated[
        bool, Parameter(negative="", help="Even if campaigns own records of it now.")
    ] = False,
    etag: Annotated[str, Parameter(help="Only if its ETag is still this one.")] = "",
    reason: Reason = "",
    session: InSession,
) -> None:
    """Delete a contact list."""
    request = pb.DeleteContactListRequest(list_id=list_id, force=force, etag=etag, reason=reason)
    connection = session.connection
    answer = connection.change(connection.admin.DeleteContactList, request)
    row = {"list_id": list_id, "revision": answer.revision}
    session.printer.done(f"Deleted list {list_id}.", DELETED, row)


DELETED = (Column("list_id", "List"), Column("revision", "Revision", Kind.NUMBER))
