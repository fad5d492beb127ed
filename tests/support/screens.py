"""A terminal of some width, as a person sees it: what a command leaves on the screen."""

import os
import pty
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pyte
from sanitizer import patient_s

LINES = 60


def shown(
    program: str,
    arguments: Sequence[str],
    *,
    columns: int,
    environment: Mapping[str, str],
    lines: int = LINES,
) -> tuple[int, list[str]]:
    """Run `ownerd` or `ownerctl` at a terminal; return its exit code and the lines shown."""
    import fcntl
    import termios

    # These say more than the terminal does, and a worker of the tests has them.
    inherited = {name: os.environ[name] for name in os.environ if name not in ("COLUMNS", "LINES")}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from ownerd import programs; programs.{program}()",
            *map(str, arguments),
        ],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**inherited, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    screen = pyte.Screen(columns, lines)
    stream = pyte.ByteStream(screen)
    while True:
        try:
            got = os.read(ours, 65_536)
        except OSError:  # the other end is closed
            break
        if not got:
            break
        stream.feed(got)
    os.close(ours)
    return process.wait(patient_s(60)), [line.rstrip() for line in screen.display]
