"""A store whose records got a smaller file: the same store, whatever happened on the way."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from sanitizer import patient_s
from subject import DAY, Policy
from subject_engine import EngineSubject

from ownerd.engine.engine import Opening
from ownerd.storage import compaction
from ownerd.storage.compaction import compact
from ownerd.storage.directory import StoreError, StoreInUseError
from ownerd.storage.verify import verify

MAP_BYTES = 1 << 30
HELD = Policy(True, None, None, DAY)
MANY = 20_000


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that most records were deleted from, and that was closed."""
    subject = EngineSubject(tmp_path / "data")
    for list_id in ("kept", "gone"):
        subject.create_list(list_id, HELD)
    for at in range(0, MANY, 1_000):
        subject.claim_batch("gone", "A", [str(number) for number in range(at, at + 1_000)])
    subject.claim_batch("kept", "A", [str(number) for number in range(100)])
    subject.attempt("kept", "1", "A", "Busy")
    subject.vacuum()
    subject.engine.delete_list("gone", force=True, note=b"test")
    subject.vacuum()
    subject.close()
    return tmp_path / "data"


def size_of(store: Path) -> int:
    return (store / "records" / "data.mdb").stat().st_size


def check_whole(store: Path, revision: int) -> None:
    """Check that it is sound, the same store, and goes on."""
    assert [finding for finding in verify(str(store)) if finding[2] or finding[4]] == []
    opening = Opening()
    subject = EngineSubject(store, opening=opening)
    assert "new_incarnation" not in [event for event, _ in opening.found]
    assert subject.revision() == revision
    assert subject.claim("kept", "1", "B").what == "DENIED"
    assert subject.claim("kept", "200", "B").what == "GRANTED"
    subject.close()


def revision_of(store: Path) -> int:
    subject = EngineSubject(store)
    revision = subject.revision()
    subject.close()
    return revision


def test_a_compacted_store_is_smaller_and_the_same(store: Path) -> None:
    revision, before = revision_of(store), size_of(store)
    done = compact(str(store), map_bytes=MAP_BYTES)
    assert done == (before, size_of(store)) and size_of(store) < before / 4
    assert not (store / "records.compact").exists()
    assert compact(str(store), map_bytes=MAP_BYTES) == (size_of(store), size_of(store))
    check_whole(store, revision)


def test_what_is_in_the_log_alone_is_still_there(store: Path) -> None:
    subject = EngineSubject(store)
    subject.claim("kept", "300", "C")
    revision = subject.revision()
    subject.close()
    compact(str(store), map_bytes=MAP_BYTES)
    check_whole(store, revision)
    subject = EngineSubject(store)
    assert subject.claim("kept", "300", "B").what == "DENIED"
    subject.close()


@pytest.mark.parametrize("step", ["mkdir", "rename", "sync_directory"])
def test_a_step_that_fails_leaves_the_old_file_or_the_new_one(
    store: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = revision_of(store)

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        where = compaction if step == "sync_directory" else os
        patched.setattr(where, step, fails)
        with pytest.raises(OSError, match="Input/output"):
            compact(str(store), map_bytes=MAP_BYTES)
    check_whole(store, revision)


def test_what_a_compaction_that_was_killed_has_left_is_no_store_and_goes(store: Path) -> None:
    revision = revision_of(store)
    left = store / "records.compact"
    left.mkdir()
    (left / "data.mdb").write_bytes(bytes(100_000))
    check_whole(store, revision)
    compact(str(store), map_bytes=MAP_BYTES)
    assert not left.exists()


def test_a_copy_that_is_compacted_is_a_copy_still(store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    compact(str(copy), map_bytes=MAP_BYTES)
    opening = Opening()
    EngineSubject(copy, opening=opening).close()
    assert "new_incarnation" in [event for event, _ in opening.found]


def test_a_store_in_use_and_no_store_are_refused(store: Path, tmp_path: Path) -> None:
    subject = EngineSubject(store)
    with pytest.raises(StoreInUseError):
        compact(str(store), map_bytes=MAP_BYTES)
    subject.close()
    with pytest.raises(StoreError, match="store_id says"):
        compact(str(store), map_bytes=MAP_BYTES, store_id=1)
    with pytest.raises(StoreError, match="no store"):
        compact(str(tmp_path / "none"), map_bytes=MAP_BYTES)


def test_the_command_says_what_came_of_it(store: Path) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "ownerd.server", "compact", "--data", str(store)],
        capture_output=True,
        text=True,
        timeout=patient_s(60),
        check=True,
    )
    assert f"and take {size_of(store):,}" in done.stdout and done.stderr == ""
