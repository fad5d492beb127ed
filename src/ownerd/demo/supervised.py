"""`ownerd demo --console`: the supervisors' page over campaigns that dial until interrupted.

What somebody changes there is in no log of the demo's, so the logs are not checked. Needs the
extra `console`.
"""

import asyncio
import webbrowser
from contextlib import suppress
from functools import partial
from pathlib import Path

from rich.console import Console

from ownerd.console.main import serve
from ownerd.console.settings import Settings, Upstream
from ownerd.demo.contacts import ContactList
from ownerd.demo.server_process import DemoServer
from ownerd.demo.story import Story


def tell(
    console: Console,
    directory: Path,
    contacts: ContactList,
    _seconds: float,
    campaign_count: int,
    seed: int,
) -> None:
    """Run it until interrupted."""
    logs = directory / "logs"
    logs.mkdir()
    with (
        DemoServer(directory / "store", directory / "server.log") as server,
        suppress(KeyboardInterrupt),
    ):
        asyncio.run(_show(console, server, logs, contacts, campaign_count, seed))


async def _show(
    console: Console,
    server: DemoServer,
    logs: Path,
    contacts: ContactList,
    campaign_count: int,
    seed: int,
) -> None:
    upstream = Upstream(server.admin_address)
    settings = Settings(upstream, port=0, token_file=str(server.admin_token_file))
    dial = server.dial_address
    async with (
        server.administrator() as admin,
        Story(console, admin, dial, logs, contacts, campaign_count, seed) as story,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(story.dial_on())
        tasks.create_task(serve(settings, partial(_say, console)))


def _say(console: Console, address: str) -> None:
    said = f"Campaigns are dialing; Ctrl-C ends it. The supervisors' page is at {address}"
    console.print(said, markup=False, highlight=False, soft_wrap=True)
    if console.is_terminal:
        webbrowser.open(address)
