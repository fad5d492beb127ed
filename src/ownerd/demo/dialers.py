"""The simulated campaigns: they claim, dial, report through the real client, and write it all down.

Owns: how a campaign works through its calling list, and how dials end. A campaign knows nothing of
the other campaigns, nor does one of its dialers of the others; only the server keeps them apart. A
tenth of all reports is delivered twice, late. The dialers may dial and nothing else: that a list is
finished is told by the administrator. All campaigns of a demo run in one event
loop, each with a connection of its own. Time runs about a thousand times faster than in life: a
millisecond of dialing stands for a second.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ownerd.client import AsyncClient, Attempt, Claim, Outcome, Report, Signal
from ownerd.demo.logbook import SUFFIX, Claimed, Dialed, GaveBack, Logbook, Reported, now_ns

LIST_SHARE = 0.7
"""Part of the contacts that each campaign calls, so that any two lists overlap by about half."""

DIALERS = 2
"""Machines of a campaign, which dial from the same list and do not know of each other."""
REPEATED_SHARE = 0.1
"""Part of the reports that are delivered twice."""

_RECYCLE_PAUSE_S = 0.05
_LATE_S = (0.05, 0.6)
_SENT_ONCE_NS = 500_000_000
"""What took longer may have been sent twice, where the first server to have it died."""


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
    repeat_count: int = 0
    wrap_up_counts: Counter[str] = field(default_factory=Counter)


class Campaign:
    """One outbound campaign with its dialers, its calling list and its log."""

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
        self.list_id = list_id
        self.tally = Tally()
        self.client = client
        self.log = Logbook(log_directory / f"campaign-{campaign_id}{SUFFIX}", campaign_id)
        self._admin = admin
        draw = random.Random(f"{seed}/{campaign_id}")
        self.calling_list = _choose(contacts, draw)
        self._dialers = [Dialer(self, f"{campaign_id}-{n}", seed) for n in range(1, DIALERS + 1)]

    def close(self) -> None:
        """Close the log."""
        self.log.close()

    async def dial(self, line_count: int, until_ns: int) -> None:
        """Dial on that many lines at once until the time is up and the last dial is reported.

        Raises:
            ClientError: The server could not be asked or told; all lines stop.
        """
        async with asyncio.TaskGroup() as tasks:
            for dialer in self._dialers:
                tasks.create_task(dialer.dial(line_count // DIALERS, until_ns))

    def call_denied_first(self, holder_id: str) -> None:
        """Put the records that were denied because of one campaign at the front of the lists."""
        for dialer in self._dialers:
            dialer.call_denied_first(holder_id)

    async def recycled(self) -> None:
        """Tell that a calling list is through; ownership stays as it is (R16)."""
        self.tally.recycle_count += 1
        await self._admin.signal_campaign(
            self.campaign_id, Signal.RECYCLED, list_id=self.list_id, reason="list is finished"
        )


def _choose(contacts: Sequence[str], draw: random.Random) -> list[str]:
    """Return a campaign's part of the contacts."""
    count = max(1, round(len(contacts) * LIST_SHARE))
    return draw.sample(contacts, count)


class Dialer:
    """One machine of a campaign, with its lines: it knows of the others only what the server says.

    Each works through the campaign's whole calling list in an order of its own. It gives back what
    it has reserved when it begins, and when it is done (R23).
    """

    def __init__(self, campaign: Campaign, dialer_id: str, seed: int) -> None:
        self._campaign = campaign
        self._dialer_id = dialer_id
        self._draw = random.Random(f"{seed}/{dialer_id}")
        self._order = self._draw.sample(campaign.calling_list, len(campaign.calling_list))
        self._to_call = deque(self._order)
        self._busy: set[str] = set()
        self._denied_by: dict[str, str] = {}

    async def dial(self, line_count: int, until_ns: int) -> None:
        """Dial on that many lines until the time is up and everything is reported."""
        await self._give_back()
        async with asyncio.TaskGroup() as lines:
            for _ in range(line_count):
                lines.create_task(self._work_line(until_ns, lines))
        await self._give_back()

    def call_denied_first(self, holder_id: str) -> None:
        """Put the records that were denied because of one campaign at the front of the list."""
        denied = [record_id for record_id, by in self._denied_by.items() if by == holder_id]
        rest = set(self._to_call).difference(denied)
        self._to_call = deque([*denied, *(each for each in self._to_call if each in rest)])

    async def _give_back(self) -> None:
        ask_ns = now_ns()
        campaign = self._campaign
        revision = await campaign.client.give_back(
            campaign.campaign_id, self._dialer_id, list_id=campaign.list_id
        )
        campaign.log.write(GaveBack(ask_ns, now_ns(), self._dialer_id, revision))

    async def _work_line(self, until_ns: int, lines: asyncio.TaskGroup) -> None:
        while now_ns() < until_ns:
            if not self._to_call:
                await self._recycle()
                continue
            record_id = self._to_call.popleft()
            if record_id in self._busy:
                continue
            self._busy.add(record_id)
            call_again = await self._call(record_id, lines)
            self._busy.remove(record_id)
            if call_again:
                self._to_call.append(record_id)

    async def _recycle(self) -> None:
        """Start the calling list again."""
        await asyncio.sleep(_RECYCLE_PAUSE_S)
        if not self._to_call:
            self._to_call.extend(self._order)
            await self._campaign.recycled()

    async def _call(self, record_id: str, lines: asyncio.TaskGroup) -> bool:
        """Ask, dial and report one record; return whether to call it again later."""
        claim = await self._claim(record_id)
        if not claim.allowed:
            return False
        ending = self._draw.choices(ENDINGS, _WEIGHTS)[0]
        begin_ns = now_ns()
        await asyncio.sleep(self._draw.uniform(ending.shortest_ms, ending.longest_ms) / 1000)
        self._campaign.log.write(Dialed(record_id, begin_ns, now_ns(), self._dialer_id))
        self._campaign.tally.dial_count += 1
        attempt = Attempt(record_id, ending.wrap_up_code, datetime.now(UTC), claim.reservation_id)
        await self._report(attempt)
        if self._draw.random() < REPEATED_SHARE:
            lines.create_task(self._report_late(attempt))
        return ending.call_again

    async def _claim(self, record_id: str) -> Claim:
        ask_ns, claim = now_ns(), None
        campaign = self._campaign
        try:
            claim = await campaign.client.claim(
                campaign.list_id, record_id, campaign.campaign_id, dialer_id=self._dialer_id
            )
        finally:
            # Without an answer too: the server may have granted it.
            campaign.log.write(_claim_entry(record_id, self._dialer_id, ask_ns, now_ns(), claim))
        self._note_claim(record_id, claim)
        return claim

    def _note_claim(self, record_id: str, claim: Claim) -> None:
        tally = self._campaign.tally
        tally.claim_count += 1
        if claim.allowed:
            tally.granted_count += 1
            self._denied_by.pop(record_id, None)
        else:
            tally.denied_count += 1
            self._denied_by[record_id] = claim.holder.campaign_id if claim.holder else ""

    async def _report(self, attempt: Attempt) -> None:
        report = await self._send(attempt, again=False)
        tally = self._campaign.tally
        tally.wrap_up_counts[attempt.wrap_up_code] += 1
        tally.acquired_count += report.outcome is Outcome.ACQUIRED

    async def _report_late(self, attempt: Attempt) -> None:
        """Deliver a report once more, as a queue does that never had its receipt."""
        await asyncio.sleep(self._draw.uniform(*_LATE_S))
        await self._send(attempt, again=True)
        self._campaign.tally.repeat_count += 1

    async def _send(self, attempt: Attempt, *, again: bool) -> Report:
        ask_ns, report = now_ns(), None
        campaign = self._campaign
        try:
            report = await campaign.client.report(
                campaign.list_id,
                attempt.record_id,
                campaign.campaign_id,
                attempt.wrap_up_code,
                dialer_id=self._dialer_id,
                attempt_time=attempt.attempt_time,
                reservation_id=attempt.reservation_id,
            )
        finally:
            entry = _report_entry(attempt, self._dialer_id, ask_ns, now_ns(), report, again)
            campaign.log.write(entry)
        return report


def _claim_entry(
    record_id: str, dialer_id: str, ask_ns: int, answer_ns: int, claim: Claim | None
) -> Claimed:
    if claim is None:
        return Claimed(record_id, ask_ns, answer_ns, None, dialer_id=dialer_id)
    expires = claim.holder.expire_time if claim.holder else None
    return Claimed(
        record_id,
        ask_ns,
        answer_ns,
        claim.decision.name,
        holder_expire_time=expires.isoformat() if expires else None,
        dialer_id=dialer_id,
        reservation_id=claim.reservation_id,
        holder_dialer_id=claim.holder.dialer_id if claim.holder else "",
        **_holder_fields(claim, answer_ns - ask_ns),
    )


def _report_entry(
    attempt: Attempt,
    dialer_id: str,
    ask_ns: int,
    answer_ns: int,
    report: Report | None,
    again: bool,
) -> Reported:
    return Reported(
        attempt.record_id,
        ask_ns,
        answer_ns,
        attempt.wrap_up_code,
        None if report is None else report.outcome.name,
        dialer_id=dialer_id,
        reservation_id=attempt.reservation_id,
        again=again,
        **({} if report is None else _holder_fields(report, answer_ns - ask_ns)),
    )


def _holder_fields(answer: Claim | Report, took_ns: int) -> dict[str, Any]:
    """Return what a log says of who stood in the way, and as of when.

    An answer to what came twice is of a later revision than what it did, so none is noted.
    """
    revision = answer.revision if took_ns <= _SENT_ONCE_NS else None
    if answer.holder is None:
        return {"revision": revision}
    holder = {"holder_id": answer.holder.campaign_id, "holder_kind": answer.holder.kind.name}
    return {"revision": revision, **holder}
