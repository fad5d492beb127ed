"""`ownerctl policy`: how ownership works on a list, shown and changed."""

from typing import Annotated

from cyclopts import App, Parameter
from google.protobuf.field_mask_pb2 import FieldMask

from ownerd import durations
from ownerd.ctl.commands.options import InSession, ListId, PolicyOptions, Reason, Session, Yes
from ownerd.ctl.terminal import confirm
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind, Row
from ownerd.v1 import admin_pb2 as pb

app = App(name="policy", help="Show or change the ownership policy of a list.")


def _default_window(row: Row) -> str:
    if row["duration"] is None:
        return "none: nothing expires"
    return f"{durations.format(row['duration'] // 10)} (default: a tenth of the duration)"


COLUMNS = (
    Column("list_id", "List"),
    Column("enabled", "Enabled", Kind.FLAG),
    Column("duration", "Ownership lasts", Kind.LENGTH, absent="until released (no expiration)"),
    Column("renewal_window", "Renewal window", Kind.LENGTH, absent=_default_window),
    Column("reservation_ttl", "Reservation TTL", Kind.LENGTH),
    Column("shares_ownership_with", "Shares with", Kind.TEXTS),
    Column("create_time", "Created (UTC)", Kind.TIME),
    Column("update_time", "Changed (UTC)", Kind.TIME),
    Column("etag", "ETag"),
)


@app.command
def show(list_id: ListId, /, *, session: InSession) -> None:
    """Show the policy in force on a list."""
    connection = session.connection
    answer = connection.ask(
        connection.admin.GetContactList, pb.GetContactListRequest(list_id=list_id)
    )
    session.printer.thing(COLUMNS, list_row(answer.list))


@app.command(name="set")
def change(
    list_id: ListId,
    /,
    *,
    policy: PolicyOptions = PolicyOptions(),
    etag: Annotated[str, Parameter(help="Change it only if its ETag is still this one.")] = "",
    reason: Reason = "",
    yes: Yes = False,
    session: InSession,
) -> None:
    """Change the policy of a list: only what you name.

    A new duration counts for every owned record at once, from now on. Asks if any ownership expires
    sooner by it; --yes does not.
    """
    message, paths = policy_message(policy)
    if not paths:
        raise CtlError(
            Exit.USAGE, "nothing to change; name a setting, such as --enable or --duration 2d3h"
        )
    request = pb.UpdateOwnershipPolicyRequest(
        list_id=list_id,
        policy=message,
        update_mask=FieldMask(paths=paths),
        etag=etag,
        reason=reason,
    )
    connection = session.connection
    if {"duration", "no_expiration"} & set(paths) and not yes:
        _ask(request, session)
    answer = connection.change(connection.admin.UpdateOwnershipPolicy, request)
    session.printer.thing(COLUMNS, list_row(answer.list), message=f"Changed list {list_id}.")


def _ask(request: pb.UpdateOwnershipPolicyRequest, session: Session) -> None:
    """Ask if any ownership would expire sooner."""
    would = session.connection.try_out(session.connection.admin.UpdateOwnershipPolicy, request)
    if would.shortened_count:
        owned = confirm.counted(would.shortened_count, "owned record")
        length = durations.format(request.policy.duration.ToNanoseconds())
        question = (
            f"Shorten the ownership of {owned} of list {request.list_id}, which then"
            f" {'expires' if would.shortened_count == 1 else 'expire'} in {length}?"
        )
        confirm.ask("shorten it", question, yes=False)


def policy_message(options: PolicyOptions) -> tuple[pb.OwnershipPolicy, list[str]]:
    """Return the policy that the options say, and the paths of the fields that they name.

    Raises:
        CtlError: USAGE, where two options contradict each other.
    """
    message, paths = pb.OwnershipPolicy(), []
    if options.enable is not None:
        message.enabled = options.enable
        paths.append("enabled")
    _set_expiration(message, paths, options)
    _set_renewal_window(message, paths, options)
    if options.reservation_ttl is not None:
        message.reservation_ttl.CopyFrom(durations.to_message(options.reservation_ttl))
        paths.append("reservation_ttl")
    return message, paths


def _set_expiration(message: pb.OwnershipPolicy, paths: list[str], options: PolicyOptions) -> None:
    parts_ns = durations.from_parts(days=options.days, hours=options.hours)
    named = (parts_ns is not None, options.duration is not None, options.no_expiration)
    if sum(named) > 1:
        raise CtlError(
            Exit.USAGE, "give one of --days and --hours, --duration, --no-expiration; you gave more"
        )
    if options.no_expiration:
        message.no_expiration = True
        paths.append("no_expiration")
    elif any(named):
        length_ns = parts_ns if options.duration is None else options.duration
        message.duration.CopyFrom(durations.to_message(length_ns or 0))
        paths.append("duration")


def _set_renewal_window(
    message: pb.OwnershipPolicy, paths: list[str], options: PolicyOptions
) -> None:
    if options.renewal_window is not None and options.default_renewal_window:
        raise CtlError(Exit.USAGE, "give --renewal-window or --default-renewal-window, not both")
    if options.renewal_window is not None:
        message.renewal_window.CopyFrom(durations.to_message(options.renewal_window))
    if options.renewal_window is not None or options.default_renewal_window:
        paths.append("renewal_window")  # masked and absent: back to the default


def list_row(contact_list: pb.ContactList) -> Row:
    """Return a contact list with its policy as raw values under the keys of COLUMNS."""
    policy = contact_list.policy
    return {
        "list_id": contact_list.list_id,
        "enabled": policy.enabled,
        "duration": _length(policy, "duration"),
        "renewal_window": _length(policy, "renewal_window"),
        "reservation_ttl": _length(policy, "reservation_ttl"),
        "shares_ownership_with": list(contact_list.shares_ownership_with),
        "create_time": contact_list.create_time.ToNanoseconds(),
        "update_time": contact_list.update_time.ToNanoseconds(),
        "etag": contact_list.etag,
    }


def _length(policy: pb.OwnershipPolicy, field: str) -> int | None:
    return getattr(policy, field).ToNanoseconds() if policy.HasField(field) else None
