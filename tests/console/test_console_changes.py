"""When an open page looks anew: by the server's stream of changes, or by a clock without it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

from console_page import ConsoleThread, Person
from sanitizer import patient_s

from ownerd.client import Unauthenticated, Unavailable, Unimplemented
from ownerd.console.changes import Pace, changes
from ownerd.console.settings import Settings, Upstream

NEVER_S = 3_600.0
DEADLINE_S = patient_s(10.0)


class Feed:
    """A server's stream: what is put in comes out, an exception ends it."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.messages: asyncio.Queue[Any] = asyncio.Queue()

    async def watch(self, list_ids: Sequence[str]) -> AsyncIterator[Any]:
        self.asked.append([*list_ids])
        while True:
            message = await self.messages.get()
            if isinstance(message, Exception):
                raise message
            yield message

    def tell(self, *events: str) -> None:
        self.messages.put_nowait(SimpleNamespace(events=events))


def run(story: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await story

    asyncio.run(bounded())


def test_a_change_is_told_at_once_and_progress_is_not() -> None:
    async def story() -> None:
        feed = Feed()
        looks = changes(feed.watch, ["customers"], Pace(NEVER_S, NEVER_S, 0))
        feed.tell()
        look = asyncio.ensure_future(anext(looks))
        done, _ = await asyncio.wait({look}, timeout=0.05)
        assert not done
        feed.tell("record")
        assert await look is True
        assert feed.asked == [["customers"]]
        await looks.aclose()

    run(story())


def test_many_changes_are_one_look() -> None:
    async def story() -> None:
        feed = Feed()
        looks = changes(feed.watch, [], Pace(NEVER_S, 0.05, 0.05))
        for _ in range(1_000):
            feed.tell("record")
        assert await anext(looks) is True
        assert await anext(looks) is False  # the tick after it
        await looks.aclose()

    run(story())


def test_without_a_stream_a_page_looks_by_the_clock() -> None:
    async def story() -> None:
        for watch in (None, _refusing(Unimplemented("no such call"))):
            looks = changes(watch, [], Pace(0.01, NEVER_S, 0))
            assert [await anext(looks) for _ in range(3)] == [False] * 3
            await looks.aclose()

    run(story())


def test_a_stream_that_breaks_off_is_opened_again_and_the_page_looks() -> None:
    async def story() -> None:
        feed = Feed()
        looks = changes(feed.watch, [], Pace(0.01, NEVER_S, 0))
        feed.tell("record")
        assert await anext(looks) is True
        feed.messages.put_nowait(Unavailable("gone"))
        while not await anext(looks):  # what happened meanwhile
            pass
        while len(feed.asked) < 2:
            await asyncio.sleep(0.01)
        feed.tell("record")
        while not await anext(looks):
            pass
        await looks.aclose()

    run(story())


def test_who_is_not_let_in_is_not_asked_for_again() -> None:
    async def story() -> None:
        asked = 0

        async def watch(_: Sequence[str]) -> AsyncIterator[Any]:
            nonlocal asked
            asked += 1
            raise Unauthenticated("revoked")
            yield

        looks = changes(watch, [], Pace(0.01, NEVER_S, 0))
        for _ in range(5):
            await anext(looks)
        await looks.aclose()
        assert asked == 1

    run(story())


def _refusing(error: Exception) -> Any:
    async def watch(_: Sequence[str]) -> AsyncIterator[Any]:
        raise error
        yield

    return watch


def test_an_open_page_is_told_of_a_change_by_the_servers_own_stream(
    floor: Any, open_list: str
) -> None:
    never = Pace(NEVER_S, NEVER_S, 0.0, NEVER_S)
    settings = Settings(Upstream(floor.server.admin_address), port=0, sign_in=True)
    with ConsoleThread(settings, never) as console, Person(console.base) as person:
        person.sign_in(floor.tokens["supervisor"])
        with person.http.stream("GET", "/events", params={"list": open_list}) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 2000"
            over = threading.Event()
            changing = threading.Thread(target=_change, args=(floor, open_list, over))
            changing.start()
            try:
                assert "data: changed" in lines
            finally:
                over.set()
                changing.join(DEADLINE_S)


def _change(floor: Any, list_id: str, over: threading.Event) -> None:
    """Change who owns a record again and again: when the stream has begun, nobody says."""
    while not over.wait(0.1):
        floor.own(list_id, "spring", "1")
        floor.client.release(list_id, "spring")
