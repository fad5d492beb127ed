"""Cuts a block off at one of its steps: from there on nothing of it comes to the disk."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from ownerd.storage.directory import StoreError
from ownerd.storage.testing import DiskFaults

STEPS = ("fsync", "mkdir", "rename", "rmdir", "unlink")


class CutOffError(Exception):
    """What ends the block."""


class CutOff:
    """Whether it came to the step at which it was cut off."""

    has_happened = False


@contextmanager
def cut_off_after(steps: int) -> Iterator[CutOff]:
    """Have what changes a directory, or syncs it, fail once so many such steps were made."""
    cut, left = CutOff(), steps

    def failing(name: str) -> Any:
        real = getattr(os, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                cut.has_happened = True
                raise CutOffError(name)
            return real(*args, **kwargs)

        return patch.object(os, name, step)

    patches = [failing(name) for name in STEPS]
    for each in patches:
        each.start()
    try:
        yield cut
    except CutOffError:
        pass
    finally:
        for each in patches:
            each.stop()


@contextmanager
def log_cut_off_after(calls: int) -> Iterator[CutOff]:
    """Have the calls of the log to the disk fail once there were so many."""
    cut = CutOff()
    with DiskFaults(calls, errno.EIO, goes_on=True) as faults:
        try:
            yield cut
        except (OSError, StoreError):
            cut.has_happened = True
        cut.has_happened |= faults.has_failed
