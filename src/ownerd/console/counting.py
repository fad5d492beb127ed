"""Counting lists for one person: as many as are looked at, never more at a time than is fair.

A count reads a list whole on the server, so one that is fresh is not made again, and whoever waits
for a page waits a moment only: what is not counted by then comes with the next look.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from ownerd.client import ClientError, NotFound, Owners, PermissionDenied
from ownerd.console.sessions import Session

FRESH_S = 1.5
SWEEP_FRESH_S = 60.0
AT_ONCE = 6
SWEEP_AT_ONCE = 8


async def owners(session: Session, list_id: str) -> Owners:
    """Return who owns what in a list, and take the look down; errors as of the client."""
    found = await session.client.owners(list_id)
    session.counts.add(list_id, found, time.monotonic())
    return found


async def count(session: Session, list_ids: Iterable[str], wait_s: float) -> None:
    """Count the lists that were not counted just now; wait a moment for it, no longer."""
    stale = [list_id for list_id in list_ids if not _is_fresh(session, list_id, FRESH_S)]
    if not stale:
        return
    task = asyncio.create_task(_count_all(session, stale, AT_ONCE))
    session.begin(task)
    await asyncio.wait({task}, timeout=wait_s)
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        raise error


def sweep(session: Session, list_ids: Sequence[str]) -> None:
    """Begin to count all of many lists, for an order that depends on it.

    Those that were never counted come first: where all of them take longer than a count is fresh,
    every one has its turn.
    """
    stale = [list_id for list_id in list_ids if not _is_fresh(session, list_id, SWEEP_FRESH_S)]
    if stale and not session.is_sweeping:
        looks = ((session.counts.latest(each), each) for each in stale)
        stale = [each for _, each in sorted(looks, key=lambda pair: pair[0].at_s if pair[0] else 0)]
        session.is_sweeping = True
        session.begin(asyncio.create_task(_sweep(session, stale)))


async def _sweep(session: Session, list_ids: Sequence[str]) -> None:
    try:
        await _count_all(session, list_ids, SWEEP_AT_ONCE)
    except ClientError:
        pass  # the page that is open says what is wrong
    finally:
        session.is_sweeping = False


async def _count_all(session: Session, list_ids: Sequence[str], at_once: int) -> None:
    left = iter(list_ids)

    async def work() -> None:
        for list_id in left:
            try:
                if await session.may_control(list_id):
                    await owners(session, list_id)
            except (NotFound, PermissionDenied):
                continue  # deleted, or taken away, since the lists were read

    await asyncio.gather(*(work() for _ in range(min(at_once, len(list_ids)))))


def _is_fresh(session: Session, list_id: str, fresh_s: float) -> bool:
    look = session.counts.latest(list_id)
    return look is not None and time.monotonic() - look.at_s < fresh_s


async def sample(session: Session, every_s: float) -> None:
    """Look at the followed lists again and again while a page is open, for the charts."""
    while not session.ended.is_set():
        began_s = time.monotonic()
        if session.is_watched and session.counts.followed:
            with suppress(ClientError):  # as above
                await _count_all(session, session.counts.followed, 2)
        # Lists that take long to count are counted less often.
        took_s = time.monotonic() - began_s
        await asyncio.sleep(max(every_s, 10 * took_s))
