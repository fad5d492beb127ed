"""R18: a power cut at any moment of a migration loses nothing; it goes on when it is run again."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from former_store import KILLED_4_NS, LISTS_4, RECORDS_4, SUPPORT, of_a_copy, seen, text_of, write
from power_cut import build_recorder
from power_disk import CHOICES, Disk, Faults, Kind, read_log, write_image
from sanitizer import examples, patient_s
from segment_log import scratch_directory
from segment_log_workload import read_mark
from subject_engine import EngineSubject

from ownerd.storage.migration import check_former, is_former, migrate
from ownerd.storage.verify import verify

IMAGES = examples(300)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The migration of the store of format 4."""
    library = build_recorder(tmp_path_factory.mktemp("recorder"))
    if library is None:
        pytest.skip("no C compiler to build the recorder with")
    with scratch_directory() as directory:
        store = write(text_of(4), directory / "former")
        (store / "journal" / "lock.mdb").unlink()
        (store / "records" / "lock.mdb").unlink()
        root = (directory / "root").resolve()
        root.mkdir()
        log = directory / "recording"
        preload = f"{os.environ.get('LD_PRELOAD', '')} {library}".strip()
        places = {"POWER_ROOT": str(root), "POWER_LOG": str(log)}
        subprocess.run(
            [sys.executable, SUPPORT / "migration_workload.py", root / "data", store],
            check=True,
            timeout=patient_s(300),
            env={**os.environ, "LD_PRELOAD": preload, **places},
        )
        yield log


def check(store: Path, expected: dict[str, Any]) -> str:
    """Go on with what a cut left; everything is there. Return where it was."""
    if not is_former(str(store)):
        where = "ended"
    elif (store / "journal").exists():
        where = "whole" if check_former(str(store)) else "committed"
        assert [row for row in check_former(str(store)) if row[2] or row[4]] == []
    else:
        where = "going"
    migrated = migrate(str(store), map_bytes=1 << 30)
    assert (migrated is None) == (where == "ended")
    left = {path.name for path in store.iterdir()} - {"LOCK"}
    assert left == {"log", "records"}
    assert [row for row in verify(str(store)) if row[2] or row[4]] == []
    subject = EngineSubject(store, KILLED_4_NS)
    found = json.loads(json.dumps(seen(subject, LISTS_4, RECORDS_4)))
    subject.close()
    assert found == expected
    return where


def test_r18_a_power_cut_during_a_migration_loses_nothing(recording: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    expected = of_a_copy(json.loads(text_of(4).with_suffix(".json").read_text()))
    events = list(read_log(recording))
    root = events[0].data.decode()
    disk = Disk(root, Faults())
    begun, ended = (
        next(
            at
            for at, event in enumerate(events)
            if event.kind == Kind.MARK and read_mark(event.data).what == what
        )
        for what in ("begun", "answered")
    )
    late = len(events) - (len(events) - begun) // 4  # the last steps are short
    points = sorted(
        chance.randint(chance.choice((begun + 1, late)), len(events)) for _ in range(IMAGES)
    )
    seen_at: dict[str, int] = {}
    with scratch_directory() as scratch:
        for point in points:
            for event in events[disk.position : point]:
                disk.feed(event)
            mode = chance.choice(list(CHOICES))
            image = disk.image(CHOICES[mode](chance, disk.unpromised()))
            place = scratch / "image"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            write_image(image, root, place)
            try:
                where = check(place / "data", expected)
            except Exception as error:
                raise AssertionError(f"seed {seed}, mode {mode} after event {point}") from error
            assert point <= ended or where == "ended"
            seen_at[where] = seen_at.get(where, 0) + 1
    print(seen_at)
    assert seen_at["whole"] > IMAGES // 4
