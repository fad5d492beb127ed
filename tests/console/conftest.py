"""One floor for each module: a server with lists, campaigns and people, and a console before it.

The browser is the system's Chromium, driven by Playwright; where either is missing, what needs it
is skipped.
"""

import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from console_page import ConsoleThread
from door import Door
from guarded_server import GuardedServer, grants
from sanitizer import plain_environment

from ownerd.client import Client, Policy
from ownerd.console.settings import Settings, Upstream

RIGHTS = {
    "viewer": ["view"],
    "controller": ["ownership_control"],
    "supervisor": ["view", "ownership_control"],
    "configurer": ["view", "configure"],
    "boss": ["view", "configure", "ownership_control"],
    "dialer": ["dial"],
    "principals": ["admin"],
}


class Floor:
    """A server, who may do what on it, and the console that shows it."""

    def __init__(
        self, server: GuardedServer, console: ConsoleThread, tokens: dict[str, str], door: Door
    ) -> None:
        self.server = server
        self.console = console
        self.tokens = tokens
        self.door = door
        self.client = self._connected()

    def _connected(self) -> Client:
        return Client(
            self.server.dial_address,
            admin_target=self.server.admin_address,
            token=self.tokens["root"],
        )

    def restart(self) -> None:
        """Start the server again; it is behind the door once that leads to it."""
        self.server.restart()
        self.client.close()
        self.client = self._connected()

    @property
    def base(self) -> str:
        """The console's address."""
        return self.console.base

    def own(self, list_id: str, campaign_id: str, *record_ids: str) -> None:
        """Have a campaign come to own records."""
        done = self.client.report_batch(
            list_id, campaign_id, [(each, "Busy") for each in record_ids]
        )
        assert not done.holders and not done.invalid


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    """A floor of the module's own."""
    with GuardedServer(tmp_path_factory.mktemp("floor") / "data") as server:
        tokens = {"root": server.token_file.read_text().strip()}
        for name, rights in RIGHTS.items():
            tokens[name] = str(server.principal(name, *grants(rights)).token)
        tokens["limited"] = str(
            server.principal(
                "limited",
                *grants(["view"], ["in-*"]),
                *grants(["ownership_control"], ["in-*"], ["spring"]),
            ).token
        )
        with (
            Door(server.admin_address) as door,
            ConsoleThread(Settings(Upstream(door.address), port=0, sign_in=True)) as console,
        ):
            floor = Floor(server, console, tokens, door)
            for campaign_id, name in (("spring", "Spring Renewals"), ("summer", "Summer Upgrade")):
                floor.client.upsert_campaign(campaign_id, name)
            yield floor
            floor.client.close()


@pytest.fixture
def open_list(floor: Floor, unique: str) -> str:
    """An enabled list of the test's own, of whose records spring has three and summer one."""
    floor.client.create_list(unique, Policy(True, timedelta(days=5)))
    floor.own(unique, "spring", "41", "42", "43")
    floor.own(unique, "summer", "7")
    return unique


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser, one for a module: while it runs, nothing else can run a loop in this thread."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    # The first has no window's parts, which take more of a processor than the pages do.
    programs = ("chromium-headless-shell", "chromium", "chromium-browser")
    program = next(filter(None, map(shutil.which, programs)), None)
    if program is None:
        pytest.skip("no chromium here; Debian has it in the package chromium-headless-shell")
    started = driver.sync_playwright()
    with patch.dict(os.environ, plain_environment(), clear=True):
        playwright = started.start()
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
    yield browser
    browser.close()
    playwright.stop()


@pytest.fixture
def open_browser(chromium: Any, floor: Floor) -> Iterator[Any]:
    """Return what opens a browser for somebody, signed in; nothing may go wrong in it."""
    contexts, faults = [], []

    def open_for(who: str, **options: Any) -> Any:
        given = {"locale": "en-GB", "timezone_id": "Europe/Berlin", **options}
        context = chromium.new_context(base_url=floor.base, **given)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda told: faults.append(told.text) if told.type == "error" else None)
        page.goto("/")
        page.fill("#token", floor.tokens[who])
        page.press("#token", "Enter")
        page.wait_for_url(f"{floor.base}/")
        page.faults = faults
        return page

    yield open_for
    for context in contexts:
        context.close()
    # Answers that refuse, or that say that the server is lost, are no faults of the page.
    assert [each for each in faults if "Failed to load resource" not in each] == []
