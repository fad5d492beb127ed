"""The database: transactions that are done again where it was away, and what its errors mean.

Whether a transaction whose commit broke off is in force is not known; what runs in one here either
does no harm when it is done twice, or looks first.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from ownerd.mirror.faults import DatabaseFault

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
# Deadlocks, locks, shutdowns and lost connections come as one of these.
_PASSING = (exc.OperationalError, exc.InterfaceError)

Result = TypeVar("Result")
Work = Callable[[sa.Connection], Result]


class Database:
    """Runs transactions, from any thread."""

    def __init__(self, engine: sa.Engine, say: Callable[[str], object]) -> None:
        """Remember where to.

        Args:
            engine: the database.
            say: is told that it is away, and that it is there again.
        """
        self.engine = engine
        self.is_patient = False  # True: it waits for a database that is away, however long
        self._say = say
        self._pause = threading.Event()

    def run(self, work: Work[Result]) -> Result:
        """Return what `work` returns in a transaction of its own.

        Raises:
            DatabaseFault: It is refused, or away and not waited for.
        """
        pause_s = FIRST_PAUSE_S
        is_away = False
        while True:
            try:
                found = self.once(work)
            except exc.DBAPIError as error:
                if not (self.is_patient and is_passing(error)):
                    raise DatabaseFault(told(error)) from error
                if not is_away:
                    self._say(f"the database does not take it ({told(error)}); waiting")
                is_away = True
                self._pause.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                if is_away:
                    self._say("the database is there again")
                return found

    def once(self, work: Work[Result]) -> Result:
        """Return what `work` returns in a transaction of its own, or raise what the driver does."""
        with self.engine.begin() as connection:
            return work(connection)


def is_passing(error: exc.DBAPIError) -> bool:
    """Say whether it may go well another time."""
    return error.connection_invalidated or isinstance(error, _PASSING)


def told(error: exc.DBAPIError) -> str:
    """Return the first line of what the driver says."""
    lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
    return lines[0]


def monotonic_s() -> float:
    """Return seconds of a clock that never steps."""
    return time.monotonic()


def changed_count(result: sa.CursorResult[Any]) -> int:
    """Return how many rows a statement changed, 0 where the driver does not tell."""
    return max(result.rowcount, 0)
