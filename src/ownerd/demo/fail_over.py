"""`ownerd demo --cluster`: the leader's death in the middle, told second by second.

Three etcd members and two nodes on this machine. The campaigns dial whoever leads; the leader is
ended with SIGKILL, and what they write down must be without a fault all the same.
"""

import asyncio
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from ownerd.client import AsyncClient
from ownerd.demo.checker import FAIL_OVER_LATE_NS, check_directory
from ownerd.demo.contacts import ContactList
from ownerd.demo.etcd_process import EtcdMembers, free_ports
from ownerd.demo.logbook import now_ns
from ownerd.demo.server_process import DemoServer, ServerError
from ownerd.demo.story import LINE_COUNT, Story
from ownerd.demo.verdict import Verdict
from ownerd.demo.view import show_verdict

NAME = "demo"
LEASE_S = 2
LEAST_BEFORE_S = 2.0
LEAST_AFTER_S = 6.0
"""Time of dialing behind the leader's death: the other one must lead, and be seen to."""
_LEAD_DEADLINE_S = 30.0
_LOOK_S = 0.05


class Node(DemoServer):
    """One node of the cluster: a server with addresses that are known before it runs."""

    def __init__(self, name: str, directory: Path, etcd: EtcdMembers, *more: str) -> None:
        dial, admin, metrics = (f"127.0.0.1:{port}" for port in free_ports(3))
        cluster = f"etcd://{','.join(etcd.addresses)}/{NAME}"
        super().__init__(
            directory / name,
            directory / f"{name}.log",
            *("--cluster", cluster, "--node", name, "--cluster-lease-s", str(LEASE_S), *more),
            listen=(dial, admin),
            metrics=metrics,
        )
        self.name = name
        self._metrics = metrics

    @property
    def leads(self) -> bool:
        """Whether it says that it is ready for calls."""
        try:
            with urllib.request.urlopen(f"http://{self._metrics}/readyz", timeout=1):
                return True
        except OSError:
            return False


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
    with ExitStack() as running:
        etcd = running.enter_context(EtcdMembers(directory))
        console.print(f"three etcd members: {', '.join(etcd.addresses)}", highlight=False)
        first = running.enter_context(Node("a", directory, etcd, "--cluster-create"))
        _wait_until_one_leads([first])
        token = str(first.admin_token_file)
        second = running.enter_context(
            Node("b", directory, etcd, "--cluster-peer-token-file", token)
        )
        for node in (first, second):
            console.print(
                f"node {node.name}, server {node.pid}: dial {node.dial_address}, "
                f"admin {node.admin_address}",
                highlight=False,
            )
        asyncio.run(_story(console, [first, second], logs, contacts, seconds, campaign_count, seed))
    console.print("\n[bold]All servers have stopped. Check the campaigns' own logs.[/]")
    verdict = check_directory(logs, late_ns=FAIL_OVER_LATE_NS)
    show_verdict(console, verdict)
    return verdict


async def _story(
    console: Console,
    nodes: list[Node],
    logs: Path,
    contacts: ContactList,
    seconds: float,
    campaign_count: int,
    seed: int,
) -> None:
    dials, admins = _addresses(nodes)
    admin = AsyncClient(dials, admin_target=admins, token_file=nodes[0].admin_token_file)
    async with (
        admin,
        FailOver(console, admin, dials, logs, contacts, campaign_count, seed, nodes) as story,
    ):
        await story.tell(seconds)


def _addresses(nodes: list[Node]) -> tuple[str, str]:
    """Return the dial and the admin addresses as a client takes them."""
    return ",".join(n.dial_address for n in nodes), ",".join(n.admin_address for n in nodes)


def _wait_until_one_leads(nodes: list[Node]) -> None:
    deadline_s = time.monotonic() + _LEAD_DEADLINE_S
    while not any(node.leads for node in nodes):
        if time.monotonic() > deadline_s:
            raise ServerError(f"no node leads within {_LEAD_DEADLINE_S:.0f} s")
        time.sleep(_LOOK_S)


class FailOver(Story):
    """The campaigns dial on while the leader dies."""

    def __init__(
        self,
        console: Console,
        admin: AsyncClient,
        dial_address: str,
        log_directory: Path,
        contacts: ContactList,
        campaign_count: int,
        seed: int,
        nodes: list[Node],
    ) -> None:
        super().__init__(
            console, admin, dial_address, log_directory, contacts, campaign_count, seed
        )
        self._nodes = nodes
        self._answered_s = 0.0
        self._gap_s = 0.0

    def _client(self, token: str) -> AsyncClient:
        dials, admins = _addresses(self._nodes)
        return AsyncClient(dials, admin_target=admins, token=token)

    async def tell(self, dial_s: float) -> None:
        """Dial, with the leader's death after a third of the time."""
        await self._set_up()
        before_s = max(dial_s / 3, LEAST_BEFORE_S)
        until_ns = now_ns() + round((before_s + max(dial_s - before_s, LEAST_AFTER_S)) * 1e9)
        self._say(f"{len(self.campaigns)} campaigns dial {self._called_text} at once.")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell_seconds(until_ns))
            tasks.create_task(self._kill_the_leader(before_s))
            for campaign in self.campaigns:
                tasks.create_task(campaign.dial(LINE_COUNT, until_ns))
        leader = await self._leader()
        self._console.print(
            f"  {leader} leads; the longest time without an answer was {self._gap_s:.1f} s",
            highlight=False,
        )
        if leader != self._nodes[1].name:
            raise ServerError(f"the leader was killed, and then {leader} led")

    async def _kill_the_leader(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        first = self._nodes[0]
        self._console.print(f"  kill -9 {first.pid}: {first.name} led", style="bold")
        await asyncio.to_thread(first.kill)

    async def _tell_seconds(self, until_ns: int) -> None:
        begin_s = self._answered_s = time.monotonic()
        told_s, told, seen = begin_s, 0, 0
        while now_ns() < until_ns:
            await asyncio.sleep(_LOOK_S)
            now_s = time.monotonic()
            answered = sum(each.tally.claim_count for each in self.campaigns)
            if answered != seen:
                self._gap_s = max(self._gap_s, now_s - self._answered_s)
                seen, self._answered_s = answered, now_s
            if now_s >= told_s + 1:
                told_s += 1
                self._console.print(
                    f"{told_s - begin_s:4.0f} s: {await self._leader()} leads, "
                    f"{answered - told:,} claims answered",
                    highlight=False,
                )
                told = answered

    async def _leader(self) -> str:
        return await asyncio.to_thread(
            lambda: next((node.name for node in self._nodes if node.leads), "nobody")
        )
