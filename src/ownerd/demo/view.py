"""What the demo shows: a live board on a terminal, plain lines elsewhere, and tables in between.

Owns: the looks. It reads the campaigns' tallies and asks the server for nothing: the story feeds
it. Belongs to the thread of the event loop.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ownerd import durations
from ownerd.client import Owners
from ownerd.demo.dialers import Campaign
from ownerd.demo.verdict import Verdict

_COLORS = ("cyan", "magenta", "yellow", "green", "blue", "red")
_WIDE_COLUMNS = 110
_RATE_WINDOW_S = 1.0
_PLAIN_LINE_EVERY_S = 1.0
_SHOWN_VIOLATIONS = 10


class Rate:
    """How fast a counter rises, over about the last second."""

    def __init__(self, count: int) -> None:
        self._samples = [(time.monotonic(), count)]

    def add(self, count: int) -> None:
        """Note the counter's value now."""
        now_s = time.monotonic()
        self._samples.append((now_s, count))
        while len(self._samples) > 2 and self._samples[1][0] < now_s - _RATE_WINDOW_S:
            self._samples.pop(0)

    @property
    def per_second(self) -> float:
        """The rate between the oldest and the newest sample."""
        (begin_s, begin), (end_s, end) = self._samples[0], self._samples[-1]
        return (end - begin) / (end_s - begin_s) if end_s > begin_s else 0.0


class Board:
    """The state of the dialing as rich renders it; `update` takes the newest owners."""

    def __init__(self, console: Console, campaigns: Sequence[Campaign], length_s: float) -> None:
        self._console = console
        self._campaigns = campaigns
        self._length_s = length_s
        self._begin_s = self._line_s = time.monotonic()
        self._rates = {each.campaign_id: Rate(each.tally.dial_count) for each in campaigns}
        self._owned: Mapping[str, int] = {}
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the board while the block runs; the last state stays on the screen."""
        if not self._console.is_terminal:
            yield
            return
        with Live(self, console=self._console, auto_refresh=False) as self._live:
            yield
            self._live.refresh()

    def update(self, owners: Owners) -> None:
        """Take the owners of this moment, and show the new state or a line from time to time."""
        self._owned = {owner.campaign_id: owner.owned_count for owner in owners.owners}
        for campaign in self._campaigns:
            self._rates[campaign.campaign_id].add(campaign.tally.dial_count)
        if self._live is not None:
            self._live.refresh()
        elif time.monotonic() >= self._line_s + _PLAIN_LINE_EVERY_S:
            self._line_s += _PLAIN_LINE_EVERY_S
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    def __rich__(self) -> Group:
        elapsed_s = min(time.monotonic() - self._begin_s, self._length_s)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(self._length_s, elapsed_s, width=40),
            f"{elapsed_s:.1f} of {self._length_s:.1f} s",
        )
        return Group(self._table(), bar)

    def _table(self) -> Table:
        wide = self._console.width >= _WIDE_COLUMNS
        table = Table(box=box.SIMPLE_HEAD, show_footer=True)
        table.add_column("campaign", "all campaigns", no_wrap=True)
        sums = (sum(column) for column in zip(*map(self._numbers, self._campaigns), strict=True))
        names = ("asked", "granted", "denied", "dials", "dials/s", "owns")
        for name, total in zip(names, sums, strict=True):
            table.add_column(name, f"{total:,.0f}", justify="right", min_width=7)
        if wide:
            table.add_column("how dials end", no_wrap=True)
        for color, campaign in zip(_cycled(_COLORS), self._campaigns, strict=False):
            cells = [Text(campaign.name, color)]
            cells += [Text(f"{number:,.0f}") for number in self._numbers(campaign)]
            if wide:
                cells.append(Text(_endings(campaign), "dim"))
            table.add_row(*cells)
        return table

    def _numbers(self, campaign: Campaign) -> tuple[float, ...]:
        tally = campaign.tally
        return (
            tally.claim_count,
            tally.granted_count,
            tally.denied_count,
            tally.dial_count,
            self._rates[campaign.campaign_id].per_second,
            self._owned.get(campaign.campaign_id, 0),
        )

    def _line(self) -> str:
        asked, granted, denied, dials, rate, owned = (
            sum(column) for column in zip(*map(self._numbers, self._campaigns), strict=True)
        )
        return (
            f"{time.monotonic() - self._begin_s:4.0f} s: {asked:,} asked, {granted:,} granted, "
            f"{denied:,} denied, {dials:,} dials ({rate:,.0f}/s), {owned:,} owned"
        )


def _cycled(colors: Sequence[str]) -> Iterator[str]:
    while True:
        yield from colors


def _endings(campaign: Campaign) -> str:
    """Return the most frequent endings with their share of the dials."""
    counts = campaign.tally.wrap_up_counts
    total = counts.total() or 1
    return ", ".join(f"{code} {count / total:.0%}" for code, count in counts.most_common(3))


def owners_table(states: Mapping[str, Owners], names: Mapping[str, str]) -> Table:
    """Return how many records each campaign owned, one column for each named state."""
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("campaign", "all campaigns")
    for title, owners in states.items():
        table.add_column(title, f"{owners.total_owned_count:,}", justify="right", min_width=8)
    by_state = [
        {owner.campaign_id: owner.owned_count for owner in owners.owners}
        for owners in states.values()
    ]
    for color, (campaign_id, name) in zip(_cycled(_COLORS), names.items(), strict=False):
        counts = (f"{owned.get(campaign_id, 0):,}" for owned in by_state)
        table.add_row(Text(name, color), *counts)
    return table


def expirations_table(rows: Iterable[tuple[str, str, str, str]]) -> Table:
    """Return in what time some records' ownership ends, before and after a change."""
    table = Table("record", "owner", "expires in, before", "after", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def time_left(expire_time: datetime | None) -> str:
    """Return how long it is until an expiration."""
    if expire_time is None:
        return "never"
    left = expire_time - datetime.now(UTC)
    return durations.format_short(left // timedelta(microseconds=1) * 1_000)


def show_verdict(console: Console, verdict: Verdict) -> None:
    """Print what the checker found, with the numbers that it looked at."""
    numbers = {
        "claims": verdict.claim_count,
        "granted": verdict.grant_count,
        "denied": verdict.denial_count,
        "dials": verdict.dial_count,
        "records dialed": verdict.dialed_record_count,
        "records that several campaigns asked for": verdict.contended_record_count,
        "records that changed hands": verdict.handed_over_count,
        "overlaps found": len(verdict.violations),
    }
    table = Table.grid(padding=(0, 2), pad_edge=True)
    table.add_column(justify="right", min_width=8)
    for name, number in numbers.items():
        table.add_row(f"{number:,}", name)
    console.print(table)
    for violation in verdict.violations[:_SHOWN_VIOLATIONS]:
        console.print(f"  {violation}", style="red", markup=False, highlight=False)
    if verdict.exclusive:
        text, style = "no record was dialed by two campaigns while one held it", "bold green"
    else:
        text, style = "VIOLATED: a record was given to two campaigns at once", "bold red"
    console.print(f"\n  {text}", style=style, highlight=False)
