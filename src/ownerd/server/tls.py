"""The server's certificate, key and client CAs: read and checked at start, and again on changes.

Files are renewed under a running server, by a rename, by writing them anew or by turning a symbolic
link (Kubernetes). So their contents are read about once a second, and what was read twice the same
is checked and handed to every listener for its new connections. Contents that do not work, such as
a key that does not fit the certificate yet, change nothing but raise an alarm, which is over when
the files are good again.

Reading and checking happen on a worker thread; all else belongs to the event loop's. Nothing here
logs a key or puts one into a message.
"""

import asyncio
import os
import ssl
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from ownerd.server import addresses, certificates
from ownerd.server.alarms import AlarmBoard
from ownerd.server.config import Settings
from ownerd.server.exits import ConfigError

RELOAD_FAILED = "tls_reload_failed"
EXPIRES_SOON = "tls_certificate_expires"
SOON_S = 14 * 86_400

LISTENERS = ("dial", "admin", "metrics")

_POLL_S = 0.5
_MOST_BYTES = 1 << 20
_DAY_S = 86_400

log = structlog.get_logger("ownerd.net.tls")


@dataclass(frozen=True)
class Material:
    """What listeners make TLS of: PEM texts that are known to work together.

    Attributes:
        certificate: the certificate, and those that lead to its CA.
        key: its private key.
        client_cas: by listener (dial, admin, metrics), the CAs of its clients' certificates; a
            listener without takes clients without.
        expiry_s: Unix time at which the certificate ends.
    """

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    client_cas: Mapping[str, bytes] = field(repr=False)
    expiry_s: float


class Faulty(Exception):
    """Files cannot be used; the message names setting and file and says what to do."""


def load(settings: Settings) -> Material | None:
    """Return what the files hold; None where no certificate is set.

    Raises:
        ConfigError: a file cannot be used, or settings are missing.
    """
    _refuse_halves(settings)
    if not settings.tls_certificate:
        return None
    try:
        material = material_of(settings, read_files(settings))
    except Faulty as error:
        raise ConfigError(str(error)) from None
    if os.stat(settings.tls_key).st_mode & stat.S_IROTH:
        log.warning(
            "tls_key_readable_by_all",
            file=settings.tls_key,
            advice="every user of this machine can read the server's private key; chmod o-r it",
        )
    return material


def refuse_unprotected(settings: Settings) -> None:
    """Refuse addresses that other machines can reach and that nothing protects.

    Raises:
        ConfigError: there is such an address, and `insecure` is not set.
    """
    if settings.insecure:
        return
    for name, address in _listening(settings):
        if addresses.parse(address).is_local:
            continue
        if not settings.tls_certificate:
            raise ConfigError(
                f"{name}: other machines can reach {address}, and there is no TLS; set "
                "tls_certificate and tls_key, listen on a loopback address, or say --insecure"
            )
        if settings.no_auth:
            raise ConfigError(
                f"no_auth: other machines can reach {address} ({name}), and would be asked for "
                "nothing; leave no_auth out, listen on a loopback address, or say --insecure"
            )


def _listening(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield every address with the setting that it comes from."""
    for address in settings.dial_listen:
        yield "dial_listen", address
    yield "admin_listen", settings.admin_listen
    if settings.metrics_listen:
        yield "metrics_listen", settings.metrics_listen


def _refuse_halves(settings: Settings) -> None:
    certificate, key = settings.tls_certificate, settings.tls_key
    if bool(certificate) != bool(key):
        missing, other = ("tls_key", certificate) if certificate else ("tls_certificate", key)
        raise ConfigError(f"{missing}: not set, but {other} is of no use alone; set both or none")
    for name in LISTENERS:
        if not certificate and (ca := getattr(settings, f"{name}_client_ca")):
            raise ConfigError(
                f"{name}_client_ca: found {ca}, but clients show certificates only where the "
                "server has one; set tls_certificate and tls_key, or leave it out"
            )


# ---- files


def read_files(settings: Settings) -> dict[str, bytes]:
    """Return the contents of the files that are set, by setting.

    Raises:
        Faulty: one cannot be read.
    """
    names = ("tls_certificate", "tls_key", *(f"{name}_client_ca" for name in LISTENERS))
    return {name: _read(name, path) for name in names if (path := getattr(settings, name))}


def _read(setting: str, path: str) -> bytes:
    try:
        # Not blocked by a pipe that nobody writes to.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Faulty(f"{setting}: {path} is no file; name a PEM file")
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Faulty(
            f"{setting}: cannot read {path}: {error.strerror}; name a PEM file that the server's "
            "user can read"
        ) from None
    if len(data) > _MOST_BYTES:
        raise Faulty(f"{setting}: {path} has over {_MOST_BYTES:,} bytes; name a PEM file")
    return data


def material_of(settings: Settings, files: Mapping[str, bytes]) -> Material:
    """Return the files' contents as material, once it is known to work.

    Raises:
        Faulty: it does not.
    """
    for name, data in files.items():
        _check_pem(name, getattr(settings, name), data)
    client_cas = {
        name: files[f"{name}_client_ca"] for name in LISTENERS if f"{name}_client_ca" in files
    }
    for name, data in files.items():
        if name != "tls_key":
            _check_certificates(name, getattr(settings, name), data)
    certificate, key = files["tls_certificate"], files["tls_key"]
    _check_pair(settings, certificate, key)
    return Material(certificate, key, client_cas, _expiry_s(settings, certificate))


def _check_pem(setting: str, path: str, data: bytes) -> None:
    if setting == "tls_key":
        if b"ENCRYPTED" in data:
            raise Faulty(
                f"tls_key: {path} is encrypted, and nobody is there to type its passphrase; store "
                "it without one (openssl pkey -in FILE -out NEW)"
            )
        if b"PRIVATE KEY-----" not in data:
            raise Faulty(f"tls_key: {path} holds no private key in PEM; name the file that does")
    elif b"-----BEGIN CERTIFICATE-----" not in data:
        raise Faulty(f"{setting}: {path} holds no certificate in PEM; name the file that does")


def _check_certificates(setting: str, path: str, data: bytes) -> None:
    """Refuse a text with a broken certificate in it, wherever it stands."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=data.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise Faulty(
            f"{setting}: {path} holds a broken certificate ({_why(error)}); write it anew"
        ) from None


def _check_pair(settings: Settings, certificate: bytes, key: bytes) -> None:
    where = settings.tls_key
    try:
        context_of(certificate, key)
    except ssl.SSLError as error:
        if error.reason is None:
            raise Faulty(f"tls_key: {where} holds a broken private key; write it anew") from None
        # What OpenSSL says of a key of another kind than the certificate's.
        if "MISMATCH" in error.reason or error.reason == "NO_CERTIFICATE_ASSIGNED":
            raise Faulty(
                f"tls_key: {where} does not fit the certificate in {settings.tls_certificate}; "
                "name the key that it was made for"
            ) from None
        raise Faulty(
            f"tls_certificate: {settings.tls_certificate} cannot be used ({_why(error)}); have a "
            "better one made"
        ) from None


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if isinstance(reason, str) else "no PEM"


def _expiry_s(settings: Settings, certificate: bytes) -> float:
    try:
        return certificates.expiry_s(certificate)
    except ValueError:
        raise Faulty(
            f"tls_certificate: {settings.tls_certificate} holds a certificate that cannot be read; "
            "have a better one made"
        ) from None


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Lend a path under which `ssl`, which reads only files, finds exactly these bytes."""
    with open(os.memfd_create("ownerd-tls"), "w+b") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def context_of(certificate: bytes, key: bytes, client_ca: bytes | None = None) -> ssl.SSLContext:
    """Return a server's context for Python's sockets.

    Raises:
        ssl.SSLError: something is no PEM, broken, or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with _as_file(certificate) as certificate_path, _as_file(key) as key_path:
        context.load_cert_chain(certificate_path, key_path)
    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca.decode("ascii"))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


# ---- changes


class Watch:
    """Looks for changes of the files, and hands on those that work.

    Args:
        settings: name the files.
        material: what was loaded at start.
        users: called with new material; they use it for new connections from then on, or raise
            ValueError and go on with the old.
        alarms: where what is wrong is shown.
    """

    def __init__(
        self,
        settings: Settings,
        material: Material,
        users: Iterable[Callable[[Material], None]],
        alarms: AlarmBoard,
    ) -> None:
        self.material = material
        self.reload_count = 0
        self.failure_count = 0
        self._settings = settings
        self._users = list(users)
        self._alarms = alarms
        self._seen: object = None  # contents, or why they cannot be read, at the last look
        self._done: object = None  # what was acted on
        self._warned = False
        self._show_expiry()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                await self.look()
            except Exception:
                log.exception("tls_watch_failed")

    async def look(self) -> None:
        """Read the files once; act on what is there for the second time, and is new."""
        found = await asyncio.to_thread(_try, read_files, self._settings)
        steady, self._seen = found == self._seen, found
        if steady and found != self._done:
            await self._act_on(found)
            self._done = found
        self._show_expiry()

    async def _act_on(self, found: "dict[str, bytes] | str") -> None:
        if not isinstance(found, str):
            made = await asyncio.to_thread(_try, material_of, self._settings, found)
            found = self._hand_on(made) if isinstance(made, Material) else made
        if found:
            self.failure_count += 1
            log.error("tls_reload_failed", cause=found)
            found = f"{found}. The material of before stays in use"
        self._alarms.set(RELOAD_FAILED, found or None)

    def _hand_on(self, made: Material) -> str:
        """Have every listener use new material; why it could not be, if so."""
        if made == self.material:
            return ""
        try:
            for use in self._users:
                use(made)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            return f"tls_certificate: {self._settings.tls_certificate} cannot be used ({error})"
        self.material = made
        self.reload_count += 1
        log.info("tls_reloaded", expiry=_spelt(made.expiry_s))
        return ""

    def _show_expiry(self) -> None:
        left_s = self.material.expiry_s - time.time()
        if left_s > SOON_S:
            self._warned = False
            self._alarms.set(EXPIRES_SOON, None)
            return
        if not self._warned:
            self._warned = True
            log.warning("tls_certificate_expires", expiry=_spelt(self.material.expiry_s))
        when = _spelt(self.material.expiry_s)
        what = "has ended" if left_s <= 0 else f"ends in {left_s / _DAY_S:.1f} days"
        self._alarms.set(
            EXPIRES_SOON,
            f"the certificate in use ({self._settings.tls_certificate}) {what}, at {when}; put a "
            "new one and its key in place, they are picked up by themselves",
        )


def _try(function: Callable[..., object], *arguments: object) -> Any:
    """Return what a function returns, or the message of its Faulty."""
    try:
        return function(*arguments)
    except Faulty as error:
        return str(error)


def _spelt(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")
