"""Callers that were turned away: counted for the metrics, told to the log and the audit (R21).

Whoever tries often must not fill the disk with it: for each caller an entry at once, a few more,
then one a minute; for all strangers together, and for all who are known, six a minute once a
hundred are written. What is held back is added up, and told with the next entry. While the store
keeps its last room for releases nothing is written at all.

Runs on the event loop's thread; the writes block a worker thread.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import NamedTuple

import structlog

from ownerd.native import PERMISSION, UNAUTHENTICATED, Access, Engine, Refused
from ownerd.server.admin.calls import Calls
from ownerd.server.principals import ANONYMOUS
from ownerd.v1 import admin_pb2

_LOOK_S = 0.5
_KEY_BURST, _KEY_PER_S = 5, 1 / 60
_ALL_BURST, _ALL_PER_S = 100, 1 / 10
_MOST_KEYS = 1_000
_MOST_AT_END = 50

REASONS = {UNAUTHENTICATED: "unauthenticated", PERMISSION: "permission_denied"}

log = structlog.get_logger("ownerd.refusals")


class Bucket:
    """A token bucket: `burst` at once, then `per_s` a second."""

    def __init__(self, burst: float, per_s: float, now_s: float) -> None:
        self._burst = self._left = burst
        self._per_s = per_s
        self._seen_s = now_s

    def fill(self, now_s: float) -> bool:
        """Add what has come since; return whether it is full."""
        self._left = min(self._burst, self._left + (now_s - self._seen_s) * self._per_s)
        self._seen_s = now_s
        return self._left >= self._burst

    def has_one(self) -> bool:
        """Whether one can be taken."""
        return self._left >= 1

    def take(self) -> None:
        """Take one."""
        self._left -= 1


class Kind(NamedTuple):
    """What makes two refusals the same."""

    refusal: int
    principal_id: str
    peer: str
    action: str


class _Held:
    """Refusals of one kind that are not told yet."""

    def __init__(self, now_s: float) -> None:
        self.bucket = Bucket(_KEY_BURST, _KEY_PER_S, now_s)
        self.count = 0
        self.list_id = self.campaign_id = ""


class Refusals:
    """What becomes of callers that were turned away.

    Args:
        engine: whose audit they are told to.
        access: who counts them.
        calls: runs the writes.
    """

    def __init__(self, engine: Engine, access: Access, calls: Calls) -> None:
        self._engine = engine
        self._access = access
        self._calls = calls
        self._held: dict[Kind, _Held] = {}
        self._beyond = 0
        self._all: dict[int, Bucket] = {}
        self.counts = dict.fromkeys((*REASONS.values(), "not_told_apart"), 0)

    async def watch(self) -> None:
        """Look for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.look(loop.time())

    async def look(self, now_s: float) -> None:
        """Fetch what is new and tell what may be told at a time of the loop's clock."""
        # Strangers who try often must not keep it quiet what somebody known was refused.
        self._all = self._all or {
            refusal: Bucket(_ALL_BURST, _ALL_PER_S, now_s) for refusal in REASONS
        }
        self._fetch(now_s)
        for bucket in self._all.values():
            bucket.fill(now_s)
        for kind, held in self._due(now_s):
            if not await self._tell(kind, held):
                return
            self._all[kind.refusal].take()
            held.bucket.take()

    async def tell_rest(self) -> None:
        """Tell what is held back, however much was told already; the server is about to end.

        The first entry counts those that would be too many.
        """
        self._fetch(0.0)
        untold = [each for each in self._held.items() if each[1].count]
        self._beyond += sum(held.count for _, held in untold[_MOST_AT_END:])
        for kind, held in untold[:_MOST_AT_END]:
            if not await self._tell(kind, held):
                return

    def _fetch(self, now_s: float) -> None:
        rows, beyond = self._access.take_denials()
        self._beyond += beyond
        self.counts["not_told_apart"] += beyond
        for refusal, principal_id, peer, action, list_id, campaign_id, count in rows:
            self.counts[REASONS[refusal]] += count
            kind = Kind(refusal, principal_id, peer, action)
            if kind not in self._held and len(self._held) >= _MOST_KEYS:
                self._beyond += count
                continue
            held = self._held.setdefault(kind, _Held(now_s))
            if not held.count:
                held.list_id, held.campaign_id = list_id, campaign_id
            held.count += count

    def _due(self, now_s: float) -> Iterator[tuple[Kind, _Held]]:
        """Yield what may be told now, one by one; forget what has been quiet for long."""
        for kind, held in list(self._held.items()):
            quiet = held.bucket.fill(now_s)
            if not held.count and quiet:
                del self._held[kind]
            elif held.count and held.bucket.has_one() and self._all[kind.refusal].has_one():
                yield kind, held

    async def _tell(self, kind: Kind, held: _Held) -> bool:
        """Write one entry; False if there is no room for it."""
        count, held.count = held.count, 0
        beyond, self._beyond = self._beyond, 0
        note = _note(kind, held, beyond)
        try:
            await self._calls.run(self._engine.note_refusals, count, note=note)
        except Refused as error:
            held.count += count
            self._beyond += beyond
            log.warning("refusals_not_recorded", cause=error.message)
            return False
        log.warning(
            "turned_away",
            reason=REASONS[kind.refusal],
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
        refusal=kind.refusal,
    )
    return entry.SerializeToString(deterministic=True)
