"""`ownerctl export`: write who owns what to a CSV file.

Invariant: the named file is either what it was before or the complete export.
"""

from itertools import chain
from typing import Annotated, TextIO

import grpc
from cyclopts import Parameter

from ownerd.ctl.commands.options import STREAM, Campaigns, InOutFile, InSession, ListId, Session
from ownerd.ctl.terminal import outfiles
from ownerd.ctl.terminal.csvfile import ColumnOptions, Writer
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
    columns: ColumnOptions = ColumnOptions(),
    session: InSession,
) -> None:
    """Write the owned records of a list to a CSV file, expirations as RFC 3339 in UTC."""
    request = pb.ExportOwnershipRequest(list_id=list_id, campaign_ids=campaigns)
    if file == STREAM:
        _write(request, columns, data_out(), session)
        return
    with outfiles.replaced(file) as text:
        exported_count = _write(request, columns, text, session)
    row = {"list_id": list_id, "file": str(file), "exported_count": exported_count}
    noun = "record" if exported_count == 1 else "records"
    message = f"Exported {exported_count:,} owned {noun} of list {list_id} to {file}."
    session.printer.done(message, COLUMNS, row)


def _write(
    request: pb.ExportOwnershipRequest, columns: ColumnOptions, text: TextIO, session: Session
) -> int:
    """Stream the rows into `text`; return how many there were."""
    connection, written_count = session.connection, 0
    stream = connection.admin.ExportOwnership(
        request, timeout=connection.stream_timeout_s, metadata=connection.metadata()
    )
    try:
        first = next(stream, pb.ExportOwnershipResponse())  # refused? Then not even a header
        writer = Writer(text, columns, spreadsheet_safe=session.printer.spreadsheet_safe)
        with progress_bar("Exporting", None, of_bytes=False) as bar:
            for answer in chain((first,), stream):
                writer.write(answer.rows)
                written_count += len(answer.rows)
                bar.at(written_count)
    except grpc.RpcError as error:
        raise connection.explain(error, request) from error
    finally:
        stream.cancel()
    return written_count
