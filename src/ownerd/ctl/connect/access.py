"""Which server a command speaks to, how it is reached, and who it says it is.

Each value comes from the first that has it: an option, an OWNERD_* variable, the context in use,
the default. A context that is named with --context comes before the variables, which then count
for nothing. The context in use is for its own server: it counts for nothing where --server or
OWNERD_SERVER names one. No call is made here, and no token is read before it is needed.
"""

import ipaddress
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from ownerd.client.credentials import (
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLE,
    FixedToken,
    Tls,
    TokenFile,
    TokenSource,
    tls_of,
)
from ownerd.client.fail_over import split
from ownerd.client.transport import DEFAULT_TARGET
from ownerd.ctl.connect import completions, contextfile
from ownerd.ctl.connect.contextfile import Context
from ownerd.ctl.terminal.exits import CtlError, Exit

DEFAULT_SERVER = "127.0.0.1:7412"
DEFAULT_DIAL = DEFAULT_TARGET
COMMAND_TIMEOUT_S = 60.0
OTHERS_MAY_READ = 0o004
CONTEXT_VARIABLE = "OWNERD_CONTEXT"
VARIABLES = {
    "server": "OWNERD_SERVER",
    "dial": "OWNERD_DIAL",
    "ca": "OWNERD_CA",
    "cert": "OWNERD_CERT",
    "key": "OWNERD_KEY",
}
CONNECTION = Group("Connection and output", sort_key=100, show=False)


@Parameter(name="*", group=CONNECTION)
@dataclass(frozen=True)
class AccessOptions:
    """What the command line says of the server and the caller; None is not given."""

    server: Annotated[
        str | None,
        Parameter(
            help="Admin address of the server, host:port; of a cluster those of all nodes, with"
            f" commas. [OWNERD_SERVER] [default: {DEFAULT_SERVER}]"
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        Parameter(help="File with your token. [OWNERD_TOKEN_FILE; the token itself: OWNERD_TOKEN]"),
    ] = None
    ca: Annotated[
        Path | None, Parameter(help="PEM file with the CAs to trust the server by. [OWNERD_CA]")
    ] = None
    tls: Annotated[
        bool, Parameter(negative="", help="Use TLS, and without --ca trust the machine's CAs.")
    ] = False
    cert: Annotated[
        Path | None, Parameter(help="PEM file with your certificate. [OWNERD_CERT]")
    ] = None
    key: Annotated[Path | None, Parameter(help="PEM file with its key. [OWNERD_KEY]")] = None
    server_name: Annotated[
        str | None, Parameter(help="Name in the server's certificate, if that is not its address.")
    ] = None
    context: Annotated[
        str | None,
        Parameter(
            help="Context to use, see `ownerctl context`. [OWNERD_CONTEXT]",
            completer=completions.contexts,
        ),
    ] = None


def _advice_on(error: OSError) -> str:
    """Say what to do about a token's file, or command, that cannot be used."""
    if isinstance(error, PermissionError):
        return (
            "it is another user's: run this as who may read it, or have a token of your own made,"
            " `ownerctl principal create ID --save-token FILE`"
        )
    return (
        "name where your token is with --token-file, OWNERD_TOKEN_FILE or a context; the first one"
        " of a new store is in admin.token in its data directory"
    )


@dataclass(frozen=True, slots=True)
class TokenOrigin:
    """Where a token comes from; never the token."""

    kind: Literal["file", "variable", "command"]
    place: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {' '.join((self.place, *self.arguments))}"

    def open(self) -> TokenSource:
        """Get the token.

        Raises:
            CtlError: PERMISSION, there is none; the message names the place only.
        """
        try:
            if self.kind == "file":
                return TokenFile(self.place)
            if self.kind == "variable":
                return FixedToken(os.environ.get(self.place, ""), f"the variable {self.place}")
            return FixedToken(self._ask_command(), f"the output of the command {self.place}")
        except OSError as error:
            raise CtlError(
                Exit.PERMISSION,
                f"cannot read a token from {self.place}: {error.strerror}; {_advice_on(error)}",
            ) from error
        except ValueError as error:
            raise CtlError(Exit.PERMISSION, str(error)) from error

    def _ask_command(self) -> str:
        if fault := contextfile.complaint():
            raise CtlError(Exit.USAGE, f"{fault}; until then no command of it is run")
        command = [self.place, *self.arguments]
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, timeout=COMMAND_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise ValueError(
                f"the token command {self.place} did not end in {COMMAND_TIMEOUT_S:.0f} s"
            ) from None
        if done.returncode:
            raise ValueError(f"the token command {self.place} ended with code {done.returncode}")
        return done.stdout.decode("ascii", "replace")


@dataclass(frozen=True, slots=True)
class Access:
    """The server that a command speaks to, and how."""

    server: str = DEFAULT_SERVER
    dial: str = DEFAULT_DIAL
    tls: Tls | None = None
    token: TokenOrigin | None = None

    def complaints(self) -> list[str]:
        """Return what a careful person would change, one sentence each."""
        found = []
        token = self.token
        if token is not None and token.kind == "file" and _others_may_read(token.place):
            found.append(f"{token.place} can be read by others; chmod 600 {token.place}")
        if token is not None and self.tls is None and not _is_loopback(self.server):
            found.append(f"your token goes to {self.server} without TLS; see --ca and --tls")
        return found


def _others_may_read(file: str) -> bool:
    try:
        return bool(os.stat(file).st_mode & OTHERS_MAY_READ)
    except OSError:
        return False


def _is_loopback(server: str) -> bool:
    return all(map(_is_loopback_address, split(server)))


def _is_loopback_address(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def resolve(options: AccessOptions, environment: Mapping[str, str] = os.environ) -> Access:
    """Return which server to speak to, and how.

    Raises:
        CtlError: USAGE, a value is wrong, or the context does not exist.
    """
    context = _context(options, environment)
    variables = environment if options.context is None else {}

    def value(name: str) -> str:
        given = getattr(options, name, None)
        if given is not None:
            return str(given)
        return variables.get(VARIABLES.get(name, ""), "") or str(getattr(context, name))

    try:
        tls = tls_of(
            options.tls or context.tls or None,
            value("ca"),
            value("cert"),
            value("key"),
            value("server_name"),
        )
    except ValueError as error:
        raise CtlError(Exit.USAGE, str(error)) from error
    server = value("server") if options.server is not None else value("server") or DEFAULT_SERVER
    return Access(
        server=check_address(server),
        dial=value("dial") or DEFAULT_DIAL,
        tls=tls,
        token=_token(options, variables, context),
    )


def _context(options: AccessOptions, environment: Mapping[str, str]) -> Context:
    if options.context is not None:
        return contextfile.load().get(options.context)
    if options.server is not None or environment.get(VARIABLES["server"]):
        return Context()
    contexts = contextfile.load()
    name = environment.get(CONTEXT_VARIABLE) or contexts.current
    return contexts.get(name) if name else Context()


def _token(
    options: AccessOptions, variables: Mapping[str, str], context: Context
) -> TokenOrigin | None:
    if options.token_file is not None:
        return TokenOrigin("file", str(options.token_file))
    if variables.get(TOKEN_VARIABLE):
        return TokenOrigin("variable", TOKEN_VARIABLE)
    if variables.get(TOKEN_FILE_VARIABLE):
        return TokenOrigin("file", variables[TOKEN_FILE_VARIABLE])
    return token_of(context)


def token_of(context: Context) -> TokenOrigin | None:
    """Return where the token of a context comes from."""
    if context.token_file:
        return TokenOrigin("file", context.token_file)
    if context.token_env:
        return TokenOrigin("variable", context.token_env)
    if context.token_command:
        return TokenOrigin("command", context.token_command[0], context.token_command[1:])
    return None


def check_address(server: str) -> str:
    """Return `server` if it looks like host:port, or several of these with commas.

    Raises:
        CtlError: USAGE, saying what is allowed.
    """
    if all(map(_is_address, split(server))):
        return server
    raise CtlError(
        Exit.USAGE, f'--server "{server}" is no address; give host:port, such as {DEFAULT_SERVER}'
    )


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65_536
