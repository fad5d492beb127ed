"""The simulated campaigns: they claim, dial, report through the real client, and write it all down.

Owns: how a campaign works through its calling list, and how dials end. A campaign knows nothing of
the other campaigns; only the server keeps them apart. Its dialers may dial and nothing else: that a
list is finished is told by the administrator. All campaigns of a demo run in one event
loop, each with a connection of its own. Time runs about a thousand times faster than in life: a
millisecond of dialing stands for a second.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ownerd.client import AsyncClient, Claim, Outcome, Report, Signal
from ownerd.demo.logbook import SUFFIX, Claimed, Dialed, Logbook, Reported, now_ns

LIST_SHARE = 0.7
"""Part of the contacts that each campaign calls, so that any two lists overlap by about half."""

_RECYCLE_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Ending:
    """One way for a dial to end: how often, after how long, and whether to call again later."""

    wrap_up_code: str
    weight: int
    shortest_ms: float
    longest_ms: float
    call_again: bool = True


ENDINGS = (
    Ending("No Answer", 28, 8, 15),
    Ending("Machine", 22, 4, 12),
    Ending("Success", 13, 10, 40, call_again=False),
    Ending("Busy", 11, 1, 3),
    Ending("No Lines", 7, 0, 1),
    Ending("Remote Hang Up", 5, 2, 8),
    Ending("SIT Uncallable", 4, 1, 3, call_again=False),
    Ending("Wrong Party", 3, 5, 12, call_again=False),
    Ending("Scheduled", 2, 10, 25),
    Ending("Fax", 2, 2, 5, call_again=False),
    Ending("Failure", 2, 1, 4),
    Ending("Skipped", 1, 0, 1),
)
_WEIGHTS = [ending.weight for ending in ENDINGS]


@dataclass(slots=True)
class Tally:
    """What a campaign has done so far, for the display."""

    claim_count: int = 0
    granted_count: int = 0
    denied_count: int = 0
    dial_count: int = 0
    acquired_count: int = 0
    recycle_count: int = 0
    wrap_up_counts: Counter[str] = field(default_factory=Counter)


class Campaign:
    """One outbound campaign with its lines, its calling list and its log."""

    def __init__(
        self,
        campaign_id: str,
        name: str,
        list_id: str,
        contacts: Sequence[str],
        client: AsyncClient,
        admin: AsyncClient,
        log_directory: Path,
        seed: int,
    ) -> None:
        self.campaign_id = campaign_id
        self.name = name
        self.tally = Tally()
        self._list_id = list_id
        self.client = client
        self._admin = admin
        self._draw = random.Random(f"{seed}/{campaign_id}")
        self._calling_list = self._choose(contacts)
        self._to_call = deque(self._calling_list)
        self._busy: set[str] = set()
        self._denied_by: dict[str, str] = {}
        self._log = Logbook(log_directory / f"campaign-{campaign_id}{SUFFIX}", campaign_id)

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def _choose(self, contacts: Sequence[str]) -> list[str]:
        """Return this campaign's part of the contacts in an order of its own."""
        count = max(1, round(len(contacts) * LIST_SHARE))
        return self._draw.sample(contacts, count)

    async def dial(self, line_count: int, until_ns: int) -> None:
        """Dial on that many lines at once until the time is up and the last dial is reported.

        Raises:
            ClientError: The server could not be asked or told; all lines stop.
        """
        async with asyncio.TaskGroup() as lines:
            for _ in range(line_count):
                lines.create_task(self._work_line(until_ns))

    def call_denied_first(self, holder_id: str) -> None:
        """Put the records that were denied because of one campaign at the front of the list."""
        denied = [record_id for record_id, by in self._denied_by.items() if by == holder_id]
        rest = set(self._to_call).difference(denied)
        self._to_call = deque([*denied, *(each for each in self._to_call if each in rest)])

    async def _work_line(self, until_ns: int) -> None:
        while now_ns() < until_ns:
            if not self._to_call:
                await self._recycle()
                continue
            record_id = self._to_call.popleft()
            if record_id in self._busy:
                continue
            self._busy.add(record_id)
            call_again = await self._call(record_id)
            self._busy.remove(record_id)
            if call_again:
                self._to_call.append(record_id)

    async def _recycle(self) -> None:
        """Start the calling list again; ownership stays as it is (R16)."""
        await asyncio.sleep(_RECYCLE_PAUSE_S)
        if not self._to_call:
            self._to_call.extend(self._calling_list)
            self.tally.recycle_count += 1
            await self._admin.signal_campaign(
                self.campaign_id, Signal.RECYCLED, list_id=self._list_id, reason="list is finished"
            )

    async def _call(self, record_id: str) -> bool:
        """Ask, dial and report one record; return whether to call it again later."""
        claim = await self._claim(record_id)
        if not claim.allowed:
            return False
        ending = self._draw.choices(ENDINGS, _WEIGHTS)[0]
        begin_ns = now_ns()
        await asyncio.sleep(self._draw.uniform(ending.shortest_ms, ending.longest_ms) / 1000)
        self._log.write(Dialed(record_id, begin_ns, now_ns()))
        self.tally.dial_count += 1
        await self._report(record_id, ending.wrap_up_code)
        return ending.call_again

    async def _claim(self, record_id: str) -> Claim:
        ask_ns, claim = now_ns(), None
        try:
            claim = await self.client.claim(self._list_id, record_id, self.campaign_id)
        finally:
            # Without an answer too: the server may have granted it.
            self._log.write(_claim_entry(record_id, ask_ns, now_ns(), claim))
        self._note_claim(record_id, claim)
        return claim

    def _note_claim(self, record_id: str, claim: Claim) -> None:
        self.tally.claim_count += 1
        if claim.allowed:
            self.tally.granted_count += 1
            self._denied_by.pop(record_id, None)
        else:
            self.tally.denied_count += 1
            self._denied_by[record_id] = claim.holder.campaign_id if claim.holder else ""

    async def _report(self, record_id: str, wrap_up_code: str) -> None:
        ask_ns, report = now_ns(), None
        try:
            report = await self.client.report(
                self._list_id, record_id, self.campaign_id, wrap_up_code
            )
        finally:
            self._log.write(_report_entry(record_id, ask_ns, now_ns(), wrap_up_code, report))
        self.tally.wrap_up_counts[wrap_up_code] += 1
        self.tally.acquired_count += report.outcome is Outcome.ACQUIRED


def _claim_entry(record_id: str, ask_ns: int, answer_ns: int, claim: Claim | None) -> Claimed:
    if claim is None:
        return Claimed(record_id, ask_ns, answer_ns, None)
    expires = claim.holder.expire_time if claim.holder else None
    return Claimed(
        record_id,
        ask_ns,
        answer_ns,
        claim.decision.name,
        holder_expire_time=expires.isoformat() if expires else None,
        **_holder_fields(claim),
    )


def _report_entry(
    record_id: str, ask_ns: int, answer_ns: int, wrap_up_code: str, report: Report | None
) -> Reported:
    about = record_id, ask_ns, answer_ns, wrap_up_code
    if report is None:
        return Reported(*about, None)
    return Reported(*about, report.outcome.name, **_holder_fields(report))


def _holder_fields(answer: Claim | Report) -> dict[str, Any]:
    """Return what a log says of who stood in the way, and as of when."""
    if answer.holder is None:
        return {"revision": answer.revision}
    holder = {"holder_id": answer.holder.campaign_id, "holder_kind": answer.holder.kind.name}
    return {"revision": answer.revision, **holder}
