"""What happens in the demo, step by step, told on the console as it happens.

Owns: the order of events. Each step asks the server through the real client; what the
administrator does is written to a log of its own, which the checker takes into account. The tokens
of the campaigns stay in memory.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing
from datetime import timedelta
from pathlib import Path
from typing import Self

from rich.console import Console

from ownerd import durations
from ownerd.client import AsyncClient, Grant, OwnedRecord, PermissionDenied, Policy, Right
from ownerd.demo.contacts import ContactList
from ownerd.demo.dialers import DIALERS, Campaign
from ownerd.demo.logbook import SUFFIX, Logbook, PolicySet, ReleaseMade, now_ns
from ownerd.demo.view import Board, expirations_table, owners_table, time_left

LIST_ID = "customers"
DURATION = timedelta(days=2, hours=3)
SHORTER_DURATION = timedelta(hours=1)
RESERVATION_TTL = timedelta(minutes=15)
RELEASE_REASON = "the campaign ended early"
LINE_COUNT = 24
LONGEST_DIALING = timedelta(days=1)
CALLED_LIMIT = 10_000
"""Most contacts that are called: with many more the campaigns would not meet in so short a time."""
FIRST_SHARE = 0.75
"""Part of the dialing time before the changes; the rest comes after the release."""

_LOOK_EVERY_S = 0.25
_KNOWN_CAMPAIGNS = {
    "renewals": "Spring Renewals",
    "upgrade": "Card Upgrade",
    "survey": "Customer Survey",
}


class NotRefused(Exception):
    """A campaign could speak for another one."""


class Story:
    """One run against one server. An async context manager that closes connections and logs."""

    def __init__(
        self,
        console: Console,
        admin: AsyncClient,
        dial_address: str,
        log_directory: Path,
        contacts: ContactList,
        campaign_count: int,
        seed: int,
    ) -> None:
        self._console = console
        self._admin = admin
        self._dial_address = dial_address
        self._log_directory = log_directory
        self._names = _campaign_names(campaign_count)
        self._seed = seed
        self._called = contacts.record_ids[:CALLED_LIMIT]
        is_part = len(self._called) < len(contacts.record_ids)
        self._called_text = f"the first {CALLED_LIMIT:,} contacts" if is_part else "the list"
        self._clients = AsyncExitStack()
        self._logs = ExitStack()
        self._admin_log = self._logs.enter_context(Logbook(log_directory / f"admin{SUFFIX}"))
        self.campaigns: list[Campaign] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._logs.close()
        await self._clients.aclose()

    async def tell(self, dial_s: float) -> None:
        """Run all steps; about `dial_s` seconds of them are dialing."""
        await self._set_up()
        await self._speak_for_another()
        self._say(
            f"{len(self.campaigns)} campaigns dial {self._called_text} at once, "
            f"{DIALERS} dialers with {LINE_COUNT // DIALERS} lines each; an ownership lasts "
            f"{_spell(DURATION)}. A tenth of the reports comes twice, and late."
        )
        await self._dial(self.campaigns, dial_s * FIRST_SHARE)
        await self._shorten()
        released, owned_before = await self._release()
        others = [campaign for campaign in self.campaigns if campaign is not released]
        for campaign in others:
            campaign.call_denied_first(released.campaign_id)
        self._say("The other campaigns go on dialing.")
        await self._dial(others, dial_s * (1 - FIRST_SHARE))
        await self._tell_new_owners(released, owned_before)

    async def dial_on(self) -> None:
        """Set up, and dial on few lines, as fast as a person can follow, until cancelled."""
        await self._set_up()
        until_ns = now_ns() + _nanoseconds(LONGEST_DIALING)
        async with asyncio.TaskGroup() as tasks:
            for campaign in self.campaigns:
                tasks.create_task(campaign.dial(DIALERS, until_ns))

    def _say(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/]", highlight=False)

    async def _set_up(self) -> None:
        ask_ns = now_ns()
        policy = Policy(True, DURATION, None, RESERVATION_TTL)
        made = await self._admin.create_list(LIST_ID, policy, reason="the demo begins")
        self._log_policy(ask_ns, DURATION, made.revision)
        for campaign_id, name in self._names.items():
            await self._admin.upsert_campaign(campaign_id, name)
            self.campaigns.append(await self._campaign(campaign_id, name))

    async def _campaign(self, campaign_id: str, name: str) -> Campaign:
        """Return a campaign whose dialers may dial this list for it, and nothing else."""
        grant = Grant(Right.DIAL, (LIST_ID,), (campaign_id,))
        issued = await self._admin.create_principal(f"{campaign_id}-dialer", [grant])
        client = self._client(issued.token)
        await self._clients.enter_async_context(client)
        campaign = Campaign(
            campaign_id,
            name,
            LIST_ID,
            self._called,
            client,
            self._admin,
            self._log_directory,
            self._seed,
        )
        self._logs.callback(campaign.close)
        return campaign

    def _client(self, token: str) -> AsyncClient:
        """Return a client for one campaign's dialers."""
        return AsyncClient(self._dial_address, token=token)

    async def _speak_for_another(self) -> None:
        """Show that the token of one campaign's dialers is good for that campaign alone.

        Raises:
            NotRefused: It is not.
        """
        one, other, *_ = self.campaigns
        self._say(f"Each campaign has its own token. {one.name} asks as {other.name}:")
        try:
            await one.client.claim(LIST_ID, self._called[0], other.campaign_id)
        except PermissionDenied as refused:
            self._console.print(
                f"  refused: {refused}", markup=False, highlight=False, soft_wrap=True
            )
        else:
            raise NotRefused(f"{one.name} could claim a record in the name of {other.name}")

    def _log_policy(self, ask_ns: int, duration: timedelta, revision: int | None) -> None:
        lengths = _nanoseconds(duration), _nanoseconds(RESERVATION_TTL)
        self._admin_log.write(PolicySet(ask_ns, now_ns(), *lengths, revision))

    async def _dial(self, campaigns: Sequence[Campaign], length_s: float) -> None:
        board = Board(self._console, self.campaigns, length_s)
        until_ns = now_ns() + round(length_s * 1e9)
        with board.shown():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch(board, until_ns))
                for campaign in campaigns:
                    tasks.create_task(campaign.dial(LINE_COUNT, until_ns))
            board.update(await self._admin.owners(LIST_ID))

    async def _watch(self, board: Board, until_ns: int) -> None:
        while now_ns() < until_ns:
            board.update(await self._admin.owners(LIST_ID))
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _shorten(self) -> None:
        """Shorten the duration: every ownership then ends that long after the change (R12)."""
        self._say(f"Shorten the duration from {_spell(DURATION)} to {_spell(SHORTER_DURATION)}.")
        before = [(record, time_left(record.expire_time)) for record in await self._some_owned()]
        ask_ns = now_ns()
        changed = await self._admin.set_policy(
            LIST_ID, duration=SHORTER_DURATION, reason="the list is needed again today"
        )
        self._log_policy(ask_ns, SHORTER_DURATION, changed.revision)
        rows = []
        for record, left_before in before:
            holder = await self._admin.holder(LIST_ID, record.record_id)
            left_after = time_left(holder.expire_time) if holder else "free"
            rows.append((record.record_id, record.campaign_name, left_before, left_after))
        self._console.print(expirations_table(rows))

    async def _some_owned(self) -> list[OwnedRecord]:
        """Return the first owned record of each campaign."""
        found: list[OwnedRecord] = []
        for campaign in self.campaigns:
            records = self._admin.owned_records(LIST_ID, campaign.campaign_id)
            async with aclosing(records):
                async for record in records:
                    found.append(record)
                    break
        return found

    async def _release(self) -> tuple[Campaign, set[str]]:
        """Release the campaign that owns most; return it and the records that it owned."""
        before = await self._admin.owners(LIST_ID)
        owned_counts = {owner.campaign_id: owner.owned_count for owner in before.owners}
        campaign = max(self.campaigns, key=lambda each: owned_counts.get(each.campaign_id, 0))
        records = self._admin.owned_records(LIST_ID, campaign.campaign_id)
        record_ids = {record.record_id async for record in records}
        self._say(f"Release {campaign.name}: {RELEASE_REASON}.")
        ask_ns = now_ns()
        released = await self._admin.release(LIST_ID, campaign.campaign_id, reason=RELEASE_REASON)
        answer_ns = now_ns()
        self._admin_log.write(
            ReleaseMade(ask_ns, answer_ns, [campaign.campaign_id], revision=released.revision)
        )
        after = await self._admin.owners(LIST_ID)
        names = {each.campaign_id: each.name for each in self.campaigns}
        self._console.print(owners_table({"owned before": before, "after": after}, names))
        self._console.print(
            f"  {released.released_count:,} records are free again", highlight=False
        )
        return campaign, record_ids

    async def _tell_new_owners(self, released: Campaign, record_ids: set[str]) -> None:
        taken = 0
        async for record in self._admin.owned_records(LIST_ID):
            taken += record.record_id in record_ids and record.campaign_id != released.campaign_id
        self._console.print(
            f"  {taken:,} of the {len(record_ids):,} released records have a new owner",
            highlight=False,
        )


def _campaign_names(count: int) -> dict[str, str]:
    """Return the names of so many campaigns by their ids."""
    more = {f"campaign-{number}": f"Campaign {number}" for number in range(4, count + 1)}
    return dict([*_KNOWN_CAMPAIGNS.items()][:count]) | more


def _nanoseconds(length: timedelta) -> int:
    return length // timedelta(microseconds=1) * 1_000


def _spell(length: timedelta) -> str:
    return durations.format(_nanoseconds(length))
