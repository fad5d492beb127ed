"""`ownerctl record`: who holds one record, and which records are owned."""

from collections.abc import Sequence

from cyclopts import App

from ownerd.ctl.commands.options import Campaigns, InSession, Limit, ListId, RecordId, Session
from ownerd.ctl.terminal import times
from ownerd.ctl.terminal.output import Column, Kind, Row
from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import dial_pb2

app = App(name="record", help="Show who holds a record, or list the owned ones.")

KINDS = {dial_pb2.HOLD_KIND_RESERVED: "reserved", dial_pb2.HOLD_KIND_OWNED: "owned"}


def _never(row: Row) -> str:
    return "never" if row["campaign_id"] else ""


HOLDER_COLUMNS = (
    Column("list_id", "List", in_list=False),
    Column("record_id", "Record"),
    Column("kind", "Hold", absent="none"),
    Column("campaign_id", "Campaign"),
    Column("campaign_name", "Name"),
    Column("acquire_time", "Since (UTC)", Kind.TIME, in_list=False),
    Column("expire_time", "Expires (UTC)", Kind.TIME, absent=_never),
    Column("dialer_id", "Dialer"),
    Column("reserved_until", "Reserved until (UTC)", Kind.TIME),
    Column("last_attempt_time", "Last attempt (UTC)", Kind.TIME),
)
_OF_ONE = ("list_id", "kind", "dialer_id", "reserved_until", "last_attempt_time")
COLUMNS = tuple(column for column in HOLDER_COLUMNS if column.key not in _OF_ONE)


@app.command
def show(list_id: ListId, record_id: RecordId, /, *, session: InSession) -> None:
    """Show which campaign holds a record now, if any."""
    row = get_holder(list_id, record_id, session)
    if row["kind"] is None and session.printer.form == "table":
        session.printer.say(f"No campaign holds record {record_id} of list {list_id}.")
    else:
        session.printer.thing(HOLDER_COLUMNS, row)


@app.command(name=["list", "ls"])
def list_owned(
    list_id: ListId, /, *, campaigns: Campaigns = (), limit: Limit = 100, session: InSession
) -> None:
    """List the owned records of a list, in key order: numbers first."""
    rows, now_ns = _first_rows(list_id, campaigns, limit + 1 if limit else 0, session)
    more = bool(limit) and len(rows) > limit
    session.printer.rows(
        "records",
        COLUMNS,
        rows[:limit] if more else rows,
        empty=f"No campaign owns records of list {list_id}.",
        extra={"more": more, "time": times.rfc3339(now_ns)},
        now_ns=now_ns,
    )
    if more:
        session.printer.hint(
            f"These are the first {limit:,}; --limit 0 lists all, `ownerctl export {list_id}`"
            " writes them to a file."
        )


def _first_rows(
    list_id: str, campaigns: Sequence[str], count: int, session: Session
) -> tuple[list[Row], int]:
    """Return so many owned records (0: all), and the server's time."""
    connection, rows, now_ns = session.connection, [], 0
    request = pb.ListOwnedRecordsRequest(list_id=list_id, campaign_ids=campaigns)
    for page in connection.pages(connection.admin.ListOwnedRecords, request, count):
        rows += [record_row(record) for record in page.records]
        now_ns = now_ns or page.time.ToNanoseconds()
        if count and len(rows) >= count:
            break
    return rows, now_ns


def get_holder(list_id: str, record_id: str, session: Session) -> Row:
    """Return who holds a record as raw values; all None but the ids where nobody does."""
    connection = session.connection
    request = dial_pb2.GetHolderRequest(list_id=list_id, record_id=record_id)
    holder = connection.ask(connection.dial.GetHolder, request).holder
    return {
        "list_id": list_id,
        "record_id": record_id,
        "kind": KINDS.get(holder.kind),
        "campaign_id": holder.campaign_id or None,
        "campaign_name": holder.campaign_name or None,
        "acquire_time": _instant(holder, "acquire_time"),
        "expire_time": _instant(holder, "expire_time"),
        "dialer_id": holder.dialer_id or None,
        "reserved_until": _instant(holder, "reserved_until"),
        "last_attempt_time": _instant(holder, "last_attempt_time"),
    }


def record_row(record: pb.OwnedRecord) -> Row:
    """Return an owned record as raw values."""
    return {
        "record_id": record.record_id,
        "campaign_id": record.campaign_id,
        "campaign_name": record.campaign_name,
        "acquire_time": _instant(record, "acquire_time"),
        "expire_time": _instant(record, "expire_time"),
    }


def _instant(message: dial_pb2.Holder | pb.OwnedRecord, field: str) -> int | None:
    return getattr(message, field).ToNanoseconds() if message.HasField(field) else None
