from collections.abc import Iterable

from typing_extensions import disjoint_base

__all__ = ["Etcd", "split_address"]

def split_address(address: str) -> tuple[str, int]: ...

@disjoint_base
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
