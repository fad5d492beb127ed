"""`ownerctl console`: the supervisors' page of one server, until Ctrl-C.

What serves it is of the extra `console`, and is loaded when the command runs.
"""

import ssl
import webbrowser
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter

from ownerd import durations
from ownerd.client.credentials import TokenSource
from ownerd.ctl.commands.options import InTyped, Length
from ownerd.ctl.connect import access
from ownerd.ctl.connect.access import Access
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import warn

DEFAULT_LISTEN = "127.0.0.1:7414"
NOT_INSTALLED = (
    "ownerd was installed without the console; install it with: pip install 'ownerd[console]'"
)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def console(
    *,
    listen: Annotated[
        str, Parameter(help="Address to serve on, host:port; port 0 picks a free one.")
    ] = DEFAULT_LISTEN,
    sign_in: Annotated[
        bool,
        Parameter(
            negative="",
            help="Have everybody sign in with a token of their own; so it is off loopback anyway.",
        ),
    ] = False,
    tls_certificate: Annotated[
        Path | None, Parameter(help="PEM file with the certificate to serve with.")
    ] = None,
    tls_key: Annotated[Path | None, Parameter(help="PEM file with its key.")] = None,
    public_url: Annotated[
        str,
        Parameter(
            help="How browsers reach it through a proxy, such as https://ownerd.example; everybody"
            " signs in then."
        ),
    ] = "",
    insecure: Annotated[
        bool, Parameter(negative="", help="Serve off loopback without TLS all the same.")
    ] = False,
    idle: Annotated[
        Length, Parameter(help="How long without use until a session ends.", show_default="30m")
    ] = (1_800 * durations.NS_PER_SECOND),
    no_browser: Annotated[
        bool, Parameter(negative="", help="Print the address, and open no browser.")
    ] = False,
    typed: InTyped,
) -> Exit:
    """Serve the supervisors' page.

    Who owns which record, and release it, in a browser.

    On loopback it is yours: it has the rights of your context's token, and opens in your browser by
    an address that only you know. With --sign-in, --public-url or another address it is a floor's:
    each supervisor signs in with their own token.
    """
    try:
        from ownerd.console.main import CannotListen, run
        from ownerd.console.settings import Settings, Upstream
    except ModuleNotFoundError as error:
        raise CtlError(Exit.NOT_BUILT, NOT_INSTALLED) from error
    found = access.resolve(typed.access)
    _check_upstream(found)
    host, port = _address(listen)
    shared = sign_in or bool(public_url) or host not in _LOOPBACK
    _check(host, public_url, tls_certificate, tls_key, insecure=insecure)
    token, token_file = (None, None) if shared else _credentials(found)
    settings = Settings(
        upstream=Upstream(found.server, found.tls),
        host=host,
        port=port,
        token=token,
        token_file=token_file,
        sign_in=shared,
        tls_certificate=str(tls_certificate) if tls_certificate else None,
        tls_key=str(tls_key) if tls_key else None,
        public_url=public_url.rstrip("/"),
        idle_s=max(1.0, idle / durations.NS_PER_SECOND),
    )

    def ready(address: str) -> None:
        print(f"The console of {found.server} is at {address}", flush=True)
        if not (no_browser or shared):
            webbrowser.open(address)

    for complaint in found.complaints():
        warn(f"ownerctl: {complaint}")
    try:
        run(settings, ready)
    except CannotListen as error:
        raise CtlError(Exit.USAGE, str(error)) from error
    return Exit.OK


def _check_upstream(found: Access) -> None:
    """Refuse TLS files that no call could be made with.

    Raises:
        CtlError: USAGE.
    """
    try:
        if found.tls is not None:
            found.tls.context()
    except OSError as error:
        raise CtlError(Exit.USAGE, f"cannot read {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise CtlError(Exit.USAGE, str(error)) from error


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if host and port.isdecimal() and int(port) < 65_536:
        return host.strip("[]"), int(port)
    raise CtlError(
        Exit.USAGE, f'--listen "{listen}" is no address; give host:port, such as {DEFAULT_LISTEN}'
    )


def _check(
    host: str, public_url: str, certificate: Path | None, key: Path | None, *, insecure: bool
) -> None:
    """Refuse what would show tokens to the network, or cannot work.

    Raises:
        CtlError: USAGE.
    """
    if (certificate is None) != (key is None):
        raise CtlError(Exit.USAGE, "--tls-certificate and --tls-key go together")
    for file in filter(None, (certificate, key)):
        try:
            file.open("rb").close()
        except OSError as error:
            raise CtlError(Exit.USAGE, f"cannot read {file}: {error.strerror}") from error
    if certificate is not None and key is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            raise CtlError(
                Exit.USAGE, f"{certificate} and {key} are no certificate and its key, in PEM"
            ) from error
    url = urlsplit(public_url)
    if public_url and (
        url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/")
    ):
        raise CtlError(
            Exit.USAGE,
            f'--public-url "{public_url}" is none; give scheme and host, such as'
            " https://ownerd.example",
        )
    if host not in _LOOPBACK and certificate is None and not insecure:
        raise CtlError(
            Exit.USAGE,
            f"{host} is not loopback, and tokens would pass in the clear; give --tls-certificate"
            " and --tls-key, or --insecure",
        )


def _credentials(found: Access) -> tuple[str | None, str | None]:
    """Return the token, or the file that has it; neither where there is none."""
    if found.token is None:
        return None, None
    source: TokenSource = found.token.open()
    if found.token.kind == "file":
        return None, found.token.place
    return source.metadata()[0][1].removeprefix("Bearer "), None
