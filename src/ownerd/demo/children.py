"""What the demo starts beside itself, and that it is ended whatever happens to the demo.

Called from the main thread: who interrupts the demo may do so at any instant, also between the
start of a process and the note of its pid.
"""

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off until the block is over; it is for what must be done whole and is short."""
    came: list[int] = []
    heeds = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heeds)
        if came:
            signal.raise_signal(signal.SIGINT)


class Child(ABC):
    """Processes as a context manager, which starts them, waits until they serve, and ends them."""

    def __enter__(self) -> Self:
        try:
            with uninterrupted():
                self._launch()
            self._wait_until_it_serves()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        with uninterrupted():
            self._stop()

    @abstractmethod
    def _launch(self) -> None:
        """Start the processes."""

    @abstractmethod
    def _wait_until_it_serves(self) -> None:
        """Return once it can be asked; raises what says why it cannot."""

    @abstractmethod
    def _stop(self) -> None:
        """End what was started, all or a part, and see that it has ended."""
