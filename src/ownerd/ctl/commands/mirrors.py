"""`ownerctl mirror`: keep three columns of an SQL table true by the feed.

What it does to the table is `ownerd.mirror`'s; this is the server as that sees it, and what is
told.
Nothing of SQLAlchemy is imported before a mirror is asked for.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import grpc
from cyclopts import Parameter

from ownerd import durations
from ownerd.client.errors import error_info
from ownerd.ctl.commands.options import InSession, Length, ListId, Session
from ownerd.ctl.connect.channel import Connection
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind, Row, warn
from ownerd.mirror import faults
from ownerd.mirror.source import Point
from ownerd.mirror.status import State, Status, Teller
from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import dial_pb2

COLUMNS = (
    Column("time", "Time (UTC)", Kind.INSTANT),
    Column("list_id", "List"),
    Column("table", "Table"),
    Column("state", "State"),
    Column("incarnation_id", "Incarnation"),
    Column("revision", "Revision", Kind.NUMBER),
    Column("lag", "Lag", Kind.ROUGH_LENGTH, absent="-"),
    Column("comparison_count", "Comparisons", Kind.COUNT),
    Column("compared_count", "Rows compared", Kind.COUNT),
    Column("mended_count", "Rows mended", Kind.COUNT),
    Column("revision_count", "Revisions followed", Kind.COUNT),
    Column("record_count", "Records changed", Kind.COUNT),
    Column("list_wide_count", "Changes of the list", Kind.COUNT),
    Column("written_count", "Rows written", Kind.COUNT),
    Column("missing_count", "Records not in the table", Kind.COUNT),
)
TO_VARIABLE = "OWNERD_MIRROR_TO"
DEFAULT_EVERY_NS = 10 * durations.NS_PER_SECOND

_PASSING = (Exit.UNAVAILABLE, Exit.DEADLINE, Exit.EXHAUSTED, Exit.ABORTED)
# Of the feed's errors: what it is asked for is not there, or not any more.
_LOST = {"REVISION_NOT_KEPT", "REVISION_AHEAD", "OTHER_INCARNATION"}
_EXITS = {
    faults.InUse: Exit.IN_USE,
    faults.TableFault: Exit.DATABASE,
    faults.DatabaseFault: Exit.DATABASE,
    faults.ListGone: Exit.NOT_FOUND,
}


def mirror(
    list_id: ListId,
    /,
    *,
    to: Annotated[
        str,
        Parameter(
            env_var=TO_VARIABLE,
            metavar="URL",
            help="The database, as SQLAlchemy names it, such as"
            " postgresql+psycopg://user@host/contacts; the variable keeps a password from who"
            " lists processes.",
        ),
    ],
    table: Annotated[str, Parameter(help="The table, or SCHEMA.TABLE; in any letter case.")],
    key: Annotated[
        str,
        Parameter(
            name=["--key", "--key-column"],
            help="Its column with the record id, a number or text. (The key of a certificate: --key"
            " before the word mirror, OWNERD_KEY or a context.)",
        ),
    ] = "i3_identity",
    owner_column: Annotated[str, Parameter(help="Owner: campaign id.")] = "i3_campaignownerid",
    name_column: Annotated[str, Parameter(help="Owner's name.")] = "i3_campaignownername",
    expiration_column: Annotated[
        str, Parameter(help="Expiration, in UTC where the column has no time zone; NULL is none.")
    ] = "i3_campaignownerexpiration",
    once: Annotated[
        bool, Parameter(negative="", help="End as soon as the table is in step, as for cron.")
    ] = False,
    compare: Annotated[
        bool,
        Parameter(negative="", help="Begin with a comparison: it mends what was altered by hand."),
    ] = False,
    every: Annotated[
        Length,
        Parameter(
            show_default=lambda value: durations.format(value),
            help="How often to print how it goes.",
        ),
    ] = DEFAULT_EVERY_NS,
    session: InSession,
) -> Exit:
    """Keep the three columns of an SQL table true.

    The first time it compares the table with the list; then it follows within a second, and goes
    on where it was. Records that are not in the table are counted, not inserted. Beside the table
    it keeps one of its own, ownerd_mirror. -o json prints an object a line.
    """
    run = _runner()
    from ownerd.mirror.table import Names

    source = ServerSource(session.connection, list_id)
    told = _Told(session, list_id, table, every)
    teller = Teller(say=told.say, tick=told.tick)
    names = Names(table, key, owner_column, name_column, expiration_column)
    try:
        run(source, list_id, to, names, teller, compare=compare, once=once)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except faults.Away as away:
        raise source.reason or CtlError(Exit.UNAVAILABLE, str(away)) from away
    except faults.MirrorFault as fault:
        raise CtlError(_EXITS.get(type(fault), Exit.FAILED_PRECONDITION), str(fault)) from fault
    told.done(teller.status)
    return Exit.OK


def _runner() -> Any:
    try:
        from ownerd.mirror.session import mirror as run
    except ImportError as error:
        raise CtlError(
            Exit.NOT_BUILT,
            "mirror needs SQLAlchemy and the database's driver; install them (pip install"
            " 'ownerd[sql]' psycopg)",
        ) from error
    return run


class ServerSource:
    """A list on the server, as a mirror's `Source`."""

    def __init__(self, connection: Connection, list_id: str) -> None:
        self._connection = connection
        self._list_id = list_id
        self.reason: CtlError | None = None  # of the last Away

    def now(self) -> Point:
        """Return where the feed is now."""
        request = pb.WatchRequest(list_ids=[self._list_id])
        stream = self._watch(request, self._connection.timeout_s)
        try:
            for message in stream:
                time_ns = message.time.seconds * durations.NS_PER_SECOND + message.time.nanos
                return Point(message.incarnation_id, message.revision, time_ns)
        finally:
            stream.cancel()
        raise faults.Away("the feed ended")

    def watch(self, after: Point) -> "_Stream":
        """Return what comes after a point."""
        return self._watch(
            pb.WatchRequest(
                list_ids=[self._list_id],
                from_revision=after.revision,
                incarnation_id=after.incarnation_id,
            )
        )

    def _watch(self, request: pb.WatchRequest, timeout_s: float | None = None) -> "_Stream":
        return _Stream(self, self._connection.admin.Watch, request, timeout_s)

    def export(self) -> "_Stream":
        """Return who owns what."""
        request = pb.ExportOwnershipRequest(list_id=self._list_id)
        return _Stream(self, self._connection.admin.ExportOwnership, request)

    def holder(self, record_id: str) -> dial_pb2.Holder | None:
        """Return who holds a record now."""
        request = dial_pb2.GetHolderRequest(list_id=self._list_id, record_id=record_id)
        try:
            answer = self._connection.ask(self._connection.dial.GetHolder, request)
        except CtlError as error:
            raise self.meaning(error) from error
        return answer.holder if answer.HasField("holder") else None

    def call(self, rpc: Any, request: Any, timeout_s: float | None) -> Any:
        """Begin a stream; None: it may take as long as it takes."""
        return rpc(request, timeout=timeout_s, metadata=self._connection.metadata())

    def explained(self, error: grpc.RpcError, request: object) -> Exception:
        """Return what an error of a stream means to a mirror."""
        info = error_info(error)
        explained = self._connection.explain(error, request)
        if info is not None and info.reason in _LOST:
            return faults.CompareAgain(str(explained))
        return self.meaning(explained)

    def meaning(self, error: CtlError) -> Exception:
        """Return `Away` for what is worth another try, else the error."""
        if error.exit_code not in _PASSING:
            return error
        self.reason = error
        return faults.Away(str(error))


class _Stream(Iterable[Any]):
    """The answers of a call, whose errors are those of a `Source`."""

    def __init__(
        self, source: ServerSource, rpc: Any, request: Any, timeout_s: float | None = None
    ) -> None:
        self._source = source
        self._request = request
        self._answers = source.call(rpc, request, timeout_s)
        self._is_cancelled = False

    def cancel(self) -> None:
        """End the call."""
        self._is_cancelled = True
        self._answers.cancel()

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._answers
        except grpc.RpcError as error:
            if self._is_cancelled:
                return
            raise self._source.explained(error, self._request) from error


class _Told:
    """Prints what a mirror tells: sentences to stderr, its status to stdout now and then."""

    def __init__(self, session: Session, list_id: str, table: str, every_ns: int) -> None:
        self._printer = session.printer
        self._list_id = list_id
        self._table = table
        self._every_s = every_ns / durations.NS_PER_SECOND
        self._begun = False
        self._next_s = time.monotonic() + self._every_s
        self._state: State | None = None

    def say(self, sentence: str) -> None:
        warn(f"ownerctl: {sentence}")

    def tick(self, status: Status) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s and (status.state is self._state or status.state is State.STARTING):
            return
        self._state = status.state
        self._next_s = now_s + self._every_s
        self._print(status)

    def done(self, status: Status) -> None:
        """Print the last status, after which nothing comes."""
        self._print(status)

    def _print(self, status: Status) -> None:
        row = self._row(status)
        if self._printer.form == "table":
            self._printer.say(_sentence(row))
        else:
            self._printer.stream(COLUMNS, [row], with_header=not self._begun)
        self._begun = True
        self._printer.flush()

    def _row(self, status: Status) -> Row:
        return {
            "time": time.time_ns(),
            "list_id": self._list_id,
            "table": self._table,
            "state": status.state.value,
            "incarnation_id": status.incarnation_id,
            "revision": status.revision,
            "lag": status.lag_ns,
            "comparison_count": status.comparison_count,
            "compared_count": status.compared_count,
            "mended_count": status.mended_count,
            "revision_count": status.revision_count,
            "record_count": status.record_count,
            "list_wide_count": status.list_wide_count,
            "written_count": status.written_count,
            "missing_count": status.missing_count,
        }


def _sentence(row: Row) -> str:
    lag = "" if row["lag"] is None else f", lag {durations.format_short(row['lag'])}"
    counts = (
        f"compared {_counted(row['compared_count'], 'row')}, mended {row['mended_count']:,}",
        f"followed {_counted(row['revision_count'], 'revision')},"
        f" wrote {_counted(row['written_count'], 'row')}",
        f"{_counted(row['missing_count'], 'record')} not in the table",
    )
    where = f"{row['list_id']} -> {row['table']}: {row['state']}"
    return f"{where}, revision {row['revision']:,}{lag}; {'; '.join(counts)}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
