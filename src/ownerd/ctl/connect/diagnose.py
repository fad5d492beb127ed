"""Why a server cannot be reached, in words: gRPC says UNAVAILABLE for all of it.

Looks for itself, over a connection of its own, without reading gRPC's texts; sends no token.
"""

import socket
import ssl
import time
from collections.abc import Callable
from typing import NamedTuple

from ownerd.client.credentials import Tls

PROBE_TIMEOUT_S = 2.0

START_ONE = (
    "start one with `ownerd serve --data DIR`, or name its admin address with --server,"
    " OWNERD_SERVER or a context"
)
_SHOW_YOURS = "see --cert and --key"
# Of OpenSSL's X509_V_ERR_: what is wrong with the certificate.
_NOT_YET, _EXPIRED, _OTHER_NAMES = 9, 10, (62, 64)


class Complaint(NamedTuple):
    """Why a server cannot be reached, and what to do."""

    why: str
    advice: str


def complaint(server: str, tls: Tls | None, is_ready: Callable[[], bool]) -> Complaint | None:
    """Say why a call cannot come through; None if it can, or it cannot be told.

    Args:
        server: `host:port`.
        tls: How calls are secured.
        is_ready: Whether gRPC gets a connection after all; a server that drains says UNAVAILABLE
            too.
    """
    host, _, port = server.rpartition(":")
    if not port.isdecimal():
        return None
    address = host.strip("[]"), int(port)
    try:
        socket.create_connection(address, PROBE_TIMEOUT_S).close()
        if tls is not None and (found := _tls_complaint(address, tls)):
            return found
        if tls is None and _speaks_tls(address):
            return Complaint(
                "it speaks TLS", "name the CAs to trust it by with --ca, or a context; or say --tls"
            )
        if is_ready():
            return None
        return Complaint(
            "what listens there does not speak gRPC", "name the server's admin address"
        )
    except OSError as error:
        return Complaint(error.strerror or str(error), START_ONE)


def _tls_complaint(address: tuple[str, int], tls: Tls) -> Complaint | None:
    context = tls.context()
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection(address, PROBE_TIMEOUT_S) as plain:
            name = tls.server_name or address[0]
            with context.wrap_socket(plain, server_hostname=name) as secured:
                if secured.recv(1):
                    return None
    except TimeoutError:
        return None
    except ssl.SSLCertVerificationError as error:
        why = f"its certificate is not trusted: {error.verify_message}"
        return Complaint(why, _advice_on_trust(error.verify_code))
    except ssl.SSLError as error:
        if "CERTIFICATE_REQUIRED" in (error.reason or "") and tls.cert_file is None:
            return Complaint("it wants your certificate", _SHOW_YOURS)
        what = (error.reason or str(error)).replace("_", " ").lower()
        return Complaint(f"no TLS with it, {what}", "name the address of a listener that has TLS")
    # After the handshake, which is when a server looks at the client's certificate.
    if tls.cert_file is None:
        return Complaint("it hung up; perhaps it wants your certificate", _SHOW_YOURS)
    return Complaint(
        f"it hung up; perhaps it does not trust the certificate {tls.cert_file}",
        "show one of a CA that the server's dial_client_ca or admin_client_ca has",
    )


def _advice_on_trust(code: int) -> str:
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    if code == _EXPIRED:
        return f"put a new one in its place on the server; or set this machine's clock, now {now}"
    if code == _NOT_YET:
        return (
            f"set this machine's clock, now {now}, if it is behind; else the clock of who made the "
            "certificate was ahead"
        )
    if code in _OTHER_NAMES:
        return "name the server as its certificate does, or say that name with --server-name"
    return "name the CA that it was made by with --ca"


def _speaks_tls(address: tuple[str, int]) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is said over it
    try:
        with (
            socket.create_connection(address, PROBE_TIMEOUT_S) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except OSError:
        return False
