"""What a shell is offered for a name: those that the server knows, while a command line is typed.

A completer asks with the options that are typed already, else with those of the environment and the
context in use; quickly, or not at all: whatever goes wrong, nothing is offered. No program is run
for a token, which might ask the person something.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from cyclopts.completion import CompletionContext

from ownerd.ctl.connect import contextfile
from ownerd.ctl.connect.words import LOOKUPS, Known
from ownerd.ctl.terminal.exits import CtlError
from ownerd.v1 import admin_pb2

MOST_NAMES = 1_000
PATIENCE_S = 2.0
_OPTIONS = ("server", "token_file", "ca", "tls", "cert", "key", "server_name", "context")

Completer = Callable[[CompletionContext], list[str]]


def contexts(context: CompletionContext) -> list[str]:
    """Return the contexts that are kept."""
    try:
        names = contextfile.load().contexts
    except CtlError:
        return []
    return [name for name in sorted(names) if name.startswith(context.incomplete)]


def _of(reason: str) -> Completer:
    known = LOOKUPS[reason]

    def complete(context: CompletionContext) -> list[str]:
        try:
            return list(islice(_names(known, context), MOST_NAMES))
        except CtlError:
            return []

    return complete


lists = _of("LIST_NOT_FOUND")
campaigns = _of("CAMPAIGN_NOT_FOUND")
principals = _of("PRINCIPAL_NOT_FOUND")
codes = _of("WRAP_UP_CODE_NOT_FOUND")


def _names(known: Known, context: CompletionContext) -> Iterator[str]:
    """Yield the names that begin as what is typed, page by page."""
    # Needed only when a name is completed, and slow to load.
    from ownerd.ctl.connect import access
    from ownerd.ctl.connect.channel import Connection

    found = access.resolve(access.AccessOptions(**_typed(context)))
    if found.token is not None and found.token.kind == "command":
        return
    connection = Connection(found, PATIENCE_S)
    try:
        request = getattr(admin_pb2, f"{known.rpc}Request")()
        for page in connection.pages(getattr(connection.admin, known.rpc), request):
            for item in getattr(page, known.items):
                name: str = getattr(item, known.field)
                if name.startswith(context.incomplete) and name.isprintable():
                    yield name
    finally:
        connection.close()


def _typed(context: CompletionContext) -> dict[str, Any]:
    """Return the connection options that are on the command line."""
    given: dict[str, Any] = {}
    for name in _OPTIONS:
        try:
            value = context[f"--{name.replace('_', '-')}"]
        except KeyError:
            continue
        if value.provided:
            raw = value.raw
            given[name] = True if name == "tls" else raw
    for name in ("token_file", "ca", "cert", "key"):
        if name in given:
            given[name] = Path(given[name])
    return given
