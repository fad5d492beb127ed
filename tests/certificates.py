"""Certificates for tests of TLS: a CA, a server's and clients', as PEM files in a directory."""

from pathlib import Path

import grpc
import trustme


class Certificates:
    """A CA of the test's own; the files are `ca`, `other_ca`, and what `issue` returns."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self.ca = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca))
        self.other_ca = directory / "other-ca.pem"
        trustme.CA().cert_pem.write_to_path(str(self.other_ca))

    def issue(self, *names: str) -> tuple[Path, Path]:
        """Return the files of a certificate for some names, and of its key."""
        made = self._ca.issue_cert(*names)
        files = tuple(self._directory / f"{names[0]}.{kind}" for kind in ("pem", "key"))
        for number, blob in enumerate(made.cert_chain_pems):
            blob.write_to_path(str(files[0]), append=number > 0)
        made.private_key_pem.write_to_path(str(files[1]))
        return files

    def of_server(self, *names: str, asks_client: bool = False) -> grpc.ServerCredentials:
        """Return credentials of a grpcio server; with `asks_client` it wants a certificate."""
        certificate, key = self.issue(*names)
        pair = key.read_bytes(), certificate.read_bytes()
        roots = self.ca.read_bytes() if asks_client else None
        return grpc.ssl_server_credentials([pair], roots, require_client_auth=asks_client)
