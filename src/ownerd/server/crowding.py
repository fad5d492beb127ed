"""Watches the listeners' limits: who is turned out or kept waiting is logged and an alarm.

One log line a listener and kind when it begins, then one every `TOLD_AGAIN_S` with what came
meanwhile, however much it is. The alarm is up until nothing has come for `CALM_S`.

Everything runs on the event loop's thread; the counts are the listeners'.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import structlog

from ownerd.server.alarms import AlarmBoard

LOOK_S = 1.0
TOLD_AGAIN_S = 60.0
CALM_S = 60.0

log = structlog.get_logger("ownerd.listeners")


Statistics = Callable[[], Mapping[str, Any]]


class Limit(NamedTuple):
    """One kind of limit; `count` of a listener's statistics says how often it was met."""

    name: str
    count: Callable[[Mapping[str, Any]], int]
    message: str


LIMITS = (
    Limit(
        "strangers_crowding",
        lambda stats: stats["ended"]["crowded"] + stats["calls_turned_out"],
        "connections or calls of callers who have not said who they are were ended for others of "
        "theirs, as there were more than max_strangers, max_stranger_calls or the listener's "
        "connections allow; known callers go on. Find out who they are: the log of a proxy or a "
        "packet filter says where from",
    ),
    Limit(
        "connections_full",
        lambda stats: stats["accept_pauses"],
        "no more connections could be taken, all places being those of known callers: new ones "
        "wait. Allow more of them (dial_max_connections, admin_max_connections, and the open "
        "files of the process), or have callers use fewer",
    ),
    Limit(
        "calls_stalled",
        lambda stats: stats["stalled"] + stats["ended"]["stalled"],
        "calls whose request did not come in, or whose answer was not taken, within "
        "dial_transfer_timeout_s were ended: a network that is too slow, or callers who hold calls "
        "open",
    ),
)


class _Watched:
    """How often one listener has met one limit."""

    def __init__(self) -> None:
        self.seen = 0
        self.untold = 0
        self.told_s = -TOLD_AGAIN_S
        self.last_s = -CALM_S


class CrowdWatch:
    """The watch over some listeners.

    Args:
        alarms: where the alarms go.
        listeners: their statistics, by the listener's name.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        alarms: AlarmBoard,
        listeners: Mapping[str, Statistics],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._alarms = alarms
        self._clock = clock
        self._listeners: dict[str, Statistics] = {}
        self._watched: dict[tuple[str, Limit], _Watched] = {}
        for name, statistics in listeners.items():
            self.watch(name, statistics)

    def watch(self, name: str, statistics: Statistics) -> None:
        """Watch one listener more."""
        self._listeners[name] = statistics
        self._watched |= {(name, limit): _Watched() for limit in LIMITS}

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Tell of what has happened since the last look."""
        now_s = self._clock()
        for name, statistics in self._listeners.items():
            found = statistics()
            for limit in LIMITS:
                watched = self._watched[name, limit]
                count = limit.count(found)
                if count > watched.seen:
                    watched.untold += count - watched.seen
                    watched.seen, watched.last_s = count, now_s
                if watched.untold and now_s - watched.told_s >= TOLD_AGAIN_S:
                    log.warning(
                        limit.name, listener=name, count=watched.untold, advice=limit.message
                    )
                    watched.untold, watched.told_s = 0, now_s
        for limit in LIMITS:
            self._alarms.set(limit.name, self._message(limit, now_s))

    def _message(self, limit: Limit, now_s: float) -> str | None:
        crowded = [
            name for name in self._listeners if now_s - self._watched[name, limit].last_s < CALM_S
        ]
        return f"{_listed(crowded)}: {limit.message}" if crowded else None


def _listed(names: Iterable[str]) -> str:
    return " and ".join(f"{name} listener" for name in names)
