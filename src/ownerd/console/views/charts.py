"""Charts of the last minutes: rates as lines, releases as bars, in the coordinates of a picture."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ownerd.client import AuditEntry
from ownerd.console.counts import Rates

WIDTH, HEIGHT = 600, 140
WINDOW_S = 900.0
STEP_S = 5.0
BARS = 15


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the text's key, its points as SVG takes them, its latest and highest value."""

    key: str
    points: str
    area: str
    latest: float
    highest: float
    values: tuple[tuple[float, float], ...]
    """Seconds ago, and so many a second: what the picture shows, as a table."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over one window of time; `top` is the value at the upper edge."""

    key: str
    lines: tuple[Line, ...]
    top: float
    minutes: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw yet."""
        return all(len(line.values) < 2 for line in self.lines)


CLAIMS = (
    ("chart.granted", lambda rates: rates.granted),
    ("chart.denied", lambda rates: rates.denied),
    ("chart.uncontrolled", lambda rates: rates.uncontrolled),
)
ATTEMPTS = (
    ("chart.attempts.all", lambda rates: rates.attempts),
    ("chart.acquired", lambda rates: rates.acquired),
    ("chart.rejected", lambda rates: rates.rejected),
)
Series = Sequence[tuple[str, Callable[[Rates], float]]]


def summed(histories: Mapping[str, Sequence[Rates]], now_s: float) -> list[tuple[float, Rates]]:
    """Return what happened in several lists together, by steps: seconds ago, and the sums."""
    steps: dict[int, dict[str, Rates]] = {}
    for list_id, history in histories.items():
        for rates in history:
            step = int((now_s - rates.at_s) // STEP_S)
            if 0 <= step * STEP_S <= WINDOW_S:
                steps.setdefault(step, {})[list_id] = rates  # of several in one step the last
    return [(step * STEP_S, _sum(steps[step].values())) for step in sorted(steps, reverse=True)]


def _sum(found: Iterable[Rates]) -> Rates:
    rates = [*found]
    return Rates(
        rates[0].at_s,
        sum(each.granted for each in rates),
        sum(each.denied for each in rates),
        sum(each.uncontrolled for each in rates),
        sum(each.attempts for each in rates),
        sum(each.acquired for each in rates),
        sum(each.rejected for each in rates),
    )


def chart_of(key: str, series: Series, steps: Sequence[tuple[float, Rates]]) -> Chart:
    """Return a chart of some of what happened."""
    span_s = max([60.0, *(ago_s for ago_s, _ in steps)])
    values = {name: [(ago_s, read(rates)) for ago_s, rates in steps] for name, read in series}
    top = nice_top(max((value for line in values.values() for _, value in line), default=0.0))
    lines = tuple(_line(name, line, span_s, top) for name, line in values.items())
    return Chart(key, lines, top, round(span_s / 60))


def nice_top(highest: float) -> float:
    """Return the round number at or above the highest value that an axis ends with."""
    if highest <= 1:
        return 1.0
    power = 1.0
    while power * 10 < highest:
        power *= 10
    return next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= highest)


def _line(key: str, values: Sequence[tuple[float, float]], span_s: float, top: float) -> Line:
    points = [
        f"{WIDTH * (1 - ago_s / span_s):.1f},{HEIGHT * (1 - value / top):.1f}"
        for ago_s, value in values
    ]
    area = ""
    if points:
        first, last = points[0].split(",")[0], points[-1].split(",")[0]
        area = f"M{first},{HEIGHT} L{' L'.join(points)} L{last},{HEIGHT} Z"
    return Line(
        key=key,
        points=" ".join(points),
        area=area,
        latest=values[-1][1] if values else 0.0,
        highest=max((value for _, value in values), default=0.0),
        values=tuple(values),
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """So many released in one step of time; place and size in the picture."""

    time: datetime
    count: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Bars:
    """Releases over the last minutes."""

    bars: tuple[Bar, ...]
    top: int
    total: int


RELEASES = ("ReleaseOwnership", "ReleaseRecords", "DeleteContactList", "DeleteCampaign")


def releases(entries: Iterable[AuditEntry], now: datetime) -> Bars:
    """Return how many records were released when, by the audit."""
    step = timedelta(seconds=WINDOW_S / BARS)
    counts = [0] * BARS
    for entry in entries:
        if entry.action in RELEASES and not entry.refusal and entry.time is not None:
            place = BARS - 1 - int((now - entry.time) / step)
            if 0 <= place < BARS:
                counts[place] += entry.affected_count or 0
    top = round(nice_top(max(counts)))
    wide = WIDTH / BARS
    bars = tuple(
        Bar(
            time=now - step * (BARS - place),
            count=count,
            x=place * wide + wide * 0.15,
            y=HEIGHT * (1 - count / top),
            width=wide * 0.7,
            height=HEIGHT * count / top,
        )
        for place, count in enumerate(counts)
    )
    return Bars(bars, top, sum(counts))
