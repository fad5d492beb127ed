"""`ownerctl release`: show what would be released, ask, release it (R15)."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from ownerd.ctl.commands import owners, records
from ownerd.ctl.commands.options import Campaigns, InSession, ListId, Reason, Session, Yes
from ownerd.ctl.terminal import confirm, times
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind, show_rows
from ownerd.v1 import admin_pb2 as pb

COLUMNS = (
    Column("list_id", "List"),
    Column("released_count", "Released", Kind.COUNT),
    Column("dry_run", "Dry run", Kind.FLAG),
    Column("revision", "Revision", Kind.NUMBER),
)


def release(
    list_id: ListId,
    /,
    *,
    all_campaigns: Annotated[
        bool, Parameter(name="--all", negative="", help="Release what every campaign owns.")
    ] = False,
    campaigns: Annotated[
        Campaigns, Parameter(help="Release what this campaign owns; may be given several times.")
    ] = (),
    record_ids: Annotated[
        tuple[str, ...],
        Parameter(
            name="--record",
            negative="",
            help="Release this record, whoever owns it; may be given several times.",
        ),
    ] = (),
    include_reservations: Annotated[
        bool, Parameter(negative="", help="End the reservations of dials in progress too.")
    ] = False,
    reason: Reason = "",
    yes: Yes = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Only show what it would do.")] = False,
    session: InSession,
) -> None:
    """Release owned records of a list, so that any campaign may claim them.

    Shows what it would release and asks; --yes skips both.
    """
    _check_choice(all_campaigns, campaigns, record_ids, include_reservations)
    if not (yes or dry_run):
        confirm.need_terminal("release")
    if record_ids:
        request = pb.ReleaseRecordsRequest(list_id=list_id, record_ids=record_ids, reason=reason)
        _release_records(request, session, yes=yes, dry_run=dry_run)
    else:
        bulk = pb.ReleaseOwnershipRequest(
            list_id=list_id,
            all_campaigns=all_campaigns,
            campaign_ids=campaigns,
            include_reservations=include_reservations,
            reason=reason,
        )
        _release_ownership(bulk, session, yes=yes, dry_run=dry_run)


def _check_choice(
    all_campaigns: bool, campaigns: Sequence[str], record_ids: Sequence[str], reservations: bool
) -> None:
    if sum((all_campaigns, bool(campaigns), bool(record_ids))) != 1:
        raise CtlError(
            Exit.USAGE, "say what to release: exactly one of --all, --campaign and --record"
        )
    if record_ids and reservations:
        raise CtlError(Exit.USAGE, "--include-reservations goes with --all or --campaign only")


def _release_ownership(
    request: pb.ReleaseOwnershipRequest, session: Session, *, yes: bool, dry_run: bool
) -> None:
    connection, list_id = session.connection, request.list_id
    if dry_run or not yes:
        would = _dry_run(request, session)
        reserved_count = _show_owners(request, session)
        what = _what(list_id, would.released_count, reserved_count)
        if dry_run:
            return _print_outcome(f"Would release {what}.", list_id, would, session, dry_run=True)
        if not would.released_count and not reserved_count:
            return _print_outcome(f"Nothing to release in list {list_id}.", list_id, would, session)
        confirm.confirm(f"Release {what}?")
    answer = connection.change(connection.admin.ReleaseOwnership, request)
    what = _what(list_id, answer.released_count)
    _print_outcome(f"Released {what}.", list_id, answer, session)


def _dry_run(request: pb.ReleaseOwnershipRequest, session: Session) -> pb.ReleaseOwnershipResponse:
    trial = pb.ReleaseOwnershipRequest()
    trial.CopyFrom(request)
    trial.dry_run = True
    connection = session.connection
    answer: pb.ReleaseOwnershipResponse = connection.ask(connection.admin.ReleaseOwnership, trial)
    return answer


def _show_owners(request: pb.ReleaseOwnershipRequest, session: Session) -> int:
    """Show the owners concerned on stderr; return how many reservations would end."""
    connection = session.connection
    answer = connection.ask(
        connection.admin.ListOwners, pb.ListOwnersRequest(list_id=request.list_id)
    )
    chosen = [
        owners.owner_row(owner)
        for owner in answer.owners
        if request.all_campaigns or owner.campaign_id in request.campaign_ids
    ]
    if chosen:
        show_rows(owners.COLUMNS, chosen, answer.time.ToNanoseconds())
    return sum(row["reserved_count"] for row in chosen) if request.include_reservations else 0


def _release_records(
    request: pb.ReleaseRecordsRequest, session: Session, *, yes: bool, dry_run: bool
) -> None:
    connection, list_id = session.connection, request.list_id
    if dry_run or not yes:
        would = _show_owned(request, session)
        what = _what(list_id, would.released_count)
        if dry_run:
            return _print_outcome(f"Would release {what}.", list_id, would, session, dry_run=True)
        if not would.released_count:
            message = "Nothing to release: no campaign owns it."
            return _print_outcome(message, list_id, would, session)
        confirm.confirm(f"Release {what}?")
    answer = connection.change(connection.admin.ReleaseRecords, request)
    what = _what(list_id, answer.released_count)
    _print_outcome(f"Released {what}.", list_id, answer, session)


def _show_owned(request: pb.ReleaseRecordsRequest, session: Session) -> pb.ReleaseRecordsResponse:
    """Show on stderr which of the records are owned, and by whom."""
    trial = pb.ReleaseRecordsRequest()
    trial.CopyFrom(request)
    trial.dry_run = True
    connection = session.connection
    would: pb.ReleaseRecordsResponse = connection.ask(connection.admin.ReleaseRecords, trial)
    if would.records:
        show_rows(records.COLUMNS, list(map(records.record_row, would.records)), times.now_ns())
    return would


def _what(list_id: str, owned_count: int, reserved_count: int = 0) -> str:
    records_text = "1 record" if owned_count == 1 else f"{owned_count:,} records"
    reservations = f" and end {reserved_count:,} reservations" if reserved_count else ""
    return f"{records_text} of list {list_id}{reservations}"


def _print_outcome(
    message: str,
    list_id: str,
    answer: pb.ReleaseOwnershipResponse | pb.ReleaseRecordsResponse,
    session: Session,
    *,
    dry_run: bool = False,
) -> None:
    row = {
        "list_id": list_id,
        "released_count": answer.released_count,
        "dry_run": dry_run,
        "revision": answer.revision or None,
    }
    session.printer.done(message, COLUMNS, row)
