"""Reads the settings again under a running server, and takes over those that can be.

What can be is in RELOADED, by what takes it; everything else is named in the log, and comes into
force with the next start. Settings that are wrong change nothing and raise an alarm, which is over
with the next ones that are right.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog

from ownerd.server.alarms import AlarmBoard
from ownerd.server.config import KEYS, Settings
from ownerd.server.exits import Stop

FAILED = "reload_failed"

log = structlog.get_logger("ownerd.server")

Read = Callable[[], Settings]
# Takes settings that differ in what it is registered for; says no by a Stop.
Take = Callable[[Settings], Awaitable[None] | None]


class NeedsRestart(Exception):
    """What has changed cannot be taken over under way after all."""


class Reloader:
    """The settings in force, and what takes over which of them.

    Args:
        settings: those that the server was started with.
        read: reads them anew, as at the start.
        takers: by names of settings, what takes them over.
        alarms: where what is wrong is shown.
    """

    def __init__(
        self,
        settings: Settings,
        read: Read,
        takers: Mapping[tuple[str, ...], Take],
        alarms: AlarmBoard,
    ) -> None:
        self.settings = settings
        self._read = read
        self._takers = takers
        self._alarms = alarms
        self._turn = asyncio.Lock()

    async def reload(self) -> None:
        """Read the settings and take over what is new; never raises."""
        async with self._turn:
            try:
                await self._reload()
            except Stop as error:
                log.error("reload_failed", cause=str(error))
                self._alarms.set(FAILED, f"{error}. The settings of before stay in force")
            except Exception as error:
                log.exception("reload_failed")
                self._alarms.set(FAILED, f"{error}; see the log")
            else:
                self._alarms.set(FAILED, None)

    async def _reload(self) -> None:
        new = await asyncio.to_thread(self._read)
        differing = {name for name in KEYS if getattr(new, name) != getattr(self.settings, name)}
        taken: set[str] = set()
        complaints = []
        for names, take in self._takers.items():
            candidate = msgspec.structs.replace(
                self.settings, **{name: getattr(new, name) for name in names}
            )
            try:
                # What follows files looks at them again, whether or not their names differ.
                if (found := take(candidate)) is not None:
                    await found
            except NeedsRestart:
                continue
            except Stop as error:
                complaints.append(str(error))
                differing -= set(names)
                continue
            self.settings = candidate
            taken |= differing & set(names)
        log.info("reloaded", changed=sorted(taken))
        if left := sorted(differing - taken):
            log.warning(
                "restart_needed",
                settings=left,
                advice="these settings have changed and come into force with the next start",
            )
        if complaints:
            raise Stop("; ".join(complaints))
