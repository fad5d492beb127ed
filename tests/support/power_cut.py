"""The power-cut test: cuts the power at many points of a recorded run and opens what is left.

`record` runs `power_workload.py` under the recorder. `replay` takes images at random points of the
log: of all changes that the disk has not promised, none is there, all are, or some, torn at sectors
(see `power_disk`). Each image is opened by a fresh engine and compared with what had been answered
by then (see `power_story`). A worker process does the opening, since a broken store may take its
process with it: a worker that dies or hangs is a failure of the image in hand.

The suite replays some hundreds of images. A longer run, of which the seed and the log reproduce any
image:

    python tests/support/power_cut.py --images 20000 --seed 7
    python tests/support/power_cut.py --log LOG --seed 7 --only 1234

Exit code 0: every image was as it must be; 1: some were not.
"""

import argparse
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from power_disk import CHOICES, Disk, Faults, Image, Kind, read_log, write_image
from power_story import LOCK_FILE, Check, Story, read_mark
from sanitizer import patient_s, plain_environment

HERE = Path(__file__).parent
IMAGE_DEADLINE_S = patient_s(60.0)
RECORD_DEADLINE_S = patient_s(600.0)


class Recording(NamedTuple):
    """A log and the directory that was recorded, as it was at the end."""

    log: Path
    root: Path


class Failure(NamedTuple):
    """An image that was not as it must be."""

    image: int
    what: str


class Plan(NamedTuple):
    """Which images to take of a log: all from `first` on, or `only` that one.

    Points are counted in events; the power is cut after one of `first_point` to `last_point`.
    """

    images: int
    seed: int
    first: int = 0
    only: int | None = None
    first_point: int = 1
    last_point: int = sys.maxsize
    faults: Faults = Faults()
    failure_limit: int = 5

    def arguments(self) -> list[str]:
        """Return the plan as arguments of this program."""
        words = [f"--images={self.images}", f"--seed={self.seed}", f"--first={self.first}"]
        words += [f"--failures={self.failure_limit}"]
        words += [f"--first-point={self.first_point}", f"--last-point={self.last_point}"]
        words += [] if self.only is None else [f"--only={self.only}"]
        words += ["--ignore-sync"] if self.faults.ignores_sync else []
        return words + (["--ignore-dsync"] if self.faults.ignores_dsync else [])


# ---- recording


def build_recorder(directory: Path) -> Path | None:
    """Compile the recorder and return the library; None if there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = directory / "recorder.so"
    source = HERE / "power_recorder.c"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True, timeout=60, env=plain_environment())
    return library


def record(
    library: Path,
    directory: Path,
    seed: int,
    *,
    lives: int = 2,
    rounds: int = 3,
    calls: int = 12,
    early: bool = False,
    data: str = "data",
) -> Recording:
    """Run the workload on a new store below `directory` and return its recording."""
    root = (directory / "root").resolve()
    root.mkdir(parents=True)
    log = directory / "log"
    preload = [os.environ.get("LD_PRELOAD", ""), str(library)]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(preload).strip(),
        "POWER_ROOT": str(root),
        "POWER_LOG": str(log),
    }
    for life in range(lives):
        words = [str(seed), str(life), str(rounds), str(calls), *(["early"] if early else [])]
        subprocess.run(
            [sys.executable, HERE / "power_workload.py", root / data, *words],
            check=True,
            timeout=RECORD_DEADLINE_S,
            env=environment,
        )
    return Recording(log, root)


def opened_at(recording: Recording) -> int:
    """Return how many events there were when the new store had opened: before the first call."""
    for position, event in enumerate(read_log(recording.log)):
        if event.kind == Kind.MARK and read_mark(event.data).what == "asked":
            return position
    raise ValueError(f"{recording.log}: no call was made")


def unlike(recording: Recording) -> list[str]:
    """Return the files in which the log, replayed to its end, differs from the directory.

    Empty: nothing was written behind the recorder's back. LMDB's lock file is left out: it is
    written through memory, and LMDB makes it anew when it opens.
    """
    disk = Disk(str(recording.root))
    for event in read_log(recording.log):
        disk.feed(event)
    image = disk.image(CHOICES["keep"](random.Random(), []))
    there = {str(path) for path in [recording.root, *recording.root.rglob("*")]}
    different = sorted(there ^ image.keys())
    for path, content in image.items():
        if content is not None and Path(path).name != LOCK_FILE and path in there:
            data, size = content
            if Path(path).read_bytes() != bytes(data) + bytes(size - len(data)):
                different.append(path)
    return different


# ---- taking images (in the worker)


class Cut(NamedTuple):
    """One image to take: after how many events, and which of the changes are there."""

    image: int
    point: int
    mode: str


def cuts(plan: Plan, event_count: int) -> list[Cut]:
    """Return the plan's images in the order of their points."""
    chance = random.Random(plan.seed)
    last = min(plan.last_point, event_count)
    points = sorted(chance.randint(plan.first_point, last) for _ in range(plan.images))
    return [Cut(n, point, chance.choice(list(CHOICES))) for n, point in enumerate(points)]


class Worker:
    """Takes and checks images, and says on stdout how far it is: begin, good, bad, end."""

    def __init__(self, log: Path, data: str, plan: Plan, scratch: Path) -> None:
        self.plan = plan
        self.events = list(read_log(log))
        self.root = self.events[0].data.decode()
        self.disk = Disk(self.root, plan.faults)
        self.story = Story()
        self.place = scratch / "image"
        self.data = self.place / data
        lock_file = log.with_name(LOCK_FILE)
        self.lock_content = lock_file.read_bytes() if lock_file.exists() else b""

    def run(self) -> None:
        """Take every image of the plan."""
        for cut in cuts(self.plan, len(self.events)):
            self._feed_to(cut.point)
            if cut.image >= self.plan.first and self.plan.only in (None, cut.image):
                print("begin", cut.image, "mode", cut.mode, "after event", cut.point, flush=True)
                print(self._take(cut), flush=True)
        print("end", flush=True)

    def _feed_to(self, point: int) -> None:
        for event in self.events[self.disk.position : point]:
            self.disk.feed(event)
            if event.kind == Kind.MARK:
                self.story.take(event.data)

    def _take(self, cut: Cut) -> str:
        chance = random.Random(f"{self.plan.seed} {cut.image}")
        image = self.disk.image(CHOICES[cut.mode](chance, self.disk.unpromised()))
        self._fill_mapped(image, chance)
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        write_image(image, self.root, self.place)
        try:
            Check(self.data, self.story, chance).run()
        except Exception as failure:
            return f"bad {cut.image} {type(failure).__name__}: {failure}".replace("\n", " ")
        return f"good {cut.image}"

    def _fill_mapped(self, image: Image, chance: random.Random) -> None:
        """Give LMDB's lock files what one held while it was in use, or leave them as zeros."""
        for path in self.disk.mapped() & image.keys():
            if os.path.basename(path) != LOCK_FILE:
                raise NotImplementedError(f"{path} is written through memory")
            if chance.random() < 0.5:
                image[path] = (bytearray(self.lock_content), len(self.lock_content))


# ---- watching the workers


def replay(recording: Recording, plan: Plan, data: str = "data") -> list[Failure]:
    """Take the plan's images and return those that were not as they must be.

    Stops after `plan.failure_limit` failures.
    """
    failures: list[Failure] = []
    with tempfile.TemporaryDirectory(dir=_scratch()) as scratch:
        arguments = ["--worker", scratch, "--log", str(recording.log), "--data", data]
        while True:
            ended_with = _run_worker(arguments, plan, failures)
            if ended_with is None or len(failures) >= plan.failure_limit:
                return failures
            plan = plan._replace(first=ended_with + 1)


def _scratch() -> str | None:
    """Where images are opened: in memory where possible, since syncing them proves nothing."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _run_worker(arguments: list[str], plan: Plan, failures: list[Failure]) -> int | None:
    """Run one worker; return None, or the image that it died or hung with."""
    command = [sys.executable, __file__, *arguments, *plan.arguments()]
    begun = -1, "starting"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        for word, rest in _lines(worker.stdout):
            number, _, text = rest.partition(" ")
            if word == "begin":
                begun = int(number), text
            elif word == "bad":
                failures.append(Failure(begun[0], f"{begun[1]}: {text}"))
            if word == "end" or len(failures) >= plan.failure_limit:
                worker.kill()
                return None
        _end(worker)
    failures.append(Failure(begun[0], f"{begun[1]}: the process ended with {worker.returncode}"))
    return begun[0]


def _end(worker: "subprocess.Popen[str]") -> None:
    """Wait for a worker that has closed its output, or kill one that hangs."""
    try:
        worker.wait(1)
    except subprocess.TimeoutExpired:
        worker.kill()


def _lines(stream: IO[str]) -> Iterator[tuple[str, str]]:
    """Yield a worker's lines, word and rest, until it ends or says nothing for too long."""
    while select.select([stream], [], [], IMAGE_DEADLINE_S)[0]:
        line = stream.readline()
        if not line:
            return
        word, _, rest = line.rstrip("\n").partition(" ")
        yield word, rest


# ---- the long run


def main() -> int:
    """Run as a program; see the module's docstring."""
    given = _parse()
    faults = Faults(given.ignore_sync, given.ignore_dsync)
    plan = Plan(
        given.images,
        given.seed,
        given.first,
        given.only,
        given.first_point,
        given.last_point,
        faults,
        given.failures,
    )
    if given.worker:
        Worker(given.log, given.data, plan, given.worker).run()
        return 0
    recording = Recording(given.log, Path()) if given.log else _record_anew(given)
    print(f"log {recording.log}, seed {plan.seed}, {plan.images} images", flush=True)
    failures = replay(recording, plan, given.data)
    for failure in failures:
        print(f"image {failure.image}, {failure.what}")
    print(f"{len(failures)} images failed" if failures else "every image was as it must be")
    return 1 if failures else 0


def _record_anew(given: argparse.Namespace) -> Recording:
    directory = Path(tempfile.mkdtemp(prefix="power-cut-"))
    library = build_recorder(directory)
    if library is None:
        sys.exit("no C compiler to build the recorder with")
    recording = record(library, directory, given.seed, rounds=given.rounds, data=given.data)
    if different := unlike(recording):
        sys.exit(f"not everything was recorded: {different}")
    return recording


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cut the power of a recorded run many times.")
    add = parser.add_argument
    add("--images", type=int, default=2000, help="how many images to take")
    add("--seed", type=int, default=random.randrange(2**32), help="of the workload and the images")
    add("--rounds", type=int, default=6, help="length of each of the workload's two lives")
    add("--log", type=Path, help="replay this log, do not record")
    add("--first", type=int, default=0, help="start at this image")
    add("--only", type=int, help="take this image alone")
    add("--first-point", type=int, default=1, help="cut after this event or later")
    add("--last-point", type=int, default=sys.maxsize, help="cut after this event or earlier")
    add("--failures", type=int, default=5, help="stop after so many")
    add("--data", default="data", help="the data directory's name below the recorded one")
    add("--ignore-sync", action="store_true", help="let the disk ignore fdatasync (must fail)")
    add("--ignore-dsync", action="store_true", help="let the disk ignore O_DSYNC (must fail)")
    add("--worker", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
