"""`ownerctl audit`: who changed what, when and why, and who was refused (R21)."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Annotated

from cyclopts import Parameter

from ownerd.ctl.commands import audit_follow
from ownerd.ctl.commands.options import InSession, Instant, Limit, Session
from ownerd.ctl.connect import completions
from ownerd.ctl.connect.words import like
from ownerd.ctl.terminal import times
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import DOCUMENTS, Column, Kind, Row
from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import dial_pb2

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
    Column("shared_list_ids", "Shared with", Kind.TEXTS),
    Column("campaign_ids", "Campaigns", Kind.TEXTS),
    Column("affected_count", "Count", Kind.COUNT),
    Column("refusal", "Refused"),
    Column("detail", "Detail", Kind.JSON),
    Column("reason", "Reason"),
    Column("request_id", "Request"),
    Column("revision", "Revision", Kind.NUMBER),
)
REFUSALS = {
    pb.REFUSAL_UNAUTHENTICATED: "unauthenticated",
    pb.REFUSAL_PERMISSION_DENIED: "permission_denied",
}


def audit(
    *,
    list_id: Annotated[
        str, Parameter(name="--list", help="Only of this list.", completer=completions.lists)
    ] = "",
    principal: Annotated[
        str, Parameter(help="Only by this principal.", completer=completions.principals)
    ] = "",
    action: Annotated[str, Parameter(help="Only this action, as the ACTION column has it.")] = "",
    refused: Annotated[
        bool, Parameter(negative="", help="Only what callers were refused.")
    ] = False,
    since: Annotated[
        Instant | None, Parameter(help="Only since then: 2h ago (2h), or an RFC 3339 time.")
    ] = None,
    until: Annotated[Instant | None, Parameter(help="Only before then, likewise.")] = None,
    limit: Limit = 50,
    follow: Annotated[
        bool,
        Parameter(
            name=["--follow", "-f"],
            negative="",
            help="Oldest first, and go on with new ones until Ctrl-C.",
        ),
    ] = False,
    session: InSession,
) -> Exit:
    """Show what was changed, by whom, and who was refused.

    Newest first. `-o jsonl --limit 0` exports everything, one JSON object a line; with --follow for
    ever.
    """
    _check_action(action)
    audit_filter = pb.AuditFilter(list_id=list_id, principal=principal, action=action)
    if since is not None:
        audit_filter.start_time.CopyFrom(times.to_message(since))
    if until is not None:
        audit_filter.end_time.CopyFrom(times.to_message(until))
    if follow:
        _check_follow(until, session)
        return audit_follow.follow(audit_filter, refused, limit, session.connection, _show(session))
    entries = _entries(audit_filter, refused, limit, session)
    columns = TABLE_COLUMNS if session.printer.form == "table" else COLUMNS
    rows = map(entry_row, entries)
    session.printer.rows("entries", columns, rows, empty="No audit entries match.")
    return Exit.OK


def _check_action(action: str) -> None:
    """Refuse an action that no entry can have, and say which was meant.

    Raises:
        CtlError: USAGE.
    """
    services = (pb.DESCRIPTOR.services_by_name, dial_pb2.DESCRIPTOR.services_by_name)
    names = [rpc.name for found in services for each in found.values() for rpc in each.methods]
    if action and action not in names:
        meant = like(action, names) or next((name for name in names if action in name), "")
        hint = f', did you mean "{meant}"?' if meant else ";"
        raise CtlError(
            Exit.USAGE, f'no action is called "{action}"{hint} actions are named as rpcs are'
        )


def _entries(
    audit_filter: pb.AuditFilter, refused: bool, limit: int, session: Session
) -> Iterator[pb.AuditEntry]:
    """Yield the entries that fit, newest first, `limit` at most; 0 for all."""
    connection = session.connection
    request = pb.ListAuditEntriesRequest(filter=audit_filter)
    pages = connection.pages(connection.admin.ListAuditEntries, request, 0 if refused else limit)
    found = (entry for page in pages for entry in page.entries if not refused or entry.refusal)
    return islice(found, limit or None)


def _check_follow(until: int | None, session: Session) -> None:
    if until is not None:
        raise CtlError(Exit.USAGE, "--follow has no end; leave --until out")
    if session.printer.form in DOCUMENTS:
        raise CtlError(
            Exit.USAGE,
            f"-o {session.printer.form} is one document, which --follow would never end; say"
            " -o jsonl",
        )


def _show(session: Session) -> Callable[[Sequence[pb.AuditEntry]], None]:
    """Return what prints entries as they come."""
    printer = session.printer
    if printer.form == "table":
        return lambda entries: printer.blocks(TABLE_COLUMNS, map(entry_row, entries))
    if printer.form == "csv":
        printer.stream(COLUMNS, ())
    return lambda entries: printer.stream(COLUMNS, map(entry_row, entries), with_header=False)


def entry_row(entry: pb.AuditEntry) -> Row:
    """Return an audit entry as raw values."""
    counted = entry.HasField("affected_count")
    return {
        "entry_id": entry.entry_id,
        "time": entry.time.ToNanoseconds(),
        "principal": entry.principal,
        "peer": entry.peer,
        "action": entry.action,
        "list_id": entry.list_id or None,
        "shared_list_ids": list(entry.shared_list_ids),
        "campaign_ids": list(entry.campaign_ids),
        "affected_count": entry.affected_count if counted else None,
        "refusal": _refusal(entry),
        "detail": entry.detail,
        "reason": entry.reason,
        "request_id": entry.request_id or None,
        "revision": entry.revision,
        "change": _change(entry),
    }


def _refusal(entry: pb.AuditEntry) -> str | None:
    """Return why the caller was refused; None if it was not."""
    if not entry.refusal:
        return None
    return REFUSALS.get(entry.refusal, f"refusal {entry.refusal}")


def _change(entry: pb.AuditEntry) -> list[str]:
    """Say what an entry tells: what was done to what and by whom, then why, then the details."""
    objects = ", ".join((entry.list_id, *entry.campaign_ids)).strip(", ")
    first = f"{entry.action} {objects}".rstrip() + f", by {entry.principal}"
    if refusal := _refusal(entry):
        first = f"REFUSED ({refusal.replace('_', ' ')}): {first}, from {entry.peer}"
    return [first, *(text for text in (entry.reason, entry.detail) if text not in ("", "{}"))]
