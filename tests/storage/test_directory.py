"""One process has a store, and notices when its files are not the store any more."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ownerd.engine.engine import Engine, Policy, Refused
from ownerd.storage.directory import StoreError, StoreInUseError
from ownerd.storage.verify import verify

HELD = Policy(True, None, None, 86_400 * 10**9)
LOOKS = 12  # more than the loss of LOCK alone is borne


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the tests keep their store."""
    return tmp_path / "store"


def opened(store: Path) -> Engine:
    """Return an engine on a store with a list, which looks only when it is asked to."""
    engine = Engine(str(store), map_bytes=1 << 26, background=False)
    if engine.revision == 0:
        engine.create_list("list", HELD)
    assert engine.look()
    return engine


@pytest.mark.parametrize("lost", [("LOCK",), ("LOCK", "records/lock.mdb", "SESSION")])
def test_r1_who_deletes_the_lock_lets_no_second_server_in(
    store: Path, lost: tuple[str, ...]
) -> None:
    with opened(store):
        for name in lost:
            (store / name).unlink()
        with pytest.raises(StoreInUseError):
            Engine(str(store), map_bytes=1 << 26, background=False)
        with pytest.raises(StoreInUseError):
            verify(str(store))


def test_r1_who_deletes_everything_lets_no_second_server_in(store: Path) -> None:
    with opened(store):
        for path in store.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        with pytest.raises(StoreInUseError):
            Engine(str(store), map_bytes=1 << 26, background=False)


def test_r1_a_second_way_to_the_data_files_is_locked_too(store: Path, tmp_path: Path) -> None:
    with opened(store):
        other = tmp_path / "other"
        other.mkdir()
        for name in ("log", "records"):
            (other / name).symlink_to(store / name)
        with pytest.raises(StoreInUseError):
            Engine(str(other), map_bytes=1 << 26, background=False)


def rename(store: Path) -> None:
    """Move the whole directory."""
    store.rename(store.with_name("away"))


def replace(store: Path) -> None:
    """Put a copy in the directory's place."""
    shutil.copytree(store, store.with_name("copy"))
    rename(store)
    store.with_name("copy").rename(store)


def remove(store: Path) -> None:
    """Delete the whole directory."""
    shutil.rmtree(store)


def remove_data(store: Path) -> None:
    """Delete one data file."""
    (store / "records" / "data.mdb").unlink()


def replace_data(store: Path) -> None:
    """Put a copy in a data file's place, as an editor or rsync does."""
    shutil.copy(store / "records" / "data.mdb", store / "new")
    os.replace(store / "new", store / "records" / "data.mdb")


def rename_records(store: Path) -> None:
    """Move the records."""
    (store / "records").rename(store / "elsewhere")


def rename_log(store: Path) -> None:
    """Move the log."""
    (store / "log").rename(store / "elsewhere")


def remove_log(store: Path) -> None:
    """Delete the log."""
    shutil.rmtree(store / "log")


def replace_log(store: Path) -> None:
    """Put a copy in the log's place."""
    rename_log(store)
    shutil.copytree(store / "elsewhere", store / "log")


def remove_segment(store: Path) -> None:
    """Delete the file that is appended to."""
    min((store / "log").iterdir()).unlink()


def remove_next_segment(store: Path) -> None:
    """Delete the file that will be appended to."""
    max((store / "log").iterdir()).unlink()


def replace_segment(store: Path) -> None:
    """Put a copy in the place of the file that is appended to."""
    segment = min((store / "log").iterdir())
    shutil.copy(segment, store / "new")
    os.replace(store / "new", segment)


def rename_above(store: Path) -> None:
    """Move the directory above."""
    store.parent.rename(store.parent.with_name(store.parent.name + "-away"))


@pytest.mark.parametrize(
    "change",
    [
        rename,
        replace,
        remove,
        remove_data,
        replace_data,
        rename_records,
        rename_log,
        remove_log,
        replace_log,
        remove_segment,
        remove_next_segment,
        replace_segment,
        rename_above,
    ],
)
def test_r18_nothing_is_answered_from_files_that_no_path_leads_to(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    store = tmp_path / "above" / "store"
    with opened(store) as engine:
        change(store)
        assert not engine.look()
        assert "not those that were opened" in (engine.failed or "")
        assert "storage_failed" in dict(engine.stats()["alarms"])
        with pytest.raises(Refused) as caught:
            engine.upsert_campaign("A", "")
        assert caught.value.code == 14  # UNAVAILABLE


def test_r18_a_data_file_that_is_overwritten_with_an_older_one_is_noticed(store: Path) -> None:
    file = store / "records" / "data.mdb"
    with opened(store) as engine:
        older = file.read_bytes()[:8192]
        for number in range(3):
            engine.upsert_campaign(f"campaign {number}", "")
            engine.vacuum()
        assert engine.look()
        with file.open("r+b") as target:  # its two heads are enough
            target.write(older)
        assert not engine.look()
        assert engine.failed


def test_a_link_to_the_directory_that_leads_elsewhere_is_noticed(store: Path) -> None:
    link = store.with_name("link")
    store.mkdir()
    link.symlink_to(store)
    with opened(link) as engine:
        other = store.with_name("other")
        other.mkdir()
        link.unlink()
        link.symlink_to(other)
        assert not engine.look()
        assert engine.failed


def test_the_loss_of_the_lock_file_alone_is_told_of_and_then_ends_the_engine(store: Path) -> None:
    with opened(store) as engine:
        (store / "LOCK").unlink()
        assert not engine.look()
        assert "lock_missing" in dict(engine.stats()["alarms"])
        assert engine.failed is None
        for _ in range(LOOKS):
            engine.look()
        assert engine.failed


def test_a_lock_that_cannot_be_had_for_another_reason_says_that_reason(store: Path) -> None:
    """As on a filesystem without locks."""
    opened(store).close()
    code = (
        "import fcntl, os, sys\n"
        "from ownerd.engine.engine import Engine\n"
        "def no_lock(fd, kind): raise OSError(37, os.strerror(37))\n"
        "fcntl.flock = no_lock\n"
        "try: Engine(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(store)], capture_output=True, text=True, timeout=60
    )
    assert run.stdout.startswith("StoreError cannot lock"), run
    assert os.strerror(37) in run.stdout


def test_a_lock_that_cannot_be_opened_is_refused_with_the_reason(store: Path) -> None:
    opened(store).close()
    (store / "LOCK").unlink()
    (store / "LOCK").mkdir()
    with pytest.raises(StoreError, match="LOCK"):
        opened(store)
