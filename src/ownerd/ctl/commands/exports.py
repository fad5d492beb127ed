"""`ownerctl export`: write who owns what to a CSV file.

Invariant: the named file is either what it was before or the complete export.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Annotated, NamedTuple, TextIO

import grpc
from cyclopts import Parameter

from ownerd.contactfile.header import ACQUIRED
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
    named: ColumnOptions = ColumnOptions(),
    session: InSession,
) -> None:
    """Write the owned records of a list to a CSV file.

    Times are RFC 3339 in UTC. With -o json, jsonl or yaml the records go to stdout as that.
    --columns takes the names below, and `ownerd_acquired`, since when a record is owned; without,
    all of them are written.
    """
    form, columns = session.printer.form, session.printer.columns
    as_objects = file == STREAM and form not in ("table", "csv")
    if session.printer.sort is not None:
        raise CtlError(Exit.USAGE, "an export has the order of the records; leave --sort out")
    if bom and as_objects:
        raise CtlError(Exit.USAGE, f"--bom is for CSV; leave it out, or -o {form}")
    request = pb.ExportOwnershipRequest(list_id=list_id, campaign_ids=campaigns)
    table = _Table(named, _chosen(columns, named), "\ufeff" if bom else "")
    if as_objects:
        _print_objects(request, table, session)
        return
    if file == STREAM:
        _write(request, table, data_out(), session)
        return
    with outfiles.replaced(file) as text:
        exported_count = _write(request, table, text, session)
    row = {"list_id": list_id, "file": str(file), "exported_count": exported_count}
    noun = "record" if exported_count == 1 else "records"
    message = f"Exported {exported_count:,} owned {noun} of list {list_id} to {file}."
    session.printer.done(message, COLUMNS, row)


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
        if first.rows and not first.rows[0].HasField("acquire_time"):
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


def _write(
    request: pb.ExportOwnershipRequest, table: _Table, text: TextIO, session: Session
) -> int:
    """Stream the rows into `text`; return how many there were."""
    written_count = 0
    with _answers(request, session) as answers:
        first = next(answers, pb.ExportOwnershipResponse())  # refused? Then not even a header
        text.write(table.mark)
        writer = Writer(
            text,
            table.columns(first),
            table.named,
            spreadsheet_safe=session.printer.spreadsheet_safe,
        )
        with progress_bar("Exporting", None, of_bytes=False, beside=text) as bar:
            for answer in chain((first,), answers):
                writer.write(answer.rows)
                written_count += len(answer.rows)
                bar.at(written_count)
    return written_count


def _print_objects(request: pb.ExportOwnershipRequest, table: _Table, session: Session) -> None:
    """Stream the rows to stdout as JSON objects."""
    with _answers(request, session) as answers:
        first = next(answers, pb.ExportOwnershipResponse())
        names = table.columns(first)
        writers = cell_writers(table.named)
        columns = [Column(name, name) for name in names]
        rows = (
            {name: writers[name](row) or None for name in names}
            for answer in chain((first,), answers)
            for row in answer.rows
        )
        session.printer.rows("records", columns, rows, empty="")


@contextmanager
def _answers(
    request: pb.ExportOwnershipRequest, session: Session
) -> Iterator[Iterator[pb.ExportOwnershipResponse]]:
    connection = session.connection
    stream = connection.admin.ExportOwnership(
        request, timeout=connection.stream_timeout_s, metadata=connection.metadata()
    )
    try:
        yield stream
    except grpc.RpcError as error:
        raise connection.explain(error, request) from error
    finally:
        stream.cancel()
