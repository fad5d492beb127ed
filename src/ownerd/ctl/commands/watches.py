"""`ownerctl watch`: what changes, as it comes, each change once and in order (R30).

A server that is away, or restarts, is waited for, and the stream goes on where it was. Every form
prints line by line: for json that is an object a line, as the document would never end.
"""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Annotated, Any

import grpc
from cyclopts import Parameter, validators

from ownerd import durations
from ownerd.client.requests.watches import CALL_S, Following
from ownerd.ctl.commands.options import InSession, Session
from ownerd.ctl.connect.channel import Connection
from ownerd.ctl.terminal import times
from ownerd.ctl.terminal.exits import Exit
from ownerd.ctl.terminal.output import Column, Kind, Row, warn
from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import dial_pb2

PATIENCE_S = 600.0
COLUMNS = (
    Column("revision", "Revision", Kind.NUMBER),
    Column("time", "Time (UTC)", Kind.INSTANT),
    Column("event", "Event"),
    Column("list_id", "List"),
    Column("record_id", "Record"),
    Column("holder", "Holder"),
    Column("campaign_id", "Campaign"),
    Column("campaign_name", "Name"),
    Column("dialer_id", "Dialer"),
    Column("acquire_time", "Since (UTC)", Kind.INSTANT),
    Column("expire_time", "Expires (UTC)", Kind.INSTANT),
    Column("reserved_until", "Reserved until (UTC)", Kind.INSTANT),
    Column("duration", "Duration", Kind.LENGTH),
    Column("to_campaign_id", "To"),
    Column("include_reservations", "Reservations too", Kind.FLAG),
    Column("enabled", "Enabled", Kind.FLAG),
    Column("shares_ownership_with", "Shares with", Kind.TEXTS),
    Column("attempt_time", "Attempt (UTC)", Kind.INSTANT),
    Column("incarnation_id", "Incarnation"),
)
TEXT_COLUMNS = (
    Column("time", "", Kind.INSTANT),
    Column("revision", "", Kind.COUNT),
    Column("said", ""),
)
_HOLDS = {dial_pb2.HOLD_KIND_OWNED: "owned", dial_pb2.HOLD_KIND_RESERVED: "reserved"}

Revisions = Generator[tuple[pb.WatchResponse, list[pb.WatchEvent]], None, None]


def watch(
    list_ids: Annotated[
        tuple[str, ...], Parameter(name="LIST", help="Only of this list; there may be several.")
    ] = (),
    /,
    *,
    from_revision: Annotated[
        int | None,
        Parameter(
            name="--from",
            metavar="REVISION",
            help="What changed after this revision; without it from now on.",
            validator=validators.Number(gte=0),
        ),
    ] = None,
    incarnation: Annotated[
        str, Parameter(help="Refuse if that revision is not of this incarnation of the store.")
    ] = "",
    include_reservations: Annotated[
        bool, Parameter(negative="", help="Show claims and reports too, not only ownership.")
    ] = False,
    once: Annotated[
        bool, Parameter(negative="", help="End when what is there now is shown.")
    ] = False,
    session: InSession,
) -> Exit:
    """Show what changes as it comes, until Ctrl-C.

    Who owns what from now on, and what is done to lists.

    With -o json, jsonl or csv each change is a line. To go on later, give --from the revision that
    was shown last. What comes after a revision is kept for a while: see `ownerctl status`.
    """
    connection = session.connection
    last = connection.ask(connection.admin.GetServerStatus, pb.GetServerStatusRequest()).revision
    following = Following(
        list_ids, from_revision, incarnation, include_reservations=include_reservations
    )
    show = _show(session)
    try:
        with closing(revisions(following, connection)) as found:
            for message, events in found:
                show(message, events)
                sys.stdout.flush()
                if once and following.revision is not None and following.revision >= last:
                    return Exit.OK
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.OK


def revisions(following: Following, connection: Connection) -> Revisions:
    """Yield each revision's last message with all its events, without an end.

    Raises:
        CtlError: The first answer did not come, the server said no, or was away too long.
    """
    lost_s: float | None = None
    begun = False
    while True:
        request = following.request()
        stream = connection.admin.Watch(request, timeout=CALL_S, metadata=connection.metadata())
        try:
            for message in stream:
                if lost_s is not None:
                    warn("ownerctl: the server answers again")
                lost_s, begun = None, True
                events = following.take(message)
                if events is not None:
                    yield message, events
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED or not begun:
                lost_s = _lost(error, following, begun, lost_s, connection)
        finally:
            stream.cancel()
        time.sleep(following.longer_pause())


def _lost(
    error: grpc.RpcError,
    following: Following,
    begun: bool,
    lost_s: float | None,
    connection: Connection,
) -> float:
    """Return since when the server is away.

    Raises:
        CtlError: It said no, or is away too long.
    """
    now_s = time.monotonic()
    too_long = lost_s is not None and now_s - lost_s > PATIENCE_S
    if too_long or not begun or not following.goes_on(error):
        raise connection.explain(error, following.request()) from error
    if lost_s is None:
        warn(f"ownerctl: {connection.explain(error)}; trying again")
        return now_s
    return lost_s


def _show(session: Session) -> Callable[[pb.WatchResponse, Sequence[pb.WatchEvent]], None]:
    """Return what prints a revision's events."""
    printer = session.printer
    if printer.form == "table":
        return lambda message, events: printer.blocks(TEXT_COLUMNS, _texts(message, events))
    if printer.form == "csv":
        printer.stream(COLUMNS, ())
    else:
        printer.form = "jsonl"
    return lambda message, events: printer.stream(
        COLUMNS, event_rows(message, events), with_header=False
    )


def event_rows(message: pb.WatchResponse, events: Iterable[pb.WatchEvent]) -> Iterator[Row]:
    """Yield events as raw values; how far the stream is is no change."""
    for event in events:
        kind = event.WhichOneof("kind")
        if kind == "progress":
            continue
        body = getattr(event, kind) if kind else None
        yield {
            "revision": message.revision,
            "time": message.time.ToNanoseconds(),
            "event": kind or "unknown",
            "list_id": event.list_id or None,
            "incarnation_id": message.incarnation_id,
            **({} if body is None else _values(body)),
        }


def _values(body: Any) -> Mapping[str, Any]:
    """Return what an event says of its own, by columns."""
    found: dict[str, Any] = {}
    for name in ("record_id", "campaign_id", "campaign_name", "dialer_id", "to_campaign_id"):
        found[name] = getattr(body, name, "") or None
    for name in ("time", "attempt_time"):
        if name in body.DESCRIPTOR.fields_by_name:
            found[name] = getattr(body, name).ToNanoseconds()
    if "include_reservations" in body.DESCRIPTOR.fields_by_name:
        found["include_reservations"] = body.include_reservations
    if "duration" in body.DESCRIPTOR.fields_by_name and body.HasField("duration"):
        found["duration"] = body.duration.ToNanoseconds()
    if "shares_ownership_with" in body.DESCRIPTOR.fields_by_name:
        found["shares_ownership_with"] = list(body.shares_ownership_with)
    if isinstance(body, pb.TransferredEvent):
        found["campaign_id"] = body.from_campaign_id or None
        found["campaign_name"] = body.to_campaign_name or None
    if "policy" in body.DESCRIPTOR.fields_by_name:
        found["enabled"] = body.policy.enabled
        if body.policy.HasField("duration"):
            found["duration"] = body.policy.duration.ToNanoseconds()
    if "holder" in body.DESCRIPTOR.fields_by_name:
        found |= _held(body) if isinstance(body, pb.RecordEvent) else _rejected(body)
    return found


def _held(body: pb.RecordEvent) -> Mapping[str, Any]:
    if not body.HasField("holder"):
        return {"holder": "nobody"}
    holder = body.holder
    instants = {
        name: getattr(holder, name).ToNanoseconds() if holder.HasField(name) else None
        for name in ("acquire_time", "expire_time", "reserved_until")
    }
    return {
        "holder": _HOLDS.get(holder.kind, "unknown"),
        "campaign_id": holder.campaign_id,
        "campaign_name": holder.campaign_name,
        "dialer_id": holder.dialer_id or None,
        **instants,
    }


def _rejected(body: pb.RejectedEvent) -> Mapping[str, Any]:
    return {"holder": body.holder.campaign_id or None}


def _texts(message: pb.WatchResponse, events: Iterable[pb.WatchEvent]) -> Iterator[Row]:
    for row in event_rows(message, events):
        yield {"time": row["time"], "revision": row["revision"], "said": _said(row)}


def _said(row: Row) -> str:
    """Say an event for people."""
    where = f"list {row['list_id']}" if row["list_id"] else "all lists"
    record = f"{row['list_id']}: {row.get('record_id')}"
    who = row.get("campaign_id") or "all campaigns"
    until = _until(row)
    match row["event"]:
        case "record" if row["holder"] == "nobody":
            return f"{record} is nobody's"
        case "record":
            verb = "owned" if row["holder"] == "owned" else "reserved"
            dialer = f", dialer {row['dialer_id']}" if row.get("dialer_id") else ""
            return f"{record} is {verb} by {who}{dialer}{until}"
        case "released":
            more = " and their reservations" if row["include_reservations"] else ""
            return f"{where}: the ownership of {who}{more} is released"
        case "transferred":
            giver = row.get("campaign_id") or "a campaign that is not shown"
            to = row.get("to_campaign_id") or "a campaign that is not shown"
            return f"{where}: what {giver} owned is {to}'s"
        case "reservations_ended":
            dialer = f", dialer {row['dialer_id']}" if row.get("dialer_id") else ""
            return f"{where}: the reservations of {who}{dialer} are over"
        case "duration_changed":
            return f"{where}: what is owned now lasts {_length(row)} from {row['time']} on"
        case "policy":
            state = "enabled" if row["enabled"] else "disabled"
            return f"{where}: the policy is {state}, ownership lasts {_length(row)}"
        case "list_created":
            shared = ", ".join(row["shares_ownership_with"])
            return f"{where} is created" + (f", sharing with {shared}" if shared else "")
        case "list_deleted":
            return f"{where} is deleted"
        case "campaign_renamed":
            return f"campaign {who} is called {row['campaign_name']}"
        case "rejected":
            return f"{record}: {who} called it while {row['holder'] or 'another'} held it"
        case "time_set_back":
            return f"{where}: the server's time was set back"
        case other:
            return f"{where}: {other}"


def _until(row: Row) -> str:
    if row.get("expire_time") is None:
        return ""
    return f" until {times.plain(row['expire_time'])}"


def _length(row: Row) -> str:
    return durations.format(row["duration"]) if row.get("duration") is not None else "for ever"
