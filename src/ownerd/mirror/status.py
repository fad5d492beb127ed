"""What a mirror tells of itself: where it is, how far behind, and what it did since it began."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    """What a mirror is doing."""

    STARTING = "starting"
    COMPARING = "comparing"
    CATCHING_UP = "catching up"
    IN_STEP = "in step"
    WAITING = "waiting for the server"


@dataclass
class Status:
    """Figures of one run; counts begin at 0 with it.

    Attributes:
        state: what it is doing.
        incarnation_id: of the store that it follows.
        revision: of the table.
        lag_ns: how long the last change took from the server's decision to the table, by the two
            machines' clocks; None: there was none yet.
        comparison_count: comparisons that ended.
        compared_count: rows that they looked at.
        mended_count: rows that they changed.
        revision_count: revisions with changes that came by the feed.
        record_count: changes of single records in them.
        list_wide_count: changes of the whole list in them.
        written_count: rows that the feed changed.
        missing_count: records that were not in the table: owned ones at the last comparison, and
            changed ones since.
    """

    state: State = State.STARTING
    incarnation_id: str = ""
    revision: int = 0
    lag_ns: int | None = None
    comparison_count: int = 0
    compared_count: int = 0
    mended_count: int = 0
    revision_count: int = 0
    record_count: int = 0
    list_wide_count: int = 0
    written_count: int = 0
    missing_count: int = 0


@dataclass
class Teller:
    """Whom a mirror tells: of what happens in a sentence, and of its status again and again."""

    status: Status = field(default_factory=Status)
    say: Callable[[str], object] = lambda sentence: None
    tick: Callable[[Status], object] = lambda status: None

    def at(self) -> None:
        """Let the status be looked at."""
        self.tick(self.status)
