"""What a sanitizer asks of the tests; its runtime is preloaded before Python, as CONTRIBUTING says.

Everything is several times slower with it: deadlines are longer then, and random tests of the whole
engine shorter. Programs that are not ours run without it: shells do not start with it, and whatever
was not built for ThreadSanitizer is reported for races that it does not have. What is ours has it
again where such a program starts it.
"""

import os
import sysconfig
from pathlib import Path

_PRELOADED = os.environ.get("LD_PRELOAD", "")
# "address", "thread", or None on other builds.
SANITIZER = next((kind for kind in ("address", "thread") if f"lib{kind[0]}san" in _PRELOADED), None)
SLOWDOWN = {None: 1, "address": 3, "thread": 10}[SANITIZER]


def patient_s(deadline_s: float) -> float:
    """Return a deadline, in seconds, that does not tell a slow build from one that hangs."""
    return deadline_s * SLOWDOWN


def examples(count: int) -> int:
    """Return how many of `count` random examples there is time for."""
    return max(1, count // SLOWDOWN)


def plain_environment() -> dict[str, str]:
    """Return the environment for a program that is not ours."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def in_front(*words: str) -> tuple[str, ...]:
    """Return the command of a program that is not ours, to put before one of ours that it starts.

    For `plain_environment`, on top of which nothing else may be preloaded.
    """
    return (*words, "env", f"LD_PRELOAD={_PRELOADED}") if words and _PRELOADED else words


def programs_path(directory: Path) -> str:
    """Return the PATH of a shell that is started with `plain_environment`: ours are first in it.

    Where a runtime is preloaded here, `directory` gets a folder of programs that pass it on.
    """
    path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    if not _PRELOADED:
        return path
    folder = directory / "programs-preloaded"
    folder.mkdir(exist_ok=True)
    for name in ("ownerd", "ownerctl", "python"):
        program = Path(sysconfig.get_path("scripts"), name)
        (folder / name).write_text(f"#!/bin/sh\nLD_PRELOAD='{_PRELOADED}' exec {program} \"$@\"\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{path}"


def preload(library: str) -> str:
    """Return the value of LD_PRELOAD for one of our programs that is to have a library as well."""
    # Behind what is preloaded already: a sanitizer's runtime has to come first.
    return f"{_PRELOADED} {library}".strip()
