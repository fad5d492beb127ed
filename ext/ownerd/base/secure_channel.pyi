from socket import socket

from typing_extensions import disjoint_base

@disjoint_base
class TlsClient:
    def __init__(
        self,
        server_name: str,
        *,
        ca_pem: bytes | None = None,
        certificate_pem: bytes | None = None,
        key_pem: bytes | None = None,
    ) -> None: ...
    def check(self, sock: socket, patience_s: float) -> None: ...
