from collections.abc import Iterable

__all__ = ["Etcd", "split_address"]

def split_address(address: str) -> tuple[str, int]: ...

class Etcd:
    def __init__(
        self,
        addresses: Iterable[str],
        *,
        ca_pem: bytes | None = None,
        certificate_pem: bytes | None = None,
        key_pem: bytes | None = None,
        tls: bool = False,
        user: str = "",
        password: str = "",
    ) -> None: ...
    def stop(self) -> None: ...
