"""Why a server cannot be reached, in words: gRPC says UNAVAILABLE for all of it.

Looks for itself, over a connection of its own, without reading gRPC's texts; sends no token.
"""

import socket
import ssl
from collections.abc import Callable

from ownerd.client.credentials import Tls

PROBE_TIMEOUT_S = 2.0


def complaint(server: str, tls: Tls | None, is_ready: Callable[[], bool]) -> str:
    """Say why a call cannot come through; "" if it can, or it cannot be told.

    Args:
        server: `host:port`.
        tls: How calls are secured.
        is_ready: Whether gRPC gets a connection after all; a server that drains says UNAVAILABLE
            too.
    """
    host, _, port = server.rpartition(":")
    if not port.isdecimal():
        return ""
    address = host.strip("[]"), int(port)
    try:
        socket.create_connection(address, PROBE_TIMEOUT_S).close()
        if tls is not None and (found := _tls_complaint(address, tls)):
            return found
        if tls is None and _speaks_tls(address):
            return "it speaks TLS; name the CAs to trust it by with --ca, or say --tls"
        return "" if is_ready() else "what listens there does not speak gRPC"
    except OSError as error:
        return error.strerror or str(error)


def _tls_complaint(address: tuple[str, int], tls: Tls) -> str:
    context = tls.context()
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection(address, PROBE_TIMEOUT_S) as plain:
            name = tls.server_name or address[0]
            with context.wrap_socket(plain, server_hostname=name) as secured:
                if secured.recv(1):
                    return ""
    except TimeoutError:
        return ""
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message}"
    except ssl.SSLError as error:
        if "CERTIFICATE_REQUIRED" in (error.reason or "") and tls.cert_file is None:
            return "it wants your certificate, see --cert and --key"
        return f"no TLS with it, {(error.reason or str(error)).replace('_', ' ').lower()}"
    # After the handshake, which is when a server looks at the client's certificate.
    if tls.cert_file is None:
        return "it hung up; perhaps it wants your certificate, see --cert and --key"
    return f"it hung up; perhaps it does not trust the certificate {tls.cert_file}"


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
