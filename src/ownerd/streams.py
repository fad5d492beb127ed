"""The standard streams, such that they take and give any text, and lose none.

Python gives a program streams that may be missing, refuse a character of a name, or leave out the
rest of a write that was taken in part (where PYTHONUNBUFFERED is set, as in many containers).
"""

import io
import os
import sys
from typing import TextIO


def prepare() -> bool:
    """Mend the standard streams; return whether stdout was closed by whoever started us.

    What was closed is stood in for; that stays open as long as the process, as it would have.
    """
    is_closed = sys.stdout is None
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout = _whole(sys.stdout or open(os.devnull, "w"))  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    return is_closed


def _whole(out: TextIO) -> TextIO:
    """Return a stream that writes all of what it is given, or fails."""
    if not isinstance(out, io.TextIOWrapper) or not isinstance(out.buffer, io.RawIOBase):
        return out
    encoding, at_terminal = out.encoding, out.isatty()
    raw: io.RawIOBase = out.detach()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, line_buffering=at_terminal)


def drop(stream: TextIO) -> None:
    """Have what is still buffered go nowhere, instead of failing once more at the end."""
    try:
        number = stream.fileno()
    except OSError:  # a stand-in
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
