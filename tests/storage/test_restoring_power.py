"""R18: a power cut at any moment of a restore leaves no store, or all of it."""

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from backups import MAP_BYTES, archive, restored, sound
from power_cut import build_recorder
from power_disk import CHOICES, Disk, Event, Faults, Kind, read_log, write_image
from sanitizer import examples, patient_s
from segment_log import scratch_directory
from segment_log_workload import read_mark

from ownerd.engine.engine import Engine, Opening, Policy, StoreError

SUPPORT = Path(__file__).parents[1] / "support"
HELD = Policy(True, None, None, 86_400 * 10**9)
ROWS = {f"record {i}": f"campaign {i % 3}" for i in range(2_000)}
AGAIN = 10  # of so many cuts the restore is run again after one


class Recording(NamedTuple):
    """The events of a restore, and the backup that is restored."""

    events: list[Event]
    backup: bytes

    def at(self, what: str) -> int:
        """Return the event of a mark."""
        return next(
            at
            for at, event in enumerate(self.events)
            if event.kind == Kind.MARK and read_mark(event.data).what == what
        )


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    """A restore of a backup with something in the log and in the tree."""
    library = build_recorder(tmp_path_factory.mktemp("recorder"))
    if library is None:
        pytest.skip("no C compiler to build the recorder with")
    with scratch_directory() as directory:
        with Engine(str(directory / "source"), map_bytes=MAP_BYTES, background=False) as engine:
            engine.create_list("list", HELD)
            rows = [(record, campaign, "", None) for record, campaign in ROWS.items()]
            engine.import_rows("list", rows[:1_000], 1)
            engine.vacuum()
            for at in range(1_000, 2_000, 50):  # into several segments of the log
                engine.import_rows("list", rows[:1_000], 3)
                engine.import_rows("list", rows[at : at + 50], 1)
            assert len(engine.backup().files) > 2
            (directory / "backup").write_bytes(archive(engine.backup()))
        root = (directory / "root").resolve()
        root.mkdir()
        log = directory / "recording"
        preload = f"{os.environ.get('LD_PRELOAD', '')} {library}".strip()
        places = {"POWER_ROOT": str(root), "POWER_LOG": str(log)}
        subprocess.run(
            [sys.executable, SUPPORT / "restore_workload.py", root / "data", directory / "backup"],
            check=True,
            timeout=patient_s(300),
            env={**os.environ, "LD_PRELOAD": preload, **places},
        )
        yield Recording(list(read_log(log)), (directory / "backup").read_bytes())


def left_by(store: Path) -> str:
    """Open what a cut left, and tell what it is; a store is all there."""
    opening = Opening(create=False)
    if (store / "RESTORED").exists():
        where = "placed"
    else:
        where = "unfinished" if (store / "RESTORING").exists() else "nothing"
    try:
        with Engine(str(store), map_bytes=MAP_BYTES, background=False, opening=opening) as engine:
            assert engine.revision in (2**44, 2 * 2**44)
            with engine.snapshot("list") as snapshot:
                found = {row[0]: row[1] for row in snapshot.records(b"", 10_000)[0]}
        assert found == ROWS
    except StoreError as error:
        assert where in ("unfinished", "nothing"), error
        return where
    assert sound(store)
    return "placed" if where == "placed" else "whole"


def cut(recording: Recording, count: int) -> Counter[str]:
    """Cut the power at so many points; return what was left how often."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    events = recording.events
    disk = Disk(events[0].data.decode(), Faults())
    begun, ended = recording.at("begun"), recording.at("answered")
    late = ended - (ended - begun) // 4  # the last steps are short
    points = sorted(
        chance.randint(chance.choice((begun + 1, late)), len(events)) for _ in range(count)
    )
    seen: Counter[str] = Counter()
    with scratch_directory() as scratch:
        for number, point in enumerate(points):
            for event in events[disk.position : point]:
                disk.feed(event)
            mode = chance.choice(list(CHOICES))
            image = disk.image(CHOICES[mode](chance, disk.unpromised()))
            place = scratch / "image"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            write_image(image, disk.root, place)
            try:
                where = left_by(place / "data")
                if where in ("nothing", "unfinished") and number % AGAIN == 0:
                    restored(recording.backup, place / "data")
                    assert left_by(place / "data") == "whole"
            except Exception as error:
                raise AssertionError(f"seed {seed}, mode {mode} after event {point}") from error
            assert point <= ended or where in ("whole", "placed"), f"seed {seed}"
            seen[where] += 1
    print(dict(seen))
    return seen


def test_r18_a_power_cut_during_a_restore_leaves_no_store_or_all_of_it(
    recording: Recording,
) -> None:
    seen = cut(recording, examples(60))
    assert seen["unfinished"]


@pytest.mark.long
def test_r18_thousands_of_power_cuts_during_a_restore(recording: Recording) -> None:
    seen = cut(recording, 3_000)
    assert min(seen[where] for where in ("nothing", "unfinished", "placed", "whole")) > 0
