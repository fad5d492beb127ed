"""`ownerctl context`: servers under names, with how they are reached and where tokens come from.

A context says where a token is; no command here reads one, asks a server, or shows a token.
"""

import os
import re
import shlex
from typing import Annotated

from cyclopts import App, Parameter

from ownerd.client.credentials import tls_of
from ownerd.ctl.commands.options import InTyped, Typed
from ownerd.ctl.connect import access, completions, contextfile
from ownerd.ctl.connect.contextfile import Context
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind, Row, masked

app = App(name="context", help="Keep servers under names, with how to reach them.")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
COLUMNS = (
    Column("name", "Context"),
    Column("in_use", "In use", Kind.FLAG),
    Column("server", "Server"),
    Column("dial", "Dial address", absent="none"),
    Column("tls", "TLS", Kind.FLAG),
    Column("ca", "CAs", in_list=False, absent=lambda row: "the machine's" if row["tls"] else ""),
    Column("cert", "Certificate", in_list=False, absent="none"),
    Column("key", "Its key", in_list=False, absent="none"),
    Column("server_name", "Server's name", in_list=False, absent="that of its address"),
    Column("token", "Token", absent="none"),
)

Name = Annotated[str, Parameter(help="The context.", completer=completions.contexts)]


@app.command
def add(
    name: Name,
    /,
    *,
    dial: Annotated[str, Parameter(help="Dial address of the server, for bench.")] = "",
    token_env: Annotated[
        str, Parameter(help="Take the token from this environment variable.")
    ] = "",
    token_command: Annotated[
        str,
        Parameter(
            help="Take the token from the output of this command, such as 'pass show ownerd'; it is"
            " run without a shell."
        ),
    ] = "",
    use: Annotated[bool, Parameter(negative="", help="Use it from now on.")] = False,
    replace: Annotated[
        bool, Parameter(negative="", help="Replace the context of that name.")
    ] = False,
    typed: InTyped,
) -> None:
    """Keep a server under a name: the connection options below, or where else the token is.

    Files are kept by their absolute names.
    """
    if not NAME.fullmatch(name) or masked(name) != name:
        raise CtlError(
            Exit.USAGE, f'"{name}" is no name; give up to 64 letters, digits and any of _.-'
        )
    contexts = contextfile.load()
    if name in contexts.contexts and not replace:
        raise CtlError(Exit.ALREADY_EXISTS, f"context {name} exists; say --replace to replace it")
    contexts.contexts[name] = _read(typed, dial, token_env, token_command)
    if use:
        contexts.current = name
    contextfile.save(contexts)
    row = _row(name, contexts.contexts[name], _current(contexts))
    typed.printer.thing(COLUMNS, row, message=f"Kept context {name}.")
    kept = contexts.contexts[name]
    for path in (kept.ca, kept.cert, kept.key, kept.token_file):
        if path and not os.access(path, os.R_OK):
            typed.printer.hint(f"{path} is not there, or you may not read it")
    if not use:
        typed.printer.hint(f"Use it with: ownerctl context use {name}, or --context {name}")


def _read(typed: Typed, dial: str, token_env: str, token_command: str) -> Context:
    """Return the context that the options say."""
    options = typed.access
    files = {
        key: os.path.abspath(os.path.expanduser(value)) if value else ""
        for key in ("ca", "cert", "key", "token_file")
        for value in [getattr(options, key)]
    }
    try:
        command = tuple(shlex.split(token_command))
        tls = tls_of(
            options.tls or None, files["ca"], files["cert"], files["key"], options.server_name
        )
    except ValueError as error:
        raise CtlError(Exit.USAGE, str(error)) from error
    if sum(map(bool, (files["token_file"], token_env, command))) > 1:
        raise CtlError(
            Exit.USAGE, "give one of --token-file, --token-env and --token-command; you gave more"
        )
    for text in (*files.values(), token_env, token_command):
        if masked(text) != text:
            raise CtlError(
                Exit.USAGE,
                "a token itself has no place in a context; name where it is kept, for example with"
                " --token-file. Others may have seen it on this command line: revoke it",
            )
    if options.server is None:
        raise CtlError(Exit.USAGE, "name the server of the context with --server, host:port")
    return Context(
        server=access.check_address(options.server),
        dial=dial,
        tls=tls is not None,
        server_name=options.server_name or "",
        token_env=token_env,
        token_command=command,
        **files,
    )


@app.command
def use(name: Name, /, *, typed: InTyped) -> None:
    """Use a context from now on, where nothing else is said."""
    contexts = contextfile.load()
    found = contexts.get(name)
    contexts.current = name
    contextfile.save(contexts)
    row = _row(name, found, _current(contexts))
    typed.printer.done(f"Commands are for context {name}, {found.server}, now.", COLUMNS, row)


@app.command(name=["list", "ls"])
def list_all(*, typed: InTyped) -> None:
    """List all contexts."""
    contexts = contextfile.load()
    current = _current(contexts)
    typed.printer.rows(
        "contexts",
        COLUMNS,
        [_row(name, found, current) for name, found in sorted(contexts.contexts.items())],
        empty="There are no contexts; make one with: ownerctl context add NAME --server host:port",
    )


@app.command
def show(
    name: Annotated[
        str, Parameter(help="Without: that in use.", completer=completions.contexts)
    ] = "",
    /,
    *,
    typed: InTyped,
) -> None:
    """Show a context."""
    contexts = contextfile.load()
    current = typed.access.context or _current(contexts)
    name = name or current
    if not name:
        raise CtlError(Exit.USAGE, "no context is in use; name one, `ownerctl context list`")
    typed.printer.thing(COLUMNS, _row(name, contexts.get(name), current))


@app.command
def remove(name: Name, /, *, typed: InTyped) -> None:
    """Forget a context; no token and no certificate is touched."""
    contexts = contextfile.load()
    row = _row(name, contexts.get(name), _current(contexts))
    del contexts.contexts[name]
    if contexts.current == name:
        contexts.current = ""
    contextfile.save(contexts)
    typed.printer.done(f"Forgot context {name}.", COLUMNS, row)


def _current(contexts: contextfile.Contexts) -> str:
    return os.environ.get(access.CONTEXT_VARIABLE) or contexts.current


def _row(name: str, found: Context, current: str) -> Row:
    token = access.token_of(found)
    return {
        "name": name,
        "in_use": name == current,
        "server": found.server,
        "dial": found.dial or None,
        "tls": found.tls,
        "ca": found.ca or None,
        "cert": found.cert or None,
        "key": found.key or None,
        "server_name": found.server_name or None,
        "token": str(token) if token else None,
    }
