"""`ownerctl apply`, `diff` and `get-config`: the configuration as a file declares it.

What is in such a file, and what it means that something is not, is in `ownerd.ctl.declared`.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import Parameter
from rich.text import Text

from ownerd.ctl.commands.options import STREAM, InSession, Reason, Yes, check_file
from ownerd.ctl.connect.channel import Connection
from ownerd.ctl.declared import form, live, plan, yamlfile
from ownerd.ctl.declared.plan import Change
from ownerd.ctl.declared.yamlfile import Declared
from ownerd.ctl.terminal import confirm, outfiles
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import DOCUMENTS, Column, Kind, Printer, Row, data_out
from ownerd.ctl.terminal.yamltext import yaml_text
from ownerd.printable import clean
from ownerd.v1 import admin_pb2 as pb

COLUMNS = (
    Column("action", "Action"),
    Column("kind", "Kind"),
    Column("id", "Id"),
    Column("before", "Before", Kind.JSON),
    Column("after", "After", Kind.JSON),
)
_SIGNS = {"create": "+", "update": "~", "delete": "-"}
_STYLES = {"+": "green", "~": "yellow", "-": "red"}
_DONE = {"create": "Made", "update": "Changed", "delete": "Deleted"}

File = Annotated[
    Path,
    Parameter(
        name=["--file", "-f"],
        allow_leading_hyphen=True,
        validator=check_file,
        help="The YAML file (or JSON) that declares it; - is stdin.",
    ),
]
Prune = Annotated[
    bool,
    Parameter(
        negative="",
        help="Delete what the file does not name, in the sections that it has; never yourself.",
    ),
]
SectionName = Literal["settings", "wrapup_codes", "lists", "campaigns", "principals"]


def apply(
    *,
    file: File,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Only show what would change, as `ownerctl diff` does.")
    ] = False,
    prune: Prune = False,
    save_tokens: Annotated[
        Path | None,
        Parameter(
            help="Make a token for each new principal that has no certificate name, and write it to"
            " ID.token in this directory, mode 0600."
        ),
    ] = None,
    reason: Reason = "",
    yes: Yes = False,
    session: InSession,
) -> None:
    """Make the server as a file declares it.

    That is lists, campaigns, wrap-up codes, principals and settings. What the file does not name
    stays as it is. What somebody changes meanwhile is not overwritten. Asks before anything ends
    ownership, reservations, tokens or rights; --yes does not. What the file has: ownerd docs apply.
    """
    connection, printer = session.connection, session.printer
    changes = _planned(file, prune, connection)
    if dry_run:
        _show(changes, printer, f"Nothing would change: the server is as {_name(file)} says.")
        return
    if not yes:
        _ask(changes, connection)
    tokens = _Tokens(save_tokens)
    done: list[Change] = []
    for change in changes:
        try:
            tokens.carry_out(connection, change, reason)
        except CtlError as error:
            rest = f"; {len(done)} of {len(changes)} changes were made before" if done else ""
            raise CtlError(
                error.exit_code, f"{error}{rest}; what is done stays, run it again"
            ) from None
        done.append(change)
        if printer.form == "table":
            printer.say(f"{_DONE[change.action]} {change.title}.{tokens.said(change)}")
    if printer.form != "table":
        printer.rows("changes", COLUMNS, map(_row, done), empty="")
    elif not done:
        printer.say(f"Nothing to change: the server is as {_name(file)} says.")


def diff(*, file: File, prune: Prune = False, session: InSession) -> Exit:
    """Show what `ownerctl apply` would change.

    Exit code 0 for nothing, 1 for something.
    """
    changes = _planned(file, prune, session.connection)
    _show(changes, session.printer, f"No difference: the server is as {_name(file)} says.")
    return Exit.DECLINED if changes else Exit.OK


def get_config(
    *sections: Annotated[SectionName, Parameter(help="Which sections; without: all.")],
    session: InSession,
) -> None:
    """Print what is there as `ownerctl apply` takes it.

    That is YAML; with -o json JSON, which it takes too. Tokens are not in it: the server keeps
    none.
    """
    printer = session.printer
    if printer.form not in ("table", *DOCUMENTS):
        raise CtlError(
            Exit.USAGE, f"a configuration has no form {printer.form}; say -o yaml or json"
        )
    found = live.as_file(live.read(session.connection, sections or tuple(form.BY_NAME)))
    if printer.form == "json":
        printer.document(found)
    else:
        out = data_out()
        out.write(yaml_text(found, leaves_inline=True))


# ---- the file and the plan


def _planned(file: Path, prune: bool, connection: Connection) -> list[Change]:
    declared = _read(file)
    found = live.read(connection, declared.sections)
    spare: list[str] = []
    if prune and form.PRINCIPALS.name in declared.sections:
        me = connection.ask(connection.admin.WhoAmI, pb.WhoAmIRequest())
        spare = [me.principal.principal_id]
    return plan.changes(declared, found, prune=prune, spare=spare)


def _read(file: Path) -> Declared:
    try:
        with ExitStack() as stack:
            binary = sys.stdin.buffer if file == STREAM else stack.enter_context(file.open("rb"))
            content = binary.read(yamlfile.MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise CtlError(Exit.INPUT_FILE, f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CtlError(Exit.INPUT_FILE, f"{file} is not UTF-8, at byte {error.start}") from error
    if len(content) > yamlfile.MOST_BYTES:
        most = f"{yamlfile.MOST_BYTES >> 20} MiB"
        raise CtlError(Exit.INPUT_FILE, f"{file} is larger than {most}; split it into several")
    return yamlfile.read(text, _name(file))


def _name(file: Path) -> str:
    return "stdin" if file == STREAM else str(file)


def _ask(changes: Sequence[Change], connection: Connection) -> None:
    """Show what would be lost and ask, if anything would be."""
    ended = live.ends(connection, changes)
    gone = [change for change in changes if change.action == "delete"]
    if not ended and not gone:
        return
    confirm.need_terminal("apply it")
    for line in _lines(changes):
        sys.stderr.write(f"{clean(line)}\n")
    what = []
    if gone:
        what.append(f"delete {confirm.counted(len(gone), 'thing')}")
    if ended:
        what.append(f"end {', '.join(ended)}")
    count = confirm.counted(len(changes), "change")
    confirm.ask("apply it", f"Make {count}, and {' and '.join(what)}?", yes=False)


# ---- tokens


class _Tokens:
    """Writes the tokens of principals that are made into a directory."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._written: dict[str, Path] = {}

    def carry_out(self, connection: Connection, change: Change, reason: str) -> None:
        """Make a change, and keep the token if it brings one."""
        if not self._wants(change):
            live.carry_out(connection, change, reason)
            return
        assert self._directory is not None
        path = self._directory / f"{_file_name(change.thing_id)}.token"
        with outfiles.written(self._directory):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with outfiles.made(path) as file:
            token = live.carry_out(connection, change, reason, with_token=True)
            if token:
                file.write(token + "\n")
                self._written[change.thing_id] = path

    def _wants(self, change: Change) -> bool:
        made = change.section is form.PRINCIPALS and change.action == "create"
        return made and self._directory is not None and not change.after.get("certificate_names")

    def said(self, change: Change) -> str:
        """Say how a principal that was made signs in."""
        if change.section is not form.PRINCIPALS or change.action != "create":
            return ""
        if change.thing_id in self._written:
            return f" Its token is in {self._written[change.thing_id]}."
        if change.after.get("certificate_names"):
            return ""
        return f" It has no token; make one with: ownerctl principal rotate {change.thing_id}"


def _file_name(principal_id: str) -> str:
    """Return an id as the name of a file: itself, but for what would lead elsewhere."""
    name = quote(principal_id, safe=" @+=,:~()[]{}!#$&'")
    return f"%2E{name[1:]}" if name.startswith(".") else name


# ---- showing


def _show(changes: Sequence[Change], printer: Printer, nothing: str) -> None:
    if printer.form != "table":
        printer.rows("changes", COLUMNS, map(_row, changes), empty="")
    elif not changes:
        printer.say(nothing)
    else:
        for line in _lines(changes):
            text = Text(clean(line), style=_STYLES.get(line.lstrip()[:1], ""))
            printer.console.print(text, soft_wrap=True)


def _lines(changes: Iterable[Change]) -> Iterable[str]:
    for change in changes:
        sign = _SIGNS[change.action]
        yield f"{sign} {change.title}"
        for name in {**change.before, **change.after}:
            for side, values in (("-", change.before), ("+", change.after)):
                if name in values:
                    yield from _field_lines(change, side, name, values)


def _field_lines(change: Change, side: str, name: str, values: Mapping[str, Any]) -> Iterable[str]:
    known = change.section.field(name)
    assert known is not None
    value = form.spelled(known, values[name])
    if known.kind in (form.Kind.TEXTS, form.Kind.GRANTS):
        other = change.after if side == "-" else change.before
        there = other.get(name, ())
        value = [
            each
            for each, raw in zip(value, values[name], strict=True)
            if change.action != "update" or raw not in there
        ]
        for each in value:
            yield f"  {side} {name}: {_flow(each)}"
        return
    yield f"  {side} {name}: {_flow(value)}"


def _flow(value: Any) -> str:
    """Return a value in one line, as the file may have it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return yaml_text([value])[2:].rstrip("\n")


def _row(change: Change) -> Row:
    section = change.section
    return {
        "action": change.action,
        "kind": section.noun,
        "id": change.thing_id if section.key_bytes else None,
        "before": _json(section, change.before),
        "after": _json(section, change.after),
    }


def _json(section: form.Section, fields: Mapping[str, Any]) -> str | None:
    return json.dumps(form.spelled_thing(section, fields)) if fields else None
