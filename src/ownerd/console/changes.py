"""When a page that is open should be looked at anew.

By the server's `Watch` where it has it: then a change shows at once, and a slow tick is left for
what is no change, such as counters of denials. By a quicker tick where it has not, or is not there.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ownerd.client import ClientError, PermissionDenied, Unauthenticated, Unimplemented

# What opens a stream of changes of some lists (none: all), as the client's `watch` does.
Watch = Callable[[Sequence[str]], AsyncIterator[Any]]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between looks: without `Watch`, with it, at least; between those for charts.

    And what a rate is taken over.
    """

    polling_s: float = 2.0
    watching_s: float = 5.0
    calm_s: float = 0.5
    sampling_s: float = 5.0
    span_s: float = 3.0


DEFAULT_PACE = Pace()


async def changes(
    watch: Watch | None, list_ids: Sequence[str] = (), pace: Pace = DEFAULT_PACE
) -> AsyncGenerator[bool]:
    """Yield whenever it is time to look, and whether that is because something changed.

    Args:
        watch: opens the server's stream; None: the client knows none.
        list_ids: the lists that the page is about; none: all.
        pace: how often.
    """
    watcher = _Watcher(watch, list_ids, pace)
    task = asyncio.create_task(watcher.run())
    try:
        while True:
            wait_s = pace.watching_s if watcher.is_watching else pace.polling_s
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await watcher.changed.wait()
            has_changed = watcher.changed.is_set()
            watcher.changed.clear()
            yield has_changed
            await asyncio.sleep(pace.calm_s)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class _Watcher:
    """Reads the stream, and opens it again where it broke off."""

    def __init__(self, watch: Watch | None, list_ids: Sequence[str], pace: Pace) -> None:
        self._watch = watch
        self._list_ids = list_ids
        self._pace = pace
        self.changed = asyncio.Event()
        self.is_watching = False

    async def run(self) -> None:
        """Go on until cancelled, or until there is no use in asking again."""
        while self._watch is not None:
            try:
                async for message in self._watch(self._list_ids):
                    self.is_watching = True
                    if _tells(message):
                        self.changed.set()
            except (Unimplemented, Unauthenticated, PermissionDenied):
                return  # the page itself finds out, and says so
            except ClientError:
                pass
            finally:
                self.is_watching = False
            self.changed.set()  # what happened meanwhile
            await asyncio.sleep(self._pace.polling_s)


def _tells(message: Any) -> bool:
    """Return whether a message tells of a change, rather than of how far the stream is."""
    return bool(message.events)
