"""A client of a server that has several addresses, of which one leads.

Whatever is not answered by one of them within a second is sent to the next, for as long as a
fail-over may take. That is safe: a claim, a report or an admin change may come twice (R20).
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from ownerd.client import AsyncClient, DeadlineExceeded, Unauthenticated, Unavailable
from ownerd.client.credentials import StrPath

Result = TypeVar("Result")

_ATTEMPT_S = 1.0
_PATIENCE_S = 30.0
_PAUSE_S = 0.05


class Either(AsyncClient):
    """An `AsyncClient` that goes on to the next address."""

    def __init__(
        self,
        targets: Sequence[str],
        admin_targets: Sequence[str],
        *,
        token: str | None = None,
        token_file: StrPath | None = None,
    ) -> None:
        pairs = list(zip(targets, admin_targets, strict=True))
        super().__init__(pairs[0][0], admin_target=pairs[0][1], token=token, token_file=token_file)
        others = [
            AsyncClient(target, admin_target=admin, token=token, token_file=token_file)
            for target, admin in pairs[1:]
        ]
        self._all = [self._transport, *(other._transport for other in others)]

    async def close(self) -> None:
        """Close all connections."""
        for transport in self._all:
            await transport.close()

    async def _run(self, call: Any, timeout_s: float | None) -> Any:
        end_s = time.monotonic() + _PATIENCE_S
        while True:
            asked = self._transport
            try:
                return await super()._run(call, _ATTEMPT_S)
            except (Unavailable, DeadlineExceeded, Unauthenticated):
                # Who stands by learns a moment later whom the leader lets in.
                if time.monotonic() > end_s:
                    raise
            if self._transport is asked:
                self._transport = self._all[(self._all.index(asked) + 1) % len(self._all)]
            await asyncio.sleep(_PAUSE_S)
