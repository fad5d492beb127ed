"""Certificates for tests of clients, as PEM files in a directory: CAs, a server's and clients'."""

from pathlib import Path

import grpc
from tls_files import Authority


class Certificates:
    """A CA of the test's own; the files are `ca`, `other_ca`, and what `issue` returns."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = Authority()
        self.ca = self._written("ca.pem", self._authority.pem)
        self.other_ca = self._written("other-ca.pem", Authority().pem)

    def issue(self, *names: str) -> tuple[Path, Path]:
        """Return the files of a certificate for some names, and of its key."""
        pair = self._authority.issue(*names)
        certificate = self._written(f"{names[0]}.pem", pair.certificate)
        return certificate, self._written(f"{names[0]}.key", pair.key)

    def of_server(self, *names: str, asks_client: bool = False) -> grpc.ServerCredentials:
        """Return credentials of a grpcio server; with `asks_client` it wants a certificate."""
        pair = self._authority.issue(*names)
        roots = self.ca.read_bytes() if asks_client else None
        return grpc.ssl_server_credentials(
            [(pair.key, pair.certificate)], roots, require_client_auth=asks_client
        )

    def _written(self, name: str, content: bytes) -> Path:
        path = self._directory / name
        path.write_bytes(content)
        return path
