"""The log as files under power cuts, at any point of a recorded run and of what follows a cut.

Of what no sync has promised any subset of 512-byte sectors is on the disk, in any order, and
garbage in some of them: but in none that was written with what it held.
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from power_cut import build_recorder
from power_disk import (
    CHOICES,
    SECTOR,
    Disk,
    Event,
    Faults,
    File,
    Image,
    Kind,
    read_log,
    write_image,
)
from sanitizer import examples, patient_s
from segment_log import acquire, append, read_all, rows_of, scratch_directory
from segment_log_workload import Mark, read_mark

from ownerd.storage.directory import StoreError

SUPPORT = Path(__file__).parent.parent / "support"
IMAGES = examples(1_000)
MODES = [*CHOICES, "garbled"]


class Recorded:
    """A recording being followed: the disk, and what has to be found on it."""

    def __init__(self, log: Path, faults: Faults = Faults()) -> None:
        self.events = list(read_log(log))
        self.root = self.events[0].data.decode()
        self.disk = Disk(self.root, faults)
        self.sizes: dict[int, int] = {}
        self.answered = self.flushed = self.asked = 0

    def feed_to(self, point: int) -> None:
        """Go on to the moment after so many events."""
        for event in self.events[self.disk.position : point]:
            self.disk.feed(event)
            if event.kind == Kind.MARK:
                self._note(read_mark(event.data))

    def _note(self, mark: Mark) -> None:
        if mark.what == "begun":
            self.answered = self.asked = mark.revision
        elif mark.what == "asked":
            self.asked = mark.revision
            self.sizes[mark.revision] = mark.size
        elif mark.what == "answered":
            self.answered = mark.revision
        else:
            self.flushed = mark.revision  # also when it was copied

    def image(self, mode: str, chance: random.Random) -> Image:
        """Return what a cut may leave."""
        name = "torn" if mode == "garbled" else mode
        choice = CHOICES[name](chance, self.disk.unpromised())
        image = self.disk.image(choice)
        if mode == "garbled":
            for path, node in self.disk._walk(lambda directory: directory.seen):
                found = image.get(path)
                if isinstance(node, File) and found is not None:
                    garble(node, found[0], chance)
        return image


def garble(file: File, content: bytearray, chance: random.Random) -> None:
    """Put garbage into some sectors that were being written, but not with what they held."""
    for sector, pieces in file.pieces.items():
        held = bytes(file.content[sector * SECTOR : (sector + 1) * SECTOR]).ljust(SECTOR, b"\0")
        start = sector * SECTOR
        if chance.random() < 0.7 or len(content) < start + SECTOR:
            continue
        if any(held[p.start - start : p.start - start + len(p.data)] != p.data for p in pieces):
            content[start : start + SECTOR] = chance.randbytes(SECTOR)


def point_of(events: list[Event], what: str) -> int:
    """Return how many events there are up to the first such mark."""
    for position, event in enumerate(events):
        if event.kind == Kind.MARK and read_mark(event.data).what == what:
            return position + 1
    raise ValueError(what)


def record(library: Path, directory: Path, seed: str, *rest: str, lives: int = 1) -> Path:
    """Record a workload of the log `data` below the directory; return the recording."""
    root = (directory / "root").resolve()
    root.mkdir(parents=True)
    log = directory / "recording"
    preload = f"{os.environ.get('LD_PRELOAD', '')} {library}".strip()
    places = {"POWER_ROOT": str(root), "POWER_LOG": str(log)}
    for life in range(lives):
        program = SUPPORT / "segment_log_workload.py"
        subprocess.run(
            [sys.executable, program, root / "data", seed, str(life), *rest],
            check=True,
            timeout=patient_s(300),
            env={**os.environ, "LD_PRELOAD": preload, **places},
        )
    return log


def check(recorded: Recorded, image: Image, place: Path, chance: random.Random) -> None:
    """Open an image: all that was answered is there, at most one more, each row as it was."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    write_image(image, recorded.root, place)
    log = acquire(place / "data", recorded.flushed)
    revision = log.revision
    assert recorded.answered <= revision <= recorded.asked
    found = read_all(log, recorded.flushed)
    assert [entry[0] for entry in found] == [*range(recorded.flushed + 1, revision + 1)]
    for number, _, rows in found:
        assert rows == rows_of(number, recorded.sizes[number])
    size = chance.choice((10, 5_000, 40_000))
    assert log.prepare() == "ok"
    assert append(log, revision + 1, size) == "ok"
    log.close()
    assert read_all(acquire(place / "data", revision), revision)[0][2] == rows_of(
        revision + 1, size
    )


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = build_recorder(tmp_path_factory.mktemp("recorder"))
    if library is None:
        pytest.skip("no C compiler to build the recorder with")
    return library


@pytest.fixture(scope="module")
def recording(recorder: Path) -> Iterator[Path]:
    """Three lives of one log, of which the second was ended."""
    with scratch_directory() as directory:
        yield record(recorder, directory, "11", "60", lives=3)


@pytest.fixture
def scratch() -> Iterator[Path]:
    with scratch_directory() as directory:
        yield directory


def cuts(recorded: Recorded, first: int, seed: int, images: int) -> Iterator[tuple[str, int]]:
    """Yield modes and points, in the order of the points, and have the disk at each."""
    chance = random.Random(seed)
    for point in sorted(chance.randint(first, len(recorded.events)) for _ in range(images)):
        recorded.feed_to(point)
        yield chance.choice(MODES), point


def test_the_recording_is_of_all_that_happens_to_a_log(recording: Path) -> None:
    recorded = Recorded(recording)
    kinds = {event.kind for event in recorded.events}
    assert {Kind.WRITE, Kind.SYNC, Kind.RENAME, Kind.REMOVE, Kind.GROW} <= kinds
    names = [event.data for event in recorded.events if event.kind == Kind.RENAME]
    for word in (b"large.new", b"next.new", b"spare.new"):
        assert any(word in name for name in names)
    recorded.feed_to(len(recorded.events))
    image = recorded.disk.image(CHOICES["keep"](random.Random(), []))
    there = {str(path): path for path in Path(recorded.root, "data").iterdir()}
    assert there.keys() <= image.keys()
    for name, path in there.items():
        content = image[name]
        assert content is not None and path.read_bytes() == bytes(content[0]).ljust(
            content[1], b"\0"
        )


def check_cuts(recording: Path, scratch: Path, seed: int, images: int) -> None:
    """Cut the power of a recorded run at so many points."""
    recorded = Recorded(recording)
    first = point_of(recorded.events, "begun")
    chance = random.Random(seed)
    for mode, point in cuts(recorded, first, seed, images):
        try:
            check(recorded, recorded.image(mode, chance), scratch / "image", chance)
        except Exception as error:
            raise AssertionError(f"seed {seed}, mode {mode} after event {point}") from error


def test_r18_a_log_that_lost_power_has_all_that_was_answered(
    recording: Path, scratch: Path
) -> None:
    check_cuts(recording, scratch, 7, IMAGES)


@pytest.mark.long
def test_r18_twenty_thousand_power_cuts_lose_nothing(recorder: Path, scratch: Path) -> None:
    for _ in range(20):
        seed = random.randrange(2**32)
        directory = scratch / str(seed)
        check_cuts(record(recorder, directory, str(seed), "60", lives=4), scratch, seed, 1_000)
        shutil.rmtree(directory)


def test_a_disk_that_ignores_syncs_is_noticed(recording: Path, scratch: Path) -> None:
    recorded = Recorded(recording, Faults(ignores_sync=True))
    chance = random.Random(5)
    bad = 0
    for _, _ in cuts(recorded, point_of(recorded.events, "begun"), 7, 60):
        try:
            check(recorded, recorded.image("subset", chance), scratch / "image", chance)
        except (StoreError, OSError, AssertionError):
            bad += 1
    assert bad > 20


def test_r18_an_opening_that_loses_power_loses_nothing(
    recorder: Path, recording: Path, scratch: Path
) -> None:
    """Images that were torn are opened under the recorder, and the power is cut in the opening."""
    recorded = Recorded(recording)
    chance = random.Random(3)
    first = point_of(recorded.events, "begun")
    for number, (_, point) in enumerate(cuts(recorded, first, 9, examples(6))):
        shutil.rmtree(scratch / "torn", ignore_errors=True)
        (scratch / "torn").mkdir()
        write_image(recorded.image("garbled", chance), recorded.root, scratch / "torn")
        words = "1", "6", str(scratch / "torn" / "data"), str(recorded.flushed)
        again = Recorded(record(recorder, scratch / f"opening {number}", *words))
        again.sizes = dict(recorded.sizes)
        again.answered, again.asked = recorded.answered, recorded.asked
        copied = point_of(again.events, "copied")
        for mode, inside in cuts(again, copied, number, examples(25)):
            try:
                check(again, again.image(mode, chance), scratch / "image", chance)
            except Exception as error:
                where = f"point {point}, then mode {mode} after event {inside}"
                raise AssertionError(where) from error
