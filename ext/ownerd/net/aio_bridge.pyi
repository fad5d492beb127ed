from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from typing import Final, Self

from typing_extensions import disjoint_base

from ownerd.access.table import Access, Identity
from ownerd.engine.engine import Engine

DEFAULT_LONGEST_WAIT_US: Final[int]

@disjoint_base
class AioBridge:
    def __new__(cls, engine: Engine, access: Access, *, longest_wait_us: int = ...) -> Self: ...
    def attach(self, loop: AbstractEventLoop) -> None: ...
    def detach(self, loop: AbstractEventLoop) -> None: ...
    @property
    def pending(self) -> int: ...
    @property
    def received(self) -> int: ...
    def dial(
        self,
        kind: int,
        body: bytes,
        future: Future[bytes],
        identity: Identity,
        peer: Callable[[], str],
        remaining_s: float | None = None,
        trace_parent: str = "",
    ) -> None: ...
    def send(self) -> None: ...
    def deliver(self) -> None: ...
