"""What Ctrl-C and the garbage collector do while modules are loaded.

This module imports next to nothing, so that it comes first.
"""

import contextlib
import gc
import os
import signal
from collections.abc import Iterator
from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT


@contextlib.contextmanager
def loading(program: str) -> Iterator[None]:
    """Have Ctrl-C end the process at once while modules are loaded, and nothing is under way.

    A KeyboardInterrupt may be lost there: Python's import system calls back from where nothing can
    be raised, and so do modules that are not Python's. A shell script has its background jobs
    ignore Ctrl-C, and then so do we. Called from the main thread.
    """
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeded:
        signal.signal(signal.SIGINT, lambda *_: interrupted(program))
    try:
        yield
    finally:
        if heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Have the garbage collector wait while modules are loaded, and leave them alone ever after.

    Else it goes through all of them again and again, at the interpreter's end too, for nothing that
    it could free: a third of the processor time of a command, and pauses of a server. For a
    process that is ours alone: what is garbage by then, wherever it came from, stays.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def interrupted(program: str) -> NoReturn:
    """End the process with one line: what would be torn down is half made, or half gone."""
    say(f"{program}: interrupted")
    os._exit(INTERRUPTED)


def say(line: str) -> None:
    """Write a line to stderr."""
    with contextlib.suppress(OSError):  # nobody is there to read it
        os.write(2, f"{line}\n".encode())
