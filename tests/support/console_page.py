"""The supervisors' page for tests: a console in a thread of its own, and people in front of it.

Owns: the console's life. `Person` is an HTTP client that behaves as a browser does with cookies and
forms, without running any script; browsers themselves are in `tests/console/conftest.py`.
"""

import asyncio
import re
import socket
import threading
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import httpx
from sanitizer import patient_s

from ownerd.console import main
from ownerd.console.changes import Pace
from ownerd.console.settings import Settings

DEADLINE_S = patient_s(20.0)
QUICK = Pace(polling_s=0.5, watching_s=1.0, calm_s=0.1, sampling_s=0.5, span_s=0.3)
CSRF = re.compile(r'name="csrf" value="([^"]*)"')


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class ConsoleThread:
    """A console on a free port; a context manager. `address` is what it says that it is at."""

    def __init__(self, settings: Settings, pace: Pace = QUICK) -> None:
        self.port = settings.port or _free_port()
        self._settings = replace(settings, port=self.port)
        self._pace = pace
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self.address = ""

    @property
    def base(self) -> str:
        """The address without path."""
        return str(httpx.URL(self.address).join("/")).rstrip("/")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        def ready(address: str) -> None:
            self.address = address
            self._ready.set()

        async def serve() -> None:
            self._task = asyncio.create_task(main.serve(self._settings, ready, self._pace))
            await self._task

        try:
            self._loop.run_until_complete(serve())
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # told to the test's thread
            self._error = error
        finally:
            self._ready.set()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error


class Person:
    """Somebody with a browser that runs no script; a context manager."""

    def __init__(self, base: str, **headers: str) -> None:
        self.base = base
        self.http = httpx.Client(
            base_url=base,
            timeout=DEADLINE_S,
            follow_redirects=False,
            headers=headers,
            trust_env=False,
        )
        self.csrf = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Look at a page."""
        answer = self.http.get(path, headers=headers)
        if found := CSRF.search(answer.text):
            self.csrf = found[1] or self.csrf
        return answer

    def send(
        self, path: str, fields: dict[str, Any] | None = None, **headers: str
    ) -> httpx.Response:
        """Send a form of a page that was looked at."""
        given = {"csrf": self.csrf, **(fields or {})}
        return self.http.post(path, data=given, headers={"Origin": self.base, **headers})

    def sign_in(self, token: str | None) -> httpx.Response:
        """Sign in, and look at the first page."""
        answer = self.send("/signin", {"token": token or ""})
        if answer.status_code == 303:
            return self.get(answer.headers["location"])
        return answer
