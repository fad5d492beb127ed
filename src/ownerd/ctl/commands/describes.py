"""`ownerctl describe`: all that there is to know of one list, campaign or principal, on one screen.

Parts that the caller may not see are left out, and it is said so. Holds are exact as of their
answers, each of which reads its list whole.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from ownerd.ctl.commands import audits, owners, policies, principals
from ownerd.ctl.commands.options import CampaignId, InSession, ListId, Session
from ownerd.ctl.connect.words import like
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import DOCUMENTS, Column, Kind, Row, json_row
from ownerd.v1 import admin_pb2 as pb

app = App(name="describe", help="Show all about one list, campaign or principal.")

# Of a campaign, for which the audit has no filter: how far back its changes are looked for.
MOST_ENTRIES = 2_000
CAMPAIGN_COLUMNS = (Column("campaign_id", "Campaign"), Column("name", "Name"))
HOLDS = (
    owners.LIST_COLUMN,
    *(column for column in owners.COLUMNS if column.key not in ("campaign_id", "campaign_name")),
)
TOTALS = (
    Column("total_owned_count", "Owned", Kind.COUNT),
    Column("total_reserved_count", "Reserved", Kind.COUNT),
    Column("total_expiring_count", "Expiring in 24 h", Kind.COUNT),
)

Changes = Annotated[
    int, Parameter(help="How many of its last changes to show.", validator=validators.Number(gte=0))
]


@dataclass(frozen=True)
class Part:
    """One part of a description: a table under a heading, or why it is not shown."""

    key: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row] = ()
    empty: str = ""
    total: Row | None = None
    refused: str = ""


@app.command(name="list")
def describe_list(list_id: ListId, /, *, changes: Changes = 5, session: InSession) -> None:
    """Show a list: its policy, who owns and dials its records, and its last changes."""
    connection = session.connection
    request = pb.GetContactListRequest(list_id=list_id)
    found = connection.ask(connection.admin.GetContactList, request).list
    row = policies.list_row(found)
    columns: tuple[Column, ...] = policies.COLUMNS
    now_ns: int | None = None

    def holders() -> Part:
        nonlocal row, columns, now_ns
        answer = owners.ask(list_id, session)
        now_ns = answer.time.ToNanoseconds()
        # The first thing that is wanted to be known of a list, so it stands with the policy.
        columns = (*columns, *TOTALS)
        row = {**row, **{each.key: getattr(answer, each.key) for each in TOTALS}}
        rows = sorted(owners.owner_rows(answer), key=lambda each: -each["owned_count"])
        return Part(
            "owners", "Owners", owners.COLUMNS, rows, "No campaign owns or reserves a record."
        )

    parts = [
        _unless_refused(Part("owners", "Owners", owners.COLUMNS), holders),
        _changes(pb.AuditFilter(list_id=list_id), changes, session),
    ]
    _show(columns, row, parts, session, now_ns)


@app.command(name="campaign")
def describe_campaign(
    campaign_id: CampaignId, /, *, changes: Changes = 5, session: InSession
) -> None:
    """Show a campaign: what it owns and dials in each list, and its last changes."""
    connection = session.connection
    pages = connection.pages(connection.admin.ListCampaigns, pb.ListCampaignsRequest())
    names = {each.campaign_id: each.name for page in pages for each in page.campaigns}
    if campaign_id not in names:
        meant = like(campaign_id, names)
        hint = f'; did you mean "{meant}"?' if meant else ""
        raise CtlError(Exit.NOT_FOUND, f'there is no campaign "{campaign_id}"{hint}')

    def holdings() -> Part:
        rows = [
            {"list_id": list_id, **each}
            for list_id in owners.groups(session)
            for each in owners.owner_rows(owners.ask(list_id, session))
            if each["campaign_id"] == campaign_id
        ]
        keys = ("owned_count", "reserved_count", "expiring_count")
        total = {"list_id": "total", **{key: sum(row[key] for row in rows) for key in keys}}
        nothing = "It owns, reserves and asked for no record."
        return Part("holds", "In lists", HOLDS, rows, nothing, total)

    def concerns(entry: pb.AuditEntry) -> bool:
        return campaign_id in entry.campaign_ids

    parts = [
        _unless_refused(Part("holds", "In lists", HOLDS), holdings),
        _changes(pb.AuditFilter(), changes, session, concerns),
    ]
    row = {"campaign_id": campaign_id, "name": names[campaign_id]}
    _show(CAMPAIGN_COLUMNS, row, parts, session)


@app.command(name="principal")
def describe_principal(
    principal_id: principals.PrincipalId, /, *, changes: Changes = 5, session: InSession
) -> None:
    """Show a principal: its rights and tokens, and what it changed or was refused last."""
    connection = session.connection
    request = pb.GetPrincipalRequest(principal_id=principal_id)
    found = connection.ask(connection.admin.GetPrincipal, request).principal
    parts = [_changes(pb.AuditFilter(principal=principal_id), changes, session)]
    columns = principals.COLUMNS[session.printer.form]
    _show(columns, principals.principal_row(found), parts, session)


def _changes(
    audit_filter: pb.AuditFilter,
    limit: int,
    session: Session,
    concerns: Callable[[pb.AuditEntry], bool] | None = None,
) -> Part:
    """Return the last changes that fit a filter, and concern what is described."""
    columns = audits.TABLE_COLUMNS if session.printer.form == "table" else audits.COLUMNS
    nothing = Part("changes", "Last changes", columns, empty="There are none in the audit.")

    def entries() -> Part:
        connection = session.connection
        request = pb.ListAuditEntriesRequest(filter=audit_filter)
        pages = connection.pages(
            connection.admin.ListAuditEntries, request, 0 if concerns else limit
        )
        found: Iterator[Any] = (entry for page in pages for entry in page.entries)
        if concerns is not None:
            found = filter(concerns, islice(found, MOST_ENTRIES))
        rows = [audits.entry_row(entry) for entry in islice(found, limit)]
        return Part(nothing.key, nothing.title, columns, rows, nothing.empty)

    return _unless_refused(nothing, entries) if limit else nothing


def _unless_refused(part: Part, ask: Callable[[], Part]) -> Part:
    """Return what `ask` returns; a part that says why, where the caller may not see it."""
    try:
        return ask()
    except CtlError as error:
        if error.exit_code is not Exit.PERMISSION:
            raise
        return Part(part.key, part.title, part.columns, refused=str(error))


def _show(
    columns: Sequence[Column],
    row: Row,
    parts: Sequence[Part],
    session: Session,
    now_ns: int | None = None,
) -> None:
    printer = session.printer
    if printer.form in DOCUMENTS:
        rest = {
            part.key: None if part.refused else [json_row(part.columns, each) for each in part.rows]
            for part in parts
        }
        printer.document({**json_row(columns, row), **rest})
        return
    if printer.form != "table":
        raise CtlError(
            Exit.USAGE, f"a description has no form {printer.form}; say -o json, or -o yaml"
        )
    printer.thing(columns, row, now_ns=now_ns)
    for part in parts:
        printer.heading(part.title)
        if part.refused:
            printer.say(f"Not shown: {part.refused}.")
        else:
            printer.rows(
                part.key, part.columns, part.rows, empty=part.empty, total=part.total, now_ns=now_ns
            )
