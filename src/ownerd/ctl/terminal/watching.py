"""Looking again and again at a terminal: each look takes the place of the one before."""

import time
from collections.abc import Callable

from rich.console import RenderableType
from rich.live import Live

from ownerd.consoles import PipeConsole


def watch(
    console: PipeConsole, interval_s: float, look: Callable[[], RenderableType], looks: int = 0
) -> None:
    """Show what each look returns.

    Args:
        console: the terminal.
        interval_s: seconds between two looks.
        look: asks, and returns what to show.
        looks: how many; 0: until Ctrl-C, which comes out as KeyboardInterrupt, on a screen of its
            own.
    """
    with Live(console=console, auto_refresh=False, screen=not looks) as screen:
        seen = 0
        while True:
            screen.update(look(), refresh=True)
            seen += 1
            if seen == looks:
                return
            time.sleep(interval_s)
