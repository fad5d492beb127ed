"""Certificates for tests, made on the spot: a CA, what it signs, and files of both.

Knows nothing of ownerd but the names of its settings.
"""

import os
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import trustme

NOW = datetime.now(UTC)
PAST = {"not_before": NOW - timedelta(days=9), "not_after": NOW - timedelta(days=1)}
FUTURE = {"not_before": NOW + timedelta(days=1), "not_after": NOW + timedelta(days=90)}
LONG = {"not_before": NOW - timedelta(days=1), "not_after": NOW + timedelta(days=90)}


class Pair(NamedTuple):
    """A certificate with what leads to its CA, and its key, in PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A CA."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem: bytes = self._ca.cert_pem.bytes()

    def issue(self, *names: str, **validity: Any) -> Pair:
        """Return a certificate for names, by default for 127.0.0.1 and localhost."""
        made = self._ca.issue_cert(*(names or ("127.0.0.1", "localhost")), **(LONG | validity))
        chain = b"".join(pem.bytes() for pem in made.cert_chain_pems)
        return Pair(chain, made.private_key_pem.bytes())


class Files:
    """The files that a server is told of, in a directory."""

    def __init__(self, directory: Path, pair: Pair, client_ca: bytes | None = None) -> None:
        directory.mkdir(exist_ok=True)
        self.certificate = directory / "certificate.pem"
        self.key = directory / "key.pem"
        self.client_ca = directory / "client-ca.pem"
        self.put(pair)
        if client_ca is not None:
            self.client_ca.write_bytes(client_ca)

    def put(self, pair: Pair) -> None:
        """Replace certificate and key, one after the other, by renames."""
        for path, data in ((self.certificate, pair.certificate), (self.key, pair.key)):
            new = path.with_suffix(".new")
            new.write_bytes(data)
            new.chmod(0o600)
            os.replace(new, path)

    @property
    def arguments(self) -> list[str]:
        """Flags of `ownerd serve`."""
        found = ["--tls-certificate", str(self.certificate), "--tls-key", str(self.key)]
        if self.client_ca.exists():
            for listener in ("dial", "admin", "metrics"):
                found += [f"--{listener}-client-ca", str(self.client_ca)]
        return found


def context(
    ca: bytes,
    pair: Pair | None = None,
    *,
    alpn: tuple[str, ...] = ("h2",),
    directory: Path,
    version: ssl.TLSVersion | None = None,
) -> ssl.SSLContext:
    """Return a client that trusts a CA and shows a certificate; only of one version, if given."""
    made = ssl.create_default_context(cadata=ca.decode())
    if alpn:
        made.set_alpn_protocols(list(alpn))
    if pair is not None:
        made.load_cert_chain(*_written(pair, directory))
    if version is not None:
        with warnings.catch_warnings(action="ignore"):  # old ones are deprecated
            if version < ssl.TLSVersion.TLSv1_2:
                made.set_ciphers("ALL:@SECLEVEL=0")  # else the client itself refuses
            made.minimum_version = made.maximum_version = version
    return made


def _written(pair: Pair, directory: Path) -> tuple[Path, Path]:
    certificate, key = directory / "client.pem", directory / "client-key.pem"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    return certificate, key
