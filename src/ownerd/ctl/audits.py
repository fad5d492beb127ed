"""`ownerctl audit`: who changed what, when and why (R21)."""

from itertools import islice
from typing import Annotated

from cyclopts import Parameter

from ownerd.ctl import times
from ownerd.ctl.options import InSession, Instant, Limit
from ownerd.ctl.output import Column, Kind, Row
from ownerd.v1 import admin_pb2 as pb

TABLE_COLUMNS = (
    Column("time", "Time (UTC)", Kind.INSTANT),
    Column("affected_count", "Count", Kind.COUNT),
    Column("change", "Change", Kind.LINES),
)
COLUMNS = (
    Column("entry_id", "Entry", Kind.NUMBER),
    Column("time", "Time (UTC)", Kind.INSTANT),
    Column("principal", "Who"),
    Column("peer", "From"),
    Column("action", "Action"),
    Column("list_id", "List"),
    Column("campaign_ids", "Campaigns", Kind.TEXTS),
    Column("affected_count", "Count", Kind.COUNT),
    Column("detail", "Detail"),
    Column("reason", "Reason"),
    Column("request_id", "Request"),
    Column("revision", "Revision", Kind.NUMBER),
)


def audit(
    *,
    list_id: Annotated[str, Parameter(name="--list", help="Only of this list.")] = "",
    principal: Annotated[str, Parameter(help="Only by this principal.")] = "",
    action: Annotated[str, Parameter(help="Only this action, as the ACTION column has it.")] = "",
    since: Annotated[
        Instant | None, Parameter(help="Only since then: 2h ago (2h), or an RFC 3339 time.")
    ] = None,
    until: Annotated[Instant | None, Parameter(help="Only before then, likewise.")] = None,
    limit: Limit = 50,
    session: InSession,
) -> None:
    """Show the changes that administrators made, newest first."""
    audit_filter = pb.AuditFilter(list_id=list_id, principal=principal, action=action)
    if since is not None:
        audit_filter.start_time.CopyFrom(times.to_message(since))
    if until is not None:
        audit_filter.end_time.CopyFrom(times.to_message(until))
    connection = session.connection
    request = pb.ListAuditEntriesRequest(filter=audit_filter)
    pages = connection.pages(connection.admin.ListAuditEntries, request, limit)
    found = (entry_row(entry) for page in pages for entry in page.entries)
    rows = list(islice(found, limit or None))
    columns = TABLE_COLUMNS if session.printer.form == "table" else COLUMNS
    session.printer.rows("entries", columns, rows, empty="No audit entries match.")


def entry_row(entry: pb.AuditEntry) -> Row:
    """Return an audit entry as raw values."""
    counted = entry.HasField("affected_count")
    return {
        "entry_id": entry.entry_id,
        "time": times.from_message(entry.time),
        "principal": entry.principal,
        "peer": entry.peer,
        "action": entry.action,
        "list_id": entry.list_id or None,
        "campaign_ids": list(entry.campaign_ids),
        "affected_count": entry.affected_count if counted else None,
        "detail": entry.detail,
        "reason": entry.reason,
        "request_id": entry.request_id or None,
        "revision": entry.revision,
        "change": _change(entry),
    }


def _change(entry: pb.AuditEntry) -> list[str]:
    """Say what an entry tells: what was done to what and by whom, then why, then the details."""
    objects = ", ".join((entry.list_id, *entry.campaign_ids)).strip(", ")
    first = f"{entry.action} {objects}".rstrip() + f", by {entry.principal}"
    return [first, *filter(None, (entry.reason, entry.detail))]
