"""A workload for power cuts of the log as files, under the recorder of `power_recorder.c`.

Appends of all sizes, beside a thread that makes and removes segments; a mark goes into the
recording before each append, after it was answered, and when the records have a revision. Run as a
program, life after life, each in a process of its own; only an odd one ends the log cleanly. With
IMAGE, what a power cut left of another recording is copied there first, durably; the records have
its revision FLUSHED:

    segment_log_workload.py DIRECTORY SEED LIFE APPENDS [IMAGE FLUSHED]
"""

import ctypes
import os
import random
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from segment_log import APPEND_BYTES, BLOCK, acquire, append, create

from ownerd.storage.directory import sync_directory
from ownerd.storage.testing import SegmentLog


class Mark(NamedTuple):
    """What is known from here on: `what` is copied, begun, asked, answered or flushed."""

    what: str
    revision: int = 0
    size: int = 0


def read_mark(data: bytes) -> Mark:
    """Return a mark as it was put."""
    what, revision, size = data.decode().split()
    return Mark(what, int(revision), int(size))


def put(mark: Mark) -> None:
    """Put a mark into the recording."""
    data = f"{mark.what} {mark.revision} {mark.size}".encode()
    ctypes.CDLL(None).power_mark(data, ctypes.c_size_t(len(data)))


def choose_size(chance: random.Random) -> int:
    """Return how large the rows of an append are."""
    if chance.random() < 0.03:
        return APPEND_BYTES + chance.randrange(6 * BLOCK)
    return chance.choice((20, 20, 300, 3000, BLOCK, 2 * BLOCK, APPEND_BYTES - BLOCK))


class Upkeep(threading.Thread):
    """Makes the next segment, and removes what the records have: a little less than all."""

    def __init__(self, log: SegmentLog, flushed: int, chance: random.Random) -> None:
        super().__init__()
        self.log = log
        self.flushed = flushed
        self.chance = chance
        self.stopping = threading.Event()
        self.wanted = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            self.wanted.wait(0.0005)
            self.wanted.clear()
            if self.log.prepare_step() != "ok":
                self.wanted.set()
            if self.chance.random() < 0.2:
                self.flushed = max(self.flushed, self.log.revision - self.chance.randrange(20))
                put(Mark("flushed", self.flushed))
                assert self.log.trim_step(self.flushed, 0, keep=False) in ("ok", "more")


def run(directory: str, seed: str, life: int, appends: int) -> None:
    """Append for one life."""
    chance = random.Random(f"{seed} {life}")
    kept = Path(os.environ["POWER_LOG"]).with_name("flushed")
    flushed = int(kept.read_text()) if kept.exists() else 0
    log = acquire(directory, flushed)
    put(Mark("begun", log.revision))
    upkeep = Upkeep(log, flushed, random.Random(f"upkeep {seed} {life}"))
    upkeep.start()
    for revision in range(log.revision + 1, log.revision + 1 + appends):
        size = choose_size(chance)
        put(Mark("asked", revision, size))
        while (status := append(log, revision, size)) == "full":
            upkeep.wanted.set()
        assert status == "ok"
        put(Mark("answered", revision))
    upkeep.stopping.set()
    upkeep.join(60)
    kept.write_text(str(upkeep.flushed))
    if life % 2:
        assert log.end() == "ok"


def copy_image(image: Path, directory: Path) -> None:
    """Copy a log durably."""
    directory.mkdir()
    for path in sorted(image.iterdir()):
        with (directory / path.name).open("wb") as file:
            file.write(path.read_bytes())
            file.flush()
            os.fsync(file.fileno())
    sync_directory(directory)
    sync_directory(directory.parent)


if __name__ == "__main__":
    place, seed, life, appends, *image = sys.argv[1:]
    if image:
        copy_image(Path(image[0]), Path(place))
        Path(os.environ["POWER_LOG"]).with_name("flushed").write_text(image[1])
        put(Mark("copied", int(image[1])))
    elif life == "0":
        create(Path(place))
    run(place, seed, int(life), int(appends))
    os._exit(0)
