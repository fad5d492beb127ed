"""The stream that tells an open page when to look anew (server-sent events)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial

from starlette.responses import Response, StreamingResponse

from ownerd.client import PermissionDenied, Revision, Right
from ownerd.console.changes import changes
from ownerd.console.pages.visit import Visit
from ownerd.console.sessions import Session


async def stream(visit: Visit) -> Response:
    """Return the stream; it ends with the session or the console."""
    headers = {"X-Accel-Buffering": "no"}  # nginx passes it on at once
    return StreamingResponse(_events(visit), media_type="text/event-stream", headers=headers)


async def _events(visit: Visit) -> AsyncIterator[str]:
    session, console = visit.who, visit.console
    list_id = visit.list_id
    over = [asyncio.create_task(session.ended.wait()), asyncio.create_task(console.stopping.wait())]
    watch = partial(_watch, session, list_id)
    # Of all lists something changes all the time, and looking at them is more work.
    pace = console.pace if list_id else replace(console.pace, calm_s=4 * console.pace.calm_s)
    looks = changes(watch, [list_id] if list_id else [], pace)
    look: asyncio.Future[bool] | None = None
    try:
        with session.page_is_open():
            yield "retry: 2000\n\n"
            while not any(task.done() for task in over):
                look = asyncio.ensure_future(anext(looks))
                await asyncio.wait({look, *over}, return_when=asyncio.FIRST_COMPLETED)
                if look.done():
                    yield f"data: {'changed' if look.result() else 'tick'}\n\n"
    finally:
        # Before its generator may be closed, nobody may wait in it any more.
        for task in over:
            task.cancel()
        if look is not None:
            look.cancel()
            with suppress(asyncio.CancelledError):
                await look
        await looks.aclose()


async def _watch(
    session: Session, list_id: str, list_ids: Sequence[str]
) -> AsyncIterator[Revision]:
    """Yield the server's changes. Who may not look does not ask: the audit is for those who try."""
    if not (await session.access(list_id)).may(Right.VIEW):
        raise PermissionDenied("not asked for")
    async with aclosing(session.client.watch(list_ids)) as revisions:
        async for revision in revisions:
            yield revision
