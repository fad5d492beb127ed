from collections.abc import Sequence
from typing import Any, Final

from typing_extensions import disjoint_base

from ownerd.access.table import Access
from ownerd.engine.engine import Engine
from ownerd.net.call_bridge import CallBridge

ENDINGS: Final[dict[str, int]]
COUNTS: Final[tuple[str, ...]]

def library_versions() -> tuple[str, str]: ...

@disjoint_base
class Listener:
    def __init__(
        self,
        engine: Engine,
        access: Access,
        *,
        threads: int,
        max_connections: int,
        max_streams: int,
        max_header_bytes: int,
        max_message_bytes: int,
        max_held_bytes: int,
        max_principal_bytes: int,
        max_memory_bytes: int,
        max_resets_per_s: int,
        handshake_timeout_s: float,
        transfer_timeout_s: float,
        keepalive_time_s: float,
        keepalive_timeout_s: float,
        max_idle_s: float,
        max_age_s: float,
        max_age_grace_s: float,
        first_call_timeout_s: float,
        max_strangers: int,
        max_stranger_calls: int,
        handlers: CallBridge | None = None,
    ) -> None: ...
    def limit(
        self,
        *,
        max_connections: int,
        max_streams: int,
        max_header_bytes: int,
        max_message_bytes: int,
        max_held_bytes: int,
        max_memory_bytes: int,
        max_resets_per_s: int,
        handshake_timeout_s: float,
        keepalive_time_s: float,
        keepalive_timeout_s: float,
        max_idle_s: float,
        max_age_s: float,
        max_age_grace_s: float,
    ) -> None: ...
    def use_tls(
        self, certificate_pem: bytes, key_pem: bytes, client_ca_pem: bytes | None = None
    ) -> None: ...
    def start(self, sockets: Sequence[int], secure: Sequence[int] = ()) -> None: ...
    def tell_health(self) -> None: ...
    def begin_drain(self) -> None: ...
    def close(self, grace_s: float) -> None: ...
    @property
    def told(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    @property
    def pending(self) -> int: ...
    @property
    def received(self) -> int: ...
    # Counts by name, and under `ended` a dict of counts.
    def stats(self) -> dict[str, Any]: ...
