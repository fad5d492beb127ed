"""`ownerctl list`: contact lists, created, shown and deleted."""

from typing import Annotated

from cyclopts import App, Parameter

from ownerd.ctl.commands import policies
from ownerd.ctl.commands.options import InSession, ListId, PolicyOptions, Reason, Session, Yes
from ownerd.ctl.connect import completions
from ownerd.ctl.terminal import confirm
from ownerd.ctl.terminal.output import Column, Kind
from ownerd.v1 import admin_pb2 as pb

app = App(name="list", help="Create, show and delete contact lists.")

COLUMNS = (
    Column("list_id", "List"),
    Column("enabled", "Enabled", Kind.FLAG),
    Column("duration", "Duration", Kind.LENGTH, absent="no expiration"),
    Column("renewal_window", "Renewal window", Kind.LENGTH, absent="default", spare=1),
    Column("reservation_ttl", "Reservation TTL", Kind.LENGTH),
    Column("shares_ownership_with", "Shares with", Kind.TEXTS, spare=2),
    *(Column(c.key, c.title, c.kind, in_list=False) for c in policies.COLUMNS[-3:]),
)


@app.command
def create(
    list_id: ListId,
    /,
    *,
    policy: PolicyOptions = PolicyOptions(),
    shares_with: Annotated[
        str,
        Parameter(
            help="Share policy and ownership of this list, for good: an id is one customer"
            " in both.",
            completer=completions.lists,
        ),
    ] = "",
    reason: Reason = "",
    session: InSession,
) -> None:
    """Create a contact list, by default disabled and without expiration."""
    message, paths = policies.policy_message(policy)
    request = pb.CreateContactListRequest(
        list_id=list_id, shares_ownership_with=shares_with, reason=reason
    )
    if paths or not shares_with:
        request.policy.CopyFrom(message)
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
        bool, Parameter(negative="", help="Even if campaigns own or reserve records of it now.")
    ] = False,
    etag: Annotated[str, Parameter(help="Only if its ETag is still this one.")] = "",
    reason: Reason = "",
    yes: Yes = False,
    session: InSession,
) -> None:
    """Delete a contact list. Asks if that ends ownership or reservations; --yes does not."""
    request = pb.DeleteContactListRequest(list_id=list_id, force=force, etag=etag, reason=reason)
    connection = session.connection
    if not yes:
        _ask(request, session)
    answer = connection.change(connection.admin.DeleteContactList, request)
    row = {"list_id": list_id, "revision": answer.revision}
    session.printer.done(f"Deleted list {list_id}.", DELETED, row)


def _ask(request: pb.DeleteContactListRequest, session: Session) -> None:
    """Ask if the deletion would end anything; not where the server would refuse it."""
    would = session.connection.try_out(session.connection.admin.DeleteContactList, request)
    if not request.force:
        return
    counts = ((would.owned_count, "ownership"), (would.reserved_count, "reservation"))
    ends = [confirm.counted(count, noun) for count, noun in counts if count]
    if ends:
        question = f"Delete list {request.list_id}, and end {' and '.join(ends)}?"
        confirm.ask("delete it", question, yes=False)


DELETED = (Column("list_id", "List"), Column("revision", "Revision", Kind.NUMBER))
