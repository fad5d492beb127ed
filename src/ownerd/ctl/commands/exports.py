"""`ownerctl export`: write who owns what to a CSV file.

Invariant: the named file is either what it was before or the complete export.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from typing import Annotated, Any, NamedTuple, TextIO

from cyclopts import Parameter, validators

from ownerd.contactfile.header import ACQUIRED
from ownerd.ctl.commands.export_since import Since, changed_since
from ownerd.ctl.commands.options import STREAM, Campaigns, InOutFile, InSession, ListId, Session
from ownerd.ctl.terminal import outfiles
from ownerd.ctl.terminal.csvfile import ColumnOptions, Writer, cell_writers
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind, data_out
from ownerd.ctl.terminal.progress import progress_bar
from ownerd.v1 import admin_pb2 as pb

COLUMNS = (
    Column("list_id", "List"),
    Column("file", "File"),
    Column("exported_count", "Exported", Kind.COUNT),
)
SINCE_COLUMNS = (
    *COLUMNS,
    Column("from_changes", "From the changes", Kind.FLAG),
    Column("revision", "Next since", Kind.NUMBER),
    Column("incarnation_id", "Incarnation"),
)


def export(
    list_id: ListId,
    file: Annotated[InOutFile, Parameter(help="The CSV file to write; - is stdout.")] = STREAM,
    /,
    *,
    campaigns: Campaigns = (),
    bom: Annotated[
        bool,
        Parameter(negative="", help="Begin with a byte order mark, by which Excel knows UTF-8."),
    ] = False,
    since: Annotated[
        int | None,
        Parameter(
            metavar="REVISION",
            help="Only what changed after this revision; a row without an owner is a record that"
            " nobody owns any more.",
            validator=validators.Number(gte=0),
        ),
    ] = None,
    incarnation: Annotated[
        str, Parameter(help="With --since: the incarnation of the store that it is of.")
    ] = "",
    named: ColumnOptions = ColumnOptions(),
    session: InSession,
) -> None:
    """Write the owned records of a list to a CSV file.

    Times are RFC 3339 in UTC. With -o json, jsonl or yaml the records go to stdout as that.
    --columns takes the names below, and `ownerd_acquired`, since when a record is owned; without,
    all of them are written.

    With --since it is told whether these are the changes, or all records because the changes are
    not kept, and from which revision on to ask the next time. What expired by itself is no change:
    the export before says when.
    """
    form, columns = session.printer.form, session.printer.columns
    as_objects = file == STREAM and form not in ("table", "csv")
    if session.printer.sort is not None:
        raise CtlError(Exit.USAGE, "an export has the order of the records; leave --sort out")
    if since is not None and campaigns:
        raise CtlError(Exit.USAGE, "--since is for all campaigns; leave --campaign out")
    if bom and as_objects:
        raise CtlError(Exit.USAGE, f"--bom is for CSV; leave it out, or -o {form}")
    request = pb.ExportOwnershipRequest(list_id=list_id, campaign_ids=campaigns)
    table = _Table(named, _chosen(columns, named), "\ufeff" if bom else "")
    changes = None
    if since is not None:
        changes = changed_since(list_id, since, incarnation, session.connection)
    answers: Answers
    if changes is None or changes.why_all:
        answers = session.connection.stream(session.connection.admin.ExportOwnership, request)
    else:
        answers = _given(changes)
    if as_objects:
        _print_objects(answers, table, session, changes)
        return
    if file == STREAM:
        _write(answers, table, data_out(), session)
        if changes is not None:
            session.printer.hint(f"ownerctl: {_which(changes)}")
        return
    with outfiles.replaced(file) as text:
        exported_count = _write(answers, table, text, session)
    row = {"list_id": list_id, "file": str(file), "exported_count": exported_count}
    noun = "record" if exported_count == 1 else "records"
    what = "changed" if changes is not None and not changes.why_all else "owned"
    message = f"Exported {exported_count:,} {what} {noun} of list {list_id} to {file}."
    if changes is None:
        session.printer.done(message, COLUMNS, row)
        return
    session.printer.done(f"{message} {_which(changes)}", SINCE_COLUMNS, row | _told(changes))


def _told(changes: Since) -> dict[str, Any]:
    return {
        "from_changes": not changes.why_all,
        "revision": changes.revision,
        "incarnation_id": changes.incarnation_id,
    }


def _which(changes: Since) -> str:
    """Say whether it is the changes, or all, and where to go on."""
    if changes.why_all:
        said = (
            f"These are all records that are owned, for {changes.why_all}: what is not among them "
            "is nobody's."
        )
    else:
        said = "These are the changes."
    return f"{said} Next time: --since {changes.revision} --incarnation {changes.incarnation_id}"


class _Table(NamedTuple):
    """What the columns are called, which are written (None: all), and what comes before them."""

    named: ColumnOptions
    chosen: Sequence[str] | None
    mark: str

    def columns(self, first: pb.ExportOwnershipResponse) -> list[str]:
        """Return the columns of a file; a server of before does not tell the acquisition."""
        if self.chosen is not None:
            return list(self.chosen)
        names = list(cell_writers(self.named))
        owned = next((row for row in first.rows if row.campaign_id), None)
        if owned is not None and not owned.HasField("acquire_time"):
            names.remove(ACQUIRED)
        return names


def _chosen(columns: str | None, named: ColumnOptions) -> list[str] | None:
    if columns is None:
        return None
    chosen = [name.strip() for name in columns.split(",")]
    known = cell_writers(named)
    for position, name in enumerate(chosen):
        if name not in known:
            there = ", ".join(known)
            raise CtlError(Exit.USAGE, f'--columns: no column "{name}"; there are: {there}')
        if name in chosen[:position]:
            raise CtlError(Exit.USAGE, f'--columns: "{name}" is there twice')
    return chosen


Answers = AbstractContextManager[Iterator[pb.ExportOwnershipResponse]]


def _write(answers: Answers, table: _Table, text: TextIO, session: Session) -> int:
    """Write the rows into `text` as they come; return how many there were."""
    written_count = 0
    with answers as found:
        first = next(found, pb.ExportOwnershipResponse())  # refused? Then not even a header
        text.write(table.mark)
        writer = Writer(
            text,
            table.columns(first),
            table.named,
            spreadsheet_safe=session.printer.spreadsheet_safe,
        )
        with progress_bar("Exporting", None, of_bytes=False, beside=text) as bar:
            for answer in chain((first,), found):
                writer.write(answer.rows)
                written_count += len(answer.rows)
                bar.at(written_count)
    return written_count


def _print_objects(
    answers: Answers, table: _Table, session: Session, changes: Since | None
) -> None:
    """Print the rows to stdout as JSON objects."""
    with answers as found:
        first = next(found, pb.ExportOwnershipResponse())
        names = table.columns(first)
        writers = cell_writers(table.named)
        columns = [Column(name, name) for name in names]
        rows = (
            {name: writers[name](row) or None for name in names}
            for answer in chain((first,), found)
            for row in answer.rows
        )
        extra = None if changes is None else _told(changes)
        session.printer.rows("records", columns, rows, empty="", extra=extra)


@contextmanager
def _given(changes: Since) -> Iterator[Iterator[pb.ExportOwnershipResponse]]:
    """Give what changed as an export's answer."""
    yield iter([pb.ExportOwnershipResponse(rows=changes.rows)])
