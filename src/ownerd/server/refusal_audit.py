"""Callers that were refused: counted for the metrics, told to the log and the audit (R21).

Whoever tries often must not fill the disk with it: for each caller an entry at once, a few more,
then one a minute; for all strangers together, and for all who are known, six a minute once a
hundred are written. What is held back is added up, and told with the next entry. While the store
keeps its last capacity for releases nothing is written at all.

Runs on the event loop's thread; the writes block a worker thread.
"""

import asyncio
import json
from typing import NamedTuple

import structlog

from ownerd.native import PERMISSION, UNAUTHENTICATED, Access, Engine, RateLimiter, Refused
from ownerd.server.principals import ANONYMOUS
from ownerd.server.workers import Workers
from ownerd.v1 import admin_pb2

_LOOK_S = 0.5
# How many entries at once, and then one in how many seconds.
_OF_A_KIND = (5, 60.0)
_OF_ALL = (100, 10.0)
_MOST_KINDS = 1_000
_MOST_AT_END = 50

# By the code of the refusal: what metrics and log call it, and the audit.
REASONS = {UNAUTHENTICATED: "unauthenticated", PERMISSION: "permission_denied"}
_NUMBERS = {
    UNAUTHENTICATED: admin_pb2.REFUSAL_UNAUTHENTICATED,
    PERMISSION: admin_pb2.REFUSAL_PERMISSION_DENIED,
}

log = structlog.get_logger("ownerd.refusals")


class Kind(NamedTuple):
    """What makes two refusals the same."""

    code: int
    principal_id: str
    peer: str
    action: str


class _Held:
    """Refusals of one kind that are not told yet."""

    def __init__(self) -> None:
        self.limiter = RateLimiter(*_OF_A_KIND)
        self.count = 0
        self.list_id = self.campaign_id = ""


class RefusalAudit:
    """What becomes of callers that were refused.

    Args:
        engine: whose audit they are told to.
        access: who counts them.
        workers: run the writes.
    """

    def __init__(self, engine: Engine, access: Access, workers: Workers) -> None:
        self._engine = engine
        self._access = access
        self._workers = workers
        self._held: dict[Kind, _Held] = {}
        self._beyond = 0
        # Strangers who try often must not keep it quiet what somebody known was refused.
        self._of_all = {code: RateLimiter(*_OF_ALL) for code in REASONS}
        self.counts = dict.fromkeys((*REASONS.values(), "not_told_apart"), 0)

    async def watch(self) -> None:
        """Look for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.look(loop.time())

    async def look(self, now_s: float) -> None:
        """Fetch what is new and tell what may be told at a time of the loop's clock."""
        self._fetch()
        self._forget_the_quiet(now_s)
        for kind, held in self._untold():
            limiters = held.limiter, self._of_all[kind.code]
            if all(limiter.allows(now_s) for limiter in limiters):
                if not await self._tell(kind, held):
                    return
                for limiter in limiters:
                    limiter.spend(now_s)

    async def tell_rest(self) -> None:
        """Tell what is held back, however much was told already; the server is about to end.

        The first entry counts those that would be too many.
        """
        self._fetch()
        untold = self._untold()
        self._beyond += sum(held.count for _, held in untold[_MOST_AT_END:])
        for kind, held in untold[:_MOST_AT_END]:
            if not await self._tell(kind, held):
                return

    def _fetch(self) -> None:
        rows, beyond = self._access.take_refusals()
        self._beyond += beyond
        self.counts["not_told_apart"] += beyond
        for code, principal_id, peer, action, list_id, campaign_id, count in rows:
            self.counts[REASONS[code]] += count
            kind = Kind(code, principal_id, peer, action)
            if kind not in self._held and len(self._held) >= _MOST_KINDS:
                self._beyond += count
                continue
            held = self._held.setdefault(kind, _Held())
            if not held.count:
                held.list_id, held.campaign_id = list_id, campaign_id
            held.count += count

    def _untold(self) -> list[tuple[Kind, _Held]]:
        return [each for each in self._held.items() if each[1].count]

    def _forget_the_quiet(self, now_s: float) -> None:
        quiet = [
            kind
            for kind, held in self._held.items()
            if not held.count and held.limiter.is_rested(now_s)
        ]
        for kind in quiet:
            del self._held[kind]

    async def _tell(self, kind: Kind, held: _Held) -> bool:
        """Write one entry; False if there is no capacity for it."""
        count, held.count = held.count, 0
        beyond, self._beyond = self._beyond, 0
        note = _note(kind, held, beyond)
        try:
            await self._workers.run(self._engine.note_refusals, count, note=note)
        except Refused as error:
            held.count += count
            self._beyond += beyond
            log.warning("refusals_not_recorded", cause=error.message)
            return False
        log.warning(
            "turned_away",
            reason=REASONS[kind.code],
            principal=kind.principal_id or ANONYMOUS,
            peer=kind.peer,
            action=kind.action,
            count=count,
        )
        return True


def _note(kind: Kind, held: _Held, beyond: int) -> bytes:
    """Return the audit entry; `beyond` are refusals that were not told apart since the last."""
    detail = {"others": beyond} if beyond else {}
    entry = admin_pb2.AuditEntry(
        principal=kind.principal_id or ANONYMOUS,
        peer=kind.peer,
        action=kind.action,
        list_id=held.list_id,
        campaign_ids=[held.campaign_id] if held.campaign_id else [],
        detail=json.dumps(detail),
        refusal=_NUMBERS[kind.code],
    )
    return entry.SerializeToString(deterministic=True)
