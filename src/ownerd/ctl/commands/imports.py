"""`ownerctl import`: load existing ownership from a CSV file.

The file is checked whole, on this machine, before anything is sent. Memory does not grow with it.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Annotated, Any, BinaryIO, Literal

from cyclopts import Group, Parameter, validators

from ownerd.client.requests.call import fresh_request_id
from ownerd.contactfile.check import Check
from ownerd.contactfile.faults import FileFault, NoRoom
from ownerd.contactfile.reader import Reader
from ownerd.ctl.commands.import_file import Deadline, name_of, opened
from ownerd.ctl.commands.import_spool import Spool
from ownerd.ctl.commands.import_upload import Upload
from ownerd.ctl.commands.options import (
    STREAM,
    InOutFile,
    InSession,
    ListId,
    Reason,
    Yes,
    check_file,
)
from ownerd.ctl.terminal import confirm, outfiles, times
from ownerd.ctl.terminal.csvfile import ColumnOptions, ReadingOptions, RejectsWriter
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind, Printer, warn
from ownerd.ctl.terminal.progress import progress_bar
from ownerd.v1 import admin_pb2 as pb

MOST_REJECTS = 1_000
_STEP_ROWS = 1_000  # between two looks of the progress bar

STRATEGIES = {
    "fail": pb.CONFLICT_STRATEGY_FAIL,
    "skip": pb.CONFLICT_STRATEGY_SKIP,
    "overwrite": pb.CONFLICT_STRATEGY_OVERWRITE,
}
COLUMNS = (
    Column("list_id", "List"),
    Column("imported_count", "Imported", Kind.COUNT),
    Column("overwritten_count", "Overwritten: another campaign owned it", Kind.COUNT),
    Column("skipped_count", "Skipped: another campaign holds it", Kind.COUNT),
    Column("expired_count", "Left out: expired already", Kind.COUNT),
    Column("unowned_count", "Left out: no owner in the file", Kind.COUNT),
    Column("rejected_count", "Rejected: see the file of rejects", Kind.COUNT),
    Column("renamed_campaign_count", "Campaigns named", Kind.COUNT),
    Column("revision", "Revision", Kind.NUMBER),
)
DRY_RUN_COLUMNS = (
    COLUMNS[0],
    Column("row_count", "Rows to import", Kind.COUNT),
    Column("repeated_count", "Of them: the same record and owner again", Kind.COUNT),
    *COLUMNS[1:],
    Column("dry_run", "Dry run", Kind.FLAG),
)
EFFECT_GROUP = Group("What the import may do", sort_key=1)


@Parameter(name="*", group=EFFECT_GROUP)
@dataclass(frozen=True)
class EffectOptions:
    """What an import does otherwise only if it is told (R32)."""

    on_conflict: Annotated[
        Literal["fail", "skip", "overwrite"],
        Parameter(
            help="What to do where another campaign owns the record; overwrite takes it from it."
            " One that another campaign is dialing is left to it."
        ),
    ] = "fail"
    exact: Annotated[
        bool,
        Parameter(
            negative="",
            help="Set expirations as they are in the file, also where that shortens an ownership.",
        ),
    ] = False
    rename_campaigns: Annotated[
        bool, Parameter(negative="", help="Let names in the file replace those of campaigns.")
    ] = False
    expire_by_policy: Annotated[
        bool,
        Parameter(
            negative="", help="Give rows without expiration the list's duration, from now on."
        ),
    ] = False


@dataclass(frozen=True)
class Summary:
    """What a checked file holds. `row_count` is the rows that are to be imported."""

    row_count: int
    repeated_count: int
    unowned_count: int
    rejected_count: int


def import_ownership(
    list_id: ListId,
    file: Annotated[
        InOutFile, Parameter(help="A CSV file with a header line, also packed by gzip; - is stdin.")
    ],
    /,
    *,
    effect: EffectOptions = EffectOptions(),
    dry_run: Annotated[
        bool, Parameter(negative="", help="Only check the file and say what would change.")
    ] = False,
    yes: Yes = False,
    rejects: Annotated[
        Path | None,
        Parameter(
            validator=check_file,
            help="Import without the rows that are wrong, and write those here, each with its line"
            " and the reason.",
        ),
    ] = None,
    max_rejects: Annotated[
        int | None,
        Parameter(
            validator=validators.Number(gte=0),
            help=f"With more wrong rows nothing is imported; {MOST_REJECTS:,} if not given.",
        ),
    ] = None,
    columns: ColumnOptions = ColumnOptions(),
    how: ReadingOptions = ReadingOptions(),
    reason: Reason = "",
    session: InSession,
) -> None:
    """Import ownership from a CSV file.

    All of its rows that have an owner, once all are checked. Comma, semicolon, tab or | between
    cells, columns in any order. NULL, \\N and blanks are no owner, name or expiration. Expirations
    are RFC 3339 times or as databases write them; the year 9999 is no expiration. A file of
    `ownerctl export` is taken as it stands.

    Before it takes records from their owners it asks, and says how many; --yes skips that.
    """
    asks = effect.on_conflict == "overwrite" and not (yes or dry_run)
    if asks:
        confirm.need_terminal("import")
    most_rejects = _most_rejects(file, rejects, max_rejects)
    begin_s = time.monotonic()
    deadline = Deadline(session.connection.stream_timeout_s)
    name = name_of(file)
    with _explained(name), opened(file, deadline) as binary, TemporaryFile() as room:
        spool = Spool(room)
        reader = Reader(
            binary, how.reading(columns, spreadsheet_safe=session.printer.spreadsheet_safe)
        )
        summary = _check(reader, spool, _size_bytes(binary), rejects, most_rejects)
        for note in reader.notes:
            warn(f"ownerctl: {name}: {note}")
        head = pb.ImportOwnershipRequest(
            list_id=list_id,
            conflict_strategy=STRATEGIES[effect.on_conflict],
            exact=effect.exact,
            rename_campaigns=effect.rename_campaigns,
            expire_by_policy=effect.expire_by_policy,
            dry_run=dry_run,
            reason=reason,
            request_id="" if dry_run else fresh_request_id(),
        )
        upload = Upload(session.connection, head, spool, name, deadline)
        if asks:
            _ask(upload.dry_run().overwritten_count, list_id)
        answer = upload.run()
    row = {column.key: getattr(answer, column.key, None) for column in DRY_RUN_COLUMNS}
    row |= {"list_id": list_id, "dry_run": dry_run, **vars(summary)}
    if dry_run:
        _tell_dry_run(session.printer, head, name, row)
        return
    pace = _pace(summary.row_count, time.monotonic() - begin_s)
    session.printer.thing(COLUMNS, row, message=f"Imported {name} into list {list_id}: {pace}.")
    if answer.HasField("clock_offset"):
        warn(
            f"ownerctl: the server's time is {answer.clock_offset.ToSeconds():+,} s off its wall "
            "clock, and expirations were judged by it: see the alarm CLOCK_OFF of `ownerctl "
            "status`"
        )


def _pace(row_count: int, length_s: float) -> str:
    noun = "row" if row_count == 1 else "rows"
    rate = f", {row_count / length_s:,.0f} a second" if length_s >= 1 else ""
    return f"{row_count:,} {noun} in {length_s:.1f} s{rate}"


def _most_rejects(file: Path, rejects: Path | None, most: int | None) -> int:
    """Return how many rows may be wrong."""
    if rejects is None:
        if most is not None:
            raise CtlError(Exit.USAGE, "--max-rejects counts what --rejects FILE takes; give both")
        return 0
    if rejects == STREAM:
        raise CtlError(Exit.USAGE, "--rejects needs a file of its own, not -")
    if _is_same(file, rejects):
        raise CtlError(Exit.USAGE, "--rejects would overwrite the file that is imported")
    return MOST_REJECTS if most is None else most


def _is_same(file: Path, rejects: Path) -> bool:
    """Say whether the rejects would take the place of what is read; a device may be both."""
    try:
        read = os.fstat(sys.stdin.fileno()) if file == STREAM else file.stat()
        return rejects.is_file() and os.path.samestat(read, rejects.stat())
    except OSError:  # what cannot be read or written is told when it is
        return False


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say what is wrong with the file: one exit code, one sentence."""
    try:
        yield
    except FileFault as fault:
        where = name if fault.line is None else f"{name} line {fault.line}"
        hint = f"; {fault.hint}" if fault.hint else ""
        raise CtlError(
            Exit.INPUT_FILE, f"{where}: {fault.message}{hint}; nothing was imported"
        ) from fault
    except NoRoom as error:
        raise CtlError(
            Exit.OUTPUT_FILE,
            f"cannot write a temporary file in {gettempdir()}: {error}; nothing was imported; make"
            " room there, or name another directory with TMPDIR",
        ) from error


def _size_bytes(binary: BinaryIO) -> int | None:
    return os.fstat(binary.fileno()).st_size or None


def _check(
    reader: Reader, spool: Spool, size_bytes: int | None, rejects: Path | None, most_rejects: int
) -> Summary:
    """Read the whole file into the spool, but for rows that are rejected."""
    with Check(reader, now_ns=times.now_ns(), most_refused=most_rejects) as check:
        try:
            with progress_bar("Checking", size_bytes, of_bytes=True) as bar:
                for row in check.rows():
                    spool.add(row)
                    if spool.row_count % _STEP_ROWS == 0:
                        bar.at(reader.read_bytes, spool.row_count)
                check.finish()
                spool.finish()
        except OSError as error:
            raise CtlError(
                Exit.INPUT_FILE, f"cannot read on: {error.strerror}; nothing was imported"
            ) from error
        if check.has_late_refusals:
            spool.is_left_out = lambda line, record_id: check.refusal(line, record_id) is not None
        late_count, rejected_count = _write_rejects(reader, check, rejects)
    return Summary(
        row_count=spool.row_count - late_count,
        repeated_count=check.repeated_count,
        unowned_count=reader.unowned_count,
        rejected_count=rejected_count,
    )


def _write_rejects(reader: Reader, check: Check, rejects: Path | None) -> tuple[int, int]:
    """Write the rows that are rejected, none too; return how many that were not so at sight."""
    if rejects is None:
        return 0, 0
    late_count = count = 0
    with outfiles.replaced(rejects) as text:
        writer = RejectsWriter(text, reader.header)
        for refusal, cells, is_late in check.refusals() if check.refused_count else ():
            writer.write(refusal, cells)
            late_count += is_late
            count += 1
    return late_count, count


def _ask(taken_count: int, list_id: str) -> None:
    if taken_count:
        taken = confirm.counted(taken_count, "record")
        confirm.confirm(f"Take {taken} of list {list_id} from the campaigns that own them?")


def _tell_dry_run(
    printer: Printer, head: pb.ImportOwnershipRequest, name: str, row: dict[str, Any]
) -> None:
    message = f"Checked {name} for list {head.list_id}: this is what would be done."
    printer.thing(DRY_RUN_COLUMNS, row, message=message)
    if head.conflict_strategy == pb.CONFLICT_STRATEGY_FAIL and row["skipped_count"]:
        warn(
            "ownerctl: the import would be refused, for other campaigns hold"
            f" {confirm.counted(row['skipped_count'], 'record')} of it; see --on-conflict"
        )
