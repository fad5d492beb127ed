"""The two programs as a shell starts them, and what Ctrl-C does while they cannot heed it.

Their own modules take a moment to load, and the interpreter one to end; a Ctrl-C then ends the
process at once, with a line instead of a traceback. This module imports next to nothing, so that
it comes first.

Invariant: no file that is opened later takes the place of a standard stream that whoever started us
has closed; a library that writes to stderr would write into the store.
"""

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from ownerd.loading import INTERRUPTED, interrupted, loading, say, uncollected

# With fewer, gRPC and the loader end the process in ways of their own.
LEAST_DESCRIPTORS = {"ownerd": 64, "ownerctl": 16}


def ownerd() -> NoReturn:
    """Run the server's program, and exit."""
    _run("ownerd", "ownerd.server.cli", cannot_start=1)


def ownerctl() -> NoReturn:
    """Run the administrators' program, and exit."""
    _run("ownerctl", "ownerd.ctl.cli", cannot_start=13)


def _run(name: str, module: str, *, cannot_start: int) -> NoReturn:
    """Run `main` of a module.

    Args:
        name: what the program is called.
        module: where its `main` is.
        cannot_start: exit code if the module cannot be loaded.
    """
    _fill_closed_streams()
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        code = _load(name, module, cannot_start)()
        if code == INTERRUPTED:
            _leave(code)
        sys.exit(code)
    except KeyboardInterrupt:
        interrupted(name)
    finally:
        if heeded:
            signal.signal(signal.SIGINT, lambda *_: interrupted(name))


def _load(name: str, module: str, cannot_start: int) -> Callable[[], int | None]:
    try:
        with loading(name), uncollected():
            machine = importlib.import_module("ownerd.machine")
            machine.need_descriptors(LEAST_DESCRIPTORS[name])
            main: Callable[[], int | None] = importlib.import_module(module).main
    except Exception as error:
        say(f"{name}: cannot start: {' '.join(str(error).split()) or type(error).__name__}")
        os._exit(cannot_start)
    return main


def _leave(code: int) -> NoReturn:
    """Exit without tearing down what was interrupted, whose own end may never come."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _fill_closed_streams() -> None:
    """Have descriptors 0 to 2 lead somewhere; `sys` says still which were closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
