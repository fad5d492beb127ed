"""Memory goes back to the system once it is not used any more.

What the C library keeps of a flood would be missing elsewhere on the machine for as long as the
server runs. So the watch compares now and then what the process has with what is given out, and has
the difference given back where it has grown. A trim that is needed again and again is made more
rarely: then the memory is used, only not all the time.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from ownerd.native import bytes_in_use, trim
from ownerd.server.workers import Workers

_FIRST_LOOK_S = 1.0
_LONGEST_S = 60.0
_PATIENT_AFTER = 4  # trims on end
# A tenth of what an idle server has.
_KEPT_BYTES = 4 << 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


class MemoryWatch:
    """Gives memory back; `run` it on the event loop.

    Args:
        workers: run the trims.
        resident, used: bytes that the process has to itself, and that are given out, as of now;
            None where that cannot be told.
        give_back: make the first come near the second.
    """

    def __init__(
        self,
        workers: Workers,
        resident: Callable[[], int | None] = lambda: resident_bytes(),
        used: Callable[[], int | None] = bytes_in_use,
        give_back: Callable[[], None] = trim,
    ) -> None:
        self._workers = workers
        self._resident = resident
        self._used = used
        self._give_back = give_back
        self._rest: int | None = None
        self._trim_count = 0
        self.interval_s = _FIRST_LOOK_S

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self.interval_s)

    async def look(self) -> None:
        """Give memory back if more is kept than need be; the first time anyway.

        What a trim in the middle of a flood leaves is no measure of that: it is tried again after,
        until it has been in vain for long.
        """
        kept = self._kept()
        if kept is None:
            return
        if self._rest is not None:
            self._rest = min(self._rest, kept)
        if self._rest is not None and kept - self._rest < _KEPT_BYTES:
            self.interval_s = _FIRST_LOOK_S
            self._trim_count = 0
            return
        await self._workers.run(self._give_back)
        left = self._kept()
        if self._rest is None or left is None or self.interval_s >= _LONGEST_S:
            self._rest = left
        self._trim_count += 1
        if self._trim_count > _PATIENT_AFTER:
            self.interval_s = min(2 * self.interval_s, _LONGEST_S)

    def _kept(self) -> int | None:
        resident, used = self._resident(), self._used()
        return None if resident is None or used is None else resident - used


def resident_bytes() -> int | None:
    """Return how much memory the process has that belongs to it alone (RssAnon)."""
    try:
        fields = _STATM.read_text().split()
    except OSError:
        return None
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES
