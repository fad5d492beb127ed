"""`ownerd demo`: one server, and campaigns that dial one list at once."""

import asyncio
from pathlib import Path

from rich.console import Console

from ownerd.demo.checker import check_directory
from ownerd.demo.contacts import ContactList
from ownerd.demo.server_process import DemoServer
from ownerd.demo.story import Story
from ownerd.demo.verdict import Verdict
from ownerd.demo.view import show_verdict


def tell(
    console: Console,
    directory: Path,
    contacts: ContactList,
    seconds: float,
    campaign_count: int,
    seed: int,
) -> Verdict:
    """Run it, and return what the campaigns' own logs say."""
    logs = directory / "logs"
    logs.mkdir()
    with DemoServer(directory / "store", directory / "server.log") as server:
        console.print(
            f"ownerd demo: {len(contacts.record_ids):,} contacts of {contacts.path.name}, "
            f"seed {seed}\n"
            f"server {server.pid}: dial {server.dial_address}, admin {server.admin_address}",
            markup=False,
            highlight=False,
        )
        asyncio.run(_story(console, server, logs, contacts, seconds, campaign_count, seed))
    console.print("\n[bold]The server has stopped. Check the campaigns' own logs.[/]")
    verdict = check_directory(logs)
    show_verdict(console, verdict)
    return verdict


async def _story(
    console: Console,
    server: DemoServer,
    logs: Path,
    contacts: ContactList,
    seconds: float,
    campaign_count: int,
    seed: int,
) -> None:
    dial = server.dial_address
    async with (
        server.administrator() as admin,
        Story(console, admin, dial, logs, contacts, campaign_count, seed) as story,
    ):
        await story.tell(seconds)
