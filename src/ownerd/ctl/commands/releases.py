"""`ownerctl release`: show what would be released, ask, release it (R15).

What is released record by record is in `release_records`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ownerd.ctl.commands import owners
from ownerd.ctl.commands.options import (
    Campaigns,
    InOutFile,
    InSession,
    ListId,
    Reason,
    Session,
    Yes,
)
from ownerd.ctl.commands.release_records import Meant, release_records, what
from ownerd.ctl.terminal import confirm
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.idfile import IdFile
from ownerd.ctl.terminal.output import Column, Kind, show_rows
from ownerd.v1 import admin_pb2 as pb

COLUMNS = (
    Column("list_id", "List"),
    Column("released_count", "Released", Kind.COUNT),
    Column("dry_run", "Dry run", Kind.FLAG),
    Column("revision", "Revision", Kind.NUMBER),
)


def release(
    list_id: ListId = "",
    /,
    *,
    all_lists: Annotated[
        bool, Parameter(negative="", help="In every list, in place of one.")
    ] = False,
    all_campaigns: Annotated[
        bool, Parameter(name="--all", negative="", help="Release what every campaign owns.")
    ] = False,
    campaigns: Annotated[
        Campaigns,
        Parameter(
            help="Release what this campaign owns; may be given several times. With records: only"
            " those that it owns."
        ),
    ] = (),
    record_ids: Annotated[
        tuple[str, ...],
        Parameter(
            name="--record",
            negative="",
            help="Release this record, whoever owns it; may be given several times.",
        ),
    ] = (),
    record_file: Annotated[
        InOutFile | None,
        Parameter(help="Release the records of this file, one id in a line; - is stdin."),
    ] = None,
    include_reservations: Annotated[
        bool, Parameter(negative="", help="End the reservations of dials in progress too.")
    ] = False,
    reason: Reason = "",
    yes: Yes = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Only show what it would do.")] = False,
    session: InSession,
) -> None:
    """Set owned records of a list free.

    Any campaign may claim them then. Shows what it would release and asks; --yes skips both.
    """
    record_ids = (*record_ids, *session.more_records)
    by_record = bool(record_ids) or record_file is not None
    _check_choice(all_campaigns, campaigns, record_ids, record_file)
    if bool(list_id) == all_lists or (all_lists and by_record):
        raise CtlError(Exit.USAGE, "name a list, or --all-lists with --all or --campaign")
    if not (yes or dry_run):
        confirm.need_terminal("release")
    if by_record:
        only = campaigns[0] if campaigns else ""
        meant = Meant(
            list_id,
            IdFile(record_file) if record_file is not None else record_ids,
            pb.ReleaseRecordsRequest(
                list_id=list_id,
                only_if_campaign_id=only,
                include_reservations=include_reservations,
                reason=reason,
            ),
        )
        release_records(meant, session, yes=yes, dry_run=dry_run)
        return
    bulk = pb.ReleaseOwnershipRequest(
        list_id=list_id,
        all_lists=all_lists,
        all_campaigns=all_campaigns,
        campaign_ids=campaigns,
        include_reservations=include_reservations,
        reason=reason,
    )
    _release_ownership(bulk, session, yes=yes, dry_run=dry_run)


def _check_choice(
    all_campaigns: bool,
    campaigns: Sequence[str],
    record_ids: Sequence[str],
    record_file: Path | None,
) -> None:
    by_record = bool(record_ids) + (record_file is not None)
    if by_record > 1 or (by_record and all_campaigns):
        raise CtlError(Exit.USAGE, "give one of --all, --record and --record-file, not more")
    if by_record and len(campaigns) > 1:
        raise CtlError(Exit.USAGE, "records are released from one --campaign, or from whoever owns")
    if not by_record and all_campaigns == bool(campaigns):
        raise CtlError(
            Exit.USAGE,
            "say what to release: exactly one of --all, --campaign, --record and --record-file",
        )


def _release_ownership(
    request: pb.ReleaseOwnershipRequest, session: Session, *, yes: bool, dry_run: bool
) -> None:
    connection, list_id = session.connection, request.list_id
    if dry_run or not yes:
        would = connection.try_out(connection.admin.ReleaseOwnership, request)
        reserved_count = 0 if request.all_lists else _show_owners(request, session)
        text = what(list_id, would.released_count, reserved_count)
        if dry_run:
            return _print_outcome(f"Would release {text}.", list_id, would, session, dry_run=True)
        if not would.released_count and not reserved_count and not request.all_lists:
            return _print_outcome(f"Nothing to release in list {list_id}.", list_id, would, session)
        confirm.confirm(f"Release {text}?")
    answer = connection.change(connection.admin.ReleaseOwnership, request)
    text = what(list_id, answer.released_count)
    _print_outcome(f"Released {text}.", list_id, answer, session)


def _show_owners(request: pb.ReleaseOwnershipRequest, session: Session) -> int:
    """Show the owners concerned on stderr; return how many reservations would end."""
    connection = session.connection
    answer = connection.ask(
        connection.admin.ListOwners, pb.ListOwnersRequest(list_id=request.list_id)
    )
    chosen = [
        owners.owner_row(owner, answer.total_owned_count)
        for owner in answer.owners
        if request.all_campaigns or owner.campaign_id in request.campaign_ids
    ]
    if chosen:
        show_rows(owners.HELD_COLUMNS, chosen, answer.time.ToNanoseconds())
    return sum(row["reserved_count"] for row in chosen) if request.include_reservations else 0


def _print_outcome(
    message: str,
    list_id: str,
    answer: pb.ReleaseOwnershipResponse,
    session: Session,
    *,
    dry_run: bool = False,
) -> None:
    row = {
        "list_id": list_id or None,
        "released_count": answer.released_count,
        "dry_run": dry_run,
        "revision": answer.revision or None,
    }
    session.printer.done(message, COLUMNS, row)
