from collections.abc import Sequence
from socket import socket

from ownerd.base.secure_channel import TlsClient
from ownerd.load.plan import Plan
from ownerd.load.tally import LoadResult

__all__ = ["check_shares", "connect_to", "drive", "drive_requests"]

def connect_to(address: str) -> socket: ...
def drive(
    address: str,
    plan: Plan,
    *,
    connections: int = 4,
    in_flight: int = 256,
    threads: int = 1,
    seconds: float = 5.0,
    warm_up_s: float = 0.5,
    rate_per_s: float = 0.0,
    token: str = "",
    tls: TlsClient | None = None,
) -> LoadResult: ...
def drive_requests(
    address: str,
    path: str,
    requests: Sequence[bytes],
    *,
    connections: int = 4,
    in_flight: int = 256,
    threads: int = 1,
    seconds: float = 5.0,
    warm_up_s: float = 0.5,
    rate_per_s: float = 0.0,
    token: str = "",
    tls: TlsClient | None = None,
) -> LoadResult: ...
def check_shares(connections: int, in_flight: int, threads: int) -> None: ...
