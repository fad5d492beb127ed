"""Calls of AdminService in progress: the worker threads that they block on, and the way out.

A call's work runs to its end on a worker thread even when its client gives up, so nothing is done
by half. When the server drains, new calls are refused and `idle` waits for the others.

`Workers` belongs to the event loop's thread; only the functions given to `run` run elsewhere.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from ownerd.server.errors import Draining, status_of

# Enough for a few long counts and exports beside short calls; each blocks without the GIL.
_THREAD_COUNT = 8

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Workers:
    """Count the calls in progress and run their blocking parts."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREAD_COUNT, thread_name_prefix="ownerd-admin")
        self._active_count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Count a call for as long as the block lasts.

        Raises:
            Draining: the server takes no new calls.
        """
        self.refuse_if_draining()
        self._began()
        try:
            yield
        finally:
            self._ended()

    def refuse_if_draining(self) -> None:
        """Refuse what has yet to begin.

        Raises:
            Draining: the server takes no new calls.
        """
        if self._draining:
            raise Draining

    async def run(
        self,
        function: Callable[Arguments, Result],
        *arguments: Arguments.args,
        **keywords: Arguments.kwargs,
    ) -> Result:
        """Run a blocking function on a worker thread and return its result.

        A cancelled caller stops waiting; the function runs on, and counts as in progress until it
        ends.
        """
        future = self._submit(lambda: function(*arguments, **keywords))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(_forget)
            raise

    def leave(self, function: Callable[[], object]) -> None:
        """Run a blocking function for whose end nobody waits."""
        self._submit(function).add_done_callback(_forget)

    def _submit(self, function: Callable[[], Result]) -> "asyncio.Future[Result]":
        future = asyncio.get_running_loop().run_in_executor(self._threads, function)
        self._began()
        future.add_done_callback(self._ended)
        return future

    def begin_drain(self) -> None:
        """Refuse new calls from now on."""
        self._draining = True

    async def idle(self) -> None:
        """Return when no call is in progress."""
        await self._idle.wait()

    def close(self) -> None:
        """Let the worker threads end; those still at work are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _began(self) -> None:
        self._active_count += 1
        self._idle.clear()

    def _ended(self, _: object = None) -> None:
        self._active_count -= 1
        if self._active_count == 0:
            self._idle.set()


def _forget(future: "asyncio.Future[Any]") -> None:
    """Take the result of a call that nobody waits for; a fault of ours is logged all the same."""
    if not future.cancelled() and (error := future.exception()) is not None:
        status_of(error, "abandoned call")
