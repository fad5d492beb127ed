"""What an import would do: each row judged at a revision before anything is written (R32).

The rows are judged by the rules that will judge them again when they are written: what a dial does
in between may make another answer of a row. Blocking; changes nothing.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from ownerd.native import Engine
from ownerd.server.admin.context import Caller
from ownerd.server.admin.import_stream import ImportStream, Row
from ownerd.server.errors import ImportConflict
from ownerd.v1 import admin_pb2

_LOOKUP_COUNT = 1_000
_ALL_CAMPAIGNS = 1 << 31

# Places in a tally.
IMPORTED, SKIPPED, OVERWRITTEN, EXPIRED = range(4)


class Naming(NamedTuple):
    """A campaign's name before and after; before None: it is not known yet."""

    before: str | None
    after: str


class Forecast(NamedTuple):
    """How many rows will have which outcome, and which campaigns they will name."""

    tally: tuple[int, ...]
    names: dict[str, Naming]
    revision: int


def foresee(engine: Engine, caller: Caller, stream: ImportStream) -> Forecast:
    """Judge every row, as far as that is needed.

    Raises:
        ImportConflict: a row has the import refused; not of a dry run.
    """
    header, dry_run = stream.header, stream.options.dry_run
    fails = header.strategy == admin_pb2.CONFLICT_STRATEGY_FAIL and not dry_run
    names = _Names(engine, stream)
    counts = [0, 0, 0, 0]
    if fails or dry_run or names.can_change:
        for place, row, outcome in judged(engine, stream, stream.rows()):
            if fails and outcome == SKIPPED:
                raise conflict_of(engine, caller, stream, place, row)
            counts[outcome] += 1
            if outcome in (IMPORTED, OVERWRITTEN):
                names.take(row)
    return Forecast(tuple(counts), names.changed, engine.revision)


def judged(
    engine: Engine, stream: ImportStream, rows: Iterable[Row], first: int = 1
) -> Iterator[tuple[int, Row, int]]:
    """Yield rows with their places in `stream.rows`, `first` the first of them, and outcomes."""
    header, options = stream.header, stream.options
    rows = iter(rows)
    while batch := list(islice(rows, _LOOKUP_COUNT)):
        with engine.snapshot(header.list_id) as snapshot:
            outcomes = snapshot.import_outcomes(
                batch,
                overwrite=header.strategy == admin_pb2.CONFLICT_STRATEGY_OVERWRITE,
                exact=options.exact,
                expire_by_policy=options.expire_by_policy,
            )
        for place, (row, outcome) in enumerate(zip(batch, outcomes, strict=True), first):
            yield place, row, outcome
        first += len(batch)


def conflict_of(
    engine: Engine, caller: Caller, stream: ImportStream, place: int, row: Row
) -> ImportConflict:
    """Return the conflict that a row is in; the holder is named to whoever may see it."""
    list_id = stream.header.list_id
    with engine.snapshot(list_id) as snapshot:
        (holder,) = snapshot.holders([row[0]])
    seen = holder is not None and caller.may_see(list_id, holder[1])
    named = holder[1] if holder is not None and seen else None
    return ImportConflict(stream.row_number(place), row[0], named)


class _Names:
    """Which campaigns rows name: those that have no name but their id, or all if that is asked.

    Where rows have several names for one, the first names it, and the last renames it.
    """

    def __init__(self, engine: Engine, stream: ImportStream) -> None:
        self._renames = stream.options.rename_campaigns
        found = dict(engine.campaigns("", _ALL_CAMPAIGNS)) if stream.named_ids else {}
        self._before = {
            each: found.get(each)
            for each in stream.named_ids
            if self._renames or found.get(each) in (None, each)
        }
        self.changed: dict[str, Naming] = {}

    @property
    def can_change(self) -> bool:
        """Whether some row may name a campaign."""
        return bool(self._before)

    def take(self, row: Row) -> None:
        """Take a row that will be in force."""
        _, campaign_id, name, *_ = row
        if not name or campaign_id not in self._before:
            return
        before = self._before[campaign_id]
        if not self._renames and (campaign_id in self.changed or name == campaign_id):
            return
        self.changed.pop(campaign_id, None)
        if name != before:
            self.changed[campaign_id] = Naming(before, name)
