"""How ownerctl prints: one set of columns, six forms (table, json, jsonl, yaml, csv, name).

Commands hand over raw values (ints, bools, texts, nanoseconds) and say what kind each column is;
only this module knows what that looks like, which columns were asked for, and how they are sorted.
json, jsonl, yaml and csv are for programs: snake_case keys, whole numbers as numbers, RFC 3339
times in UTC, lengths as protobuf JSON has them (`183600s`), null or an empty cell for what is
absent; jsonl is an object in a line, without what json and yaml have around it. name is the first
column alone, one in a line. Tables are for people and may change. No sentence for people, on stdout
or stderr, shows a token.
"""

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import zip_longest
from typing import Any, Literal, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ownerd import durations, streams
from ownerd.consoles import PipeConsole
from ownerd.ctl.terminal import times
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.yamltext import yaml_text
from ownerd.printable import clean, json_text

Form = Literal["table", "json", "jsonl", "yaml", "csv", "name"]
DOCUMENTS = ("json", "yaml")  # what is printed as a whole
Row = Mapping[str, Any]

# A token gets into a message if it was typed in the place of something else.
_TOKEN = re.compile(r"ownerd_[A-Za-z0-9_-]{43}")

PIPE_WIDTH = 10_000  # a table that is piped on keeps each row on one line, for grep and the like
BLOCK_TIME_WIDTH, BLOCK_COUNT_WIDTH = 19, 9


class Kind(Enum):
    """What a column holds."""

    TEXT = "text"
    TEXTS = "texts"
    LINES = "lines"  # texts, in a table one below the other
    COUNT = "count"
    NUMBER = "number"  # an identity such as a revision: a number without thousands separators
    BYTES = "bytes"
    SHARE = "share"  # a fraction, 0 to 1
    FLAG = "flag"
    TIME = "time"
    DISTANCE = "distance"  # a time of which a table shows how far away it is
    INSTANT = "instant"  # a time whose distance from now does not matter
    LENGTH = "length"
    ROUGH_LENGTH = "rough length"  # tables round it
    JSON = "json"  # a text that is a JSON object, which json shows as that


# What a spreadsheet takes for the begin of a formula, and what stands before such a text here.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")

RIGHT_ALIGNED = (Kind.COUNT, Kind.NUMBER, Kind.BYTES, Kind.SHARE)
FOLDED = (Kind.TEXT, Kind.TEXTS, Kind.LINES)  # what goes on in the next line where room is short


@dataclass(frozen=True)
class Column:
    """One column of a list, or one line of a single thing."""

    key: str
    title: str
    kind: Kind = Kind.TEXT
    absent: str | Callable[[Row], str] = ""  # what a table shows for None
    in_list: bool = True  # False: not in a table of many, for want of room
    spare: int = 0  # where a terminal is narrow, what is larger is left out first; 0: never


class Printer:
    """Prints to stdout in one form."""

    def __init__(
        self,
        form: Form = "table",
        *,
        spreadsheet_safe: bool = False,
        columns: str | None = None,
        sort: str | None = None,
    ) -> None:
        """Remember how to print.

        Args:
            form: in which form.
            spreadsheet_safe: whether no cell of a CSV begins as a formula does.
            columns: which columns, in this order, with commas between; None: all.
            sort: the column that lists are sorted by, with - in front from the end; None: as they
                come.
        """
        self.form = form
        self.spreadsheet_safe = spreadsheet_safe
        self.columns = columns
        self.sort = sort
        self.console = _console()

    def chosen(self, columns: Sequence[Column], *, done: bool = False) -> Sequence[Column]:
        """Return the columns that were asked for, out of those that there are.

        Args:
            columns: what there is.
            done: something was changed, and it is too late to complain: what is not there is left
                out, and everything shown if nothing is left.

        Raises:
            CtlError: USAGE, one that there is not.
        """
        if self.columns is None:
            return columns
        found = []
        for name in self.columns.split(","):
            try:
                named = _named(columns, name.strip(), "--columns")
                found.append(replace(named, in_list=True, spare=0))
            except CtlError:
                if not done:
                    raise
        return found or columns

    def sorted(self, columns: Sequence[Column], rows: Iterable[Row]) -> Iterable[Row]:
        """Return the rows in the order that was asked for; what is absent comes last.

        Raises:
            CtlError: USAGE, a column that there is not.
        """
        if self.sort is None:
            return rows
        down = self.sort.startswith("-")
        key = _named(columns, self.sort.removeprefix("-"), "--sort").key
        known: list[Row] = []
        absent: list[Row] = []
        for row in rows:
            (absent if row.get(key) in (None, []) else known).append(row)
        known.sort(key=lambda row: _sort_key(row[key]), reverse=down)
        return [*known, *absent]

    def rows(
        self,
        key: str,
        columns: Sequence[Column],
        rows: Iterable[Row],
        *,
        empty: str,
        total: Row | None = None,
        extra: Mapping[str, Any] | None = None,
        now_ns: int | None = None,
    ) -> None:
        """Print a list of like things.

        Args:
            key: The name of the list in json.
            columns: Their columns, in order.
            rows: Raw values under the columns' keys.
            empty: What a table says instead when there are none.
            total: Values to close a table with.
            extra: Further members of the json object, as json has them.
            now_ns: The instant to count from; None: this machine's clock.
        """
        rows = self.sorted(columns, rows)
        if self.form in ("jsonl", "csv", "name"):
            self.stream(columns, rows)
            return
        rows = list(rows)
        if self.form in DOCUMENTS:
            columns = self.chosen(columns)
            self.document({key: [json_row(columns, row) for row in rows], **(extra or {})})
        elif rows:
            self.console.print_table(self.table(columns, rows, total, now_ns or times.now_ns()))
        else:
            self.say(empty)

    def table(
        self, columns: Sequence[Column], rows: Sequence[Row], total: Row | None, now_ns: int
    ) -> Table:
        """Return the table of a list; where a terminal is narrow, without what can be spared."""
        shown = list(self.chosen(columns))
        while True:
            table = list_table(shown, rows, total, now_ns)
            spare = max(shown, key=lambda column: column.in_list * column.spare)
            fits = self.console.needed_width(table) <= self.console.width
            if fits or not spare.spare * spare.in_list or not self.console.is_terminal:
                return table
            shown.remove(spare)

    def stream(
        self, columns: Sequence[Column], rows: Iterable[Row], *, with_header: bool = True
    ) -> None:
        """Print rows as jsonl, csv or names while they come."""
        self._stream(self.chosen(columns), rows, with_header=with_header)

    def _stream(
        self, columns: Sequence[Column], rows: Iterable[Row], *, with_header: bool = True
    ) -> None:
        if self.form == "name":
            for row in rows:
                _print_name(_json_value(columns[0], row.get(columns[0].key)))
            return
        if self.form == "csv":
            write = csv_writer(data_out(), spreadsheet_safe=self.spreadsheet_safe)
            if with_header:
                write([column.key for column in columns])
            for row in rows:
                write([_csv_value(column, row.get(column.key)) for column in columns])
            return
        for row in rows:
            _print_json(json_row(columns, row), indent=None)

    def blocks(self, columns: Sequence[Column], rows: Iterable[Row]) -> None:
        """Print rows as text while they come: no heading, and as wide as a time and a count are."""
        columns = self.chosen(columns)
        for row in rows:
            cells = [_cell(column, row, 0).plain.splitlines() or [""] for column in columns]
            for line in zip_longest(*cells, fillvalue=""):
                shown = (
                    text.rjust(BLOCK_COUNT_WIDTH)
                    if column.kind is Kind.COUNT
                    else text.ljust(BLOCK_TIME_WIDTH)
                    if column.kind is Kind.INSTANT
                    else text
                    for column, text in zip(columns, line, strict=True)
                )
                self.console.print(Text("  ".join(shown).rstrip()), soft_wrap=True)

    def thing(
        self, columns: Sequence[Column], row: Row, *, message: str = "", now_ns: int | None = None
    ) -> None:
        """Print a single thing, in a table under a message of what was done to it."""
        columns = self.chosen(columns, done=bool(message))
        if self.form in ("jsonl", "csv", "name"):
            self._stream(columns, [row])
        elif self.form in DOCUMENTS:
            self.document(json_row(columns, row))
        else:
            if message:
                self.say(message)
            self.console.print_table(thing_table(columns, row, now_ns or times.now_ns()))

    def done(self, message: str, columns: Sequence[Column], row: Row) -> None:
        """Print the outcome of a change: a sentence for people, the values for programs."""
        if self.form == "table":
            self.say(message)
        else:
            self.thing(columns, row, message=message)

    def document(self, value: Mapping[str, Any]) -> None:
        """Print a value as json has it, in the form json or yaml."""
        if self.form == "yaml":
            out = data_out()
            out.write(yaml_text(value, ascii_only=not _is_utf8(out)))
        else:
            _print_json(value)

    def heading(self, text: str) -> None:
        """Begin a part of what is shown, in a table."""
        self.console.print()
        self.console.print(Text(clean(text), style="bold underline"), soft_wrap=True)

    def flush(self) -> None:
        """Let what was printed be read."""
        self.console.file.flush()
        sys.stdout.flush()

    def say(self, message: str) -> None:
        """Print a sentence."""
        _say(self.console, message)

    def hint(self, message: str) -> None:
        """Print a sentence for people to stderr, in table form only."""
        if self.form == "table":
            warn(message)


def _named(columns: Sequence[Column], name: str, option: str) -> Column:
    """Return the column of a name: its key, its title, or the begin of one key alone."""
    wanted = name.casefold()
    for column in columns:
        if wanted in (column.key.casefold(), column.title.casefold()):
            return column
    begun = [column for column in columns if wanted and column.key.casefold().startswith(wanted)]
    if len(begun) == 1:
        return begun[0]
    there = ", ".join(column.key for column in begun or columns)
    raise CtlError(Exit.USAGE, f'{option}: no column "{name}"; there are: {there}')


def _sort_key(value: Any) -> Any:
    if isinstance(value, str):
        return value.casefold(), value
    return [str(each) for each in value] if isinstance(value, list) else value


def _print_name(value: Any) -> None:
    if value is not None:
        data_out().write(f"{clean(str(value))}\n")


def warn(message: str) -> None:
    """Print a sentence to stderr, where it does not mix with the result.

    Nobody is there to miss it where stderr takes none.
    """
    try:
        _say(PipeConsole(stderr=True), message)
    except OSError:
        streams.drop(sys.stderr)


def _say(console: Console, message: str) -> None:
    # Wrapped between words at a terminal; one line anywhere else.
    console.print(Text(clean(masked(message))), soft_wrap=not console.is_terminal)


def masked(text: str) -> str:
    """Return the text without the tokens in it."""
    return _TOKEN.sub("ownerd_***", text)


def show_rows(columns: Sequence[Column], rows: Sequence[Row], now_ns: int) -> None:
    """Print a table to stderr: what a person should see before answering a question."""
    console = PipeConsole(stderr=True, highlight=False)
    console.print_table(list_table(columns, rows, None, now_ns))


def _console() -> PipeConsole:
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return PipeConsole(highlight=False, width=width, emoji=False, markup=False)


def list_table(
    columns: Sequence[Column], rows: Sequence[Row], total: Row | None, now_ns: int
) -> Table:
    """Return the table of a list, numbers right-aligned, with a closing line of totals if given."""
    shown = [column for column in columns if column.in_list]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_footer=total is not None)
    for column in shown:
        footer = _cell(column, total, now_ns) if total and column.key in total else ""
        table.add_column(
            column.title.upper(),
            footer,
            justify="right" if column.kind in RIGHT_ALIGNED else "left",
            overflow="fold",
            no_wrap=column.kind not in FOLDED,
            header_style="bold",
            footer_style="bold",
        )
    for row in rows:
        table.add_row(*(_cell(column, row, now_ns) for column in shown))
    return table


def thing_table(columns: Sequence[Column], row: Row, now_ns: int) -> Table:
    """Return a single thing as lines of name and value."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    cells = [_cell(column, row, now_ns) for column in columns]
    lines = list(zip(columns, cells, strict=True))
    counts = [cell for column, cell in lines if column.kind is Kind.COUNT]
    for cell in counts:
        cell.align("right", max(map(len, counts)))
    for column, cell in lines:
        if column.title or cell:  # a line without a name goes on with the one above
            table.add_row(column.title, cell)
    return table


def _cell(column: Column, row: Row, now_ns: int) -> Text:
    value = row.get(column.key)
    if value is None or value == []:
        absent = column.absent if isinstance(column.absent, str) else column.absent(row)
        return Text(absent, style="dim")
    return Text(_CELLS[column.kind](value, now_ns))


def moment(time_ns: int, now_ns: int) -> str:
    """Write an instant for people: absolute, then how far away it is."""
    return f"{times.plain(time_ns)} ({times.relative(time_ns, now_ns)})"


def rough(length_ns: int) -> str:
    """Write a length for people, rounded: `2h5m`, `-1.234 ms`."""
    if abs(length_ns) < durations.NS_PER_SECOND:
        return f"{round(length_ns / 1e3) / 1e3:.3f} ms"
    return durations.format_short(length_ns)


def size(value_bytes: int) -> str:
    """Write a size for people: `512 B`, `1.5 MiB`."""
    if value_bytes < 1024:
        return f"{value_bytes} B"
    amount, units = value_bytes / 1024, ["KiB", "MiB", "GiB", "TiB", "PiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        del units[0]
    return f"{amount:,.1f} {units[0]}"


_CELLS: dict[Kind, Callable[[Any, int], str]] = {
    Kind.TEXT: lambda value, now_ns: clean(value),
    Kind.TEXTS: lambda value, now_ns: clean(", ".join(value)),
    Kind.LINES: lambda value, now_ns: "\n".join(map(clean, value)),
    Kind.COUNT: lambda value, now_ns: f"{value:,}",
    Kind.NUMBER: lambda value, now_ns: str(value),
    Kind.BYTES: lambda value, now_ns: size(value),
    Kind.SHARE: lambda value, now_ns: f"{value:.1%}",
    Kind.FLAG: lambda value, now_ns: "yes" if value else "no",
    Kind.TIME: moment,
    Kind.DISTANCE: times.relative,
    Kind.INSTANT: lambda value, now_ns: times.plain(value),
    Kind.LENGTH: lambda value, now_ns: durations.format(value),
    Kind.ROUGH_LENGTH: lambda value, now_ns: rough(value),
    Kind.JSON: lambda value, now_ns: clean(value),
}


def json_row(columns: Sequence[Column], row: Row) -> dict[str, Any]:
    """Return the values of a row as json has them, every column present."""
    return {column.key: _json_value(column, row.get(column.key)) for column in columns}


def _json_value(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.kind in (Kind.TIME, Kind.DISTANCE, Kind.INSTANT):
        return times.rfc3339(value)
    if column.kind in (Kind.LENGTH, Kind.ROUGH_LENGTH):
        return durations.to_message(value).ToJsonString()
    if column.kind is Kind.JSON:
        return _parsed(value)
    return value


def _parsed(text: str) -> Any:
    """Return the JSON that a text is; the text, if it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _print_json(value: Mapping[str, Any], indent: int | None = 2) -> None:
    out = data_out()
    out.write(json_text(value, ascii_only=not _is_utf8(out), indent=indent) + "\n")


def data_out() -> TextIO:
    """Return stdout for what programs read: UTF-8 and untouched, but where it is a terminal."""
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and not out.isatty():
        out.reconfigure(encoding="utf-8", errors="strict", newline="")
    return out


def _is_utf8(out: TextIO) -> bool:
    return (out.encoding or "utf-8").lower().replace("-", "") == "utf8"


def csv_writer(out: TextIO, *, spreadsheet_safe: bool = False) -> Callable[[Sequence[Any]], object]:
    """Return what writes a row of cells: exactly as they are, or clean where it is a terminal.

    With `spreadsheet_safe` no text begins as a formula does: `'` stands before it, which
    `unguarded` takes away again.
    """
    writer = csv.writer(_Lines(out), lineterminator="\r\n")
    if out.isatty():
        return lambda cells: writer.writerow([clean(str(cell)) for cell in cells])
    if spreadsheet_safe:
        return lambda cells: writer.writerow(map(_guarded, cells))
    return writer.writerow


def _guarded(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def unguarded(cell: str) -> str:
    """Return a text as it was before it was made safe for a spreadsheet."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell


class _Lines:
    """Ends lines with a newline alone, for csv's writer.

    It is told that they end with both, so that it quotes a cell that has either.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, line: str) -> object:
        return self._out.write(line[:-2] + "\n")


def _csv_value(column: Column, value: Any) -> Any:
    if column.kind is Kind.JSON:
        return value
    value = _json_value(column, value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "; ".join(value) if isinstance(value, list) else value
