"""The `ownerctl` program: reads the command line, runs one command, and ends with its exit code.

The only place that turns an error into a line on stderr and an exit code. `main` may be called
from tests with its arguments; it returns the code and leaves no channel open.
"""

import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.completion import ShellDetectionError
from cyclopts.exceptions import UnknownCommandError
from rich.table import Table
from rich.text import Text

import ownerd
from ownerd import durations, streams
from ownerd.consoles import PipeConsole
from ownerd.ctl.commands.options import Session, Typed, read_timeout
from ownerd.ctl.connect import contextfile
from ownerd.ctl.connect.access import CONNECTION, AccessOptions, resolve
from ownerd.ctl.connect.channel import Connection
from ownerd.ctl.connect.words import like
from ownerd.ctl.terminal import exits
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Form, Printer, warn

HELP_FLAGS = ("--help", "-h")
OPTIONS_COMMAND = "ownerctl options"
COMPLETE = "__complete"  # how a shell's script asks cyclopts for names
# Options of a command that are called as one that every command has.
OWN_OPTIONS = {("mirror", "--key"): "--key-column"}
# Which module of `commands` has which command. It is imported when that is asked for, and all of
# them to tell of all: what a command line does not need, it does not wait for.
COMMANDS = {
    "list": "lists:app",
    "policy": "policies:app",
    "record": "records:app",
    "campaign": "campaigns:app",
    "wrapup": "wrapups:app",
    "settings": "settings:app",
    "principal": "principals:app",
    "cluster": "clusters:app",
    "context": "contexts:app",
    "describe": "describes:app",
    "apply": "configs:apply",
    "diff": "configs:diff",
    "get-config": "configs:get_config",
    "owners": "owners:owners",
    "top": "tops:top",
    "release": "releases:release",
    "transfer": "transfers:transfer",
    "give-back": "give_backs:give_back",
    "audit": "audits:audit",
    "whoami": "identities:whoami",
    "can-i": "identities:can_i",
    "import": "imports:import_ownership",
    "export": "exports:export",
    "watch": "watches:watch",
    "backup": "backups:backup",
    "mirror": "mirrors:mirror",
    "status": "statuses:status",
    "doctor": "doctors:doctor",
    "debug": "doctors:debug",
    "log-level": "doctors:log_level",
    "bench": "bench:bench",
    "console": "consoles:console",
}
_ENDING = (signal.SIGTERM, signal.SIGHUP)

_kept: list[Session] = []  # the latest
# Of this command line, for the session.
_more_records: ContextVar[Sequence[str]] = ContextVar("more_records", default=())


def _shown_default(value: Any) -> str | None:
    """Return what help says of a default; None for an option that is simply not given."""
    return None if value in (None, False, (), "") else str(value)


app = App(
    name="ownerctl",
    help="Administer an ownerd server: which campaign owns which record of a contact list.",
    help_epilogue=f"Options of every command, and exit codes: {OPTIONS_COMMAND}",
    help_format="markdown",
    version=ownerd.__version__,
    default_parameter=Parameter(show_default=_shown_default),
    console=PipeConsole(),
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False
app.meta.group_parameters = CONNECTION
for _name, _place in COMMANDS.items():
    app.command(f"ownerd.ctl.commands.{_place}", name=_name)


@app.command(name="--install-completion")
def install_completion(*, shell: Literal["bash", "zsh", "fish"] | None = None) -> None:
    """Install completion for your shell.

    Start a new shell then.

    Parameters
    ----------
    shell
        Which shell; without: the one that runs now.
    """
    try:
        path = app.install_completion(shell=shell)
    except ShellDetectionError as error:
        raise CtlError(Exit.USAGE, "cannot tell your shell; name it with --shell") from error
    Printer().say(f"Installed {path}; start a new shell to use it.")


@app.command(name="options")
def show_options() -> None:
    """Show the options of every command, and the exit codes.

    Where the server is, who you are, and how to print.
    """
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for argument in app.meta.assemble_argument_collection():
        if argument.show:
            names = sorted(argument.names, key=len, reverse=True)
            choices = ", ".join(argument.get_choices() or ())
            text = f"{argument.parameter.help} {choices}" if choices else argument.parameter.help
            table.add_row(Text(" ".join(names)), Text(text or ""))
    console = Printer().console
    console.print(Text("Options of every command:"))
    console.print(table)
    console.print()
    console.print(Text(exits.help_text()), soft_wrap=True)


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    access: AccessOptions = AccessOptions(),
    timeout: Annotated[
        float | None,
        Parameter(
            converter=read_timeout,
            n_tokens=1,
            metavar="DURATION",
            help="How long one answer may take, e.g. 5s; by default 30s, import, export"
            " and backup as long as they take.",
        ),
    ] = None,
    output: Annotated[Form, Parameter(name=["--output", "-o"], help="How to print.")] = "table",
    columns: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            help="Which columns, in this order, by their names in -o json, with commas between.",
        ),
    ] = None,
    sort: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True, help="Sort by this column; -COLUMN: the largest first."
        ),
    ] = None,
    spreadsheet_safe: Annotated[
        bool,
        Parameter(
            negative="",
            help="In CSV, put ' before what a spreadsheet would take for a formula; import takes it"
            " away again.",
        ),
    ] = False,
) -> Any:
    printer = Printer(output, spreadsheet_safe=spreadsheet_safe, columns=columns, sort=sort)
    command, bound, ignored = app.parse_args(tokens, exit_on_error=False, print_error=False)
    if "typed" in ignored:
        bound.arguments["typed"] = Typed(access, printer)
    if "session" not in ignored:
        return command(*bound.args, **bound.kwargs)
    found = resolve(access)
    for complaint in filter(None, (contextfile.complaint(), *found.complaints())):
        warn(f"ownerctl: {complaint}")
    session = bound.arguments["session"] = Session(
        Connection(found, timeout), printer, _more_records.get()
    )
    # Kept to the process's end: of a call that Ctrl-C cut, gRPC's finalizer may wait for ever.
    _kept[:] = [session]
    try:
        with _ended_like_ctrl_c():
            return command(*bound.args, **bound.kwargs)
    finally:
        session.connection.close()


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: no half file stays, and it is told."""
    heeded = [each for each in _ENDING if signal.getsignal(each) is signal.SIG_DFL]
    for number in heeded:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; None: the process's own.

    Returns:
        An exit code, see `exits`.
    """
    try:
        if streams.prepare():
            raise CtlError(
                Exit.OUTPUT_FILE,
                "cannot write the output: stdout is closed, nothing was done; send it to /dev/null"
                " if it is not wanted",
            )
        arguments = sys.argv[1:] if arguments is None else arguments
        _check_utf8(arguments)
        if list(arguments[:1]) == [COMPLETE]:
            app.meta(arguments, result_action="return_value")
            return Exit.OK
        _check_command(arguments)
        found = app.meta(
            _common_first(_without_more_records(arguments)),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(Exit.USAGE, _usage_message(error))
    except durations.DurationError as error:
        return _fail(Exit.USAGE, str(error))
    except CtlError as error:
        return _fail(error.exit_code, str(error), error.more)
    except BrokenPipeError:
        return _end_output()
    except OSError as error:  # a file that cannot be read is a CtlError already
        _end_output()
        return _fail(Exit.OUTPUT_FILE, f"cannot write the output: {error.strerror}")
    except KeyboardInterrupt:
        return _fail(Exit.INTERRUPTED, "interrupted")
    except Exception as error:
        return _defect(error)
    return found if isinstance(found, Exit) else Exit.OK


def _without_more_records(arguments: Sequence[str]) -> list[str]:
    """Take every `--record ID` after the first out of the command line, and keep the ids.

    Cyclopts takes time with the square of the arguments, and there may be thousands.
    """
    rest: list[str] = []
    ids: list[str] = []
    seen, left = False, iter(arguments)
    for token in left:
        if token == "--":
            rest += (token, *left)
            break
        value = next(left, None) if token == "--record" else None
        if value is None:
            rest.append(token)
        elif seen and not value.startswith("-"):
            ids.append(value)
        else:
            rest += (token, value)
            seen = True
    _more_records.set(tuple(ids))
    return rest


def _check_utf8(arguments: Sequence[str]) -> None:
    for position, argument in enumerate(arguments, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise CtlError(Exit.USAGE, f"argument {position} is not UTF-8; retype it") from error


def _common_first(arguments: Sequence[str]) -> list[str]:
    """Return the command line with the options that every command has in front.

    A command that takes a file, which may be -, would take one behind itself for that file. What a
    command has of its own is left behind it, under the name that only it has.
    """
    takes_value = {
        name: argument.token_count()[0] > 0
        for argument in app.meta.assemble_argument_collection()
        for name in argument.names
    }
    common: list[str] = []
    others: list[str] = []
    left = iter(arguments)
    for token in left:
        if token == "--":
            others += (token, *left)
            break
        name = token.partition("=")[0] if token.startswith("--") else token[:2]
        if others and (own := OWN_OPTIONS.get((others[0], name))):
            others.append(own + token[len(name) :])
        elif name not in takes_value:
            others.append(token)
        elif name != token or not takes_value[name]:
            common.append(token)
        elif (value := next(left, None)) is not None:
            common += (token, value)
        else:
            others.append(token)
    return common + others


def _fail(exit_code: Exit, message: str, more: Sequence[str] = ()) -> int:
    warn(f"ownerctl: {message}")
    for line in more:
        warn(f"  {line}")
    return exit_code


def _check_command(arguments: Sequence[str]) -> None:
    """Refuse a command that is none, of which cyclopts would show another's help.

    Raises:
        CtlError: USAGE.
    """
    asked = [argument for argument in arguments if argument not in HELP_FLAGS]
    if len(asked) == len(arguments):
        return
    chain, apps, rest = app.parse_commands(asked)
    if rest and not rest[0].startswith("-") and apps[-1].default_command is None:
        raise CtlError(Exit.USAGE, _unknown(rest[0], chain, apps[-1]))


def _unknown(word: str, chain: Sequence[str], parent: App) -> str:
    """Say that a word is no command, and which was meant."""
    names = [name for name in parent if not name.startswith("-")]
    meant = like(word, names)
    hint = f', did you mean "{meant}"?' if meant else ";"
    return f'unknown command "{word}"{hint} see: {" ".join(("ownerctl", *chain))} --help'


def _usage_message(error: CycloptsError) -> str:
    chain = error.command_chain or ()
    if isinstance(error, UnknownCommandError) and error.unused_tokens and error.app:
        return _unknown(error.unused_tokens[0], chain, error.app)
    message = " ".join(str(error).split()).rstrip(".")
    return f"{message}; see: {' '.join(('ownerctl', *chain))} --help"


def _end_output() -> int:
    """Give up stdout: to a reader who has seen enough (`... | head`) there is no more to say."""
    streams.drop(sys.stdout)
    return Exit.OUTPUT_FILE


def _defect(error: Exception) -> int:
    if os.environ.get("OWNERCTL_DEBUG") == "1":
        traceback.print_exc()
    what = f"{type(error).__name__}: {error}"
    return _fail(Exit.INTERNAL, f"internal error, {what} (OWNERCTL_DEBUG=1 shows where)")


if __name__ == "__main__":
    sys.exit(main())
