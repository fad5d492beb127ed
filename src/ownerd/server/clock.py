"""`ownerd clock`: the time that a stopped store goes on from, and the way back from one too late.

A store's time never goes back by itself (R19): one start with a clock that is ahead is kept for as
long as the store lives. This sets it back, on a store that nobody serves; holds that were made by
the time that was ahead keep the length that they had left.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from ownerd.native import CLOCK_ALARM_NS, Engine
from ownerd.server import exits, store
from ownerd.server.config import Settings
from ownerd.server.principals import ITSELF
from ownerd.v1 import admin_pb2

_PAGE = 10_000
_SECOND_NS = 10**9


class Made(NamedTuple):
    """What a list has that was made by a time later than the wall clock's."""

    list_id: str
    owned_count: int
    reserved_count: int


def show(settings: Settings) -> list[str]:
    """Return lines that say the stored time, the wall clock, and what depends on it.

    Raises:
        exits.Stop: there is no store, or it cannot be opened.
    """
    wall_ns = time.time_ns()
    engine, opening = store.open_stopped(settings)
    try:
        ahead_ns = opening.stored_ns - wall_ns
        lines = [
            f"time of the store  {_spell(opening.stored_ns)}",
            f"wall clock         {_spell(wall_ns)}",
        ]
        if ahead_ns < CLOCK_ALARM_NS:
            return [*lines, "The store is not ahead: the next start takes the wall clock's time."]
        lines.append(f"The store is {ahead_ns // _SECOND_NS:,} s ahead; it goes on from its time.")
        return [*lines, *_consequences(engine, wall_ns)]
    finally:
        engine.close()


def set_back(settings: Settings) -> list[str]:
    """Set the stored time back to the wall clock's; return lines that say what was done.

    Raises:
        exits.ConfigError: the store is not ahead.
        exits.Stop: there is no store, or it cannot be opened.
    """
    lines = show(settings)
    wall_ns = time.time_ns()
    engine, opening = store.open_stopped(settings, time_ns=wall_ns)
    try:
        if opening.stored_ns - wall_ns < CLOCK_ALARM_NS:
            raise exits.ConfigError(
                "the store's time is not a minute ahead of the wall clock's; nothing was changed"
            )
        detail = f'{{"from": "{_spell(opening.stored_ns)}", "to": "{_spell(wall_ns)}"}}'
        entry = admin_pb2.AuditEntry(principal=ITSELF, action="SetTimeBack", detail=detail)
        engine.note_refusals(0, note=entry.SerializeToString(deterministic=True))
        return [*lines, f"Set back to {_spell(wall_ns)}. No hold was ended."]
    finally:
        engine.close()


def _consequences(engine: Engine, wall_ns: int) -> Iterator[str]:
    made = [found for found in _made_ahead(engine, wall_ns) if found[1:] != (0, 0)]
    yield (
        "'ownerd clock --set-back' sets it to the wall clock's; see first that this one is right. "
        "It ends no hold: what was made by the time that is ahead keeps the length that it has "
        "left. What had run out by it, and was not dropped or taken since, is held again until its "
        "own end; what was renewed, or given another duration by it, lasts longer. Request ids "
        "used meanwhile are remembered for longer."
    )
    if not made:
        yield "Nothing was made by the time that is ahead."
    for list_id, owned, reserved in made:
        yield f"{list_id}: {owned:,} ownerships made by it, {reserved:,} dials reserved"


def _made_ahead(engine: Engine, wall_ns: int) -> Iterator[Made]:
    after = ""
    while lists := engine.lists(after, _PAGE):
        for info in lists:
            yield _made_in(engine, info.list_id, wall_ns)
        after = lists[-1].list_id


def _made_in(engine: Engine, list_id: str, wall_ns: int) -> Made:
    owned, place = 0, b""
    with engine.snapshot(list_id) as snapshot:
        reserved = sum(count for _, _, _, count, _, _ in snapshot.owners())
        while True:
            records, place = snapshot.records(place, _PAGE)
            owned += sum(acquired_ns > wall_ns for _, _, _, acquired_ns, _ in records)
            if not place:
                return Made(list_id, owned, reserved)


def _spell(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // _SECOND_NS, UTC).isoformat().replace("+00:00", "Z")
