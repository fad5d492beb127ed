"""What one console is started with: where it listens, which server it shows, how long one may sit.

Values only; nothing here is read from files or the environment.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from ownerd.client import AsyncClient
from ownerd.client.credentials import Tls
from ownerd.client.fail_over import ATTEMPT_TIMEOUT_S, split, window_s

DEFAULT_PORT = 7414
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Upstream:
    """The ownerd server whose admin listener is asked, and how it is reached.

    `address` may name several nodes of a cluster, with commas.
    """

    address: str
    tls: Tls | None = None

    def client(self, token: str | None = None, token_file: str | None = None) -> AsyncClient:
        """Return a client that speaks for whoever has the token; errors as of `AsyncClient`."""
        tls = self.tls or Tls()
        timeout_s = READ_TIMEOUT_S
        if len(split(self.address)) > 1:
            timeout_s = max(timeout_s, window_s(ATTEMPT_TIMEOUT_S))  # a fail-over fits in
        return AsyncClient(
            self.address,
            token="" if token is None and token_file is None else token,
            token_file=token_file,
            tls=self.tls is not None,
            ca_file=tls.ca_file,
            cert_file=tls.cert_file,
            key_file=tls.key_file,
            server_name=tls.server_name,
            timeout_s=timeout_s,
            admin_timeout_s=timeout_s,
        )


READ_TIMEOUT_S = 10.0
"""How long a person waits for one answer before they are told that there is none."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the console listens and whom it lets in.

    Attributes:
        upstream: the server that is shown.
        host: address to listen on.
        port: its port; 0 picks a free one.
        token: whose calls they are where nobody signs in; None: everybody signs in.
        token_file: likewise, a file that is read again when it changes.
        sign_in: everybody signs in with a token of their own; else whoever has the printed address
            uses the token above, or none.
        tls_certificate: PEM file; with it the console speaks TLS.
        tls_key: PEM file with its key.
        public_url: how browsers reach the console through a proxy, such as https://ownerd.example.
        idle_s: seconds without use after which a session ends.
        longest_s: seconds after which it ends in any case.
    """

    upstream: Upstream
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = None
    token_file: str | None = None
    sign_in: bool = False
    tls_certificate: str | None = None
    tls_key: str | None = None
    public_url: str = ""
    idle_s: float = 1_800.0
    longest_s: float = 43_200.0

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach it by HTTPS."""
        return bool(self.tls_certificate) or self.public_url.startswith("https://")

    def hosts(self, port: int) -> frozenset[str] | None:
        """Return what a request's Host may be; None: anything, the network knows us by any name."""
        if self.public_url:
            return frozenset({urlsplit(self.public_url).netloc})
        if self.host in LOOPBACK:
            return frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
        return None
