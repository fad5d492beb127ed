"""What each signal does to a running server: it drains, it reads its settings again, or nothing.

None ends the process by itself, but for those that no program can take and those of faults. Called
from the main thread.
"""

import asyncio
import signal
from collections.abc import Callable

# Asked to stop, a power supply that fails, too much processor time.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGPWR, signal.SIGXCPU)
RELOADING = signal.SIGHUP
# Nothing here sends them; sent by mistake they would end the process at once.
IGNORED = (
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGIO,
    signal.SIGSTKFLT,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)


class Signals:
    """The signals of one server; made before anything is opened."""

    def __init__(self) -> None:
        self._early_reload = False
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(RELOADING, self._on_early_reload)

    def heed(
        self,
        loop: asyncio.AbstractEventLoop,
        stop: Callable[[str], None],
        reload: Callable[[], None],
    ) -> None:
        """Call `stop` with the signal's name, and `reload`, on the loop from now on."""
        for number in STOPPING:
            loop.add_signal_handler(number, stop, signal.Signals(number).name)
        loop.add_signal_handler(RELOADING, reload)
        if self._early_reload:
            reload()

    def let_stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the next signal to stop end the process, the way the system does it."""
        for number in STOPPING:
            loop.remove_signal_handler(number)

    def _on_early_reload(self, *_: object) -> None:
        self._early_reload = True
