"""Who a client is to the server, and how its connections are secured: tokens and TLS files.

The one place that holds a token. It leaves only as the metadata of a call: it is in no repr, no
exception and no log, and an error names where a token came from, never what was found there. All
of it may be used from any thread.
"""

import os
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc

TOKEN_VARIABLE = "OWNERD_TOKEN"
TOKEN_FILE_VARIABLE = "OWNERD_TOKEN_FILE"
FILE_LIMIT_BYTES = 4_096

StrPath = str | os.PathLike[str]
Metadata = tuple[tuple[str, str], ...]

# What a header can hold. Checked here, since gRPC would quote what it refuses in its exception.
_TOKEN = re.compile(r"[!-~]+")
# A file that changed so lately may change once more without another stamp.
_STEADY_NS = 2_000_000_000

# Where distributions keep the CAs that the machine trusts.
_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class TokenSource(Protocol):
    """Where the token of each call comes from."""

    def metadata(self) -> Metadata:
        """Return the token as the metadata of a call that begins now."""


def _bearer(text: str, origin: str) -> Metadata:
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"{origin} holds no token; allowed: one line such as ownerd_ with 43 more")
    return (("authorization", f"Bearer {token}"),)


class FixedToken:
    """A token that stays the same."""

    __slots__ = ("_metadata",)

    def __init__(self, token: str, origin: str = "token") -> None:
        """Take a token; blanks around it do not count.

        Raises:
            ValueError: It cannot be one; the message names `origin` only.
        """
        self._metadata = _bearer(token, origin)

    def metadata(self) -> Metadata:
        """Return the token as the metadata of a call."""
        return self._metadata


class TokenFile:
    """The token in a file, read again when the file changes.

    A rotation needs no restart: the next call carries the new token. While the file is missing,
    empty or half written, the token read last is used.
    """

    __slots__ = ("_path", "_read")

    def __init__(self, path: StrPath) -> None:
        """Read the file for the first time.

        Raises:
            OSError: It cannot be read.
            ValueError: It holds no token; the message names the file only.
        """
        self._path = Path(path)
        self._read = self._load()

    def metadata(self) -> Metadata:
        """Return the token that the file holds now as the metadata of a call."""
        try:
            if _stamp(os.stat(self._path)) != self._read[0]:
                self._read = self._load()
        except (OSError, ValueError):
            pass  # it is being replaced: the server decides whether the old token is still good
        return self._read[1]

    def _load(self) -> tuple[tuple[int, ...] | None, Metadata]:
        with self._path.open("rb") as file:
            found = os.fstat(file.fileno())
            content = file.read(FILE_LIMIT_BYTES).decode("ascii", "replace")
        is_steady = abs(time.time_ns() - found.st_ctime_ns) > _STEADY_NS
        return (_stamp(found) if is_steady else None), _bearer(content, str(self._path))


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ctime_ns, found.st_ino, found.st_dev, found.st_size


def token_source(
    token: str | None, token_file: StrPath | None, environment: Mapping[str, str] = os.environ
) -> TokenSource | None:
    """Return where tokens come from; None for calls without one.

    Args:
        token: The token itself; empty for none, whatever the environment says.
        token_file: A file that holds it.
        environment: Where OWNERD_TOKEN, or else OWNERD_TOKEN_FILE, counts if neither is given.

    Raises:
        OSError: The file cannot be read.
        ValueError: Both are given, or what is there is no token.
    """
    if token is not None and token_file is not None:
        raise ValueError("give token or token_file, not both")
    if token is not None:
        return FixedToken(token) if token else None
    if token_file is not None:
        return TokenFile(token_file)
    if text := environment.get(TOKEN_VARIABLE):
        return FixedToken(text, TOKEN_VARIABLE)
    if path := environment.get(TOKEN_FILE_VARIABLE):
        return TokenFile(path)
    return None


@dataclass(frozen=True, slots=True)
class Tls:
    """The files that secure a connection: paths only.

    `ca_file` None is the machine's CAs. `cert_file` and `key_file` are the client's certificate,
    given both or neither. `server_name` is the name to look for in the server's certificate, None
    = the host of the address.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """Return the same for Python's own TLS; the check that the files fit is in it.

        Raises:
            OSError: A file cannot be read.
            ValueError: A file does not hold what it should; the message names it.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca_file is None:
            context.load_default_certs()
        else:
            try:
                context.load_verify_locations(cadata=_text(self.ca_file))
            except (ssl.SSLError, ValueError):
                raise ValueError(f"{self.ca_file} holds no certificates in PEM") from None
        if self.cert_file and self.key_file:
            _text(self.cert_file), _text(self.key_file)  # an error that names the file
            try:
                context.load_cert_chain(self.cert_file, self.key_file, password=lambda: "")
            except (ssl.SSLError, ValueError):
                raise ValueError(
                    f"{self.cert_file} and {self.key_file} are no certificate and its key, in PEM "
                    "and without a passphrase"
                ) from None
        return context

    def contents(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Return what is in the CAs', the certificate's and the key's file.

        Raises:
            OSError: A file cannot be read.
        """
        ca = _bytes(self.ca_file) if self.ca_file else _system_roots()
        cert = _bytes(self.cert_file) if self.cert_file else None
        return ca, cert, _bytes(self.key_file) if self.key_file else None

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials of a channel; errors as in `context`."""
        self.context()
        ca, cert, key = self.contents()
        return grpc.ssl_channel_credentials(ca, private_key=key, certificate_chain=cert)

    def options(self) -> list[tuple[str, str]]:
        """Return the options of a channel."""
        if self.server_name is None:
            return []
        return [("grpc.ssl_target_name_override", self.server_name)]


def _bytes(path: str) -> bytes:
    return Path(path).read_bytes()


def _text(path: str) -> str:
    return _bytes(path).decode("ascii", "replace")


def _system_roots() -> bytes | None:
    """Return the machine's CAs: gRPC for Python brings its own, without a company's."""
    for path in (ssl.get_default_verify_paths().cafile, *_SYSTEM_ROOTS):
        if path and os.path.isfile(path):
            return _bytes(path)
    return None


def tls_of(
    tls: bool | None,
    ca_file: StrPath | None,
    cert_file: StrPath | None,
    key_file: StrPath | None,
    server_name: str | None,
) -> Tls | None:
    """Return how connections are secured, None for plain ones.

    `tls` None secures them if anything of it is given; True alone trusts the machine's CAs.

    Raises:
        ValueError: The arguments contradict each other.
    """
    given = [part for part in (ca_file, cert_file, key_file, server_name) if part]
    if tls is False and given:
        raise ValueError("without TLS there is no use for certificates and a server's name")
    if bool(cert_file) != bool(key_file):
        raise ValueError("a certificate and its key go together; give both or neither")
    if not (tls or given):
        return None
    ca, cert, key = (os.fspath(path) if path else None for path in (ca_file, cert_file, key_file))
    return Tls(ca, cert, key, server_name or None)
